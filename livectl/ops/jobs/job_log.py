"""Logs in the store when a job was sent, began and ended, which Celery itself tells by events only.

One hash a job, `livectl:job:ID`, gone an hour after its last change, or with the job's result if that is kept longer.
Beside them `livectl:jobs:failed`, a stream of the latest failures, and `livectl:jobs:ended`, how many jobs of each app
have ended: whoever watches need not look at every job.
Every worker that livectl starts writes it, with redis-py; whoever sends or looks up a job uses a plain connection.
A worker notes many jobs with one call, beside the jobs: a process that is killed has not written its last few notes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
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
    from collections.abc import Sequence
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
WRITE_PAUSE_S = 0.05  # between two writes: what comes meanwhile is written together
MAX_NOTES_KEPT = 10_000  # while the store is away
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


class Note(msgspec.Struct, kw_only=True):
    """What is to be added to the entry of a job, after the fields of an earlier try were cleared."""

    job_id: str
    facts: dict[str, Fact]
    ttl: int = ENTRY_TTL_SECONDS
    clears: bool = False


def write_notes(store: Redis, notes: Sequence[Note]) -> None:
    """Adds the notes to the entries of their jobs in one round trip, in order."""
    pipe = store.pipeline(transaction=False)
    for note in _one_a_job(notes):
        if note.clears:
            pipe.hdel(entry_key(note.job_id), *CLEARED_FIELDS)
        for command in write_commands(note.job_id, note.ttl, **note.facts):
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
    for command in _tally_commands(notes):
        pipe.execute_command(*command)  # type: ignore[no-untyped-call]
    pipe.execute()


def _one_a_job(notes: Sequence[Note]) -> list[Note]:
    """What several notes of a job amount to."""
    merged: dict[str, Note] = {}
    for note in notes:
        if (earlier := merged.get(note.job_id)) is None:
            merged[note.job_id] = msgspec.structs.replace(note, facts=dict(note.facts))
            continue
        if note.clears:
            earlier.clears = True
            for name in CLEARED_FIELDS:
                earlier.facts.pop(name, None)
        earlier.facts |= note.facts
    return list(merged.values())


def _tally_commands(notes: Sequence[Note]) -> list[tuple[str | float | bytes, ...]]:
    """The Redis commands that count the jobs that have ended, and note those that have failed."""
    ended = [note for note in notes if "finished" in note.facts]
    counts = Counter(str(note.facts.get("app") or "") for note in ended)
    commands: list[tuple[str | float | bytes, ...]] = [
        ("HINCRBY", ENDED_KEY, app, count) for app, count in counts.items()
    ]
    for note in ended:
        if note.facts.get("state") == JobState.FAILED:
            error = redact_text(str(note.facts.get("error") or ""), MAX_LOGGED_ERROR_CHARS)
            failure = {"id": note.job_id, "app": str(note.facts.get("app") or "")}
            failure |= {"task": str(note.facts.get("task") or ""), "error": error}
            fields = [word for pair in failure.items() for word in pair]
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
    """Listens to the signals of a worker, and writes what they tell from a thread of its own: no job waits for it.

    One thread and one store for each process, from its first job on.
    """

    def __init__(self, address: Address, app: str | None) -> None:
        self._address = address
        self._app = app or ""
        self._pid = 0
        self._begin_after_fork()

    def _begin_after_fork(self) -> None:
        """A process that was forked has neither the thread nor the connection of the one before it."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._notes: deque[Note] = deque(maxlen=MAX_NOTES_KEPT)
        self._has_notes, self._is_writing = threading.Event(), threading.Lock()
        self._writer: threading.Thread | None = None
        self._store: Redis | None = None

    def connect_signals(self) -> None:
        """Connects once a process, however often an app is made in it."""
        from celery import signals

        for signal, handler in (
            (signals.before_task_publish, note_sent),
            (signals.task_prerun, self.record_start),
            (signals.task_postrun, self.record_end),
            (signals.task_failure, self.record_failure),
            (signals.task_revoked, self.record_revocation),
            (signals.worker_process_shutdown, self.flush),
            (signals.worker_shutdown, self.flush),
        ):
            signal.connect(handler, weak=False, dispatch_uid=f"livectl.{handler.__name__}")

    def record_start(self, sender: Any, task_id: str, **_: Any) -> None:
        request = sender.request
        queue = (request.delivery_info or {}).get("routing_key")
        facts = {"task": sender.name, "queue": queue, "worker": request.hostname, "retries": request.retries}
        facts["app"] = self._app
        sent = request.get("sent")
        self._note(sender, task_id, clears=True, started=time.time(), sent=_float_or_none(sent), **facts)

    def record_delay(self, task: Any, job_id: str, queue: str, due: datetime) -> None:
        """For a broker that lets nobody look for what waits for its time."""
        self._note(task, job_id, task=task.name, queue=queue, eta=due.timestamp(), app=self._app)

    def record_end(self, sender: Any, task_id: str, state: str | None = None, **_: Any) -> None:
        if state == "RETRY":
            self._note(sender, task_id, state=JobState.RETRYING)
        elif state in JOB_STATES:
            self._note(sender, task_id, state=JOB_STATES[state], finished=time.time(), app=self._app)

    def record_failure(
        self, sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any
    ) -> None:
        """Records the arguments too, so that the job can be sent again."""
        error = f"{type(exception).__name__}: {exception}"
        request = _encode_request(sender.name, args, kwargs)
        facts = {"error": error, "message": request, "task": sender.name, "app": self._app}
        self._note(sender, task_id, state=JobState.FAILED, finished=time.time(), **facts)

    def record_revocation(self, sender: Any, request: Any, **_: Any) -> None:
        self._note(sender, request.id, state=JobState.REVOKED, finished=time.time(), app=self._app)

    def _note(self, task: Any, job_id: str, /, *, clears: bool = False, **facts: Fact) -> None:
        if (task.app.main or "") != self._app:
            return
        self._begin_after_fork()
        self._notes.append(Note(job_id=job_id, facts=facts, ttl=_entry_ttl(task), clears=clears))
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_for_ever, daemon=True, name="livectl-job-log")
            self._writer.start()
        self._has_notes.set()

    def _write_for_ever(self) -> None:
        while True:
            self._has_notes.wait()
            self._has_notes.clear()
            time.sleep(WRITE_PAUSE_S if self.flush() else STORE_RETRY_PAUSE_S)

    def flush(self, **_: Any) -> bool:
        """Writes what is to be written. False where the store is away: it is kept for the next time."""
        from redis.exceptions import RedisError

        self._begin_after_fork()
        with self._is_writing:
            notes = [self._notes.popleft() for _ in range(len(self._notes))]
            try:
                if notes:
                    write_notes(self._open_store(), notes)
            except (LivectlError, RedisError, OSError):
                self._notes.extendleft(reversed(notes))
                self._has_notes.set()
                return False
        return True

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
