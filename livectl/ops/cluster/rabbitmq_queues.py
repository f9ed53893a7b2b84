"""Takes messages out of queues of RabbitMQ, for a purge or a move: each is there until it is acknowledged."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from livectl import server_check
from livectl.errors import ServerError, UsageError
from livectl.ops import deployment as deployments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.address import Address
    from livectl.ops.deployment import Deployment

MESSAGES_PER_LOOK = 500


@contextmanager
def open_channel(deployment: Deployment, other: Address | None = None) -> Iterator[Any]:
    """A channel of the app's RabbitMQ, or of another, which confirms. What is not acknowledged goes back."""
    from amqp.exceptions import AMQPError
    from kombu import Connection
    from kombu.exceptions import KombuError

    from livectl.ops.transport import rabbitmq

    def make() -> Any:
        if other is None:
            return deployments.celery_client(deployment).connection_for_write().clone()
        return Connection(other.celery_url, ssl=deployments.broker_tls(other).get("broker_use_ssl") or False)

    if other is None:
        deployments.check_broker(deployment)
    else:
        server_check.check_server(other)
    try:
        with closing(rabbitmq.Line(make)) as line:
            yield line.ask(lambda channel: channel)
    except (AMQPError, KombuError, OSError) as error:
        address = other or deployment.broker
        name = address.masked if address else deployment.transport
        raise ServerError(f"{name}: {error}", "Nothing is lost; the same command goes on with the rest.") from error


def exists(channel: Any, queue: str) -> bool:
    """Whether there is a queue of this name."""
    from livectl.ops.transport import rabbitmq

    return rabbitmq.exists(channel, queue)


def count(channel: Any, queue: str) -> int:
    """How many messages are ready. Raises for a queue that there is not."""
    if not exists(channel, queue):
        raise UsageError(f"there is no queue {queue}", "`livectl queues` lists those that there are.")
    return int(channel.queue_declare(queue, passive=True).message_count)


def take(channel: Any, queue: str, size: int) -> Iterator[list[Any]]:
    """The messages of a queue, so many at a time: those that are ready, then those that wait elsewhere for their time
    to come into it. What is not acknowledged by then goes back in the end."""
    from livectl.ops.transport import rabbitmq_held

    yield from _take_from(channel, queue, size, lambda taken: True)
    for place in rabbitmq_held.waiting_queues(channel):
        yield from _take_from(channel, place, size, partial(_comes_into, queue))


def look_at_waiting(channel: Any, queue: str) -> Iterator[Any]:
    """The messages that wait for their time to come into a queue: all of them go on to wait."""
    from livectl.ops.transport import rabbitmq_held

    for place in rabbitmq_held.waiting_queues(channel):
        for batch in _take_from(channel, place, MESSAGES_PER_LOOK, partial(_comes_into, queue)):
            yield from batch


def _comes_into(queue: str, taken: Any) -> bool:
    return bool(taken.delivery_info["routing_key"] == queue)


def _take_from(channel: Any, place: str, size: int, is_meant: Callable[[Any], bool]) -> Iterator[list[Any]]:
    """No more than are there now: what came back would come again and again."""
    left = count(channel, place)
    unwanted: list[Any] = []
    while left > 0:
        batch: list[Any] = []
        while left > 0 and len(batch) < size:
            left -= 1
            raw = channel.basic_get(place, no_ack=False)
            if raw is None:
                left = 0
                break
            taken = channel.message_to_python(raw)
            (batch if is_meant(taken) else unwanted).append(taken)
        yield batch
        unwanted += [taken for taken in batch if not taken.acknowledged]
    for taken in reversed(unwanted):
        taken.reject(requeue=True)
