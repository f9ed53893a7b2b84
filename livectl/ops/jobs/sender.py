"""Sends a job after checking that it can run, sends an earlier job again, and revokes jobs."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec

from livectl.errors import LivectlError, ServerError, UsageError
from livectl.models import JobState
from livectl.ops import deployment as deployments
from livectl.ops import task_signature
from livectl.ops.cluster import broadcast
from livectl.ops.jobs import canvas, job_log
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.jobs.status import END_STATES, StatusLookup
from livectl.ops.limits import partitions, routes
from livectl.ops.protocol import delayed, remote_control, search
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.ops.protocol.result import JobResult
from livectl.redaction import shown_arguments
from livectl.suggestions import did_you_mean
from livectl.task_settings import rule_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.canvas import Canvas
    from livectl.ops.jobs.job_request import JobStep
    from livectl.ops.jobs.status import JobFacts
    from livectl.ops.protocol.remote_control import WorkerJob
    from livectl.ops.protocol.search import MessageLocation
    from livectl.redis_client import RedisConnection
    from livectl.task_settings import TaskSettings


RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.5}
MAX_EXAMPLE_NAMES = 5  # in a hint
BUILT_IN_PREFIX = "celery."  # of the tasks that every app has, and no worker lists
REFUSED_HINT = "`livectl doctor` says what to do."
FORCE_HINT = "--force sends it all the same."


class SentJob(msgspec.Struct, frozen=True):
    """A job on its way."""

    id: str
    task: str
    queue: str | None


class SentCanvas(msgspec.Struct, frozen=True):
    """Several jobs on their way."""

    id: str  # of what ends last: a job, or a group
    jobs: tuple[SentJob, ...]  # in the order in which they begin
    links: tuple[SentJob, ...] = ()  # those that follow beside


class RevokedJob(msgspec.Struct, frozen=True):
    """What a revocation did to one job."""

    id: str
    state: JobState  # before the revocation
    done: str  # removed, told, terminated or nothing
    text: str


class ListeningWorkers(NamedTuple):
    """What the workers on a broker read and know, each by its name."""

    queues_by_worker: dict[str, tuple[str, ...]]
    tasks_by_worker: dict[str, tuple[str, ...]]
    silent: int  # workers that sent no reply

    @property
    def queues(self) -> set[str]:
        return {queue for queues in self.queues_by_worker.values() for queue in queues}

    @property
    def tasks(self) -> set[str]:
        return {task for tasks in self.tasks_by_worker.values() for task in tasks}

    def readers(self, queue: str, *, with_task: str = "", without_task: str = "") -> list[str]:
        """The workers that read a queue, of those that say whether they know the task."""
        return sorted(
            worker
            for worker, tasks in self.tasks_by_worker.items()
            if queue in self.queues_by_worker.get(worker, ())
            and with_task in (*tasks, "")
            and without_task not in tasks
        )


class JobSender:
    """Sends jobs of one app."""

    def __init__(
        self,
        deployment: Deployment,
        app: Any,
        tasks: Mapping[str, Any],
        entries: Mapping[str, TaskSettings] = MappingProxyType({}),  # `tasks:` of the settings
    ) -> None:
        self._deployment = deployment
        self._entries = entries
        if any(entry.queue or entry.priority is not None for entry in entries.values()):
            routes.add(app, lambda: entries)
        self._app = app
        self._tasks = tasks
        self._workers: ListeningWorkers | None = None
        self._is_broker_checked = False

    def validate(self, request: JobRequest) -> str:
        """Raises when the job could not run: unknown task, arguments that do not fit, a queue that nobody reads.

        Returns a warning of workers that may take the job and do not know its task; empty when there are none.
        """
        workers = self._ask_workers()
        if request.task in self._tasks:
            task = self._tasks[request.task]
            if error := task_signature.argument_error(request.task, task, request.args, request.kwargs):
                raise UsageError(error, FORCE_HINT)
            self._check_entry(request, task)
        elif request.task not in workers.tasks:
            names = {*self._tasks, *workers.tasks}
            raise UsageError(
                f"no task {request.task}", f"{did_you_mean(request.task, names) or _example_names(names)} {FORCE_HINT}"
            )
        self._check_serializer(request)
        queue = self.queue_for(request)
        if queue is None:
            text = (
                f"no queue of the app is bound to {self._exchange_for(request)} with {request.routing_key or 'no key'}"
            )
            raise UsageError(text, f"Nobody would get it: name a queue with -Q. {FORCE_HINT}")
        can_tell = self._deployment.remote_control and not workers.silent
        if queue and queue not in workers.queues and can_tell:
            queues_text = (
                f"Workers read {', '.join(sorted(workers.queues))}." if workers.queues else "No worker answers."
            )
            raise UsageError(f"nobody reads the queue {queue}", f"{queues_text} {FORCE_HINT}")
        self._check_eta(request)
        return _check_readers(workers, request.task, queue) if queue else ""

    def _check_entry(self, request: JobRequest, task: Any) -> None:
        """Raises for a job that lacks what its entry under `tasks:` goes by."""
        settings, signature = rule_for(self._entries, request.task).settings, task_signature.read_signature(task)
        partitions.check_arguments(settings, request.task, request.args, request.kwargs, signature)

    def _check_eta(self, request: JobRequest) -> None:
        """On Redis a job that waits with a stock worker for longer than the visibility timeout runs several times."""
        limit = self._deployment.layout.visibility_timeout
        seconds_ahead = (request.eta - datetime.now(UTC)).total_seconds() if request.eta else 0.0
        if self._deployment.on_redis and seconds_ahead > limit and not self._keeps_delays():
            raise UsageError(
                f"due in {seconds_ahead:.0f} s, which is more than the visibility timeout of {limit:.0f} s: "
                "it would run again and again",
                f"Schedule it, raise visibility_timeout, or run workers by `livectl worker`. {FORCE_HINT}",
            )

    def _keeps_delays(self) -> bool:
        with broadcast.connect(self._deployment) as connection:
            return connection is not None and delayed.has_keeper(connection, self._deployment.layout)

    def send(self, request: JobRequest, *, keep_result: bool = False, force: bool = False) -> SentJob:
        """Sends the job, and logs when, so that its status has timings. By force, without what its task would add."""
        return self.send_with_steps(request, keep_result=keep_result, force=force).jobs[0]

    def send_with_steps(self, request: JobRequest, *, keep_result: bool = False, force: bool = False) -> SentCanvas:
        """The same, with the ids of the jobs that follow."""
        self._check_broker()
        task_id, now = str(uuid4()), time.time()
        options = {"task_id": task_id, "retry_policy": RETRY_POLICY, **_send_options(request)}
        options |= {"headers": {**request.headers, "sent": now}, **self._exchange_options(request)}
        options |= shown_arguments(list(request.args), request.kwargs)
        if keep_result:
            options["ignore_result"] = False
        chained, linked, steps = self._build_steps(request, keep_result=keep_result)
        task = None if force else self._tasks.get(request.task)
        send = task.apply_async if task is not None else _send_by_name(self._app, request.task)
        with self._explained():
            send(list(request.args), request.kwargs, **options, **steps)
        self._log_sent(task_id, request, now)
        jobs = (SentJob(task_id, request.task, self.queue_for(request)), *chained)
        ids = [job.id for job in jobs]
        canvas.note_ahead(self._deployment, {job_id: ids[:place] for place, job_id in enumerate(ids)})
        return SentCanvas(jobs[-1].id, jobs, tuple(linked))

    def send_canvas(self, part: Canvas) -> SentCanvas:
        """Sends the jobs of a canvas, those that follow others in their turn. A group at its end is kept by its id."""
        self._check_broker()
        sent: list[SentJob] = []
        signature = canvas.build_signature(
            self._app, part, lambda step, job_id: sent.append(self._as_sent(step, job_id))
        )
        with self._explained():
            result = signature.apply_async()
            if hasattr(result, "save") and self._deployment.keeps_results:
                result.save()
        _stop_listening(self._app.backend)
        canvas.note_ahead(self._deployment, {str(result.id): [job.id for job in sent if job.id != result.id]})
        return SentCanvas(str(result.id), tuple(sent))

    def _build_steps(
        self, request: JobRequest, *, keep_result: bool
    ) -> tuple[list[SentJob], list[SentJob], dict[str, Any]]:
        """What follows: the jobs of the chain, the others, and the options of Celery that send them along."""
        chained, chain = self._sign(request.chain, keep_result=keep_result)
        linked, link = self._sign(request.link, keep_result=keep_result)
        on_error, link_error = self._sign(request.link_error, keep_result=keep_result)
        options = {"chain": chain[::-1], "link": link, "link_error": link_error}  # a worker takes a chain from its end
        return chained, [*linked, *on_error], {name: steps for name, steps in options.items() if steps}

    def _sign(self, steps: Sequence[JobStep], *, keep_result: bool) -> tuple[list[SentJob], list[Any]]:
        jobs: list[SentJob] = []
        kept = {"ignore_result": False} if keep_result else {}

        def note(step: JobStep, job_id: str) -> None:
            jobs.append(self._as_sent(step, job_id))

        signatures = [canvas.build_signature(self._app, step, note).set(**kept) for step in steps]
        return jobs, signatures

    def _as_sent(self, step: JobStep, job_id: str) -> SentJob:
        request = JobRequest(task=step.task, args=step.args, kwargs=step.kwargs, queue=step.queue)
        return SentJob(job_id, step.task, self.queue_for(request))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Says in one sentence why the broker did not take a job."""
        from celery.result import denied_join_result
        from kombu.exceptions import OperationalError

        try:
            with denied_join_result():
                yield
        except OperationalError as error:
            raise ServerError(f"the broker did not take the job: {error}", "Look whether it still runs.") from error
        except self._app.connection_for_write().channel_errors as error:
            raise ServerError(f"the broker refuses the job: {error}", REFUSED_HINT) from error

    def queue_for(self, request: JobRequest) -> str | None:
        """The queue that the app's routes, or the exchange and key that it names, choose for the job."""
        if request.exchange or request.routing_key:
            return self._bound_queue(request)
        options = {"queue": request.queue} if request.queue else {}
        route = self._app.amqp.router.route(dict(options), request.task, request.args, request.kwargs)
        queue = route.get("queue")
        name: str | None = getattr(queue, "name", queue) or route.get("routing_key")
        return name

    def _exchange_options(self, request: JobRequest) -> dict[str, Any]:
        """Celery heeds a routing key only beside an exchange."""
        if not (request.exchange or request.routing_key):
            return {}
        exchange = self._exchange_for(request)
        return {"exchange": exchange, "routing_key": request.routing_key or ""}

    def _exchange_for(self, request: JobRequest) -> str:
        return request.exchange or str(self._app.amqp.default_exchange.name)

    def _bound_queue(self, request: JobRequest) -> str | None:
        """The first queue of the app's settings that gets what goes to this exchange with this key."""
        key, exchange = request.routing_key or "", self._exchange_for(request)
        for name, queue in self._app.amqp.queues.items():
            is_bound = queue.exchange is not None and queue.exchange.name == exchange
            if is_bound and _takes_key(queue.exchange.type, queue.routing_key or "", key):
                return str(name)
        return None

    def _check_serializer(self, request: JobRequest) -> None:
        if request.serializer is None:
            return
        from kombu.serialization import registry

        names = sorted({*registry.name_to_type, *registry.type_to_name})
        if request.serializer not in names:
            known = did_you_mean(request.serializer, names) or f"There are {', '.join(sorted(registry.name_to_type))}."
            raise UsageError(f"there is no serializer {request.serializer}", known)
        accepted = {registry.name_to_type.get(name, name) for name in self._deployment.layout.accepted}
        if registry.name_to_type.get(request.serializer, request.serializer) not in accepted:
            text = f"the workers take {', '.join(self._deployment.layout.accepted)} alone, and would refuse it"
            raise UsageError(f"--serializer {request.serializer}: {text}", f"Add it to accept_content. {FORCE_HINT}")

    def _log_sent(self, task_id: str, request: JobRequest, now: float) -> None:
        eta = request.eta.timestamp() if request.eta else None
        with suppress(LivectlError, OSError):  # a store that is away holds up no job
            job_log.write(
                self._deployment, task_id, task=request.task, queue=self.queue_for(request), sent=now, eta=eta
            )

    def _check_broker(self) -> None:
        """Once: kombu would try again for seconds, and py-amqp wait for ever on a RabbitMQ that is full."""
        if not self._is_broker_checked and self._workers is None:
            deployments.check_broker(self._deployment)
        self._is_broker_checked = True

    def _ask_workers(self) -> ListeningWorkers:
        """Asked once, however many jobs are checked."""
        if self._workers is None:
            self._workers = _find_listening_workers(self._deployment)
        return self._workers


