"""Keeps the jobs of an entry with `overlap: skip` from overlapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.states import PENDING, READY_STATES
from celery.utils.log import get_logger

from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from celery import Celery

    from livectl.ops.beat.entries import BeatEntry
    from livectl.ops.beat.run_store import LatestJob, RunStore

logger = get_logger(__name__)

DEFAULT_QUEUE_WAIT_S = 3_600.0  # of a job that has no `expires`
DEFAULT_RUN_TIME_S = 3_600.0  # of a job that has no time limit
MAX_STARTED_JOB_AGE_S = 86_400.0  # after it, a job that has begun counts as lost too


class OverlapGuard:
    """Asks the app's result backend whether the previous job of an entry has finished."""

    def __init__(self, app: Celery, run_store: RunStore) -> None:
        self._app = app
        self._run_store = run_store

    def may_send(self, entry: BeatEntry, task_id: str) -> bool:
        """Whether the job of a run may be sent. If so, it is the entry's latest job from now on."""
        if entry.overlap == "allow" or not has_shared_results(self._app):
            return True
        previous_job = self._run_store.read_latest_job(entry.name)
        if previous_job and previous_job.task_id == task_id:
            return True  # a run taken over from a beat that had noted the job, and not sent it
        if previous_job and not self._has_finished(entry, previous_job):
            logger.info("%s: skipped, since its previous job (%s) has not finished", entry.name, previous_job.task_id)
            return False
        return self._run_store.record_latest_job(entry.name, previous_job, task_id)

    def _has_finished(self, entry: BeatEntry, previous_job: LatestJob) -> bool:
        try:
            state = self._app.AsyncResult(previous_job.task_id).state
        except Exception as error:
            logger.warning("%s: cannot tell whether job %s has finished: %s", entry.name, previous_job.task_id, error)
            return False
        if state in READY_STATES:
            return True
        age = (self._run_store.clock.now() - previous_job.sent_at) / MS_PER_SECOND
        is_lost = age > (self._max_silence_s(entry) if state == PENDING else MAX_STARTED_JOB_AGE_S)
        if is_lost:
            logger.warning(
                "%s: job %s is not heard of since %d s: it counts as lost", entry.name, previous_job.task_id, age
            )
        return is_lost

    def _max_silence_s(self, entry: BeatEntry) -> float:
        """How long a job may have no result: the time that it may wait, and the time that it may run."""
        task = self._app.tasks.get(entry.task)
        expires = entry.options.get("expires") or getattr(task, "expires", None)
        limits = (entry.options.get("time_limit"), getattr(task, "time_limit", None), self._app.conf.task_time_limit)
        return _seconds_or_default(expires, DEFAULT_QUEUE_WAIT_S) + _seconds_or_default(
            next(filter(None, limits), None), DEFAULT_RUN_TIME_S
        )


def has_shared_results(app: Celery) -> bool:
    """Whether beat can look results up: not without a backend, nor in one that sends them to the caller alone."""
    try:
        return not isinstance(app.backend, DisabledBackend | RPCBackend)
    except Exception:
        return False  # an address that names no backend; workers will say so


def _seconds_or_default(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
