"""Finds out the state of a job: from its result, the job log, the queues and the workers."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.errors import ServerError
from livectl.models import ChildJob, Job, JobState
from livectl.ops import deployment as deployments
from livectl.ops.cluster import workers
from livectl.ops.jobs import canvas, history, job_log, results
from livectl.ops.limits import slots
from livectl.ops.limits.slots import LimitKeys
from livectl.ops.protocol import search
from livectl.redaction import hide_secrets, redact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.history import JobLogEntry
    from livectl.ops.limits.slots import Waiting
    from livectl.ops.protocol.message import JobMessage
    from livectl.ops.protocol.remote_control import WorkerJob
    from livectl.ops.protocol.result import JobResult
    from livectl.ops.protocol.search import MessageLocation
    from livectl.redis_client import RedisConnection


END_STATES = {JobState.SUCCEEDED, JobState.FAILED, JobState.REVOKED}
WAITING_STATES = {JobState.QUEUED, JobState.ETA, JobState.RECEIVED, JobState.REDELIVERY}
RESULT_GONE_TEXT = "there is no result, or not any more: this is what livectl noted"
MAX_GROUP_MEMBERS = 500  # members of a group that are looked up
# A message can be between two hands for so long: taken from its queue, not yet noted by its worker.
HANDOVER_PAUSE_S = 0.05
MIN_SECOND_LOOK_S = 1.0  # time that must be left to look again


class JobFacts(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All that was found out about one job."""

    id: str
    job_result: JobResult | None = None
    log_entry: JobLogEntry | None = None
    location: MessageLocation | None = None
    worker_job: WorkerJob | None = None
    silent: int = 0  # workers that sent no reply
    searched: bool = True  # whether every queue was searched to its end
    waiting: str = ""  # for a slot of which limit
    no_results: str = ""  # why no result could be there, of an app that keeps none

    @cached_property
    def state(self) -> JobState:
        return _job_state(self)

    @property
    def message(self) -> JobMessage | None:
        """The message of the job, where one was found."""
        return self.location.message if self.location else None

    @property
    def has_started(self) -> bool:
        return bool(self.log_entry and self.log_entry.started)


class JobStatus(msgspec.Struct, frozen=True):
    """A job or a group, and what a person should know about it."""

    job: Job
    note: str = ""
    traceback: str = ""  # its secrets hidden
    progress: tuple[float, float] | None = None  # current and total, of a task that reports them
    complete: bool = True  # whether every queue was searched to its end


