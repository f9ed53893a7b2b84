"""RabbitMQ as livectl uses it: messages are confirmed, and a queue that is there is taken as it is."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from celery.app.amqp import AMQP, Queues
from kombu import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

CONFIRM = "confirm_publish"
QUORUM = {"x-queue-type": "quorum"}
DELIVERIES_LIMITED_SINCE = 4  # the first major version that drops a quorum queue's message after some deliveries
ANSWER_TIMEOUT_S = 5.0


def speaks_amqp(app: Any) -> bool:
    """Whether the app sends by py-amqp, which alone confirms. Connects to nothing."""
    with suppress(ImportError, KeyError):  # a transport whose package is missing
        return getattr(app.connection_for_write().get_transport_cls(), "driver_name", "") == "py-amqp"
    return False


def confirm_messages(app: Any) -> None:
    """Lets this process wait until RabbitMQ has each message that the app sends, unless the app itself says otherwise.

    Without it what was sent last before a process ends, or its connection, is lost without a word.
    """
    options = app.conf.broker_transport_options or {}
    if CONFIRM in options or not speaks_amqp(app):
        return
    app.conf.broker_transport_options = {**options, CONFIRM: True}
    app._pool = app.amqp._producer_pool = None  # of connections that were made before


def unconfirmed(connection: Any) -> Any:
    """The connection, for what may be lost: events and replies. To wait for each of them would cost jobs their time."""
    options = connection.transport_options or {}
    connection.transport_options = {name: value for name, value in options.items() if name != CONFIRM}
    return connection


def exists(channel: Any, queue: str) -> bool:
    """Whether there is a queue of this name, of whatever kind. Asked on a channel of its own, which a no closes."""
    from amqp.exceptions import NotFound

    with channel.connection.channel() as other:
        try:
            other.queue_declare(queue, passive=True)
        except NotFound:
            return False
    return True


def declare(channel: Any, queue: str, arguments: Mapping[str, Any]) -> None:
    """Declares a durable quorum queue of livectl's own, unless there is one of its name."""
    from amqp.exceptions import PreconditionFailed

    if exists(channel, queue):
        return
    for more in (_unlimited_deliveries(channel), {}):
        with suppress(PreconditionFailed), channel.connection.channel() as other:
            other.queue_declare(queue, durable=True, auto_delete=False, arguments={**QUORUM, **arguments, **more})
            return
    channel.queue_declare(
        queue, durable=True, auto_delete=False, arguments=dict(arguments)
    )  # too old for quorum queues


def _unlimited_deliveries(channel: Any) -> dict[str, Any]:
    """What keeps RabbitMQ 4 from dropping a message that was given out twenty times: workers count its starts."""
    version = str(channel.connection.server_properties.get("version") or "")
    major = version.partition(".")[0]
    is_limited = major.isdecimal() and int(major) >= DELIVERIES_LIMITED_SINCE
    return {"x-delivery-limit": -1} if is_limited else {}


class SettledQueue(Queue):  # type: ignore[misc]
    """A queue that is taken as it is where there is one of its name: RabbitMQ refuses to have it declared otherwise."""

    def queue_declare(self, nowait: bool = False, passive: bool = False, channel: Any = None) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        channel = channel or self.channel
        if passive or not self.name or channel.connection.client.transport.driver_type != "amqp":
            return super().queue_declare(nowait=nowait, passive=passive, channel=channel)
        if (self.queue_arguments or {}).get("x-queue-type") == "quorum":
            declare(channel, self.name, self.queue_arguments)
        elif not exists(channel, self.name):
            return super().queue_declare(nowait=nowait, channel=channel)
        return None


class SettledQueues(Queues):  # type: ignore[misc]
    """The queues of an app, each of them settled."""

    def __setitem__(self, name: str, queue: Any) -> None:
        super().__setitem__(name, SettledQueue(**queue.as_dict()) if type(queue) is Queue else queue)

    def _add(self, queue: Any) -> Any:
        super()._add(queue)
        return self[queue.name]


class SettledAMQP(AMQP):  # type: ignore[misc]
    """What an app that livectl makes takes for its `amqp`."""

    queues_cls = SettledQueues


class Line:
    """A connection that confirms what is sent on it. Any thread may use it; after a failure it is made anew."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        """`connect` makes a connection of kombu, which need not be connected."""
        self._connect = connect
        self._lock = threading.RLock()
        self._connection: Any = None
        self._channel: Any = None

    def ask(self, question: Callable[[Any], T]) -> T:
        """What the question has to say of an open channel. Raises what it raises, or OSError or AMQPError."""
        with self._lock:
            try:
                return question(self._open())
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        with self._lock:
            connection, self._connection, self._channel = self._connection, None, None
            if connection is not None:
                with suppress(Exception):  # it may be lost
                    connection.collect(socket_timeout=1)

    def _open(self) -> Any:
        if self._channel is None or not self._channel.is_open:
            self.close()
            self._connection = connection = self._connect()
            connection.transport_options = {**(connection.transport_options or {}), CONFIRM: True}
            connection.connect_timeout = ANSWER_TIMEOUT_S
            connection.connect()
            connection.connection.sock.settimeout(ANSWER_TIMEOUT_S)
            self._channel = connection.channel()
        return self._channel


def publish(
    channel: Any, body: bytes, *, exchange: str = "", routing_key: str, headers: Any = None, **properties: Any
) -> None:
    """Sends a message that outlives a restart of the server; returns when the server has it. Raises MessageNacked."""
    from amqp import Message

    message = Message(body, delivery_mode=2, application_headers=headers or {}, **properties)
    channel.basic_publish(message, exchange=exchange, routing_key=routing_key, timeout=ANSWER_TIMEOUT_S)
