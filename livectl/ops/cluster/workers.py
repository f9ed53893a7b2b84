"""What workers say of jobs: which they run, have received, or keep until their time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from livectl import connect
from livectl.errors import ServerError
from livectl.ops.cluster import pidbox
from livectl.ops.cluster.pidbox import REPLY_TIMEOUT_S, ControlCommand, ControlReplies
from livectl.ops.jobs import message
from livectl.ops.jobs.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from livectl.ops.cluster.deployment import Deployment
    from livectl.resp import RedisConnection

WorkerJobState = Literal["active", "reserved", "scheduled", "ready"]


class WorkerJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the worker that has it tells."""

    worker: str
    state: WorkerJobState
    task: str | None = None
    args: Any = None
    kwargs: Any = None
    queue: str | None = None
    started: datetime | None = None
    eta: datetime | None = None


def ask(
    deployment: Deployment,
    connection: RedisConnection | None,
    command: ControlCommand,
    seconds: float = REPLY_TIMEOUT_S,
) -> ControlReplies:
    """All workers, or those named: by our own words on a Redis, through kombu elsewhere."""
    if connection is not None and deployment.broker is not None:
        return pidbox.ask(connection, deployment.layout, deployment.broker.database, command, seconds)
    return _ask_through_kombu(deployment, command, seconds)


def _ask_through_kombu(deployment: Deployment, command: ControlCommand, seconds: float) -> ControlReplies:
    """Nobody tells how many heard it, so that every question takes its whole time."""
    from kombu.exceptions import OperationalError

    from livectl.ops.cluster import deployment as deployments

    if deployment.broker is not None:
        connect.check_reachable(deployment.broker)
    control = deployments.celery_client(deployment).control
    destination = list(command.destination) if command.destination else None
    try:
        broadcast_replies = control.broadcast(
            command.method, arguments=command.arguments, destination=destination, reply=True, timeout=seconds
        )
    except (OperationalError, OSError) as error:
        raise ServerError(f"the broker does not answer: {redact_text(str(error))}", "Look whether it runs.") from error
    replies = {name: reply for entry in broadcast_replies or [] for name, reply in entry.items()}
    return ControlReplies(replies, len(destination or replies))


def find_jobs(
    deployment: Deployment, connection: RedisConnection | None, ids: Sequence[str]
) -> tuple[dict[str, WorkerJob], int]:
    """Of these jobs, those that workers have, and how many workers gave no answer."""
    replies = ask(deployment, connection, ControlCommand(method="query_task", arguments={"ids": list(ids)}))
    worker_jobs: dict[str, WorkerJob] = {}
    for worker, reply in replies.by_worker.items():
        for job_id, (state, info) in (reply if isinstance(reply, dict) and "error" not in reply else {}).items():
            if worker_jobs.get(job_id) is None or state == "active":
                worker_jobs[job_id] = parse_worker_job(worker, state, info)
    return worker_jobs, replies.silent


def find_scheduled_jobs(
    deployment: Deployment, connection: RedisConnection | None, ids: Collection[str]
) -> dict[str, WorkerJob]:
    """The same for jobs that wait for their time, of which workers before Celery 5.7 do not tell otherwise."""
    replies = ask(deployment, connection, ControlCommand(method="scheduled"))
    worker_jobs: dict[str, WorkerJob] = {}
    for worker, reply in replies.by_worker.items():
        for row in reply if isinstance(reply, list) else []:
            info = row.get("request") or {}
            if info.get("id") in ids:
                worker_jobs[info["id"]] = parse_worker_job(
                    worker, "scheduled", info, message.parse_time(row.get("eta"))
                )
    return worker_jobs


def parse_worker_job(worker: str, state: str, info: dict[str, Any], eta: datetime | None = None) -> WorkerJob:
    delivery_info = info.get("delivery_info") or {}
    return WorkerJob(
        worker=worker,
        state=cast("WorkerJobState", state),
        task=info.get("name"),
        args=redact(info.get("args")),
        kwargs=redact(info.get("kwargs")),
        queue=delivery_info.get("routing_key") or None,
        started=message.parse_time(info.get("time_start")),
        eta=eta,
    )
