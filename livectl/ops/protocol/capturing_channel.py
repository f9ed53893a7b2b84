"""Captures what kombu would send to a Redis, so that many messages can go out in one step.

The channel overrides private methods of kombu's own (`_put`, `_put_fanout`): a contract test pins that kombu still
calls them, and that what is captured is what kombu would have sent.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from kombu.utils.json import dumps

if TYPE_CHECKING:
    from kombu import Connection


EXCHANGE_TABLE_TTL_S = 1.0  # how long the queues bound to an exchange are taken to be the same


class RedisCommand(msgspec.Struct, frozen=True):
    """A command that puts one message on the broker, or belongs to it."""

    verb: str
    key: str
    value: str | bytes | int


class CapturingChannel:
    """Keeps what would go to the broker, in `commands`. Declarations and lookups are real."""

    commands: list[RedisCommand]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.commands = []
        self._tables: dict[str, tuple[float, Any]] = {}
        super().__init__(*args, **options)

    def _put(self: Any, queue: str, message: dict[str, Any], **_options: Any) -> None:
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        self.commands.append(RedisCommand("LPUSH", self.global_keyprefix + key, dumps(message)))
        expiring_queues = getattr(self, "_expires", {})  # kombu 5.6 and later let queues expire
        for priority in self.priority_steps if queue in expiring_queues else ():
            key = self.global_keyprefix + self._q_for_pri(queue, priority)
            self.commands.append(RedisCommand("PEXPIRE", key, expiring_queues[queue]))

    def _put_fanout(self: Any, exchange: str, message: dict[str, Any], routing_key: str, **_options: Any) -> None:
        if hasattr(self, "_get_publish_topics"):  # kombu 5.7 and later: on a Sentinel there can be two
            topics = self._get_publish_topics(exchange, routing_key)
        else:
            topics = [self._get_publish_topic(exchange, routing_key)]
        for topic in topics:
            self.commands.append(RedisCommand("PUBLISH", self.global_keyprefix + topic, dumps(message)))

    def get_table(self: Any, exchange: str) -> Any:
        valid_until, table = self._tables.get(exchange, (0.0, None))
        if monotonic() >= valid_until:
            table = super().get_table(exchange)  # type: ignore[misc]
            self._tables[exchange] = (monotonic() + EXCHANGE_TABLE_TTL_S, table)
        return table


def is_redis(connection: Connection) -> bool:
    """Whether the connection leads to a Redis, so that what it sends can be captured."""
    from kombu.transport import redis as transport

    return isinstance(connection.transport, transport.Transport)


def open_channel(connection: Connection) -> Any:
    """A channel of the connection's own kind that captures what would leave it."""
    channel_class = type("CapturingRedisChannel", (CapturingChannel, connection.transport.Channel), {})
    return channel_class(connection.connection)


def send_captured(channel: Any) -> None:
    """Sends all that the channel has captured, in one round trip."""
    import redis

    client: Any = redis.Redis(connection_pool=channel.pool)  # its stubs know no typed commands
    with client.pipeline(transaction=False) as pipe:
        for command in channel.commands:
            pipe.execute_command(command.verb, command.key, command.value)
        pipe.execute()


def database_of(channel: Any) -> int:
    """The number of the database that the channel writes to."""
    return int(channel.pool.connection_kwargs["db"])
