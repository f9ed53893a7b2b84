"""Whether the job of an entry's previous run has finished, where its jobs must not overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.states import PENDING, READY_STATES
from celery.utils.log import get_logger

from livectl.ops.beat.dues import SECOND

if TYPE_CHECKING:
    from celery import Celery

    from livectl.ops.beat.dues import Entry
    from livectl.ops.beat.runs import Job, Runs

logger = get_logger(__name__)

WAITS = 3_600.0  # seconds a job may lie in a queue, where no `expires` says how long
RUNS = 3_600.0  # seconds a job may run, where no time limit says how long
LONGEST = 86_400.0  # seconds after which even a job that said it had begun counts as lost


class Overlap:
    """Asks the app's result backend after the jobs of entries with `overlap: skip`."""

    def __init__(self, app: Celery, runs: Runs) -> None:
        self._app = app
        self._runs = runs

    def admits(self, entry: Entry, task_id: str) -> bool:
        """Whether this run may be sent. If so, it is the entry's latest job from now on."""
        if entry.overlap == "allow" or not keeps_results(self._app):
            return True
        before = self._runs.running(entry.name)
        if before and before.task_id == task_id:
            return True  # a run taken over from a beat that had come so far
        if before and not self._finished(entry, before):
            logger.info("%s: skipped, since its previous job (%s) has not finished", entry.name, before.task_id)
            return False
        return self._runs.begin(entry.name, before, task_id)

    def _finished(self, entry: Entry, before: Job) -> bool:
        try:
            state = self._app.AsyncResult(before.task_id).state
        except Exception as error:
            logger.warning("%s: cannot tell whether job %s has finished: %s", entry.name, before.task_id, error)
            return False
        if state in READY_STATES:
            return True
        age = (self._runs.clock.now() - before.sent_at) / SECOND
        lost = age > (self._patience(entry) if state == PENDING else LONGEST)
        if lost:
            logger.warning("%s: job %s is not heard of since %d s: it counts as lost", entry.name, before.task_id, age)
        return lost

    def _patience(self, entry: Entry) -> float:
        """How long a job may be silent: the time it may wait, and the time it may run."""
        task = self._app.tasks.get(entry.task)
        expires = entry.options.get("expires") or getattr(task, "expires", None)
        limits = (entry.options.get("time_limit"), getattr(task, "time_limit", None), self._app.conf.task_time_limit)
        return _seconds(expires, WAITS) + _seconds(next(filter(None, limits), None), RUNS)


def keeps_results(app: Celery) -> bool:
    """Whether results can be looked up by anyone: not without a backend, nor where they go to the sender alone."""
    try:
        return not isinstance(app.backend, DisabledBackend | RPCBackend)
    except Exception:
        return False  # an address that names no backend; workers will say so


def _seconds(said: Any, otherwise: float) -> float:
    return float(said) if isinstance(said, int | float) else otherwise
