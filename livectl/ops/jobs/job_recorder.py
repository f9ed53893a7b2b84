"""Writes to the job log (`job_log.py`) what the signals of a worker tell of its jobs; no job waits for it."""

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
from livectl.ops.jobs.history import JobNote
from livectl.ops.jobs.job_log import MAX_NOTES_KEPT, FailureNote, NoteBatch, NoteWriter, entry_ttl, wait_seconds
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.jobs.numbers import LONG_LOOK_S, RunningJobs
from livectl.redaction import hide_secrets_in, redact_text
from livectl.settings import History

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from livectl.address import Address
    from livectl.task_settings import Expect

STORE_RETRY_PAUSE_S = 10.0  # after the store was away
WRITE_PAUSE_S = 0.2  # between two writes: what comes meanwhile is written together
BUSY_PAUSE_S, BUSY_EVENTS = 0.5, 80  # the same where much comes: a write costs more than what is in it
MAX_EVENTS_KEPT = 4 * MAX_NOTES_KEPT
MAX_LOGGED_REQUEST_BYTES = 65_536  # of a job that failed; a larger one is sent again by whoever has its arguments
REQUEST_FACTS = ("delivery_info", "hostname", "retries", "schedule", "eta", "sent", "taken", "due")
JOB_STATES = {"SUCCESS": JobState.SUCCEEDED, "IGNORED": JobState.SUCCEEDED, "RETRY": JobState.RETRYING}


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
        self._pid = os.getpid()
        self._events = deque[tuple[Any, ...]](maxlen=MAX_EVENTS_KEPT)  # what signals told, to be taken by the writer
        self._batch = NoteBatch()
        self._running: dict[str, dict[str, Any]] = {}  # job -> what is known of it
        self._begun: dict[str, dict[str, Any]] = {}  # the same, until their start is noted
        self._watched = RunningJobs(f"{platform.node()}:{self._pid}")
        self._has_notes, self._is_writing = threading.Event(), threading.Lock()
        self._is_awake = False  # the writer, which looks at the events again before it waits
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

    # Of each job, in its own way: it takes as little as can be

    def record_start(self, sender: Any, task_id: str, **_: Any) -> None:
        self._append(self._take_start, sender, task_id, time.time(), [*map(vars(sender.request).get, REQUEST_FACTS)])

    def record_end(self, sender: Any, task_id: str, state: str | None = None, **_: Any) -> None:
        self._append(self._take_end, sender, task_id, time.time(), state)

    def _append(self, take: Callable[..., None], *words: Any) -> None:
        if self._pid != os.getpid():
            self._begin_after_fork()
        self._events.append((take, words))
        if not self._is_awake:
            self._wake_writer()

    # Of some jobs

    def record_delay(self, task: Any, job_id: str, queue: str, due: datetime) -> None:
        """For a broker that lets nobody look for what waits for its time."""
        if self._is_own(task):
            facts = {"app": self._app, "task": task.name, "queue": queue, "eta": due.timestamp()}
            self._append(self._note, job_id, facts, "add")

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

    # What the writer makes of it: in one go it costs less than job by job

    def _take_events(self) -> None:
        for _ in range(len(self._events)):
            take, words = self._events.popleft()
            take(*words)

    def _take_start(self, sender: Any, job_id: str, now: float, request: list[Any]) -> None:
        if not self._is_own(sender):
            return
        task = sender.name
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

    def _take_end(self, sender: Any, job_id: str, now: float, state: str | None) -> None:
        if not self._is_own(sender):
            return
        known = self._running.pop(job_id, None)
        if known is not None:
            self._watched.end(job_id)
        if ending := JOB_STATES.get(state or ""):
            self._end(job_id, known or {}, sender.name, ending, now, mode="set" if known else "add")

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
        self._is_awake = True
        self._has_notes.set()

    def _write_for_ever(self) -> None:
        while True:
            self._has_notes.wait(LONG_LOOK_S if self._watched else None)
            self._has_notes.clear()
            self._is_awake = False
            time.sleep(self._pause_s if self.flush() else STORE_RETRY_PAUSE_S)

    def flush(self, **_: Any) -> bool:
        """Writes what is to be written. False where the store is away: it is kept for the next time."""
        from redis.exceptions import RedisError

        if self._pid != os.getpid():
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
    return None if value is None else float(value) if isinstance(value, int | float) else None
