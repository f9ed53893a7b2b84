"""Many jobs of one task put on the broker at once: on a Redis in one pipeline, elsewhere over one connection."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from kombu.exceptions import OperationalError
from kombu.transport import redis as transport

from livectl.errors import ServerError
from livectl.ops.jobs.drafting import drafting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from celery import Celery
    from kombu import Connection


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One job: its id, what its task is given, and that in brief, as logs and statuses show it."""

    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = {}
    brief: str


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all jobs of one sending."""

    queue: str | None = None
    priority: int | None = None
    eta: datetime | None = None
    expires: datetime | float | None = None  # a number is seconds from now
    keep_result: bool = False
    group: str | None = None


def post(app: Celery, task: str, letters: Sequence[Letter], terms: Terms) -> None:
    """Sends the task once for each letter."""
    if not letters:
        return
    wanted = {"queue": terms.queue} if terms.queue else {}
    route = app.amqp.router.route(wanted, task)  # the same for all: found once
    try:
        with app.pool.acquire(block=True) as connection, _producer(app, connection) as producer:
            for letter in letters:
                message = _message(app, task, letter, terms)
                app.amqp.send_task_message(
                    producer,
                    task,
                    message,
                    **route,
                    priority=terms.priority,
                    retry=False,
                    headers={"sent": time.time()},
                )
    except (OperationalError, OSError) as error:
        raise ServerError(f"the broker did not take the jobs: {error}", "Look whether it still runs.") from error


def _message(app: Celery, task: str, letter: Letter, terms: Terms) -> Any:
    return app.amqp.as_task_v2(
        letter.id,
        task,
        letter.args,
        letter.kwargs,
        eta=terms.eta,
        expires=terms.expires,
        group_id=terms.group,
        ignore_result=not terms.keep_result,
        argsrepr=letter.brief,
        kwargsrepr="{}",
    )


@contextmanager
def _producer(app: Celery, connection: Connection) -> Iterator[Any]:
    """What is published goes out when this is left without an error."""
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    if not issubclass(type(connection.transport), transport.Transport):
        with connection.channel() as channel:
            yield app.amqp.Producer(channel, auto_declare=False)
        return
    channel = drafting(connection)
    try:
        yield app.amqp.Producer(channel, auto_declare=False)
        _send(channel)
    finally:
        channel.close()


def _send(channel: Any) -> None:
    """All drafts in one journey."""
    import redis

    line: Any = redis.Redis(connection_pool=channel.pool)  # its stubs know no typed commands
    with line.pipeline(transaction=False) as pipe:
        for draft in channel.drafts:
            pipe.execute_command(draft.verb, draft.key, draft.value)
        pipe.execute()