class StatusLookup:
    """Looks jobs up over as many connections as that needs, and ends in time."""

    def __init__(self, deployment: Deployment, timeout_s: float = redis_client.SERVER_TIMEOUT_S) -> None:
        self._deployment = deployment
        self._deadline = time.monotonic() + timeout_s
        self._exit_stack = ExitStack()
        self._connections: dict[str, RedisConnection] = {}
        self._is_broker_checked = False

    def __enter__(self) -> StatusLookup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit_stack.__exit__(kind, error, trace)

    def status(self, job_id: str) -> JobStatus:
        """The status of the job, or of the group, of this id."""
        facts = self.facts(job_id)
        members = self._read_group_members(job_id) if facts.state is JobState.UNKNOWN else None
        status = self._job_status(facts) if members is None else self._group_status(job_id, members)
        return self._behind_others(status) if status.job.state is JobState.UNKNOWN else status

    def facts(self, job_id: str) -> JobFacts:
        return self._find_facts([job_id])[job_id]

    def end_states(self, ids: Sequence[str]) -> dict[str, JobState]:
        """The states of those jobs that have ended, by their results and the job log alone."""
        job_results, log_entries = self._read_results(ids), self._read_log(ids)
        states = {job_id: _recorded_end_state(job_results.get(job_id), log_entries.get(job_id)) for job_id in ids}
        return {job_id: state for job_id, state in states.items() if state}

    def _behind_others(self, status: JobStatus) -> JobStatus:
        """The status of a job that is not sent yet, since it follows others in a chain; of any other the same."""
        if not (ahead := self._find_ahead(status.job.id)):
            return status
        state, note = canvas.describe_behind(
            ahead, self.end_states(ahead), lambda job_id: self.facts(job_id).state is not JobState.UNKNOWN
        )
        job = msgspec.structs.replace(status.job, state=state)
        return msgspec.structs.replace(status, job=job, note=note or status.note)

    def _find_ahead(self, job_id: str) -> Sequence[str]:
        """The jobs that a job follows, as their sender noted it; else as a message of one of them says."""
        store, connection = self._deployment.store, self._broker_connection()
        if store is not None and (noted := canvas.read_ahead(self._connection(store), job_id)):
            return noted
        return search.find_ahead(connection, self._deployment.layout, job_id) if connection else ()

    def _find_facts(self, ids: Sequence[str]) -> dict[str, JobFacts]:
        """Looks once, and again for the jobs that were nowhere: a job moves on while one looks for it."""
        facts_by_id = self._look_once(ids)
        lost = [facts for facts in facts_by_id.values() if facts.state in {JobState.UNKNOWN, JobState.REDELIVERY}]
        is_final = not self._deployment.on_redis or any(facts.silent for facts in lost)
        if lost and not is_final and self._deadline - time.monotonic() > MIN_SECOND_LOOK_S:
            time.sleep(HANDOVER_PAUSE_S)
            facts_by_id |= self._look_once([facts.id for facts in lost])
        return facts_by_id

    def _look_once(self, ids: Sequence[str]) -> dict[str, JobFacts]:
        log_entries, job_results = self._read_log(ids), self._read_results(ids)
        open_ids = [
            job_id for job_id in ids if not _recorded_end_state(job_results.get(job_id), log_entries.get(job_id))
        ]
        search_result = self._search_queues(open_ids, log_entries) if open_ids else search.SearchResult()
        locations = search_result.locations
        taken_ids = [job_id for job_id in open_ids if job_id not in locations or locations[job_id].tag]
        worker_jobs, silent = self._find_worker_jobs(taken_ids, locations, job_results) if taken_ids else ({}, 0)
        waiting = self._find_waiting([job_id for job_id in open_ids if job_id not in worker_jobs])
        return {
            job_id: JobFacts(
                id=job_id,
                job_result=job_results.get(job_id),
                log_entry=log_entries.get(job_id),
                location=locations.get(job_id),
                worker_job=worker_jobs.get(job_id),
                silent=silent,
                searched=search_result.complete,
                waiting=waiting[job_id].text if job_id in waiting else "",
                no_results="" if self._deployment.keeps_results else self._deployment.no_results_text,
            )
            for job_id in ids
        }

    def _read_log(self, ids: Sequence[str]) -> dict[str, JobLogEntry]:
        """A store that is away is no reason to give no answer."""
        if self._deployment.store is None:
            return {}
        try:
            return job_log.read_entries(self._connection(self._deployment.store), ids)
        except ServerError:
            return {}

    def _find_waiting(self, ids: Sequence[str]) -> dict[str, Waiting]:
        """For which limit each of these jobs waits, of those that do."""
        if self._deployment.store is None or not ids:
            return {}
        try:
            keys = LimitKeys.of_deployment(self._deployment)
            return slots.find_waiting(self._connection(self._deployment.store), keys, ids)
        except ServerError:
            return {}

    def _read_results(self, ids: Sequence[str]) -> dict[str, JobResult]:
        deployment = self._deployment
        if deployment.results is not None:
            return results.read_results(self._connection(deployment.results), deployment.layout, ids)
        if deployment.app is None or not deployment.keeps_results:
            return {}
        return results.read_results_through_celery(deployment.app, ids)

    def _search_queues(self, ids: Sequence[str], log_entries: dict[str, JobLogEntry]) -> search.SearchResult:
        connection = self._broker_connection()
        if connection is None:
            return search.SearchResult(complete=False)
        layout = self._deployment.layout
        logged_queues = [log_entry.queue for log_entry in log_entries.values() if log_entry.queue]
        return search.find(connection, layout, ids, list(dict.fromkeys([*logged_queues, *layout.queues])))

    def _find_worker_jobs(
        self, ids: Sequence[str], locations: dict[str, MessageLocation], job_results: dict[str, JobResult]
    ) -> tuple[dict[str, WorkerJob], int]:
        """Asks twice about jobs that may wait for their time: workers before Celery 5.7 do not tell of them otherwise,
        and none does of a job that it sent itself to be tried again."""
        connection = self._broker_connection()
        worker_jobs, silent = workers.find_jobs(self._deployment, connection, ids)
        eta_ids = {
            job_id for job_id in ids if connection is None or (job_id in locations and locations[job_id].message.eta)
        }
        retried_ids = {job_id for job_id in ids if job_id in job_results and job_results[job_id].status == "RETRY"}
        if scheduled_ids := retried_ids | (eta_ids - worker_jobs.keys()):
            worker_jobs = worker_jobs | workers.find_scheduled_jobs(self._deployment, connection, scheduled_ids)
        return worker_jobs, silent

    def _read_group_members(self, group_id: str) -> tuple[str, ...] | None:
        deployment = self._deployment
        if deployment.results is not None:
            return results.read_group_members(self._connection(deployment.results), deployment.layout, group_id)
        if deployment.app is None or not deployment.keeps_results:
            return None
        results.check_backend(deployment.app)
        restored = deployment.app.backend.restore_group(group_id)
        return tuple(member.id for member in restored) if restored else None

    def _group_status(self, group_id: str, members: Sequence[str]) -> JobStatus:
        facts_by_id = self._find_facts(members[:MAX_GROUP_MEMBERS])
        children = tuple(ChildJob(facts.id, facts.state) for facts in facts_by_id.values())
        end_times = [end for facts in facts_by_id.values() if (end := _finished_at(facts))]
        state = group_state([child.state for child in children])
        finished = max(end_times) if end_times and state in {JobState.SUCCEEDED, JobState.FAILED} else None
        left_out = len(members) - len(children)
        note = f"a group of {len(members)}" + (f", of which {left_out} were not looked for" if left_out else "")
        return JobStatus(Job(id=group_id, state=state, finished_at=finished, children=children), note)

    def _job_status(self, facts: JobFacts) -> JobStatus:
        children = [child for child in facts.job_result.children if child != facts.id] if facts.job_result else []
        job_results = self._read_results(children) if children else {}
        child_jobs = tuple(
            ChildJob(child, job_results[child].state if child in job_results else JobState.UNKNOWN)
            for child in children
        )
        return job_status(facts, self._deployment.layout.visibility_timeout, child_jobs)

    def _broker_connection(self) -> RedisConnection | None:
        """None where the broker is no Redis: then Celery asks there, once it is known to answer."""
        broker = self._deployment.redis_broker
        if broker is not None:
            return self._connection(broker)
        if not self._is_broker_checked:
            deployments.check_broker(self._deployment, self._seconds_left())
        self._is_broker_checked = True
        return None

    def _seconds_left(self) -> float:
        return max(redis_client.MIN_TIMEOUT_S, self._deadline - time.monotonic())

    def _connection(self, address: Address) -> RedisConnection:
        """One connection a server, however many things are on it."""
        if address.url not in self._connections:
            connection = redis_client.connect(address, self._seconds_left())
            self._connections[address.url] = self._exit_stack.enter_context(connection)
        connection = self._connections[address.url]
        # What is asked after slow workers have taken the time still gets as long as a server that is there needs.
        connection.deadline = max(connection.deadline, time.monotonic() + redis_client.MIN_TIMEOUT_S)
        return connection


