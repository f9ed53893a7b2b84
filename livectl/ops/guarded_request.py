"""A job of a worker that livectl starts: counted when it takes its worker with it, and asked for before it begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import WorkerLostError
from celery.worker import state

from livectl.ops.transport.children import runs_in_children
from livectl.ops.transport.consumer import was_redelivered
from livectl.ops.transport.leases import LeasedQoS

CLOCK_TOLERANCE_S = 0.5  # that this machine's clock may differ from the broker's


def guarded_request(base: type, consumer: Any) -> type:
    """The request class of a task, with a count of the times that its job took its worker with it."""
    if issubclass(base, GuardedRequest):
        return base
    return type("GuardedRequest", (GuardedRequest, base), {"consumer": consumer})


class NotOursError(Exception):
    """Keeps the pool from running a job."""


def not_begun(pool: Any) -> type[BaseException]:
    """What ends a job in the pool before it begins; a green thread says nothing of its own exit."""
    if type(pool).__module__.endswith((".gevent", ".eventlet")):
        from greenlet import GreenletExit

        exit_error: type[BaseException] = GreenletExit
        return exit_error
    return NotOursError


class GuardedRequest:
    """Mixed into Celery's request. Jobs in a child process are counted when the child dies; others at each start."""

    consumer: Any = None
    asks_gate = False  # whether it has to be asked in the pool
    _is_counted = False
    _has_killed_worker = False
    _is_cancelled = False

    @property
    def eta(self) -> datetime | None:
        """Its time by the clock of this machine, where that is wrong: the server's counts."""
        eta: datetime | None = super().eta  # type: ignore[misc]
        offset_s = LeasedQoS.clock_offset_s
        if eta is None or abs(offset_s) < CLOCK_TOLERANCE_S:
            return eta
        return eta.astimezone(UTC) - timedelta(seconds=offset_s)

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        job: Any = self
        if not self.consumer.may_begin(job):
            raise NotOursError(job.id)
        if self.asks_gate and not self.consumer.gate.may_begin(job):
            raise not_begun(self.consumer.pool)(job.id)
        guard, in_children = self.consumer.guard, runs_in_children(self.consumer.pool)
        is_repeat = was_redelivered(job.message)
        if job.task.acks_late and (is_repeat or not in_children):
            # Where each start is counted, what came again without a count was held by a worker, and never begun.
            had_one = is_repeat and (in_children or not guard.counts_first_starts)
            self._is_counted = guard.note_start(job.id, is_repeat=had_one) > 0
        super().on_accepted(pid, time_accepted)  # type: ignore[misc]

    def _announce_revoked(self, *args: Any, **options: Any) -> None:
        super()._announce_revoked(*args, **options)  # type: ignore[misc]
        self.consumer.gate.forget(self)

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> Any:
        error = exc_info.exception
        error = error.exc if isinstance(error, ExceptionWithTraceback) else error
        was_told = self._is_cancelled or state.should_terminate
        self._has_killed_worker = isinstance(error, WorkerLostError | SystemExit) and not was_told
        job: Any = self
        try:
            return super().on_failure(exc_info, *args, **options)  # type: ignore[misc]
        except Exception:
            if self._has_killed_worker and job.task.acks_late and not job.acknowledged:
                super().reject(requeue=True)  # type: ignore[misc]
            raise

    def cancel(self, *args: Any, **options: Any) -> None:
        """Ended by its worker, which was told to end at once: this start says nothing about the job."""
        self._is_cancelled = True
        if self._is_counted:
            self._is_counted = False
            self.consumer.guard.note_end(self.id)  # type: ignore[attr-defined]
        super().cancel(*args, **options)  # type: ignore[misc]

    def acknowledge(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self.consumer.guard.note_end(self.id)  # type: ignore[attr-defined]
        job: Any = self
        message, was_acknowledged = job.message, job.acknowledged
        super().acknowledge()  # type: ignore[misc]
        if not was_acknowledged:
            self.consumer.note_acknowledged(self, message)

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's signature
        job: Any = self
        if not (requeue and self._has_killed_worker):
            super().reject(requeue)  # type: ignore[misc]
            return
        guard = self.consumer.guard
        starts = guard.starts(job.id) if self._is_counted else guard.note_start(job.id)
        if starts < guard.max_starts:
            super().reject(requeue)  # type: ignore[misc]
            return
        reason = f"its worker died each of the {starts} times it was started"
        self.consumer.set_aside(job.message, reason)
        job.acknowledged = True
        guard.note_end(job.id)
        self.consumer.fail_job(job.id, WorkerLostError(reason), job.request_dict)
