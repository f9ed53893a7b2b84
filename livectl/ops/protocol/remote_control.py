"""Asks workers over a Redis broker, in Celery's own remote-control words, without Celery or kombu.

A question is published to all workers at once; the server says how many heard it, so that nobody waits for answers
that cannot come, nor takes the silence of a busy worker for its absence. A ping follows each question: who answers that
alone is a beat with remote control, which hears everything and knows nothing else.
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


REPLY_TIMEOUT_S = 1.0  # what `celery inspect` waits; a worker that is not stuck answers in a few milliseconds
CLOSE_RESERVE_S = 0.3  # kept back for taking the mailbox down again
BINDING_LIFETIME_MS = 10_000  # kombu sweeps the reply table of a caller who died in between


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
    """One command with its arguments, for all workers or those named."""

    method: str
    arguments: dict[str, Any] = {}
    destination: tuple[str, ...] | None = None


def ask(
    connection: RedisConnection,
    layout: KeyLayout,
    database: int,
    command: ControlCommand,
    seconds: float = REPLY_TIMEOUT_S,
) -> ControlReplies:
    """Publishes, and collects until all that heard it have answered or the time is over."""
    reply_queue = ReplyQueue(layout, database)
    reply_queue.open(connection)
    try:
        ping = ControlCommand(method="ping", destination=command.destination)
        reached, _ = (
            connection.execute("PUBLISH", reply_queue.channel, reply_queue.encode(sent_command, ticket))
            for sent_command, ticket in ((command, reply_queue.ticket), (ping, reply_queue.ping_ticket))
        )
        expected = min(reached, len(command.destination)) if command.destination else reached
        return reply_queue.collect(connection, expected, seconds)
    finally:
        reply_queue.close(connection)


class ReplyQueue:
    """Where answers come in: a queue of our own, bound to the exchange that workers answer to."""

    def __init__(self, layout: KeyLayout, database: int) -> None:
        self.name, self.ticket, self.ping_ticket = (str(uuid4()) for _ in range(3))
        self.channel = layout.control_channel(database)
        self._control_exchange, self._reply_exchange = f"{layout.control}.pidbox", layout.reply_exchange
        queue = f"{self.name}.{self._reply_exchange}"
        self.key = layout.list_key(queue, 0)
        self._bindings_key, self._deadlines_key = (
            layout.bindings_key(self._reply_exchange),
            layout.binding_deadlines_key,
        )
        self._binding = layout.separator.join((self.name, "", queue))

    def open(self, connection: RedisConnection) -> None:
        expires_at_ms = int(time.time() * 1000) + BINDING_LIFETIME_MS
        bind = ("SADD", self._bindings_key, self._binding)
        connection.execute_all([bind, ("ZADD", self._deadlines_key, "GT", expires_at_ms, self._reply_exchange)])

    def close(self, connection: RedisConnection) -> None:
        connection.execute_all([("SREM", self._bindings_key, self._binding), ("DEL", self.key)])

    def collect(self, connection: RedisConnection, expected: int, seconds: float) -> ControlReplies:
        """Until so many have answered the ping, and with it all that they ever will, or the time is over."""
        deadline = min(time.monotonic() + seconds, connection.deadline - CLOSE_RESERVE_S)
        replies: list[tuple[str, Any]] = []
        answered: list[str] = []
        while len(answered) < expected and (seconds_left := deadline - time.monotonic()) > 0:
            popped = connection.execute("BRPOP", self.key, f"{seconds_left:.3f}")
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

    def encode(self, command: ControlCommand, ticket: str | None = None) -> bytes:
        """The question as kombu would have published it."""
        payload = {
            "method": command.method,
            "arguments": command.arguments,
            "destination": command.destination,
            "pattern": None,
            "matcher": None,
            "ticket": ticket or self.ticket,
            "reply_to": {"exchange": self._reply_exchange, "routing_key": self.name},
        }
        properties = {
            "delivery_mode": 1,
            "delivery_info": {"exchange": self._control_exchange, "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        }
        body = base64.b64encode(msgspec.json.encode(payload)).decode()
        envelope = {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": message.JSON_CONTENT_TYPE,
            "headers": {"clock": 1, "expires": 0},
            "properties": properties,
        }
        return msgspec.json.encode(envelope)