def job_status(facts: JobFacts, visibility_timeout: float, children: tuple[ChildJob, ...] = ()) -> JobStatus:
    """What the facts about a job amount to. Nothing is asked here."""
    return JobStatus(
        _build_job(facts, children),
        _explain(facts, visibility_timeout),
        hide_secrets(facts.job_result.traceback) if facts.job_result else "",
        _progress(facts),
        facts.searched,
    )


def group_state(states: Sequence[JobState]) -> JobState:
    """The state of a group: finished when all its jobs are, failed when one has."""
    if not states or all(state is JobState.SUCCEEDED for state in states):
        return JobState.SUCCEEDED
    for decisive_state in (JobState.FAILED, JobState.REVOKED, JobState.RUNNING, JobState.RETRYING, JobState.REDELIVERY):
        if decisive_state in states:
            return decisive_state
    unfinished = [state for state in states if state is not JobState.SUCCEEDED]
    return JobState.RUNNING if len(unfinished) < len(states) and unfinished[0] in WAITING_STATES else unfinished[0]


def _job_state(facts: JobFacts) -> JobState:
    job_result, log_entry, worker_job = facts.job_result, facts.log_entry, facts.worker_job
    if job_result and job_result.end_state:
        return job_result.end_state
    if worker_job and worker_job.state != "ready":
        return _state_with_worker(facts, worker_job)
    if end_state := _logged_end_state(log_entry):
        return end_state
    if facts.location:
        return _state_of_message(facts, facts.location)
    has_started = facts.has_started or (job_result and job_result.state is JobState.RUNNING)
    if facts.silent and has_started:
        return JobState.RUNNING
    if facts.waiting:  # where nobody can look into the queues
        return JobState.QUEUED
    if not facts.searched and log_entry and (log_entry.state == JobState.RETRYING or _is_future(log_entry.eta)):
        return JobState.RETRYING if log_entry.state else JobState.ETA
    if not facts.searched and log_entry and log_entry.sent and not has_started:
        return JobState.UNKNOWN if facts.no_results else JobState.QUEUED
    return JobState.UNKNOWN


