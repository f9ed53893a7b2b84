"""Sends one job, after looking whether it can arrive; tries a job again; takes jobs back."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError, UsageError
from livectl.models import JobState
from livectl.ops import task_signature
from livectl.ops.cluster import broadcast
from livectl.ops.jobs import job_log
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.jobs.status import END_STATES, StatusLookup
from livectl.ops.protocol import search, worker_replies
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.ops.deployment import Deployment


RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.5}
FORCE_HINT = "--force sends it all the same."


class SentJob(msgspec.Struct, frozen=True):
    """A job on its way."""

    id: str
    task: str
    queue: str | None


class RevokedJob(msgspec.Struct, frozen=True):
    """What was done about one job."""

    id: str
    state: JobState  # that it was in
    done: str  # removed, told, terminated or nothing
    text: str


class JobSender:
    """Where orders are taken, looked at and sent: one app, its tasks, and what its workers read."""

    def __init__(self, deployment: Deployment, app: Any, tasks: Mapping[str, Any]) -> None:
        self._deployment = deployment
        self._app = app
        self._tasks = tasks
        self._worker_replies: tuple[set[str], set[str], int] | None = None

    def validate(self, request: JobRequest) -> None:
        """Raises when this order cannot come to anything: unknown task, arguments that do not fit, nobody to do it."""
        read_queues, known_tasks, silent = self._ask_workers()
        if request.task in self._tasks:
            if error := task_signature.argument_error(
                request.task, self._tasks[request.task], request.args, request.kwargs
            ):
                raise UsageError(error, FORCE_HINT)
        elif request.task not in known_tasks:
            names = {*self._tasks, *known_tasks}
            raise UsageError(
                f"no task {request.task}", f"{did_you_mean(request.task, names) or _example_names(names)} {FORCE_HINT}"
            )
        queue = self.queue_for(request)
        if queue and queue not in read_queues and not silent:
            readers_text = f"Workers read {', '.join(sorted(read_queues))}." if read_queues else "No worker answers."
            raise UsageError(f"nobody reads the queue {queue}", f"{readers_text} {FORCE_HINT}")
        self._check_eta(request)

    def _check_eta(self, request: JobRequest) -> None:
        """On Redis a job that waits longer than the visibility timeout is given out, and run, several times."""
        limit = self._deployment.layout.visibility_timeout
        seconds_ahead = (request.eta - datetime.now(UTC)).total_seconds() if request.eta else 0.0
        if self._deployment.on_redis and seconds_ahead > limit:
            raise UsageError(
                f"due in {seconds_ahead:.0f} s, which is more than the visibility timeout of {limit:.0f} s: "
                "it would run again and again",
                f"Schedule it, or raise visibility_timeout. {FORCE_HINT}",
            )

    def send(self, request: JobRequest, *, keep_result: bool = False, force: bool = False) -> SentJob:
        """On its way; its sending is noted, so that its status has timings. By force, as it is."""
        from celery.result import denied_join_result
        from kombu.exceptions import OperationalError

        task_id, now = str(uuid4()), time.time()
        options = {"task_id": task_id, "headers": {"sent": now}, "retry_policy": RETRY_POLICY, **_send_options(request)}
        if keep_result:
            options["ignore_result"] = False
        task = None if force else self._tasks.get(request.task)
        send = task.apply_async if task is not None else _send_by_name(self._app, request.task)
        try:
            with denied_join_result():
                send(list(request.args), request.kwargs, **options)
        except OperationalError as error:
            raise ServerError(f"the broker did not take the job: {error}", "Look whether it still runs.") from error
        self._log_sent(task_id, request, now)
        return SentJob(task_id, request.task, self.queue_for(request))

    def queue_for(self, request: JobRequest) -> str | None:
        """Where it will lie."""
        options = {"queue": request.queue} if request.queue else {}
        route = self._app.amqp.router.route(dict(options), request.task, request.args, request.kwargs)
        queue = route.get("queue")
        name: str | None = getattr(queue, "name", queue) or route.get("routing_key")
        return name

    def _log_sent(self, task_id: str, request: JobRequest, now: float) -> None:
        store = self._deployment.store
        if store is None:
            return
        eta = request.eta.timestamp() if request.eta else None
        with suppress(LivectlError, OSError):
            write_job_log(
                self._deployment, task_id, task=request.task, queue=self.queue_for(request), sent=now, eta=eta
            )

    def _ask_workers(self) -> tuple[set[str], set[str], int]:
        """The queues that are read, the tasks that are known, and how many workers said neither."""
        if self._worker_replies is None:
            if self._deployment.broker is not None:
                redis_client.check_reachable(self._deployment.broker)
            with broadcast.connect(self._deployment) as connection:
                queue_replies = broadcast.ask(self._deployment, connection, ControlCommand(method="active_queues"))
                task_replies = (
                    broadcast.ask(self._deployment, connection, ControlCommand(method="registered"))
                    if queue_replies.by_worker
                    else queue_replies
                )
            read_queues = {
                queue for reply in queue_replies.by_worker.values() for queue in worker_replies.queue_names(reply)
            }
            known_tasks = {
                task for reply in task_replies.by_worker.values() for task in worker_replies.task_names(reply)
            }
            self._worker_replies = read_queues, known_tasks, queue_replies.silent
        return self._worker_replies


def write_job_log(deployment: Deployment, job_id: str, **facts: Any) -> None:
    """Into the store, over a plain connection."""
    if deployment.store is not None:
        with redis_client.connect(deployment.store) as connection:
            connection.execute_all(job_log.write_commands(job_id, **facts))


def rebuild_request(deployment: Deployment, job_id: str) -> JobRequest:
    """The order that a job was, where its backend or livectl's notes kept it. Raises when nobody did."""
    with StatusLookup(deployment) as lookup:
        facts = lookup.facts(job_id)
    if facts.state not in {*END_STATES, JobState.UNKNOWN, JobState.REDELIVERY}:
        raise LivectlError(f"{job_id} is {facts.state}: it has not ended", "`livectl revoke` takes it back first.")
    log_entry, job_result = facts.log_entry, facts.job_result
    if log_entry and log_entry.message:
        return msgspec.json.decode(log_entry.message, type=JobRequest)
    if (
        job_result
        and job_result.task
        and isinstance(job_result.args, list | tuple)
        and isinstance(job_result.kwargs, dict)
    ):
        return JobRequest(
            task=job_result.task, args=tuple(job_result.args), kwargs=job_result.kwargs, queue=job_result.queue
        )
    if facts.state is JobState.UNKNOWN:
        raise LivectlError(f"{job_id}: nothing is known of it", "Its result has expired, or it was never sent here.")
    raise LivectlError(
        f"{job_id}: its arguments were not kept",
        "Set result_extended in the app, and send it anew with `livectl call`.",
    )


