"""Reads which queues there are on a Redis broker, and which queue an exchange hands a message to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from livectl.ops.protocol import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection


KEYS_PER_CALL = 1000
WORKER_REPLY_RESERVE_S = 1.4  # kept back from a search, for asking the workers


class Bindings:
    """The bindings of a broker's exchanges. Each question is asked once."""

    def __init__(self, connection: RedisConnection, layout: KeyLayout) -> None:
        self._connection, self._layout = connection, layout
        self._queues: dict[tuple[str, str], str] = {}

    def queue_for(self, exchange: str, routing_key: str) -> str:
        """The queue that an exchange hands this key to; without an exchange, the key names it."""
        if not exchange:
            return routing_key
        if (exchange, routing_key) not in self._queues:
            members = self._connection.execute("SMEMBERS", self._layout.bindings_key(exchange))
            bindings = map(self._layout.split_binding, members)
            queues = [queue for bound_key, queue in bindings if bound_key == routing_key]
            self._queues[exchange, routing_key] = min(queues, default=routing_key)
        return self._queues[exchange, routing_key]


def list_queues(connection: RedisConnection, layout: KeyLayout) -> list[str]:
    """The queues of the settings, and every queue that was ever declared on this broker and not deleted."""
    queues = set(layout.queues)
    for table in _binding_tables(connection, layout):
        queues |= {queue for _, queue in map(layout.split_binding, connection.execute("SMEMBERS", table))}
    return sorted(queue for queue in queues if not keys.is_control_or_event_queue(queue))


def has_time_left(connection: RedisConnection) -> bool:
    """Whether a search over this connection may go on."""
    return time.monotonic() < connection.deadline - WORKER_REPLY_RESERVE_S


def _binding_tables(connection: RedisConnection, layout: KeyLayout) -> Iterator[bytes]:
    pattern = f"{_escape_glob(layout.bindings_key(''))}*"
    cursor: bytes | str = "0"
    while has_time_left(connection):
        cursor, tables = connection.execute("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_CALL)
        yield from tables
        if cursor == b"0":
            return


def _escape_glob(text: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in text)
