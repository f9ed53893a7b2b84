"""Sends remote-control commands to workers over a Redis broker, as Celery would, without Celery or kombu.

A command is published to all workers at once; the server says how many heard it, so that nobody waits for replies that
cannot come, nor takes the silence of a busy worker for its absence. A ping follows each command: who replies to the
ping alone is a beat with remote control, which hears everything and knows no other command.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from livectl.ops.protocol import message

if TYPE_CHECKING:
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection


REPLY_TIMEOUT_S = 1.0  # what `celery inspect` waits; a worker that is not stuck replies in a few milliseconds
CLOSE_RESERVE_S = 0.3  # kept back for removing the reply queue
BINDING_LIFETIME_MS = 10_000  # kombu sweeps the binding of a caller who died in between


class ControlReplies(msgspec.Struct, frozen=True):
    """The replies of the workers, and how many workers were asked."""

    pairs: tuple[tuple[str, Any], ...] = ()  # name and reply; a name twice where two workers have the same
    reached: int = 0  # workers that heard the command

    @property
    def by_worker(self) -> dict[str, Any]:
        return dict(self.pairs)

    @property
    def silent(self) -> int:
        """How many workers heard the command and sent no reply."""
        return max(0, self.reached - len(self.pairs))


class ControlCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command with its arguments, for all workers or for those named."""

    method: str
    arguments: dict[str, Any] = {}
    destination: tuple[str, ...] | None = None


def ask(
    connection: RedisConnection,
    layout: KeyLayout,
    database: int,
    command: ControlCommand,
    timeout_s: float = REPLY_TIMEOUT_S,
) -> ControlReplies:
    """Publishes the command, and collects replies until all who heard it have replied or the time is over."""
    reply_queue = ReplyQueue(layout, database)
    reply_queue.open(connection)
    try:
        ping = ControlCommand(method="ping", destination=command.destination)
        reached = reply_queue.publish(connection, command)
        reply_queue.publish(connection, ping, reply_queue.ping_ticket)
        expected = min(reached, len(command.destination)) if command.destination else reached
        return reply_queue.collect(connection, expected, timeout_s)
    finally:
        reply_queue.close(connection)


def publish(connection: RedisConnection, layout: KeyLayout, database: int, command: ControlCommand) -> int:
    """Publishes a command whose replies nobody reads. Returns how many heard it."""
    return ReplyQueue(layout, database).publish(connection, command)


class ReplyQueue:
    """A queue of livectl's own for replies, bound to the exchange that workers reply to."""

    def __init__(self, layout: KeyLayout, database: int) -> None:
        self._layout = layout
        self._channel = layout.control_channel(database)
        self._name, self._ticket, self.ping_ticket = (str(uuid4()) for _ in range(3))
        queue = f"{self._name}.{layout.reply_exchange}"
        self._key = layout.list_key(queue, 0)
        self._bindings_key = layout.bindings_key(layout.reply_exchange)
        self._binding = layout.join_binding(self._name, "", queue)

    def open(self, connection: RedisConnection) -> None:
        expires_at_ms = int(time.time() * 1000) + BINDING_LIFETIME_MS
        deadline = ("ZADD", self._layout.binding_deadlines_key, "GT", expires_at_ms, self._layout.reply_exchange)
        connection.execute_all([("SADD", self._bindings_key, self._binding), deadline])

    def close(self, connection: RedisConnection) -> None:
        connection.execute_all([("SREM", self._bindings_key, self._binding), ("DEL", self._key)])

    def publish(self, connection: RedisConnection, command: ControlCommand, ticket: str | None = None) -> int:
        """Returns how many heard the command."""
        return int(connection.execute("PUBLISH", self._channel, self._encode(command, ticket or self._ticket)))

    def collect(self, connection: RedisConnection, expected: int, timeout_s: float) -> ControlReplies:
        """Waits until so many have replied to the ping, which comes after all their other replies."""
        deadline = min(time.monotonic() + timeout_s, connection.deadline - CLOSE_RESERVE_S)
        replies: list[tuple[str, Any]] = []
        answered: list[str] = []
        while len(answered) < expected and (seconds_left := deadline - time.monotonic()) > 0:
            popped = connection.execute("BRPOP", self._key, f"{seconds_left:.3f}")
            envelope = message.decode(popped[1]) if popped else {}
            reply = message.decode_body(envelope)
            if not isinstance(reply, dict):
                continue
            if envelope.get("headers", {}).get("ticket") == self.ping_ticket:
                answered += reply
            else:
                replies += reply.items()
        ping_only = set(answered) - {name for name, _ in replies}
        return ControlReplies(tuple(replies), expected - len(ping_only))

    def _encode(self, command: ControlCommand, ticket: str) -> bytes:
        """The message as kombu would have published it."""
        body = {
            "method": command.method,
            "arguments": command.arguments,
            "destination": command.destination,
            "pattern": None,
            "matcher": None,
            "ticket": ticket,
            "reply_to": {"exchange": self._layout.reply_exchange, "routing_key": self._name},
        }
        properties = {
            "delivery_mode": 1,
            "delivery_info": {"exchange": self._layout.control_exchange, "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        }
        envelope = {
            "body": base64.b64encode(msgspec.json.encode(body)).decode(),
            "content-encoding": "utf-8",
            "content-type": message.JSON_CONTENT_TYPE,
            "headers": {"clock": 1, "expires": 0},
            "properties": properties,
        }
        return msgspec.json.encode(envelope)
