"""Publishes one task many times in one step, and follows the results."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from kombu.exceptions import OperationalError

from livectl import redis_client
from livectl.errors import ServerError
from livectl.ops import deployment as deployments
from livectl.ops.jobs import results
from livectl.ops.protocol import capturing_channel
from livectl.ops.protocol.result import SavedGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from celery import Celery
    from kombu import Connection

    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.result import JobResult


GROUP_POLL_INTERVAL_S = 0.1
GROUP_READ_TIMEOUT_S = 10.0  # for one reading of thousands of results


class JobDraft(msgspec.Struct, frozen=True, kw_only=True):
    """One job to be published: its id, the arguments of the task, and their short form for logs and statuses."""

    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = {}
    brief: str


class SendOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that all jobs of one publication share."""

    queue: str | None = None
    priority: int | None = None
    eta: datetime | None = None
    expires: datetime | float | None = None  # a number is seconds from now
    keep_result: bool = False
    group: str | None = None


def send_group(app: Celery, task: str, drafts: Sequence[JobDraft], options: SendOptions) -> str:
    """Publishes the jobs as a group. Returns the group's id, which `livectl status` understands.

    A single job needs no group: then the id is its own.
    """
    if len(drafts) == 1:
        publish_jobs(app, task, drafts, options)
        return drafts[0].id
    group = str(uuid4())
    app.backend.save_group(group, SavedGroup(group, [draft.id for draft in drafts]))
    publish_jobs(app, task, drafts, msgspec.structs.replace(options, group=group))
    return group


def publish_jobs(app: Celery, task: str, drafts: Sequence[JobDraft], options: SendOptions) -> None:
    """Publishes the task once for each draft: on Redis in one round trip."""
    if not drafts:
        return
    route_options = {"queue": options.queue} if options.queue else {}
    route = app.amqp.router.route(route_options, task)  # the same for all: found once
    try:
        with app.pool.acquire(block=True) as connection, _open_producer(app, connection) as producer:
            for draft in drafts:
                message = _task_message(app, task, draft, options)
                app.amqp.send_task_message(
                    producer,
                    task,
                    message,
                    **route,
                    priority=options.priority,
                    retry=False,
                    headers={"sent": time.time()},
                )
    except (OperationalError, OSError) as error:
        raise ServerError(f"the broker did not take the jobs: {error}", "Look whether it still runs.") from error


def follow_results(deployment: Deployment, ids: Sequence[str], deadline: float) -> Iterator[dict[str, JobResult]]:
    """Yields the results of jobs as they end, until all have ended or the monotonic clock passes the deadline."""
    waiting = dict.fromkeys(ids)
    while waiting and time.monotonic() < deadline:
        job_results = _read_results(deployment, list(waiting))
        ended = {job_id: job_result for job_id, job_result in job_results.items() if job_result.end_state}
        for job_id in ended:
            del waiting[job_id]
        if ended:
            yield ended
        elif waiting:
            time.sleep(GROUP_POLL_INTERVAL_S)


def _task_message(app: Celery, task: str, draft: JobDraft, options: SendOptions) -> Any:
    return app.amqp.as_task_v2(
        draft.id,
        task,
        draft.args,
        draft.kwargs,
        eta=options.eta,
        expires=options.expires,
        group_id=options.group,
        ignore_result=not options.keep_result,
        argsrepr=draft.brief,
        kwargsrepr="{}",
    )


@contextmanager
def _open_producer(app: Celery, connection: Connection) -> Iterator[Any]:
    """A producer whose messages go out when the block ends without an error."""
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    if not capturing_channel.is_redis(connection):
        with connection.channel() as channel:
            yield app.amqp.Producer(channel, auto_declare=False)
        return
    channel = capturing_channel.open_channel(connection)
    try:
        yield app.amqp.Producer(channel, auto_declare=False)
        capturing_channel.send_captured(channel)
    finally:
        channel.close()


def _read_results(deployment: Deployment, ids: Sequence[str]) -> dict[str, JobResult]:
    if deployment.results is None:
        return results.read_results_through_celery(deployments.celery_client(deployment), ids)
    with redis_client.connect(deployment.results, GROUP_READ_TIMEOUT_S) as connection:
        return results.read_results(connection, deployment.layout, ids)
