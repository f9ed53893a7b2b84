"""Collects what workers reply about themselves, and which messages they and the queues hold."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from livectl import redis_client
from livectl.doctor.facts import DelayedMessage, WorkerFacts, WorkerSurvey
from livectl.ops.cluster import broadcast
from livectl.ops.cluster import queues as queue_depths
from livectl.ops.protocol import message, unacked, worker_replies
from livectl.ops.protocol.remote_control import ControlCommand

if TYPE_CHECKING:
    from livectl.ops.cluster.queues import Queue
    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection

SURVEY_TIMEOUT_S = 6.0  # for all commands together
SURVEY_METHODS = ("active_queues", "registered", "active", "reserved", "conf", "report")
SECOND_LOOK_DELAY_S = 1.0  # an idle worker takes a message that it can have within milliseconds
UNACKED_TIMEOUT_S = 3.0
MAX_DELAYED_MESSAGES = 5


def survey_workers(deployment: Deployment) -> WorkerSurvey:
    with broadcast.connect(deployment, SURVEY_TIMEOUT_S) as connection:
        replies = broadcast.ask(deployment, connection, ControlCommand(method="stats"))
        stats = [(name, reply) for name, reply in replies.pairs if worker_replies.is_worker_stats(reply)]
        if not stats:
            return WorkerSurvey(silent=replies.silent)
        worker_facts = _ask_for_facts(deployment, connection, stats)
        return WorkerSurvey(
            workers=worker_facts,
            silent=replies.silent,
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
    worker = worker_replies.worker_status(
        name, stats, replies["active"], replies["reserved"], replies["active_queues"], replies["report"]
    )
    return WorkerFacts(
        name=name,
        pid=stats.get("pid"),
        version=worker.version or "",
        queues=worker.queues,
        tasks=worker_replies.task_names(replies["registered"]),
        active=worker.active or 0,
        reserved=_reserved_job_ids(replies["reserved"]),
        visibility_timeout=_visibility_timeout(replies["conf"]),
    )


def _visibility_timeout(conf: Any) -> float | None:
    options = conf.get("broker_transport_options") if isinstance(conf, dict) else None
    timeout = options.get("visibility_timeout") if isinstance(options, dict) else None
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
