"""What the evidence about a job amounts to: one word, what is known besides, and what a person should know of it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.errors import ServerError
from livectl.models import ChildJob, Job, JobState
from livectl.ops.cluster import workers
from livectl.ops.jobs import job_log
from livectl.ops.jobs import results as outcomes
from livectl.ops.protocol import search
from livectl.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.ops.cluster.workers import WorkerJob
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.job_log import JobLogEntry
    from livectl.ops.jobs.results import JobResult
    from livectl.ops.protocol.search import MessageLocation
    from livectl.redis_client import RedisConnection


END_STATES = {JobState.SUCCEEDED, JobState.FAILED, JobState.REVOKED}
WAITING_STATES = {JobState.QUEUED, JobState.ETA, JobState.RECEIVED, JobState.REDELIVERY}


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found out about one job."""

    id: str
    job_result: JobResult | None = None
    log_entry: JobLogEntry | None = None
    location: MessageLocation | None = None
    worker_job: WorkerJob | None = None
    silent: int = 0  # workers that gave no answer
    searched: bool = True  # whether every queue was looked through

    @property
    def state(self) -> JobState:
        return state_of(self)


class JobStatus(msgspec.Struct, frozen=True):
    """The job, and what a person should know about that answer."""

    job: Job
    note: str = ""
    traceback: str = ""
    progress: tuple[float, float] | None = None  # current and total, of a task that reports them
    complete: bool = True  # whether every place was looked into


def job_status(facts: JobFacts, visibility_timeout: float, children: tuple[ChildJob, ...] = ()) -> JobStatus:
    """What the evidence amounts to. Nothing is asked here."""
    state = state_of(facts)
    job = _build_job(facts, state, children)
    return JobStatus(
        job, _explain(facts, state, visibility_timeout), _traceback(facts), _progress(facts), facts.searched
    )


def state_of(facts: JobFacts) -> JobState:
    job_result, log_entry, worker_job, location = facts.job_result, facts.log_entry, facts.worker_job, facts.location
    if job_result and job_result.end_state:
        return job_result.end_state
    if worker_job and worker_job.state != "ready":
        return _state_with_worker(facts, worker_job)
    if end := end_state_of_entry(log_entry):
        return end
    if location:
        return _state_of_message(facts, location)
    has_started = (log_entry and log_entry.started) or (job_result and job_result.state is JobState.RUNNING)
    if facts.silent and has_started:
        return JobState.RUNNING
    if not facts.searched and log_entry and log_entry.sent and not has_started:
        return JobState.QUEUED
    return JobState.UNKNOWN


def _state_with_worker(facts: JobFacts, worker_job: WorkerJob) -> JobState:
    if worker_job.state == "active":
        return JobState.RUNNING
    if _retry_count(facts):
        return JobState.RETRYING
    eta = worker_job.eta or (facts.location.message.eta if facts.location else None)
    return JobState.ETA if worker_job.state == "scheduled" or _is_future(eta) else JobState.RECEIVED


def _state_of_message(facts: JobFacts, location: MessageLocation) -> JobState:
    """Of a message that no worker says it has: in its queue, or taken from it."""
    if location.tag and not facts.silent:
        return JobState.REDELIVERY
    if _retry_count(facts):
        return JobState.RETRYING
    if _is_future(location.message.eta):
        return JobState.ETA
    if not location.tag:
        return JobState.QUEUED
    has_started = facts.log_entry and facts.log_entry.started
    return JobState.RUNNING if has_started or facts.job_result else JobState.RECEIVED


def group_state(states: Sequence[JobState]) -> JobState:
    """One word for a group: finished when all are, failed when one has."""
    if not states or all(state is JobState.SUCCEEDED for state in states):
        return JobState.SUCCEEDED
    for decisive_state in (JobState.FAILED, JobState.REVOKED, JobState.RUNNING, JobState.RETRYING, JobState.REDELIVERY):
        if decisive_state in states:
            return decisive_state
    unfinished = [state for state in states if state is not JobState.SUCCEEDED]
    return JobState.RUNNING if len(unfinished) < len(states) and unfinished[0] in WAITING_STATES else unfinished[0]


