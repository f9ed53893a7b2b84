"""Many jobs of one task put on the broker at once: on a Redis in one pipeline, elsewhere over one connection."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from kombu.exceptions import OperationalError
from kombu.transport import redis as transport

from livectl.errors import ServerError
from livectl.ops.jobs.drafting import open_capturing_channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from celery import Celery
    from kombu import Connection


class JobDraft(msgspec.Struct, frozen=True, kw_only=True):
    """One job: its id, what its task is given, and that in brief, as logs and statuses show it."""

    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = {}
    brief: str


class SendOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all jobs of one sending."""

    queue: str | None = None
    priority: int | None = None
    eta: datetime | None = None
    expires: datetime | float | None = None  # a number is seconds from now
    keep_result: bool = False
    group: str | None = None


def publish_jobs(app: Celery, task: str, drafts: Sequence[JobDraft], options: SendOptions) -> None:
    """Sends the task once for each letter."""
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
    """What is published goes out when this is left without an error."""
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    if not issubclass(type(connection.transport), transport.Transport):
        with connection.channel() as channel:
            yield app.amqp.Producer(channel, auto_declare=False)
        return
    channel = open_capturing_channel(connection)
    try:
        yield app.amqp.Producer(channel, auto_declare=False)
        _send_captured(channel)
    finally:
        channel.close()


def _send_captured(channel: Any) -> None:
    """All drafts in one journey."""
    import redis

    client: Any = redis.Redis(connection_pool=channel.pool)  # its stubs know no typed commands
    with client.pipeline(transaction=False) as pipe:
        for command in channel.drafts:
            pipe.execute_command(command.verb, command.key, command.value)
        pipe.execute()