def _find_listening_workers(deployment: Deployment) -> ListeningWorkers:
    with broadcast.connect(deployment) as connection:
        queue_replies = broadcast.ask(deployment, connection, ControlCommand(method="active_queues"))
        task_replies = (
            broadcast.ask(deployment, connection, ControlCommand(method="registered")).by_worker
            if queue_replies.pairs
            else {}
        )
    return ListeningWorkers(
        {worker: remote_control.queue_names(reply) for worker, reply in queue_replies.by_worker.items()},
        {worker: remote_control.task_names(reply) for worker, reply in task_replies.items()},
        queue_replies.silent,
    )


def _check_readers(workers: ListeningWorkers, task: str, queue: str) -> str:
    """Raises when every reader of the queue would throw the job away; a warning when some of them would."""
    strangers = [] if task.startswith(BUILT_IN_PREFIX) else workers.readers(queue, without_task=task)
    if not strangers:
        return ""
    names = ", ".join(strangers)
    if not workers.silent and not workers.readers(queue, with_task=task):
        raise UsageError(
            f"no worker that reads the queue {queue} has the task {task}",
            f"{names} would throw the job away: is the queue another app's? {FORCE_HINT}",
        )
    return f"{names} read the queue {queue} too, without the task {task}: whichever takes the job throws it away"


