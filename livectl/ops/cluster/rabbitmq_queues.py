"""Takes messages out of queues of RabbitMQ, for a purge or a move: each is there until it is acknowledged."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from livectl import server_check
from livectl.errors import ServerError, UsageError
from livectl.ops import deployment as deployments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.address import Address
    from livectl.ops.deployment import Deployment


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


def take(channel: Any, queue: str) -> Any:
    """The message that is next, as kombu has it: it goes back unless it is acknowledged. None where there is none."""
    raw = channel.basic_get(queue, no_ack=False)
    return None if raw is None else channel.message_to_python(raw)
