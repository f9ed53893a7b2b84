"""Logs in the store when a job was sent, began and ended, which Celery itself tells by events only.

What is known of each job is in the history (`history.py`). Beside it `livectl:job:ID` keeps the whole error of a job
that failed and what it takes to send it again, for as long as its result, and `livectl:jobs:failed`, a stream, the
latest failures. `livectl:jobs:ended` counts how many jobs of each app have ended: whoever watches need not look at
every job. Every worker that livectl starts writes it (`job_recorder.py`), with redis-py; whoever sends or looks up a
job uses a plain connection.
A worker notes many jobs with one call, beside the jobs: a process that is killed has not written its last few notes.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.models import JobState
from livectl.ops.jobs import history
from livectl.ops.jobs.history import JobHistory, JobLogEntry, JobNote
from livectl.ops.jobs.numbers import COUNT_KEYS, COUNT_SCRIPT, JobNumbers
from livectl.ops.protocol.message import parse_time
from livectl.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from redis import Redis

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.history import Command
    from livectl.redis_client import RedisConnection
    from livectl.settings import History
    from livectl.task_settings import Expect


Fact = str | float | bytes | None

ENTRY_TTL_SECONDS = 3600  # as long as livectl's own app keeps results
MAX_ENTRY_TTL_SECONDS = 86_400  # for results that are kept longer, or for ever
MAX_LOGGED_ERROR_CHARS = 1000
FAILED_KEY, ENDED_KEY = "livectl:jobs:failed", "livectl:jobs:ended"
MAX_FAILURES_KEPT = 1000
MAX_NOTES_KEPT = 10_000  # while the store is away
NOTES_PER_CALL = 1_000


def write(deployment: Deployment, job_id: str, **facts: Fact) -> None:
    """Notes that a job was sent, unless it is known already; does nothing without a store."""
    if deployment.store is not None:
        note = JobNote(facts={"app": deployment.app_name, **facts}, mode="new")
        with redis_client.connect(deployment.store) as connection:
            connection.execute_all([history.note_command({job_id: note})])


def amend(deployment: Deployment, job_id: str, **facts: Fact) -> None:
    """Adds facts to what is known of a job; does nothing without a store."""
    if deployment.store is not None:
        with redis_client.connect(deployment.store) as connection:
            known = JobHistory.over(connection).facts([job_id]).get(job_id, {})
            note = JobNote(facts={"app": deployment.app_name, **known, **facts})
            connection.execute_all([history.note_command({job_id: note})])


def entry_key(job_id: str) -> str:
    """The hash with the whole error of a job that failed, and its message."""
    return f"livectl:job:{job_id}"


def read_entries(connection: RedisConnection, ids: Sequence[str]) -> dict[str, JobLogEntry]:
    """What is known of these jobs, by id; jobs of which nothing is known are left out."""
    entries = JobHistory.over(connection).jobs(ids)
    more = [job_id for job_id in ids if job_id not in entries or entries[job_id].state == JobState.FAILED]
    replies = connection.execute_all([("HGETALL", entry_key(job_id)) for job_id in more]) if more else []
    for job_id, flat in zip(more, replies, strict=True):
        if isinstance(flat, list) and flat:
            entries[job_id] = _with_details(entries.get(job_id) or JobLogEntry(id=job_id), flat)
    return entries


def _with_details(entry: JobLogEntry, flat: Sequence[bytes]) -> JobLogEntry:
    """An entry with what is kept beside it. Workers of livectl before 0.2 kept all of it there."""
    details = dict(zip((name.decode() for name in flat[::2]), flat[1::2], strict=True))
    facts: dict[str, Any] = {
        name: details[name].decode(errors="replace") for name in history.NAMES if name in details
    } | {name: moment for name in history.TIMES if (moment := _read_time(details.get(name)))}
    if "state" in details:
        facts["state"] = details["state"].decode(errors="replace")
    if (retries := details.get("retries", b"")).isdigit():
        facts["retries"] = int(retries)
    return msgspec.structs.replace(entry, message=details.get("message", b""), **facts)


def _read_time(value: bytes | None) -> datetime | None:
    try:
        return parse_time(float(value or b""))
    except ValueError:
        return None


class FailureNote(msgspec.Struct, frozen=True, kw_only=True):
    """A job that failed, with what it takes to send it again: its message, where that may be kept."""

    job_id: str
    app: str
    task: str
    error: str
    message: bytes | None
    ttl: int

    def commands(self) -> list[tuple[str | float | bytes, ...]]:
        """The Redis commands that keep it."""
        error = redact_text(self.error, MAX_LOGGED_ERROR_CHARS)
        details: list[str | bytes] = ["error", error]
        if self.message is not None:
            details += ["message", self.message]
        line = {"id": self.job_id, "app": self.app, "task": self.task, "error": error}
        fields = [word for pair in line.items() for word in pair]
        return [
            ("HSET", entry_key(self.job_id), *details),
            ("EXPIRE", entry_key(self.job_id), self.ttl),
            ("XADD", FAILED_KEY, "MAXLEN", "~", MAX_FAILURES_KEPT, "*", *fields),
        ]


class NoteBatch:
    """What is to be written next. Of what there is no room for, the oldest is lost."""

    def __init__(self) -> None:
        self.notes: dict[str, JobNote] = {}
        self.failures: deque[FailureNote] = deque(maxlen=MAX_FAILURES_KEPT)
        self.ended = 0
        self.numbers = JobNumbers()

    def __bool__(self) -> bool:
        return bool(self.notes or self.failures or self.ended or self.numbers)

    def add(self, job_id: str, note: JobNote) -> None:
        earlier = self.notes.pop(job_id, None)
        if note.mode == "add" and earlier is not None:
            note = JobNote(facts=earlier.facts | note.facts, mode=earlier.mode)
        elif len(self.notes) >= MAX_NOTES_KEPT:
            del self.notes[next(iter(self.notes))]
        self.notes[job_id] = note

    def count(
        self, facts: dict[str, Any], wait: float | None, now: float | None = None, expect: Expect | None = None
    ) -> None:
        """Counts a try that began or ended; one that is to begin later has neither."""
        queue, state, started = facts.get("queue") or "", facts.get("state"), facts.get("started")
        if state:
            ran = (now or time.time()) - started if started is not None else None
            self.numbers.job_ended(facts["task"], queue, state, ran, expect)
            self.ended += "finished" in facts
        elif started is not None:
            self.numbers.job_started(facts["task"], queue, wait, expect)


class NoteWriter:
    """Writes batches of notes to the store of an app. Raises RedisError, OSError or LivectlError."""

    def __init__(self, address: Address, app: str, kept: History) -> None:
        self._address, self._app, self._kept = address, app, kept
        self._store: Redis | None = None

    def write(self, batch: NoteBatch, more: Sequence[Command] = ()) -> None:
        store = self.open_store()
        self._complete(store, batch)
        calls = self._calls(batch)
        pipe = store.pipeline(transaction=False)
        for script, keys, arguments in calls:
            pipe.evalsha(script.sha, len(keys), *keys, *arguments)
        if batch.ended:
            pipe.hincrby(ENDED_KEY, self._app, batch.ended)
        for command in more:
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        for failure in batch.failures:
            for command in failure.commands():
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        replies = pipe.execute(raise_on_error=False)
        for at, (script, keys, arguments) in enumerate(calls):
            if type(replies[at]).__name__ == "NoScriptError":  # redis-py would ask before each pipeline
                replies[at] = script(keys=keys, args=arguments)
        if refusal := next((reply for reply in replies if isinstance(reply, Exception)), None):
            raise refusal

    def _calls(self, batch: NoteBatch) -> list[tuple[Any, list[str], list[Any]]]:
        """The scripts that note what is in the batch, with keys and arguments."""
        rows, keep, most = list(batch.notes.items()), self._kept.keep, self._kept.jobs
        calls: list[tuple[Any, list[str], list[Any]]] = []
        for first in range(0, len(rows), NOTES_PER_CALL):
            page = dict(rows[first : first + NOTES_PER_CALL])
            calls.append((self._note_script, *history.note_call(page, keep, most, replies=False)))
        if batch.numbers:
            calls.append((self._count_script, COUNT_KEYS, [*batch.numbers.arguments(self._app)]))
        return calls

    def _complete(self, store: Redis, batch: NoteBatch) -> None:
        """Puts what the store knows of a job before what another process adds to it."""
        partial = [job_id for job_id, note in batch.notes.items() if note.mode == "add"]
        known = JobHistory.of_client(store).facts(partial) if partial else {}
        for job_id in partial:
            batch.notes[job_id] = JobNote(facts=known.get(job_id, {}) | batch.notes[job_id].facts)

    def open_store(self) -> Redis:
        """The store, connected to when it is needed first."""
        if self._store is None:
            self._store = redis_client.open_store(self._address)
            self._note_script = self._store.register_script(history.NOTE_SCRIPT)
            self._count_script = self._store.register_script(COUNT_SCRIPT)
        return self._store


def entry_ttl(task: Any) -> int:
    """How long the entry of a job is kept, in seconds: as long as its result, within bounds."""
    expires = task.app.conf.result_expires
    seconds = expires.total_seconds() if hasattr(expires, "total_seconds") else expires or MAX_ENTRY_TTL_SECONDS
    if task.ignore_result or not isinstance(seconds, int | float):
        return ENTRY_TTL_SECONDS
    return int(min(max(seconds, ENTRY_TTL_SECONDS), MAX_ENTRY_TTL_SECONDS))


def wait_seconds(facts: dict[str, Any], eta: Any) -> float | None:
    """For how many seconds a job lay in its queue; not counted is the time before its ETA."""
    due = parse_time(eta) if eta else None
    if facts.get("retries") and due is None:
        return None  # it was sent again, and nobody knows when
    begins = [moment for moment in (facts.get("sent"), due.timestamp() if due else None) if moment is not None]
    return facts["started"] - max(begins) if begins else None
