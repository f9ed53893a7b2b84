"""A draft: what kombu would send to a Redis, kept back, so that many messages go out in one step."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from kombu.utils.json import dumps

from livectl.ops.beat.runs import Command

if TYPE_CHECKING:
    from kombu import Connection

TABLE_SECONDS = 1.0  # for so long the queues bound to an exchange are taken to be the same


class Drafting:
    """A channel that keeps what would go to the broker. Declarations and lookups are real."""

    drafts: list[Command]

    def __init__(self, *args: Any, **more: Any) -> None:
        self.drafts = []
        self._tables: dict[str, tuple[float, Any]] = {}
        super().__init__(*args, **more)

    def _put(self: Any, queue: str, message: dict[str, Any], **_more: Any) -> None:
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        self.drafts.append(Command("LPUSH", self.global_keyprefix + key, dumps(message)))
        expiring = getattr(self, "_expires", {})  # kombu 5.6 and later let queues expire
        for priority in self.priority_steps if queue in expiring else ():
            key = self.global_keyprefix + self._q_for_pri(queue, priority)
            self.drafts.append(Command("PEXPIRE", key, expiring[queue]))

    def _put_fanout(self: Any, exchange: str, message: dict[str, Any], routing_key: str, **_more: Any) -> None:
        topic = self._get_publish_topic(exchange, routing_key)
        self.drafts.append(Command("PUBLISH", topic, dumps(message)))

    def get_table(self: Any, exchange: str) -> Any:
        until, table = self._tables.get(exchange, (0.0, None))
        if monotonic() >= until:
            table = super().get_table(exchange)  # type: ignore[misc]
            self._tables[exchange] = (monotonic() + TABLE_SECONDS, table)
        return table


def drafting(connection: Connection) -> Any:
    """A channel of the connection's own kind, but for what leaves it."""
    kind = type("Drafting", (Drafting, connection.transport.Channel), {})
    return kind(connection.connection)
