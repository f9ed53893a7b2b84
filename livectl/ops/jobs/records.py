"""What livectl notes of a job in the store: when it was sent, began and ended. Celery tells this by events only.

One hash a job, `livectl:job:ID`, gone an hour after its last change. Written with redis-py, inside workers and when
sending; read over a plain connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.ops.jobs.message import instant
from livectl.ops.jobs.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from redis import Redis

    from livectl.resp import Wire

Fact = str | float | bytes | None

KEPT_SECONDS = 3600  # as long as livectl's own app keeps results
LONGEST_ERROR = 1000  # characters


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as noted. Empty is not known."""

    task: str = ""
    queue: str = ""
    worker: str = ""
    state: str = ""  # of JobState, where it has come to an end or waits for another try
    error: str = ""
    retries: int | None = None
    sent: datetime | None = None
    eta: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    message: bytes = b""  # of a job that failed: its JSON arguments, for another try


def key(job: str) -> str:
    return f"livectl:job:{job}"


def commands(job: str, **facts: Fact) -> list[tuple[str | float | bytes, ...]]:
    """What adds facts to a job's record. Times are seconds since the epoch."""
    known = {name: fact for name, fact in facts.items() if fact not in (None, "")}
    if "error" in known:
        known["error"] = redact_text(str(known["error"]), LONGEST_ERROR)
    pairs = [word for pair in known.items() for word in pair]
    return [("HSET", key(job), *pairs), ("EXPIRE", key(job), KEPT_SECONDS)]


def note(store: Redis, job: str, /, forget: Sequence[str] = (), **facts: Fact) -> None:
    """Adds facts to a job's record, in one journey; those to forget go first."""
    pipe = store.pipeline(transaction=False)
    if forget:
        pipe.hdel(key(job), *forget)
    for command in commands(job, **facts):
        pipe.execute_command(*command)  # type: ignore[no-untyped-call]
    pipe.execute()


def read(wire: Wire, ids: Sequence[str]) -> dict[str, Record]:
    """The records there are, by id."""
    answers = wire.ask_all([("HGETALL", key(job)) for job in ids])
    return {job: understand(flat) for job, flat in zip(ids, answers, strict=True) if isinstance(flat, list) and flat}


def understand(flat: Sequence[bytes]) -> Record:
    facts = dict(zip(flat[::2], flat[1::2], strict=True))

    def text(name: bytes) -> str:
        return facts.get(name, b"").decode(errors="replace")

    def moment(name: bytes) -> datetime | None:
        return _moment(facts.get(name, b""))

    return Record(
        task=text(b"task"),
        queue=text(b"queue"),
        worker=text(b"worker"),
        state=text(b"state"),
        error=text(b"error"),
        retries=int(said) if (said := text(b"retries")).isdigit() else None,
        sent=moment(b"sent"),
        eta=moment(b"eta"),
        started=moment(b"started"),
        finished=moment(b"finished"),
        message=facts.get(b"message", b""),
    )


def _moment(said: bytes) -> datetime | None:
    try:
        return instant(float(said))
    except ValueError:
        return None
