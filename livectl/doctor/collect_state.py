"""Collects what workers say of themselves, and what broker, store and result backend keep."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.doctor.facts import (
    BeatFacts,
    DeadLetterFacts,
    DelayedMessage,
    FailedJob,
    WorkerFacts,
    WorkerSurvey,
)
from livectl.errors import UsageError
from livectl.models import Job, JobState
from livectl.ops.beat import heartbeats
from livectl.ops.beat.run_store import PAUSED_BY_FAILURE
from livectl.ops.cluster import broadcast, purge
from livectl.ops.cluster import queues as queue_depths
from livectl.ops.jobs import dead_letters, results
from livectl.ops.jobs.results import ResultFilter
from livectl.ops.protocol import delayed, message, plus, remote_control, unacked
from livectl.ops.protocol.delayed import OverdueDelays
from livectl.ops.protocol.remote_control import ControlCommand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.address import Address
    from livectl.ops.beat.heartbeats import Heartbeat
    from livectl.ops.beat.run_store import LoadedSchedule, Pause
    from livectl.ops.cluster.queues import Queue
    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection


STORE_TIMEOUT_S = 3.0
RESULTS_TIMEOUT_S = KOMBU_TIMEOUT_S = 2.0
FAILURE_PERIOD = timedelta(days=1)
MAX_FAILED_JOBS = 200
MAX_SUCCEEDED_JOBS = 2000  # looked through for the tasks of those
MAX_SAMPLED_RESULTS = 200


def read_beats(store: Address) -> BeatFacts:
    with redis_client.connect(store, STORE_TIMEOUT_S) as connection:
        activity = heartbeats.read_activity(connection)
        loaded_schedules = heartbeats.read_loaded_schedules(connection)
        pauses = heartbeats.read_pauses(connection)
    unsent = activity.unsent_claim
    return BeatFacts(
        names=tuple(sorted(heartbeat.process for heartbeat in activity.heartbeats.values())),
        heartbeat_age=min(map(activity.age_s, activity.heartbeats.values()), default=None),
        unsent_run=unsent.run.name if unsent else "",
        has_run=activity.has_run,
        failing_entries=_find_failing_entries(pauses),
        shared_entries=_find_shared_entries(activity.heartbeats, loaded_schedules),
    )


def _find_failing_entries(pauses: Mapping[str, Pause]) -> dict[str, str]:
    return {name: pause.reason for name, pause in pauses.items() if pause.reason.endswith(PAUSED_BY_FAILURE)}


def _find_shared_entries(beats: Mapping[str, Heartbeat], loaded: Mapping[str, LoadedSchedule]) -> dict[str, str]:
    """Entries of one name and different tasks: beats of two apps share this store, and take the name for one entry."""
    tasks: dict[str, dict[str, str]] = {}
    for beat in sorted(beats.keys() & loaded.keys()):
        for entry in loaded[beat].schedules:
            tasks.setdefault(entry.name, {})[entry.task] = (
                f"{entry.task} by {beats[beat].process} ({loaded[beat].file})"
            )
    return {name: ", ".join(senders.values()) for name, senders in tasks.items() if len(senders) > 1}


def read_dead_letters(deployment: Deployment, store: Address | None) -> DeadLetterFacts:
    """What the store keeps of them; without one, what RabbitMQ does."""
    letters = dead_letters.list_summaries(msgspec.structs.replace(deployment, store=store))
    newest = f"{letters[0].task} {letters[0].reason}".strip() if letters else ""
    return DeadLetterFacts(count=len(letters), newest=newest)


def find_failed_jobs(deployment: Deployment) -> tuple[FailedJob, ...]:
    """The jobs that failed in the last day, by the results and by the log of livectl's workers."""
    list_jobs = results.list_recent if deployment.keeps_results else results.list_logged
    since = datetime.now(UTC) - FAILURE_PERIOD
    failed = list_jobs(deployment, ResultFilter(state=JobState.FAILED, since=since, limit=MAX_FAILED_JOBS))
    last_success: dict[str | None, datetime | None] = {}
    if oldest := min((job.finished_at for job in failed if job.finished_at), default=None):
        succeeded = ResultFilter(state=JobState.SUCCEEDED, since=oldest, limit=MAX_SUCCEEDED_JOBS)
        last_success = {job.task: job.finished_at for job in reversed(list_jobs(deployment, succeeded))}
    return tuple(_failed_job(job, last_success.get(job.task) if job.task else None) for job in failed)


def _failed_job(job: Job, last_success: datetime | None) -> FailedJob:
    return FailedJob(
        job.id,
        job.task or "",
        job.error or "",
        job.finished_at.timestamp() if job.finished_at else None,
        has_succeeded_since=bool(last_success and job.finished_at and last_success > job.finished_at),
    )