def _state_with_worker(facts: JobFacts, worker_job: WorkerJob) -> JobState:
    if worker_job.state == "active":
        return JobState.RUNNING
    if _retry_count(facts):
        return JobState.RETRYING
    eta = worker_job.eta or (facts.message.eta if facts.message else None)
    return JobState.ETA if worker_job.state == "scheduled" or _is_future(eta) else JobState.RECEIVED


def _state_of_message(facts: JobFacts, location: MessageLocation) -> JobState:
    """The state of a job whose message no worker says it has: in its queue, or taken from it."""
    if location.tag and not facts.silent:
        return JobState.REDELIVERY
    if _retry_count(facts):
        return JobState.RETRYING
    if _is_future(location.message.eta):
        return JobState.ETA
    if not location.tag:
        return JobState.QUEUED
    return JobState.RUNNING if facts.has_started or facts.job_result else JobState.RECEIVED


def _recorded_end_state(job_result: JobResult | None, log_entry: JobLogEntry | None) -> JobState | None:
    """The state in which a job ended, by its result or the job log; None for one that has not."""
    return (job_result.end_state if job_result else None) or _logged_end_state(log_entry)


def _logged_end_state(log_entry: JobLogEntry | None) -> JobState | None:
    if log_entry is None or not log_entry.finished:
        return None
    if log_entry.state == history.DEAD:
        return JobState.FAILED
    return JobState(log_entry.state) if log_entry.state in END_STATES else None


def _build_job(facts: JobFacts, children: tuple[ChildJob, ...]) -> Job:
    job_result, log_entry, worker_job, message = facts.job_result, facts.log_entry, facts.worker_job, facts.message
    has_ended = facts.state in END_STATES
    sent = _first_known("sent", message, log_entry)
    started = _first_known("started", worker_job, log_entry)
    finished = _finished_at(facts)
    return Job(
        id=facts.id,
        state=facts.state,
        task=_first_known("task", message, worker_job, job_result, log_entry),
        args=_redacted_arguments(facts, "args"),
        kwargs=_redacted_arguments(facts, "kwargs"),
        queue=_first_known("queue", facts.location, worker_job, job_result, log_entry),
        position=facts.location.position if facts.location and facts.state is not JobState.REDELIVERY else None,
        worker=_first_known("worker", worker_job, job_result, log_entry),
        eta=_first_known("eta", worker_job, message, log_entry),
        sent_at=sent,
        started_at=started,
        finished_at=finished,
        waited=results.seconds_between(sent, started),
        ran=results.seconds_between(started, finished),
        retries=_retry_count(facts),
        result=job_result.redacted_result if job_result else None,
        error=_first_known("error", job_result, log_entry if has_ended else None),
        children=children,
    )


