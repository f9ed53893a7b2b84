"""Notes what runs elsewhere and says so itself, such as the cron of another machine, as runs in the history.

`livectl:check-ins` is a hash, name -> when it was first expected, and the run that has begun and not ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import msgspec

from livectl.models import JobState
from livectl.ops.jobs import history
from livectl.ops.jobs.history import JobNote
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from redis import Redis

CHECK_INS_KEY = "livectl:check-ins"
PREFIX = "check:"  # before the name, where it stands beside entries of schedules
MAX_TEXT_CHARS = 1_000

CheckInKind = Literal["start", "success", "fail", "log"]
KINDS: tuple[CheckInKind, ...] = ("start", "success", "fail", "log")
STATES = {"success": JobState.SUCCEEDED, "fail": JobState.FAILED}


class CheckInState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one that checks in. Times are UTC milliseconds."""

    since: int  # since when it is expected
    job_id: str = ""  # of the run that has begun
    started: int = 0
    text: str = ""  # what it said meanwhile


def note(store: Redis, name: str, kind: CheckInKind, text: str, now: int) -> None:
    """Notes that it began, ended or said something. An end without a start is a run of no length."""
    known = _find(store, name) or CheckInState(since=now)
    text = text.strip()[:MAX_TEXT_CHARS]
    if kind == "log":
        _save(store, name, msgspec.structs.replace(known, text=text))
        return
    job_id, started = (known.job_id, known.started) if known.job_id and kind != "start" else (str(uuid4()), now)
    facts: dict[str, Any] = {
        "app": "",
        "task": PREFIX + name,
        "schedule": PREFIX + name,
        **dict.fromkeys(("due", "sent", "started"), started / MS_PER_SECOND),
        "state": STATES.get(kind, ""),
        "error": (text or known.text or "it said so")[: history.MAX_ERROR_CHARS] if kind == "fail" else "",
    }
    if kind != "start":
        facts["finished"] = now / MS_PER_SECOND
    store.execute_command(*history.note_command({job_id: JobNote(facts=facts)}))  # type: ignore[no-untyped-call]
    is_open = kind == "start"
    _save(
        store,
        name,
        CheckInState(since=known.since, job_id=job_id if is_open else "", started=started if is_open else 0),
    )


def expect(store: Redis, name: str, now: int) -> CheckInState:
    """What is known of it; from now on it is expected, if it was not yet."""
    if known := _find(store, name):
        return known
    state = CheckInState(since=now)
    store.hsetnx(CHECK_INS_KEY, name, msgspec.json.encode(state).decode())  # it may have checked in meanwhile
    return _find(store, name) or state


def _find(store: Redis, name: str) -> CheckInState | None:
    raw: Any = store.hget(CHECK_INS_KEY, name)
    return msgspec.json.decode(raw, type=CheckInState) if raw else None


def _save(store: Redis, name: str, state: CheckInState) -> None:
    store.hset(CHECK_INS_KEY, name, msgspec.json.encode(state).decode())