def rebuild_request(deployment: Deployment, job_id: str) -> JobRequest:
    """The request of an earlier job, as its backend or the job log kept it. Raises when neither did."""
    with StatusLookup(deployment) as lookup:
        facts = lookup.facts(job_id)
    if facts.state not in {*END_STATES, JobState.UNKNOWN, JobState.REDELIVERY}:
        raise LivectlError(f"{job_id} is {facts.state}: it has not ended", "`livectl revoke` takes it back first.")
    log_entry, job_result = facts.log_entry, facts.job_result
    if log_entry and log_entry.message:
        return msgspec.json.decode(log_entry.message, type=JobRequest)
    match job_result:
        case JobResult(task=str(task), args=list() | tuple() as args, kwargs=dict() as kwargs, queue=queue):
            return JobRequest(task=task, args=tuple(args), kwargs=kwargs, queue=queue)
    if facts.state is JobState.UNKNOWN:
        raise LivectlError(f"{job_id}: nothing is known of it", "Its result has expired, or it was never sent here.")
    raise LivectlError(
        f"{job_id}: its arguments were not kept",
        "Workers of livectl keep those of jobs that fail, and result_extended in the app those of all; send this one "
        "anew with `livectl call`.",
    )


def revoke(deployment: Deployment, ids: Sequence[str], *, terminate: bool) -> list[RevokedJob]:
    """Takes jobs out of their queues, and tells the workers to drop those that they have."""
    with StatusLookup(deployment) as lookup:
        facts_by_id = {job_id: lookup.facts(job_id) for job_id in ids}
    open_facts = [facts for facts in facts_by_id.values() if facts.state not in END_STATES]
    with broadcast.connect(deployment) as connection:
        located = {facts.id: facts.location for facts in open_facts if connection and facts.location}
        delayed_ids = {job_id for job_id, location in located.items() if location.delayed}
        removed = _remove(deployment, connection, located, located.keys() - delayed_ids) | delayed_ids
        told_ids = [facts.id for facts in open_facts if terminate or facts.state is not JobState.RUNNING]
        if told_ids:
            arguments = {"task_id": told_ids, "terminate": terminate}
            broadcast.ask(deployment, connection, ControlCommand(method="revoke", arguments=arguments))
        # Workers that keep delays in the store take these out themselves and say so; this is for when none runs.
        _remove(deployment, connection, located, delayed_ids)
    revoked_jobs = [
        _revoked_job(facts, removed=job_id in removed, terminate=terminate) for job_id, facts in facts_by_id.items()
    ]
    for revoked_job in revoked_jobs:
        if revoked_job.done in {"removed", "told"}:
            with suppress(LivectlError):
                job_log.amend(deployment, revoked_job.id, state=JobState.REVOKED, finished=time.time())
    return revoked_jobs


