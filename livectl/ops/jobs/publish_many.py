"""A draft: what kombu would send to a Redis, kept back, so that many messages go out in one step."""

from __future__ import annotations

import time
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec
from kombu.exceptions import OperationalError
from kombu.transport import redis as transport
from kombu.utils.json import dumps

from livectl import redis_client
from livectl.errors import ServerError
from livectl.ops.jobs import results as outcomes
from livectl.ops.protocol.message import RedisCommand

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from celery import Celery
    from kombu import Connection

    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.results import JobResult


EXCHANGE_TABLE_TTL_S = 1.0  # for so long the queues bound to an exchange are taken to be the same


class CapturingChannel:
    """A channel that keeps what would go to the broker. Declarations and lookups are real."""

    drafts: list[RedisCommand]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.drafts = []
        self._tables: dict[str, tuple[float, Any]] = {}
        super().__init__(*args, **options)

    def _put(self: Any, queue: str, message: dict[str, Any], **_options: Any) -> None:
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        self.drafts.append(RedisCommand("LPUSH", self.global_keyprefix + key, dumps(message)))
        expiring_queues = getattr(self, "_expires", {})  # kombu 5.6 and later let queues expire
        for priority in self.priority_steps if queue in expiring_queues else ():
            key = self.global_keyprefix + self._q_for_pri(queue, priority)
            self.drafts.append(RedisCommand("PEXPIRE", key, expiring_queues[queue]))

    def _put_fanout(self: Any, exchange: str, message: dict[str, Any], routing_key: str, **_options: Any) -> None:
        topic = self._get_publish_topic(exchange, routing_key)
        self.drafts.append(RedisCommand("PUBLISH", topic, dumps(message)))

    def get_table(self: Any, exchange: str) -> Any:
        valid_until, table = self._tables.get(exchange, (0.0, None))
        if monotonic() >= valid_until:
            table = super().get_table(exchange)  # type: ignore[misc]
            self._tables[exchange] = (monotonic() + EXCHANGE_TABLE_TTL_S, table)
        return table


def open_capturing_channel(connection: Connection) -> Any:
    """A channel of the connection's own kind, but for what leaves it."""
    channel_class = type("Drafting", (CapturingChannel, connection.transport.Channel), {})
    return channel_class(connection.connection)


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


GROUP_POLL_INTERVAL_S = 0.1  # seconds between two looks at what has ended
GROUP_READ_TIMEOUT_S = 10.0  # seconds for one look at thousands of results


class SavedGroup(NamedTuple):
    """A group as Celery saves it. Celery's own results would each open a connection, only to stop listening."""

    group: str
    jobs: list[str]

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.group, None), [((job_id, None), None) for job_id in self.jobs]


def send_group(app: Celery, task: str, drafts: Sequence[JobDraft], options: SendOptions) -> str:
    """On their way; the id of the group, which `livectl status` understands. One job alone is its own group."""
    if len(drafts) == 1:
        publish_jobs(app, task, drafts, options)
        return drafts[0].id
    group = str(uuid4())
    app.backend.save_group(group, SavedGroup(group, [draft.id for draft in drafts]))
    publish_jobs(app, task, drafts, msgspec.structs.replace(options, group=group))
    return group


def follow_results(deployment: Deployment, ids: Sequence[str], deadline: float) -> Iterator[dict[str, JobResult]]:
    """Those that have ended since the last look, until all have or the time, of the monotonic clock, is over."""
    waiting = dict.fromkeys(ids)
    while waiting and time.monotonic() < deadline:
        ended = {
            job_id: job_result
            for job_id, job_result in _read_results(deployment, list(waiting)).items()
            if job_result.end_state
        }
        for job_id in ended:
            del waiting[job_id]
        if ended:
            yield ended
        elif waiting:
            time.sleep(GROUP_POLL_INTERVAL_S)


def _read_results(deployment: Deployment, ids: Sequence[str]) -> dict[str, JobResult]:
    if deployment.results is None:
        from livectl.ops import deployment as deployments

        app: Any = deployments.celery_client(deployment)
        return outcomes.read_results_through_celery(app, ids)
    with redis_client.connect(deployment.results, GROUP_READ_TIMEOUT_S) as connection:
        return outcomes.read_results(connection, deployment.layout, ids)