def _redacted_arguments(facts: JobFacts, name: str) -> Any:
    arguments = _first_known(name, facts.message, facts.worker_job)  # both are redacted where they are read
    return redact(getattr(facts.job_result, name, None)) if arguments is None else arguments


def _finished_at(facts: JobFacts) -> datetime | None:
    finished: datetime | None = _first_known("finished", facts.job_result, facts.log_entry)
    return finished if facts.state in END_STATES else None


def _explain(facts: JobFacts, visibility_timeout: float) -> str:
    state, location = facts.state, facts.location
    if facts.waiting and state not in END_STATES:
        return facts.waiting
    if state is JobState.REDELIVERY and location and location.delivered:
        redelivered_at = datetime.fromtimestamp(location.delivered, UTC) + timedelta(seconds=visibility_timeout)
        return f"no worker has it any more; it is given to another from {redelivered_at:%Y-%m-%d %H:%M:%S}Z on"
    if state is JobState.RECEIVED and facts.worker_job is None:
        return f"{facts.silent} worker(s) did not answer, as a busy solo pool does: whether it has begun is not known"
    if state is JobState.SUCCEEDED and facts.job_result is None and facts.log_entry and not facts.no_results:
        return RESULT_GONE_TEXT
    return _explain_unknown(facts) if state is JobState.UNKNOWN else ""


def _explain_unknown(facts: JobFacts) -> str:
    if facts.no_results and not facts.job_result:
        sent = "has ended, or is lost" if facts.log_entry else "has ended, is lost, or was never sent here"
        queues = "it is in no queue" if facts.searched else "its queues could not be searched to the end"
        return f"it {sent}: no worker has it, {queues}, and {facts.no_results}"
    if facts.job_result:
        return f"lost: it was {facts.job_result.status} when last heard of, and is with no worker and in no queue now"
    if facts.has_started or (facts.log_entry and facts.log_entry.sent and facts.searched):
        heard = "STARTED when last heard of" if facts.has_started else "sent"
        # Workers write the end of a job a moment later; of one that keeps no result there is nothing else.
        lost = "lost, or its worker was killed just as it ended"
        return f"{lost}: it was {heard}, and is with no worker and in no queue now"
    if not facts.searched:
        return "no result, no worker has it, and its queues could not be searched to the end"
    return (
        "no result, in no queue, with no worker: never sent here, or its result has expired; "
        "what follows a job of a chain is sent when that one ends"
    )


def _progress(facts: JobFacts) -> tuple[float, float] | None:
    """As many tasks report it: a state of their own whose meta has `current` and `total`."""
    meta = facts.job_result.result if facts.job_result and not facts.job_result.end_state else None
    match meta:
        case {"current": int() | float() as current, "total": int() | float() as total} if total > 0:
            return current, total
    return None


def _retry_count(facts: JobFacts) -> int | None:
    """How often the job was tried again, as far as anyone knows."""
    counts = [source.retries for source in (facts.message, facts.job_result, facts.log_entry) if source]
    if facts.job_result and facts.job_result.status == "RETRY":
        counts.append(1)
    return max((count for count in counts if count is not None), default=None)


def _is_future(eta: datetime | None) -> bool:
    return eta is not None and eta > datetime.now(UTC)


def _first_known(name: str, *sources: Any) -> Any:
    """The first attribute of this name that says something. An empty list of arguments says something."""
    values = (getattr(source, name, None) for source in sources)
    return next((value for value in values if value not in (None, "", False)), None)