def _remove(
    deployment: Deployment,
    connection: RedisConnection | None,
    located: Mapping[str, MessageLocation],
    ids: Collection[str],
) -> set[str]:
    """Takes these jobs from where they are. Returns those that were still there."""
    return {job_id for job_id in ids if connection and search.remove(connection, deployment.layout, located[job_id])}


def _revoked_job(facts: JobFacts, *, removed: bool, terminate: bool) -> RevokedJob:
    done, text = _revocation(facts.state, facts.worker_job, removed=removed, terminate=terminate)
    return RevokedJob(facts.id, facts.state, done, text)


def _revocation(state: JobState, worker_job: WorkerJob | None, *, removed: bool, terminate: bool) -> tuple[str, str]:
    """What was done, as a word and as a text for people."""
    worker_name = worker_job.worker if worker_job else "its worker"
    if state in END_STATES:
        return "nothing", f"has {state} already"
    if state is JobState.RUNNING and terminate:
        return "terminated", f"was running: {worker_name} was told to kill it"
    if state is JobState.RUNNING:
        return "nothing", f"is running on {worker_name} and goes on; --terminate kills it"
    if removed:
        return "removed", f"was {state}: taken {f'back from {worker_name}' if worker_job else 'out of its queue'}"
    if state is JobState.UNKNOWN:
        return "nothing", "is nowhere; the workers will drop it should it come"
    return "told", f"was {state}: {worker_name} drops it when its turn comes"