def revoke(deployment: Deployment, ids: Sequence[str], *, terminate: bool) -> list[RevokedJob]:
    """Takes each out of its queue, and tells the workers, which drop it if they have it."""
    with StatusLookup(deployment) as lookup:
        facts_by_id = {job_id: lookup.facts(job_id) for job_id in ids}
    open_ids = [job_id for job_id, facts in facts_by_id.items() if facts.state not in END_STATES]
    with broadcast.connect(deployment) as connection:
        removed = {
            job_id
            for job_id in open_ids
            if connection
            and (location := facts_by_id[job_id].location)
            and search.remove(connection, deployment.layout, location)
        }
        told_ids = [job_id for job_id in open_ids if terminate or facts_by_id[job_id].state is not JobState.RUNNING]
        if told_ids:
            arguments = {"task_id": told_ids, "terminate": terminate}
            broadcast.ask(deployment, connection, ControlCommand(method="revoke", arguments=arguments))
    revoked_jobs = []
    for job_id, facts in facts_by_id.items():
        revoked_jobs.append(
            _revoked_job(job_id, facts.state, facts.worker_job, removed=job_id in removed, terminate=terminate)
        )
        if revoked_jobs[-1].done in {"removed", "told"}:
            with suppress(LivectlError):
                write_job_log(deployment, job_id, state=JobState.REVOKED, finished=time.time())
    return revoked_jobs


def _revoked_job(job_id: str, state: JobState, worker_job: Any, *, removed: bool, terminate: bool) -> RevokedJob:
    worker_name = worker_job.worker if worker_job else "its worker"
    if state in END_STATES:
        return RevokedJob(job_id, state, "nothing", f"has {state} already")
    if state is JobState.RUNNING and terminate:
        return RevokedJob(job_id, state, "terminated", f"was running: {worker_name} was told to kill it")
    if state is JobState.RUNNING:
        return RevokedJob(job_id, state, "nothing", f"is running on {worker_name} and goes on; --terminate kills it")
    if removed:
        return RevokedJob(
            job_id,
            state,
            "removed",
            f"was {state}: taken {f'back from {worker_name}' if worker_job else 'out of its queue'}",
        )
    if state is JobState.UNKNOWN:
        return RevokedJob(job_id, state, "nothing", "is nowhere; the workers will drop it should it come")
    return RevokedJob(job_id, state, "told", f"was {state}: {worker_name} drops it when its turn comes")


def _send_options(request: JobRequest) -> dict[str, Any]:
    names = ("queue", "priority", "eta", "expires")
    return {name: value for name in names if (value := getattr(request, name)) is not None}


def _send_by_name(app: Any, name: str) -> Any:
    return lambda args, kwargs, **options: app.send_task(name, args, kwargs, **options)


def _example_names(names: set[str]) -> str:
    own = sorted(name for name in names if not name.startswith("celery."))
    return f"There are {', '.join(own[:5])}{', …' if len(own) > 5 else ''}." if own else "There are none."
