"""The roll call: every worker that answers, two of one name told apart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.doctor.facts import WorkerFacts, WorkerSurvey
from livectl.ops.cluster import fleet, workers
from livectl.ops.cluster.pidbox import REPLY_TIMEOUT_S, ControlCommand, ReplyQueue
from livectl.ops.jobs import message

if TYPE_CHECKING:
    from livectl.ops.cluster.deployment import Deployment
    from livectl.resp import RedisConnection

SURVEY_TIMEOUT_S = 6.0  # seconds for all questions
SECOND_LOOK_DELAY_S = 1.0  # seconds: what an idle worker could take, it takes within milliseconds
SURVEY_METHODS = ("active_queues", "registered", "active", "reserved", "conf", "report")


def survey_workers(deployment: Deployment) -> WorkerSurvey:
    if not deployment.on_redis or deployment.broker is None:
        return _survey(deployment, None)
    with resp.connect(deployment.broker, SURVEY_TIMEOUT_S) as connection:
        return _survey(deployment, connection)


def _survey(deployment: Deployment, connection: RedisConnection | None) -> WorkerSurvey:
    stats, silent = _ask_all_workers(deployment, connection)
    if not stats:
        return WorkerSurvey(silent=silent)
    names = tuple(sorted({name for name, _ in stats}))
    replies = {
        method: workers.ask(deployment, connection, ControlCommand(method=method, destination=names)).by_worker
        for method in SURVEY_METHODS
    }
    worker_facts = tuple(
        _worker_facts(name, worker_stats, {method: replies[method].get(name) for method in SURVEY_METHODS})
        for name, worker_stats in stats
    )
    return WorkerSurvey(
        workers=worker_facts, silent=silent, hoarded=_find_hoarded_jobs(deployment, connection, worker_facts)
    )


def _ask_all_workers(
    deployment: Deployment, connection: RedisConnection | None
) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Each answer by itself: two workers of one name give two."""
    if connection is None or deployment.broker is None:
        replies = workers.ask(deployment, None, ControlCommand(method="stats"))
        return [(name, reply) for name, reply in replies.by_worker.items() if _is_worker_reply(reply)], 0
    mailbox = ReplyQueue(deployment.layout, deployment.broker.database)
    mailbox.open(connection)
    try:
        receivers = connection.execute("PUBLISH", mailbox.channel, mailbox.encode(ControlCommand(method="stats")))
        collected = _collect_replies(mailbox, connection, receivers)
    finally:
        mailbox.close(connection)
    return [(name, reply) for name, reply in collected if _is_worker_reply(reply)], receivers - len(collected)


def _collect_replies(mailbox: ReplyQueue, connection: RedisConnection, expected: int) -> list[tuple[str, Any]]:
    deadline = time.monotonic() + REPLY_TIMEOUT_S
    replies: list[tuple[str, Any]] = []
    while len(replies) < expected and (remaining_s := deadline - time.monotonic()) > 0:
        popped = connection.execute("BRPOP", mailbox.key, f"{remaining_s:.3f}")
        reply = message.decode_body(message.decode(popped[1])) if popped else None
        replies += reply.items() if isinstance(reply, dict) else ()
    return replies


def _is_worker_reply(reply: Any) -> bool:
    """A beat with remote control answers too."""
    return isinstance(reply, dict) and "pool" in reply


def _worker_facts(name: str, stats: dict[str, Any], replies: dict[str, Any]) -> WorkerFacts:
    worker = fleet.parse_worker_status(
        name, stats, replies["active"], replies["reserved"], replies["active_queues"], replies["report"]
    )
    conf = replies["conf"] if isinstance(replies["conf"], dict) else {}
    options = conf.get("broker_transport_options") or {}
    visibility_timeout = options.get("visibility_timeout") if isinstance(options, dict) else None
    return WorkerFacts(
        name=name,
        pid=stats.get("pid"),
        pool=worker.pool or "",
        concurrency=worker.concurrency,
        version=worker.version or "",
        queues=worker.queues,
        tasks=tuple(text.split(" [")[0] for text in replies["registered"] or () if isinstance(text, str)),
        active=worker.active or 0,
        reserved=_reserved_job_ids(replies["reserved"]),
        visibility_timeout=float(visibility_timeout) if isinstance(visibility_timeout, int | float) else None,
    )


def _reserved_job_ids(reserved: Any) -> tuple[str, ...]:
    jobs = reserved if isinstance(reserved, list) else []
    return tuple(str(job["id"]) for job in jobs if isinstance(job, dict) and not job.get("eta") and "id" in job)


def _find_hoarded_jobs(
    deployment: Deployment, connection: RedisConnection | None, worker_facts: tuple[WorkerFacts, ...]
) -> tuple[str, ...]:
    """Jobs at hand with a busy worker while an idle one reads the same queue; looked at twice, since jobs move on."""
    idle = [worker for worker in worker_facts if not worker.active and not worker.reserved]
    busy = [
        worker
        for worker in worker_facts
        if worker.reserved and any(set(worker.queues) & set(idle_worker.queues) for idle_worker in idle)
    ]
    if not busy:
        return ()
    time.sleep(SECOND_LOOK_DELAY_S)
    names = tuple(worker.name for worker in (*busy, *idle))
    still_reserved = {
        name: _reserved_job_ids(reply)
        for name, reply in workers.ask(
            deployment, connection, ControlCommand(method="reserved", destination=names)
        ).by_worker.items()
    }
    if any(still_reserved.get(worker.name) for worker in idle):
        return ()
    return tuple(
        job_id for worker in busy for job_id in worker.reserved if job_id in still_reserved.get(worker.name, ())
    )