def _build_job(facts: JobFacts, state: JobState, children: tuple[ChildJob, ...]) -> Job:
    job_result, log_entry, worker_job = facts.job_result, facts.log_entry, facts.worker_job
    sent_message = facts.location.message if facts.location else None
    has_ended = state in END_STATES
    sent = _first_known(sent_message and sent_message.sent, log_entry and log_entry.sent)
    started = _first_known(worker_job and worker_job.started, log_entry and log_entry.started)
    finished = _first_known(job_result and job_result.finished, log_entry and log_entry.finished) if has_ended else None
    return Job(
        id=facts.id,
        state=state,
        task=_first_known(
            sent_message and sent_message.task,
            worker_job and worker_job.task,
            _attribute_or_none(job_result, "task"),
            _attribute_or_none(log_entry, "task"),
        ),
        args=_first_known(
            sent_message and sent_message.args,
            worker_job and worker_job.args,
            redact(_attribute_or_none(job_result, "args")),
        ),
        kwargs=_first_known(
            sent_message and sent_message.kwargs,
            worker_job and worker_job.kwargs,
            redact(_attribute_or_none(job_result, "kwargs")),
        ),
        queue=_first_known(
            facts.location and facts.location.queue,
            _attribute_or_none(worker_job, "queue"),
            _attribute_or_none(job_result, "queue"),
            _attribute_or_none(log_entry, "queue"),
        ),
        position=facts.location.position if facts.location and state is not JobState.REDELIVERY else None,
        worker=_first_known(
            _attribute_or_none(worker_job, "worker"),
            _attribute_or_none(job_result, "worker"),
            _attribute_or_none(log_entry, "worker"),
        ),
        eta=_first_known(
            _attribute_or_none(worker_job, "eta"),
            sent_message and sent_message.eta,
            _attribute_or_none(log_entry, "eta"),
        ),
        sent_at=sent,
        started_at=started,
        finished_at=finished,
        waited=_seconds_between(sent, started),
        ran=_seconds_between(started, finished),
        retries=_retry_count(facts),
        result=job_result.redacted_result if job_result else None,
        error=_first_known(job_result and job_result.error, log_entry and has_ended and log_entry.error),
        children=children,
    )


def _explain(facts: JobFacts, state: JobState, visibility_timeout: float) -> str:
    job_result, location = facts.job_result, facts.location
    if state is JobState.REDELIVERY and location and location.delivered:
        redelivered_at = datetime.fromtimestamp(location.delivered, UTC) + timedelta(seconds=visibility_timeout)
        return f"no worker has it any more; it is given to another from {redelivered_at:%Y-%m-%d %H:%M:%S}Z on"
    if state is JobState.RECEIVED and facts.worker_job is None:
        return f"{facts.silent} worker(s) did not answer, as a busy solo pool does: whether it has begun is not known"
    if state is not JobState.UNKNOWN:
        return ""
    started = facts.log_entry and facts.log_entry.started
    if started or job_result:
        celery_status = job_result.status if job_result else "STARTED"
        return f"lost: it was {celery_status} when last heard of, and is with no worker and in no queue now"
    if facts.log_entry and facts.log_entry.sent and facts.searched:
        return "lost: it was sent, and is with no worker and in no queue now"
    if not facts.searched:
        return "no result, no worker has it, and its queues could not be searched to the end"
    return "no result, in no queue, with no worker: never sent here, or its result has expired"


def _traceback(facts: JobFacts) -> str:
    return facts.job_result.traceback if facts.job_result else ""


def _progress(facts: JobFacts) -> tuple[float, float] | None:
    """As many tasks report it: a state of their own whose meta has `current` and `total`."""
    meta = facts.job_result.result if facts.job_result and not facts.job_result.end_state else None
    match meta:
        case {"current": int() | float() as current, "total": int() | float() as total} if total > 0:
            return current, total
    return None


def end_state_of_entry(log_entry: JobLogEntry | None) -> JobState | None:
    if log_entry is None or not log_entry.finished or log_entry.state not in END_STATES:
        return None
    state = JobState(log_entry.state)
    return state if state in END_STATES else None