def find_endless_results(deployment: Deployment) -> tuple[str, ...]:
    """The keys of results without expiry, among a sample of those in Redis."""
    if deployment.results is None:
        return ()
    prefix = deployment.layout.result_key("")
    with redis_client.connect(deployment.results, RESULTS_TIMEOUT_S) as connection:
        _, keys = connection.execute("SCAN", 0, "MATCH", f"{prefix}*", "COUNT", MAX_SAMPLED_RESULTS * 10)
        sample: Sequence[bytes] = keys[:MAX_SAMPLED_RESULTS]
        ttls = connection.execute_all([("TTL", key) for key in sample]) if sample else []
    return tuple(key.decode(errors="replace") for key, ttl in zip(sample, ttls, strict=True) if ttl == -1)


SURVEY_TIMEOUT_S = 6.0  # for all commands together
SURVEY_METHODS = ("active_queues", "registered", "active", "reserved", "conf", "report")
SECOND_LOOK_DELAY_S = 1.0  # an idle worker takes a message that it can have within milliseconds
UNACKED_TIMEOUT_S = 3.0
MAX_DELAYED_MESSAGES = 5
MAX_WAITING_JOBS = 100  # looked at in each queue


def survey_workers(deployment: Deployment) -> WorkerSurvey:
    with broadcast.connect(deployment, SURVEY_TIMEOUT_S) as connection:
        replies = broadcast.ask(deployment, connection, ControlCommand(method="stats"))
        stats = [(name, reply) for name, reply in replies.pairs if remote_control.is_worker_stats(reply)]
        if not stats:
            return WorkerSurvey(silent=replies.silent, asked=deployment.remote_control)
        worker_facts = _ask_for_facts(deployment, connection, stats)
        return WorkerSurvey(
            workers=worker_facts,
            silent=replies.silent,
            asked=True,
            hoarded_jobs=_find_hoarded_jobs(deployment, connection, worker_facts),
        )


def read_queues(deployment: Deployment) -> tuple[Queue, ...]:
    return queue_depths.measure(deployment).queues


def find_delayed_messages(deployment: Deployment) -> tuple[DelayedMessage, ...]:
    """The first messages in workers' hands whose ETA lies beyond the visibility timeout. Only a Redis has one."""
    if deployment.redis_broker is None:
        return ()
    now, visibility_timeout = datetime.now(UTC), deployment.layout.visibility_timeout
    delayed_messages: list[DelayedMessage] = []
    with redis_client.connect(deployment.redis_broker, UNACKED_TIMEOUT_S) as connection:
        for unacked_message in unacked.scan(connection, deployment.layout):
            job_message = message.from_envelope(unacked_message.envelope)
            eta_seconds = (job_message.eta - now).total_seconds() if job_message.eta else 0.0
            if eta_seconds > visibility_timeout:
                delayed_messages.append(DelayedMessage(id=job_message.id, task=job_message.task, seconds=eta_seconds))
            if len(delayed_messages) == MAX_DELAYED_MESSAGES:
                break
    return tuple(delayed_messages)


def find_overdue_delays(deployment: Deployment) -> OverdueDelays:
    """What waits in the store although its time has come. Only on a Redis anything waits there."""
    if deployment.redis_broker is None:
        return OverdueDelays()
    with redis_client.connect(deployment.redis_broker, UNACKED_TIMEOUT_S) as connection:
        return delayed.find_overdue(connection, deployment.layout)


def count_plus_messages(deployment: Deployment) -> dict[str, int]:
    """Queue of the app -> how many messages celery-redis-plus keeps of it."""
    if deployment.redis_broker is None:
        return {}
    with redis_client.connect(deployment.redis_broker, UNACKED_TIMEOUT_S) as connection:
        counts = plus.count(connection, deployment.layout, deployment.layout.queues)
    return {queue: found.ready + found.held + found.delayed for queue, found in counts.items()}


def find_waiting_tasks(deployment: Deployment) -> dict[str, tuple[str, ...]]:
    """Queue of the app -> the tasks of the jobs that are next there. Only a Redis lets anybody look."""
    if deployment.redis_broker is None:
        return {}
    waiting_tasks = {}
    for queue in deployment.layout.queues:
        with suppress(UsageError):  # there is no such queue yet
            jobs = purge.peek(deployment, queue, MAX_WAITING_JOBS)
            waiting_tasks[queue] = tuple(sorted({job.task for job in jobs if job.task}))
    return waiting_tasks


