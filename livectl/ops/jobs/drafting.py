"""A draft: what kombu would send to a Redis, kept back, so that many messages go out in one step."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from kombu.utils.json import dumps

from livectl.ops.beat.runs import RedisCommand

if TYPE_CHECKING:
    from kombu import Connection

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