def _retry_count(facts: JobFacts) -> int | None:
    """How often it was tried again, as far as anyone knows."""
    counts = [
        facts.location.message.retries if facts.location else None,
        facts.job_result.retries if facts.job_result else None,
        facts.log_entry.retries if facts.log_entry else None,
        1 if facts.job_result and facts.job_result.status == "RETRY" else None,
    ]
    return max((count for count in counts if count is not None), default=None)


def _is_future(eta: datetime | None) -> bool:
    return eta is not None and eta > datetime.now(UTC)


def _seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return round(max(0.0, (end - start).total_seconds()), 3) if start and end else None


def _attribute_or_none(source: Any, name: str) -> Any:
    return getattr(source, name, None)


def _first_known(*values: Any) -> Any:
    """The first that says something. An empty list of arguments says something."""
    return next((value for value in values if value not in (None, "", False)), None)


MAX_GROUP_MEMBERS = 500  # of a group that are looked for one by one
HANDOVER_PAUSE_S = (
    0.05  # seconds that a message can be between two hands: taken from its queue, not yet noted by its worker
)


class StatusLookup:
    """One question about some jobs, with the connections it needs and an end in sight."""

    def __init__(self, deployment: Deployment, timeout_s: float = redis_client.SERVER_TIMEOUT_S) -> None:
        self._deployment = deployment
        self._deadline = time.monotonic() + timeout_s
        self._exit_stack = ExitStack()
        self._connections: dict[str, RedisConnection] = {}

    def __enter__(self) -> StatusLookup:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit_stack.close()

    def status(self, job_id: str) -> JobStatus:
        """Of a job, or of a group of that id."""
        facts = self._find_facts([job_id])[job_id]
        if state_of(facts) is JobState.UNKNOWN and (members := self._group_members(job_id)) is not None:
            return self._group_status(job_id, members)
        return self._job_status(facts)

    def facts(self, job_id: str) -> JobFacts:
        return self._find_facts([job_id])[job_id]

    def jobs(self, ids: Sequence[str]) -> dict[str, Job]:
        return {job_id: self._job_status(facts).job for job_id, facts in self._find_facts(ids).items()}

    def end_states(self, ids: Sequence[str]) -> dict[str, JobState]:
        """Those that have come to an end, by their results and notes alone."""
        job_results, log_entries = self._read_results(ids), self._read_log(ids)
        states = {
            job_id: (job_results[job_id].end_state if job_id in job_results else None)
            or end_state_of_entry(log_entries.get(job_id))
            for job_id in ids
        }
        return {job_id: state for job_id, state in states.items() if state}

    def _find_facts(self, ids: Sequence[str]) -> dict[str, JobFacts]:
        """Looks once, and again for those that were nowhere: a job moves on while one looks for it."""
        facts_by_id = self._look_once(ids)
        lost_ids = [
            job_id for job_id in ids if state_of(facts_by_id[job_id]) in {JobState.UNKNOWN, JobState.REDELIVERY}
        ]
        is_final = any(facts_by_id[job_id].silent for job_id in lost_ids) or not self._deployment.on_redis
        if lost_ids and not is_final and self._deadline - time.monotonic() > 1:
            time.sleep(HANDOVER_PAUSE_S)
            facts_by_id |= self._look_once(lost_ids)
        return facts_by_id

    def _look_once(self, ids: Sequence[str]) -> dict[str, JobFacts]:
        log_entries = self._read_log(ids)
        job_results = self._read_results(ids)
        open_ids = [
            job_id
            for job_id in ids
            if not (job_id in job_results and job_results[job_id].end_state)
            and not end_state_of_entry(log_entries.get(job_id))
        ]
        search_result = self._search_queues(open_ids, log_entries) if open_ids else search.SearchResult()
        waiting_ids = [
            job_id
            for job_id in open_ids
            if search_result.locations.get(job_id) is None or search_result.locations[job_id].tag
        ]
        worker_jobs, silent = (
            self._find_worker_jobs(waiting_ids, search_result, job_results) if waiting_ids else ({}, 0)
        )
        return {
            job_id: JobFacts(
                id=job_id,
                job_result=job_results.get(job_id),
                log_entry=log_entries.get(job_id),
                location=search_result.locations.get(job_id),
                worker_job=worker_jobs.get(job_id),
                silent=silent,
                searched=search_result.complete,
            )
            for job_id in ids
        }

    def _read_log(self, ids: Sequence[str]) -> dict[str, JobLogEntry]:
        """livectl's own notes. A store that is away is no reason to give no answer."""
        if self._deployment.store is None:
            return {}
        try:
            return job_log.read_entries(self._connection(self._deployment.store), ids)
        except ServerError:
            return {}

    def _read_results(self, ids: Sequence[str]) -> dict[str, JobResult]:
        deployment = self._deployment
        if deployment.results is not None:
            return outcomes.read_results(self._connection(deployment.results), deployment.layout, ids)
        if deployment.app is None or not deployment.keeps_results:
            return {}
        return outcomes.read_results_through_celery(deployment.app, ids)

    def _search_queues(self, ids: Sequence[str], log_entries: dict[str, JobLogEntry]) -> search.SearchResult:
        connection = self._broker_connection()
        if connection is None:
            return search.SearchResult(complete=False)
        queues = dict.fromkeys(
            [
                *(log_entry.queue for log_entry in log_entries.values() if log_entry.queue),
                *self._deployment.layout.queues,
            ]
        )
        return search.find(connection, self._deployment.layout, ids, list(queues))

    def _find_worker_jobs(
        self, ids: Sequence[str], search_result: search.SearchResult, job_results: dict[str, JobResult]
    ) -> tuple[dict[str, WorkerJob], int]:
        """Asked twice about what may wait for its time: workers before Celery 5.7 do not tell of it otherwise, and
        none does of a job that it sent itself to be tried again."""
        connection = self._broker_connection()
        worker_jobs, silent = workers.find_jobs(self._deployment, connection, ids)
        eta_ids = {
            job_id
            for job_id in ids
            if connection is None or ((location := search_result.locations.get(job_id)) and location.message.eta)
        }
        retried_ids = {job_id for job_id in ids if job_id in job_results and job_results[job_id].status == "RETRY"}
        scheduled_ids = retried_ids | (eta_ids - worker_jobs.keys())
        return (
            worker_jobs | workers.find_scheduled_jobs(self._deployment, connection, scheduled_ids)
            if scheduled_ids
            else worker_jobs
        ), silent

    def _group_members(self, group_id: str) -> tuple[str, ...] | None:
        deployment = self._deployment
        if deployment.results is not None:
            return outcomes.read_group_members(self._connection(deployment.results), deployment.layout, group_id)
        if deployment.app is None or not deployment.keeps_results:
            return None
        restored = deployment.app.backend.restore_group(group_id)
        return tuple(member.id for member in restored) if restored else None

    def _group_status(self, group_id: str, members: Sequence[str]) -> JobStatus:
        jobs = self.jobs(members[:MAX_GROUP_MEMBERS])
        children = tuple(ChildJob(job.id, job.state) for job in jobs.values())
        end_times = [job.finished_at for job in jobs.values() if job.finished_at]
        state = group_state([child.state for child in children])
        finished = max(end_times) if end_times and state in {JobState.SUCCEEDED, JobState.FAILED} else None
        left_out = len(members) - len(children)
        note = f"a group of {len(members)}" + (f", of which {left_out} were not looked for" if left_out else "")
        return JobStatus(Job(id=group_id, state=state, finished_at=finished, children=children), note)

    def _job_status(self, facts: JobFacts) -> JobStatus:
        children = [child for child in facts.job_result.children if child != facts.id] if facts.job_result else []
        job_results = self._read_results(children) if children else {}
        child_states = tuple(
            ChildJob(child, job_results[child].state if child in job_results else JobState.UNKNOWN)
            for child in children
        )
        return job_status(facts, self._deployment.layout.visibility_timeout, child_states)

    def _broker_connection(self) -> RedisConnection | None:
        broker = self._deployment.broker
        return self._connection(broker) if broker is not None and broker.is_redis else None

    def _connection(self, address: Any) -> RedisConnection:
        """One connection a server, however many things are on it."""
        if address.url not in self._connections:
            seconds_left = max(0.1, self._deadline - time.monotonic())
            self._connections[address.url] = self._exit_stack.enter_context(redis_client.connect(address, seconds_left))
        return self._connections[address.url]
