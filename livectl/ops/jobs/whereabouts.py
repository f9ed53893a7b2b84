"""Where a job is, in one honest word: its backend is asked, the queues, the workers, and livectl's own notes."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.errors import ServerError
from livectl.model import ChildJob, Job, JobState
from livectl.ops.cluster import workers
from livectl.ops.jobs import outcome as outcomes
from livectl.ops.jobs import records, search, verdict
from livectl.ops.jobs.verdict import JobFacts, JobStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.cluster.workers import WorkerJob
    from livectl.ops.jobs.outcome import JobResult
    from livectl.ops.jobs.records import JobLogEntry
    from livectl.resp import RedisConnection

MAX_GROUP_MEMBERS = 500  # of a group that are looked for one by one
HANDOVER_PAUSE_S = (
    0.05  # seconds that a message can be between two hands: taken from its queue, not yet noted by its worker
)


class StatusLookup:
    """One question about some jobs, with the connections it needs and an end in sight."""

    def __init__(self, deployment: Deployment, timeout_s: float = resp.SERVER_TIMEOUT_S) -> None:
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
        if verdict.state_of(facts) is JobState.UNKNOWN and (members := self._group_members(job_id)) is not None:
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
            or verdict.end_state_of_entry(log_entries.get(job_id))
            for job_id in ids
        }
        return {job_id: state for job_id, state in states.items() if state}

    def _find_facts(self, ids: Sequence[str]) -> dict[str, JobFacts]:
        """Looks once, and again for those that were nowhere: a job moves on while one looks for it."""
        facts_by_id = self._look_once(ids)
        lost_ids = [
            job_id for job_id in ids if verdict.state_of(facts_by_id[job_id]) in {JobState.UNKNOWN, JobState.REDELIVERY}
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
            and not verdict.end_state_of_entry(log_entries.get(job_id))
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
            return records.read_entries(self._connection(self._deployment.store), ids)
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
        state = verdict.group_state([child.state for child in children])
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
        return verdict.job_status(facts, self._deployment.layout.visibility_timeout, child_states)

    def _broker_connection(self) -> RedisConnection | None:
        broker = self._deployment.broker
        return self._connection(broker) if broker is not None and broker.is_redis else None

    def _connection(self, address: Any) -> RedisConnection:
        """One connection a server, however many things are on it."""
        if address.url not in self._connections:
            seconds_left = max(0.1, self._deadline - time.monotonic())
            self._connections[address.url] = self._exit_stack.enter_context(resp.connect(address, seconds_left))
        return self._connections[address.url]
