"""Keeps the jobs of an entry from running beside each other, as its `overlap` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.states import FAILURE, PENDING, REVOKED, SUCCESS
from celery.utils.log import get_logger

from livectl.ops.jobs import job_log
from livectl.ops.jobs.history import JobHistory
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celery import Celery

    from livectl.ops.beat.entries import BeatEntry
    from livectl.ops.beat.run_store import Claim, LatestJob, RunStore
    from livectl.ops.jobs.history import JobLogEntry

    Decision = Literal["send", "skip", "wait"]
    Outcome = Literal["succeeded", "failed", "revoked", "lost"]  # lost: nobody has told


logger = get_logger(__name__)

DEFAULT_QUEUE_WAIT_S = 3_600.0  # of a job that has no `expires`
DEFAULT_RUN_TIME_S = 3_600.0  # of a job that has no time limit
MAX_STARTED_JOB_AGE_S = 86_400.0  # after it, a job that has begun counts as lost too
OUTCOMES: dict[str, Outcome] = {SUCCESS: "succeeded", FAILURE: "failed", REVOKED: "revoked"}  # by Celery's state
LOGGED_OUTCOMES: dict[str, Outcome] = {outcome: outcome for outcome in OUTCOMES.values()}  # by livectl's
MAX_WAITING = {"queue": 1, "queue-all": 1_000}  # runs of an entry that wait for its running job


class OverlapCheck:
    """Asks the result backend and the job log whether the previous job of an entry has finished."""

    def __init__(self, app: Celery, run_store: RunStore) -> None:
        self._app = app
        self._run_store = run_store

    def decide(self, entry: BeatEntry, claim: Claim, task_id: str) -> Decision:
        """Whether the job of a run is sent. If so, it is the entry's latest job from now on."""
        if entry.overlap == "allow" or (entry.overlap == "skip" and not self.can_tell()):
            return "send"
        otherwise: Decision = "wait" if entry.overlap in MAX_WAITING else "skip"
        previous_job = self._run_store.read_latest_job(entry.name)
        if previous_job and previous_job.task_id == task_id:
            return "send"  # a run taken over from a beat that had noted the job, and not sent it
        if otherwise == "wait" and any(due < claim.run.due for due in self._run_store.read_waiting(entry.name)):
            return "wait"  # behind those that wait already
        if previous_job and not self.has_finished(entry, previous_job):
            if entry.overlap != "cancel":
                verb = "waits" if otherwise == "wait" else "skipped"
                logger.info(
                    "%s: %s, since its previous job (%s) has not finished", entry.name, verb, previous_job.task_id
                )
                return otherwise
            logger.info("%s: its previous job (%s) is revoked", entry.name, previous_job.task_id)
            self._app.control.revoke(previous_job.task_id, terminate=True)
        return "send" if self._run_store.record_latest_job(entry.name, previous_job, task_id) else otherwise

    def release(self, entries: Mapping[str, BeatEntry], now: int) -> list[Claim]:
        """Claims of runs that waited for a job which has finished meanwhile, one of an entry at most."""
        released = []
        for name, waiting in self._run_store.read_all_waiting().items():
            entry = entries.get(name)
            if entry is None or not waiting:
                continue
            previous_job = self._run_store.read_latest_job(name)
            if previous_job and entry.overlap in MAX_WAITING and not self.has_finished(entry, previous_job):
                continue
            claim = self._run_store.release(name, waiting[0])
            if claim and entry.deadline is not None and now - claim.run.due > entry.deadline * MS_PER_SECOND:
                logger.info("%s: not sent, it has waited beyond its deadline", name)
                self._run_store.drop([claim])
            elif claim:
                released.append(claim)
        return released

    def can_tell(self) -> bool:
        """Whether somebody tells that jobs have ended: the result backend, or workers that livectl started."""
        return has_shared_results(self._app) or bool(
            self._run_store.store.hexists(job_log.ENDED_KEY, self._app.main or "")
        )

    def has_finished(self, entry: BeatEntry, previous_job: LatestJob) -> bool:
        noted = self.read_notes([previous_job]).get(previous_job.task_id)
        return self.find_outcome(entry, previous_job, noted) is not None

    def read_notes(self, jobs: Iterable[LatestJob]) -> dict[str, JobLogEntry]:
        """What workers of livectl have noted of these jobs, by id."""
        return JobHistory.of_client(self._run_store.store).jobs([job.task_id for job in jobs])

    def find_outcome(self, entry: BeatEntry, previous_job: LatestJob, noted: JobLogEntry | None) -> Outcome | None:
        """How a job has ended, by what a worker has noted or the result backend; None while it goes on."""
        if noted and noted.finished:
            return LOGGED_OUTCOMES.get(str(noted.state), "failed")
        state = self._read_state(entry, previous_job)
        if state in OUTCOMES:
            return OUTCOMES[state]
        if state is None:
            return None
        age = (self._run_store.clock.now() - previous_job.sent_at) / MS_PER_SECOND
        has_started = state != PENDING or bool(noted and noted.started)
        is_lost = age > (MAX_STARTED_JOB_AGE_S if has_started else self._max_silence_s(entry))
        if is_lost:
            logger.warning(
                "%s: job %s is not heard of since %d s: it counts as lost", entry.name, previous_job.task_id, age
            )
        return "lost" if is_lost else None

    def _read_state(self, entry: BeatEntry, previous_job: LatestJob) -> str | None:
        """Its state in the result backend, PENDING without one; None when that cannot be asked."""
        if not has_shared_results(self._app):
            return str(PENDING)
        try:
            return str(self._app.AsyncResult(previous_job.task_id).state)
        except Exception as error:
            logger.warning("%s: cannot tell whether job %s has finished: %s", entry.name, previous_job.task_id, error)
            return None

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
