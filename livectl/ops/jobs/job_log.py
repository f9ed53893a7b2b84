"""Logs in the store when a job was sent, began and ended, which Celery itself tells by events only.

One hash a job, `livectl:job:ID`, gone an hour after its last change, or with the job's result if that is kept longer.
Beside them `livectl:jobs:failed`, a stream of the latest failures, and `livectl:jobs:ended`, how many jobs of each app
have ended: whoever watches need not look at every job.
Every worker that livectl starts writes it, with redis-py; whoever sends or looks up a job uses a plain connection.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError
from livectl.models import JobState
from livectl.ops import deployment as deployments
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.protocol.message import parse_time
from livectl.redaction import hide_secrets_in, redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from redis import Redis

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection


Fact = str | float | bytes | None

ENTRY_TTL_SECONDS = 3600  # as long as livectl's own app keeps results
MAX_ENTRY_TTL_SECONDS = 86_400  # for results that are kept longer, or for ever
MAX_LOGGED_ERROR_CHARS = 1000
MAX_LOGGED_REQUEST_BYTES = 65_536  # of a job that failed; a larger one is sent again by whoever has its arguments
FAILED_KEY, ENDED_KEY = "livectl:jobs:failed", "livectl:jobs:ended"
MAX_FAILURES_KEPT = 1000
STORE_RETRY_PAUSE_S = 10.0  # after the store was away
JOB_STATES = {"SUCCESS": JobState.SUCCEEDED, "IGNORED": JobState.SUCCEEDED, "RETRY": JobState.RETRYING}
CLEARED_FIELDS = ("state", "error", "finished", "message")  # of an earlier try of the same job


class JobLogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as logged. Empty is not known."""

    app: str = ""  # the name of the app that ran it: apps may share a store
    task: str = ""
    queue: str = ""
    worker: str = ""
    state: str = ""  # a JobState, if the job has ended or waits for another try
    error: str = ""
    retries: int | None = None
    sent: datetime | None = None
    eta: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    message: bytes = b""  # the request of a job that failed, as JSON, for another try


def entry_key(job_id: str) -> str:
    return f"livectl:job:{job_id}"


def write_commands(
    job_id: str, ttl: int = ENTRY_TTL_SECONDS, /, **facts: Fact
) -> list[tuple[str | float | bytes, ...]]:
    """The Redis commands that add facts to the entry of a job. Times are seconds since the epoch."""
    known_facts = {name: fact for name, fact in facts.items() if fact not in (None, "")}
    if "error" in known_facts:
        known_facts["error"] = redact_text(str(known_facts["error"]), MAX_LOGGED_ERROR_CHARS)
    fields = [word for pair in known_facts.items() for word in pair]
    return [("HSET", entry_key(job_id), *fields), ("EXPIRE", entry_key(job_id), ttl)]


def write(deployment: Deployment, job_id: str, **facts: Fact) -> None:
    """Adds facts to the entry of a job over a plain connection; does nothing without a store."""
    if deployment.store is not None:
        with redis_client.connect(deployment.store) as connection:
            connection.execute_all(write_commands(job_id, app=app_name(deployment), **facts))


def app_name(deployment: Deployment) -> str:
    """The name of the app in its entries; empty for one that has none."""
    return deployments.OWN_APP_NAME if deployment.app is None else deployment.app.main or ""


def write_entry(
    store: Redis, job_id: str, ttl: int = ENTRY_TTL_SECONDS, /, clear: Sequence[str] = (), **facts: Fact
) -> None:
    """Adds facts to the entry of a job in one round trip, after clearing the fields that are named."""
    pipe = store.pipeline(transaction=False)
    if clear:
        pipe.hdel(entry_key(job_id), *clear)
    for command in (*write_commands(job_id, ttl, **facts), *_tally_commands(job_id, facts)):
        pipe.execute_command(*command)  # type: ignore[no-untyped-call]
    pipe.execute()


def _tally_commands(job_id: str, facts: Mapping[str, Fact]) -> list[tuple[str | float | bytes, ...]]:
    """The Redis commands that count a job which has ended, and note one that has failed."""
    if "finished" not in facts:
        return []
    app = str(facts.get("app") or "")
    commands: list[tuple[str | float | bytes, ...]] = [("HINCRBY", ENDED_KEY, app, 1)]
    if facts.get("state") == JobState.FAILED:
        error = redact_text(str(facts.get("error") or ""), MAX_LOGGED_ERROR_CHARS)
        note = {"id": job_id, "app": app, "task": str(facts.get("task") or ""), "error": error}
        fields = [word for pair in note.items() for word in pair]
        commands.append(("XADD", FAILED_KEY, "MAXLEN", "~", MAX_FAILURES_KEPT, "*", *fields))
    return commands


def read_entries(connection: RedisConnection, ids: Sequence[str]) -> dict[str, JobLogEntry]:
    """The entries of these jobs, by id; jobs without one are left out."""
    replies = connection.execute_all([("HGETALL", entry_key(job_id)) for job_id in ids])
    return {
        job_id: parse_entry(flat) for job_id, flat in zip(ids, replies, strict=True) if isinstance(flat, list) and flat
    }