def find_refused_queues(app: Any) -> dict[str, str]:
    """Queue or exchange of the app -> why RabbitMQ does not let the app declare it as it does.

    Only what is there already is declared, which changes nothing.
    """
    refused: dict[str, str] = {}
    with app.connection_for_read() as connection:
        if connection.transport.driver_type != "amqp":
            return {}
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=KOMBU_TIMEOUT_S)
        for queue in app.amqp.queues.consume_from.values():
            for entity, declare in ((queue, "queue_declare"), (queue.exchange, "declare")):
                with suppress(*connection.channel_errors), connection.channel() as channel:
                    getattr(entity(channel), declare)(passive=True)
                    try:
                        getattr(entity(channel), declare)()
                    except connection.channel_errors as error:
                        refused[entity.name] = str(error)
    return refused


def find_classic_queues(app: Any) -> tuple[str, ...]:
    """Durable queues of the app that RabbitMQ has as classic ones: they live on one node.

    A queue of no type may have that of its virtual host. Declaring what is there as it is changes nothing.
    """
    classic = []
    with app.connection_for_read() as connection:
        if connection.transport.driver_type != "amqp":
            return ()
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=KOMBU_TIMEOUT_S)
        for queue in app.amqp.queues.consume_from.values():
            arguments = {"x-queue-type": "classic", **(queue.queue_arguments or {})}
            if not queue.durable or queue.auto_delete or arguments["x-queue-type"] != "classic":
                continue
            with suppress(*connection.channel_errors), connection.channel() as channel:
                channel.queue_declare(queue.name, passive=True)
                channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=arguments)
                classic.append(queue.name)
    return tuple(classic)


def _ask_for_facts(
    deployment: Deployment, connection: RedisConnection | None, stats: list[tuple[str, dict[str, Any]]]
) -> tuple[WorkerFacts, ...]:
    """One for each reply to `stats`: two workers of one name reply twice."""
    names = tuple(sorted({name for name, _ in stats}))
    replies = {
        method: broadcast.ask(deployment, connection, ControlCommand(method=method, destination=names)).by_worker
        for method in SURVEY_METHODS
    }
    return tuple(
        _worker_facts(name, worker_stats, {method: replies[method].get(name) for method in SURVEY_METHODS})
        for name, worker_stats in stats
    )


def _worker_facts(name: str, stats: dict[str, Any], replies: dict[str, Any]) -> WorkerFacts:
    worker = remote_control.worker_status(
        name, stats, replies["active"], replies["reserved"], replies["active_queues"], replies["report"]
    )
    return WorkerFacts(
        name=name,
        pid=stats.get("pid"),
        version=worker.version or "",
        queues=worker.queues,
        tasks=remote_control.task_names(replies["registered"]),
        active=worker.active or 0,
        started=time.time() - worker.age if worker.age is not None else None,
        reserved=_reserved_job_ids(replies["reserved"]),
        visibility_timeout=_visibility_timeout(_transport_options(replies["conf"])),
        unacked_key=str(_transport_options(replies["conf"]).get("unacked_key", "")),
    )


def _transport_options(conf: Any) -> dict[str, Any]:
    options = conf.get("broker_transport_options") if isinstance(conf, dict) else None
    return options if isinstance(options, dict) else {}


def _visibility_timeout(options: dict[str, Any]) -> float | None:
    timeout = options.get("visibility_timeout")
    return float(timeout) if isinstance(timeout, int | float) else None


def _reserved_job_ids(reserved: Any) -> tuple[str, ...]:
    jobs = reserved if isinstance(reserved, list) else []
    return tuple(str(job["id"]) for job in jobs if isinstance(job, dict) and not job.get("eta") and "id" in job)


def _find_hoarded_jobs(
    deployment: Deployment, connection: RedisConnection | None, worker_facts: tuple[WorkerFacts, ...]
) -> tuple[str, ...]:
    """Jobs that a busy worker has reserved while an idle one reads the same queue. Two looks, since jobs move on."""
    idle = [worker for worker in worker_facts if not worker.active and not worker.reserved]
    busy = [
        worker
        for worker in worker_facts
        if worker.reserved and any(set(worker.queues) & set(idle_worker.queues) for idle_worker in idle)
    ]
    if not busy:
        return ()
    time.sleep(SECOND_LOOK_DELAY_S)
    second_look = ControlCommand(method="reserved", destination=tuple(worker.name for worker in (*busy, *idle)))
    replies = broadcast.ask(deployment, connection, second_look).by_worker
    still_reserved = {name: _reserved_job_ids(reply) for name, reply in replies.items()}
    if any(still_reserved.get(worker.name) for worker in idle):
        return ()
    return tuple(
        job_id for worker in busy for job_id in worker.reserved if job_id in still_reserved.get(worker.name, ())
    )
