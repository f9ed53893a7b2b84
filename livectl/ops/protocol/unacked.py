"""Reads the messages that workers have taken from a Redis broker and not acknowledged, and takes them away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.ops.protocol.keys import has_time_left

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection


MESSAGES_PER_CALL = 1000

# KEYS are messages, index, target; ARGV is delivery tag and message in turn.
MOVE_SCRIPT = """
local moved = 0
for i = 1, #ARGV, 2 do
  if redis.call('HDEL', KEYS[1], ARGV[i]) > 0 then
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('RPUSH', KEYS[3], ARGV[i + 1])
    moved = moved + 1
  end
end
return moved
"""


class UnackedMessage(msgspec.Struct, frozen=True):
    """A message that a worker holds, and where it came from."""

    tag: bytes
    raw: bytes  # as kombu keeps it: the message, its exchange and its routing key
    envelope: dict[str, Any]
    exchange: str
    routing_key: str


def scan(connection: RedisConnection, layout: KeyLayout, ids: Sequence[str] = ()) -> Iterator[UnackedMessage]:
    """The messages that workers hold, or those that mention one of these ids, as long as the connection has time."""
    encoded_ids = [job_id.encode() for job_id in ids]
    cursor: bytes | str = "0"
    while has_time_left(connection):
        cursor, flat = connection.execute("HSCAN", layout.unacked_key, cursor, "COUNT", MESSAGES_PER_CALL)
        for tag, raw in zip(flat[::2], flat[1::2], strict=True):
            if not ids or any(encoded_id in raw for encoded_id in encoded_ids):
                yield UnackedMessage(tag, raw, *_decode(raw))
        if cursor == b"0":
            return


def delivered_at(connection: RedisConnection, layout: KeyLayout, tag: bytes) -> float | None:
    """When the message was given to its worker, in seconds since the epoch."""
    score = connection.execute("ZSCORE", layout.unacked_index_key, tag)
    return float(score) if score else None


def move(
    connection: RedisConnection, layout: KeyLayout, target_key: str, messages: Sequence[tuple[bytes | str, bytes]]
) -> int:
    """Moves messages, by tag and text, to a list, unless they were acknowledged meanwhile. Returns how many moved."""
    keys = (layout.unacked_key, layout.unacked_index_key, target_key)
    arguments = [argument for message in messages for argument in message]
    return int(connection.execute("EVAL", MOVE_SCRIPT, len(keys), *keys, *arguments))


def remove(connection: RedisConnection, layout: KeyLayout, tag: bytes | str) -> bool:
    """Removes one message. True when a worker still held it."""
    removed = bool(connection.execute("HDEL", layout.unacked_key, tag))
    connection.execute("ZREM", layout.unacked_index_key, tag)
    return removed


def _decode(raw: bytes) -> tuple[dict[str, Any], str, str]:
    try:
        envelope, exchange, routing_key = msgspec.json.decode(raw)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError):
        return {}, "", ""
    return (envelope if isinstance(envelope, dict) else {}), str(exchange or ""), str(routing_key or "")
