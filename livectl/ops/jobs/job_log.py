"""Logs in the store when a job was sent, began and ended, which Celery itself tells by events only.

What is known of each job is in the history (`history.py`). Beside it `livectl:job:ID` keeps the whole error of a job
that failed and what it takes to send it again, for as long as its result, and `livectl:jobs:failed`, a stream, the
latest failures. `livectl:jobs:ended` counts how many jobs of each app have ended: whoever watches need not look at
every job. Every worker that livectl starts writes it, with redis-py; whoever sends or looks up a job uses a plain
connection.
A worker notes many jobs with one call, beside the jobs: a process that is killed has not written its last few notes.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError
from livectl.models import JobState
from livectl.ops.cluster.presence import Presence
from livectl.ops.jobs import history
from livectl.ops.jobs.history import JobHistory, JobLogEntry, JobNote
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.jobs.numbers import COUNT_KEYS, COUNT_SCRIPT, LONG_LOOK_S, JobNumbers, RunningJobs
from livectl.ops.protocol.message import parse_time
from livectl.redaction import hide_secrets_in, redact_text
from livectl.settings import History

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from redis import Redis

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.history import Command
    from livectl.redis_client import RedisConnection
    from livectl.task_settings import Expect


Fact = str | float | bytes | None

ENTRY_TTL_SECONDS = 3600  # as long as livectl's own app keeps results
MAX_ENTRY_TTL_SECONDS = 86_400  # for results that are kept longer, or for ever
MAX_LOGGED_ERROR_CHARS = 1000
MAX_LOGGED_REQUEST_BYTES = 65_536  # of a job that failed; a larger one is sent again by whoever has its arguments
FAILED_KEY, ENDED_KEY = "livectl:jobs:failed", "livectl:jobs:ended"
MAX_FAILURES_KEPT = 1000
STORE_RETRY_PAUSE_S = 10.0  # after the store was away
WRITE_PAUSE_S = 0.2  # between two writes: what comes meanwhile is written together
BUSY_PAUSE_S, BUSY_EVENTS = 0.5, 80  # the same where much comes: a write costs more than what is in it
MAX_NOTES_KEPT = 10_000  # while the store is away
NOTES_PER_CALL = 1_000
MAX_EVENTS_KEPT = 4 * MAX_NOTES_KEPT
REQUEST_FACTS = ("delivery_info", "hostname", "retries", "schedule", "eta", "sent", "taken", "due")
JOB_STATES = {"SUCCESS": JobState.SUCCEEDED, "IGNORED": JobState.SUCCEEDED, "RETRY": JobState.RETRYING}


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
        pipe = store.pipeline(transaction=False)
        rows = list(batch.notes.items())
        for first in range(0, len(rows), NOTES_PER_CALL):
            notes = dict(rows[first : first + NOTES_PER_CALL])
            keys, arguments = history.note_call(notes, self._kept.keep, self._kept.jobs, replies=False)
            self._script(keys=keys, args=arguments, client=pipe)
        if batch.numbers:
            self._count_script(keys=COUNT_KEYS, args=batch.numbers.arguments(self._app), client=pipe)
        if batch.ended:
            pipe.hincrby(ENDED_KEY, self._app, batch.ended)
        for command in more:
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        for failure in batch.failures:
            for command in failure.commands():
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        pipe.execute()

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
            self._script = self._store.register_script(history.NOTE_SCRIPT)
            self._count_script = self._store.register_script(COUNT_SCRIPT)
        return self._store


class JobEventRecorder:
    """Listens to the signals of a worker, and writes what they tell from a thread of its own: no job waits for it.

    One thread and one store for each process, from its first job on.
    """

    def __init__(self, address: Address, app: str | None, kept: History | None = None) -> None:
        self._address = address
        self._app = app or ""
        self._kept = kept or History()
        self._own_tasks: dict[int, tuple[Any, bool]] = {}
        self._pid = 0
        self.expects: Callable[[str], Expect | None] = lambda task: None
        self._begin_after_fork()

    def _begin_after_fork(self) -> None:
        """A process that was forked has neither the thread nor the connection of the one before it."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._events = deque[tuple[Any, ...]](maxlen=MAX_EVENTS_KEPT)  # what signals told, to be taken by the writer
        self._batch = NoteBatch()
        self._running: dict[str, dict[str, Any]] = {}  # job -> what is known of it
        self._begun: dict[str, dict[str, Any]] = {}  # the same, until their start is noted
        self._watched = RunningJobs(f"{platform.node()}:{self._pid}")
        self._has_notes, self._is_writing = threading.Event(), threading.Lock()
        self._writer: threading.Thread | None = None
        self._pause_s = WRITE_PAUSE_S
        self._notes = NoteWriter(self._address, self._app, self._kept)

    def connect_signals(self) -> None:
        """Connects once a process, however often an app is made in it. The worker says that it is there, too."""
        from celery import signals

        Presence(partial(redis_client.store_client, self._address), self._app).connect_signals()
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
        if self._is_own(sender):
            values = [*map(vars(sender.request).get, REQUEST_FACTS)]
            self._append(self._take_start, task_id, sender.name, time.time(), values)

    def record_delay(self, task: Any, job_id: str, queue: str, due: datetime) -> None:
        """For a broker that lets nobody look for what waits for its time."""
        if self._is_own(task):
            facts = {"app": self._app, "task": task.name, "queue": queue, "eta": due.timestamp()}
            self._append(self._note, job_id, facts, "add")

    def record_end(self, sender: Any, task_id: str, state: str | None = None, **_: Any) -> None:
        ending = JOB_STATES.get(state or "") if self._is_own(sender) else None
        self._append(self._take_end, task_id, sender.name, ending, time.time())

    def record_failure(
        self, sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any
    ) -> None:
        """Records the arguments too, so that the job can be sent again."""
        if not self._is_own(sender):
            return
        failure = FailureNote(
            job_id=task_id,
            app=self._app,
            task=sender.name,
            error=f"{type(exception).__name__}: {exception}",
            message=_encode_request(sender.name, args, kwargs),
            ttl=entry_ttl(sender),
        )
        self._append(self._take_failure, failure, time.time())

    def record_revocation(self, sender: Any, request: Any, **_: Any) -> None:
        if self._is_own(sender):
            self._append(self._end, request.id, {}, sender.name, JobState.REVOKED, time.time(), "", "add")

    def record_dead(self, job_id: str, task: str, queue: str, reason: str) -> None:
        """Records that the message of a job was set aside as a dead letter."""
        self._append(self._end, job_id, {"queue": queue}, task, history.DEAD, time.time(), reason, "add")

    def _is_own(self, task: Any) -> bool:
        """Asked for each job, of tasks that are made once; each is held, so that its id stays its own."""
        if (known := self._own_tasks.get(id(task))) is None:
            known = self._own_tasks[id(task)] = (task, (task.app.main or "") == self._app)
        return known[1]

    def _append(self, take: Callable[..., None], *words: Any) -> None:
        self._begin_after_fork()
        self._events.append((take, words))
        self._wake_writer()

    # What the writer makes of it: in one go it costs less than job by job

    def _take_events(self) -> None:
        for _ in range(len(self._events)):
            take, words = self._events.popleft()
            take(*words)

    def _take_start(self, job_id: str, task: str, now: float, request: list[Any]) -> None:
        delivery_info, worker, retries, schedule, eta, sent, taken, due = request
        queue = delivery_info.get("routing_key") if delivery_info else None
        facts = {
            "app": self._app,
            "task": task,
            "queue": queue,
            "worker": worker,
            "retries": retries,
            "started": now,
            "schedule": schedule,
            "sent": _float_or_none(sent),
            "taken": _float_or_none(taken),
            "due": _float_or_none(due),
        }
        self._running[job_id] = self._begun[job_id] = facts
        if (expect := self.expects(task)) is not None:
            self._watched.begin(job_id, task, now)
        wait = now - sent if sent.__class__ is float and not (retries or eta) else wait_seconds(facts, eta)
        self._batch.numbers.job_started(task, queue or "", wait, expect)

    def _take_end(self, job_id: str, task: str, state: str | None, now: float) -> None:
        known = self._running.pop(job_id, None)
        if known is not None:
            self._watched.end(job_id)
        if state:
            self._end(job_id, known or {}, task, state, now, mode="set" if known else "add")

    def _take_failure(self, failure: FailureNote, now: float) -> None:
        known = self._running.get(failure.job_id)
        mode = "set" if known else "add"
        self._end(failure.job_id, known or {}, failure.task, JobState.FAILED, now, failure.error, mode)
        if self._kept.jobs:
            self._batch.failures.append(failure)

    def _end(
        self, job_id: str, known: dict[str, Any], task: str, state: str, now: float, error: str = "", mode: str = "set"
    ) -> None:
        """Notes the end of a job, or of a try; beside what is known of it where another process began it."""
        facts = known
        facts["app"], facts["task"], facts["state"] = self._app, task, state
        if state != JobState.RETRYING:
            facts["finished"] = now
        if error:
            facts["error"] = redact_text(" ".join(error.split()), history.MAX_ERROR_CHARS)
        self._note(job_id, facts, mode, now)

    def _note(self, job_id: str, facts: dict[str, Any], mode: str, now: float | None = None) -> None:
        self._begun.pop(job_id, None)
        self._batch.count(facts, None, now, self.expects(facts["task"]))
        if self._kept.jobs:
            self._batch.add(job_id, JobNote(facts=facts, mode=mode))

    def _wake_writer(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_for_ever, daemon=True, name="livectl-job-log")
            self._writer.start()
        if not self._has_notes.is_set():  # to set it costs as much as all else here
            self._has_notes.set()

    def _write_for_ever(self) -> None:
        while True:
            self._has_notes.wait(LONG_LOOK_S if self._watched else None)
            self._has_notes.clear()
            time.sleep(self._pause_s if self.flush() else STORE_RETRY_PAUSE_S)

    def flush(self, **_: Any) -> bool:
        """Writes what is to be written. False where the store is away: it is kept for the next time."""
        from redis.exceptions import RedisError

        self._begin_after_fork()
        with self._is_writing:
            self._pause_s = BUSY_PAUSE_S if len(self._events) >= BUSY_EVENTS else WRITE_PAUSE_S
            self._take_events()
            batch, self._batch = self._batch, NoteBatch()
            for job_id, facts in self._begun.items() if self._kept.jobs else ():
                batch.add(job_id, JobNote(facts=facts))
            self._begun.clear()
            try:
                if batch or self._watched:
                    self._notes.write(batch, self._watched.commands(self._app, time.time()))
            except (LivectlError, RedisError, OSError):
                batch.numbers.settle()
                self._batch = batch
                self._has_notes.set()
                return False
        return True


def note_sent(headers: Any = None, **_: Any) -> None:
    """Writes into a job that a job sends when that was, as `livectl call` and beat do."""
    if isinstance(headers, dict):
        headers.setdefault("sent", time.time())


def entry_ttl(task: Any) -> int:
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


def wait_seconds(facts: dict[str, Any], eta: Any) -> float | None:
    """For how many seconds a job lay in its queue; not counted is the time before its ETA."""
    due = parse_time(eta) if eta else None
    if facts.get("retries") and due is None:
        return None  # it was sent again, and nobody knows when
    begins = [moment for moment in (facts.get("sent"), due.timestamp() if due else None) if moment is not None]
    return facts["started"] - max(begins) if begins else None


def _float_or_none(value: Any) -> float | None:
    return None if value is None else float(value) if isinstance(value, int | float) else None