def _send_options(request: JobRequest) -> dict[str, Any]:
    names = ("queue", "priority", "eta", "expires", "serializer")
    return {name: value for name in names if (value := getattr(request, name)) is not None}


def _stop_listening(backend: Any) -> None:
    """Celery listens for the parts of a chord from its sending on, and would stop only while Python ends, and fail."""
    with suppress(AttributeError, LookupError):  # a backend that does not listen
        waiting = [result for waiters in backend._pending_results[0].values() for result in waiters.values()]
        for result in waiting:
            backend.remove_pending_result(result)


def _takes_key(exchange_type: str, pattern: str, key: str) -> bool:
    """Whether an exchange of this type gives a message with this key to a queue that is bound by this pattern."""
    if exchange_type == "fanout" or pattern == key:
        return True
    words = ("[^.]+" if word == "*" else ".*" if word == "#" else re.escape(word) for word in pattern.split("."))
    return exchange_type == "topic" and re.fullmatch(r"\.".join(words).replace(r"\..*", r"(\..*)?"), key) is not None


def _send_by_name(app: Any, name: str) -> Any:
    return lambda args, kwargs, **options: app.send_task(name, args, kwargs, **options)


def _example_names(names: set[str]) -> str:
    own = sorted(name for name in names if not name.startswith("celery."))
    if not own:
        return "There are none."
    return f"There are {', '.join(own[:MAX_EXAMPLE_NAMES])}{', …' if len(own) > MAX_EXAMPLE_NAMES else ''}."