def parse_entry(flat: Sequence[bytes]) -> JobLogEntry:
    facts = dict(zip(flat[::2], flat[1::2], strict=True))

    def text_field(field: bytes) -> str:
        return facts.get(field, b"").decode(errors="replace")

    def time_field(field: bytes) -> datetime | None:
        return _parse_timestamp(facts.get(field, b""))

    return JobLogEntry(
        app=text_field(b"app"),
        task=text_field(b"task"),
        queue=text_field(b"queue"),
        worker=text_field(b"worker"),
        state=text_field(b"state"),
        error=text_field(b"error"),
        retries=int(retries) if (retries := text_field(b"retries")).isdigit() else None,
        sent=time_field(b"sent"),
        eta=time_field(b"eta"),
        started=time_field(b"started"),
        finished=time_field(b"finished"),
        message=facts.get(b"message", b""),
    )


def _parse_timestamp(value: bytes) -> datetime | None:
    try:
        return parse_time(float(value))
    except ValueError:
        return None


class JobEventRecorder:
    """Listens to the signals of a worker. One store for the process, opened at the first job."""

    def __init__(self, address: Address, app: str | None) -> None:
        self._address = address
        self._app = app or ""
        self._store: Redis | None = None
        self._store_retry_at = 0.0

    def connect_signals(self) -> None:
        """Connects once a process, however often an app is made in it."""
        from celery import signals

        for signal, handler in (
            (signals.before_task_publish, note_sent),
            (signals.task_prerun, self.record_start),
            (signals.task_postrun, self.record_end),
            (signals.task_failure, self.record_failure),
            (signals.task_revoked, self.record_revocation),
        ):
            signal.connect(handler, weak=False, dispatch_uid=f"livectl.{handler.__name__}")

    def record_start(self, sender: Any, task_id: str, **_: Any) -> None:
        request = sender.request
        queue = (request.delivery_info or {}).get("routing_key")
        facts = {"task": sender.name, "queue": queue, "worker": request.hostname, "retries": request.retries}
        facts["app"] = self._app
        sent = request.get("sent")
        self._write(sender, task_id, clear_ended=True, started=time.time(), sent=_float_or_none(sent), **facts)

    def record_delay(self, task: Any, job_id: str, queue: str, due: datetime) -> None:
        """For a broker that lets nobody look for what waits for its time."""
        self._write(task, job_id, task=task.name, queue=queue, eta=due.timestamp(), app=self._app)

    def record_end(self, sender: Any, task_id: str, state: str | None = None, **_: Any) -> None:
        if state == "RETRY":
            self._write(sender, task_id, state=JobState.RETRYING)
        elif state in JOB_STATES:
            self._write(sender, task_id, state=JOB_STATES[state], finished=time.time(), app=self._app)

    def record_failure(
        self, sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any
    ) -> None:
        """Records the arguments too, so that the job can be sent again."""
        error = f"{type(exception).__name__}: {exception}"
        request = _encode_request(sender.name, args, kwargs)
        facts = {"error": error, "message": request, "task": sender.name, "app": self._app}
        self._write(sender, task_id, state=JobState.FAILED, finished=time.time(), **facts)

    def record_revocation(self, sender: Any, request: Any, **_: Any) -> None:
        self._write(sender, request.id, state=JobState.REVOKED, finished=time.time(), app=self._app)

    def _write(self, task: Any, job_id: str, /, *, clear_ended: bool = False, **facts: Fact) -> None:
        from redis.exceptions import RedisError

        if (task.app.main or "") != self._app or time.monotonic() < self._store_retry_at:
            return
        clear = CLEARED_FIELDS if clear_ended else ()
        try:
            write_entry(self._open_store(), job_id, _entry_ttl(task), clear=clear, **facts)
        except (LivectlError, RedisError, OSError):
            self._store_retry_at = time.monotonic() + STORE_RETRY_PAUSE_S

    def _open_store(self) -> Redis:
        from livectl import redis_client

        if self._store is None:
            self._store = redis_client.open_store(self._address)
        return self._store


def note_sent(headers: Any = None, **_: Any) -> None:
    """Writes into a job that a job sends when that was, as `livectl call` and beat do."""
    if isinstance(headers, dict):
        headers.setdefault("sent", time.time())


def _entry_ttl(task: Any) -> int:
    """How long the entry of a job is kept, in seconds: as long as its result, within bounds."""
    expires = task.app.conf.result_expires
    seconds = expires.total_seconds() if hasattr(expires, "total_seconds") else expires or MAX_ENTRY_TTL_SECONDS
    if task.ignore_result or not isinstance(seconds, int | float):
        return ENTRY_TTL_SECONDS
    return int(min(max(seconds, ENTRY_TTL_SECONDS), MAX_ENTRY_TTL_SECONDS))


def _encode_request(task: str, args: Any, kwargs: Any) -> bytes | None:
    """None for arguments that no message could carry, that hold a secret or are very large: they are not kept."""
    request = JobRequest(task=task, args=tuple(args or ()), kwargs=dict(kwargs or {}))
    try:
        raw = msgspec.json.encode(request)
        if len(raw) > MAX_LOGGED_REQUEST_BYTES:
            return None
        arguments = msgspec.json.decode(raw)
        return raw if hide_secrets_in(arguments) == arguments else None
    except (TypeError, ValueError):
        return None


def _float_or_none(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
