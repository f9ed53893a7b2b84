"""Finds messages by the ids of their jobs in the queues of a Redis broker, and among those that workers hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.ops.protocol import message
from livectl.redis_client import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.ops.protocol.message import JobMessage
    from livectl.redis_client import RedisConnection


WINDOW_MESSAGES = 1000  # messages looked at in one call: under a millisecond of the server's time
KEYS_PER_CALL = 1000
WORKER_REPLY_RESERVE_S = 1.4  # left over from a search, for asking the workers

# Messages that name an id stay on the server unless they do. Reckoned from the end that nothing is taken from, so that
# no message slips between two windows. Answers how many were looked at, the length, and index and text of each hit.
FIND_SCRIPT = """
local items, hits = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2]), {}
for i, item in ipairs(items) do
  for j = 3, #ARGV do
    if string.find(item, ARGV[j], 1, true) then
      hits[#hits + 1] = i - 1
      hits[#hits + 1] = item
      break
    end
  end
end
return {#items, redis.call('LLEN', KEYS[1]), hits}
"""


class MessageLocation(msgspec.Struct, frozen=True, kw_only=True):
    """A message, and where it is: in a queue at a position, or with a worker since a moment."""

    message: JobMessage
    key: str
    raw: bytes
    queue: str
    position: int | None = None  # 1 is taken next
    tag: str = ""
    delivered: float | None = None  # seconds since the epoch


class SearchResult(msgspec.Struct, frozen=True):
    """What was found, by id, and whether there was time to look everywhere."""

    locations: dict[str, MessageLocation] = {}
    complete: bool = True


def find(connection: RedisConnection, layout: KeyLayout, ids: Sequence[str], queues: Sequence[str]) -> SearchResult:
    """Looks in the named queues, then with the workers, then in every other queue this broker knows."""
    locations: dict[str, MessageLocation] = {}
    complete = _search_queues(connection, layout, ids, queues, locations)
    if len(locations) < len(ids):
        complete &= _search_unacked(connection, layout, ids, locations)
    if len(locations) < len(ids):
        other_queues = [queue for queue in list_queues(connection, layout) if queue not in queues]
        complete &= _search_queues(connection, layout, ids, other_queues, locations)
    return SearchResult(locations, complete)


def _search_queues(
    connection: RedisConnection,
    layout: KeyLayout,
    ids: Sequence[str],
    queues: Sequence[str],
    locations: dict[str, MessageLocation],
) -> bool:
    for queue in queues:
        ahead = 0
        for key in layout.list_keys(queue):
            length = _search_list(connection, key, queue, ids, ahead, locations)
            if length is None:
                return False
            if len(locations) == len(ids):
                return True
            ahead += length
    return True


def _search_list(
    connection: RedisConnection,
    key: str,
    queue: str,
    ids: Sequence[str],
    ahead: int,
    locations: dict[str, MessageLocation],
) -> int | None:
    """The length of the list, or None when the time was over before its end."""
    start = 0
    while _in_time(connection):
        searched, length, hits = _search_window(connection, key, start, ids)
        for index, raw in zip(hits[::2], hits[1::2], strict=True):
            job_message = message.read(raw)
            position = ahead + length - (start + index)
            if job_message.id in ids and job_message.id not in locations:
                locations[job_message.id] = MessageLocation(
                    message=job_message, key=key, raw=raw, queue=queue, position=position
                )
        start += searched
        if searched < WINDOW_MESSAGES:
            return int(length)
    return None


def _search_window(connection: RedisConnection, key: str, start: int, ids: Sequence[str]) -> tuple[int, int, list[Any]]:
    stop = start + WINDOW_MESSAGES - 1
    try:
        return tuple(connection.execute("EVAL", FIND_SCRIPT, 1, key, start, stop, *ids))
    except RedisReplyError as refusal:  # no scripts for this user, or a list of that name that is none
        if "WRONGTYPE" in str(refusal):
            return 0, 0, []
    items, length = connection.execute_all([("LRANGE", key, start, stop), ("LLEN", key)])
    encoded_ids = [encoded_id.encode() for encoded_id in ids]
    hits = [
        index_or_item
        for pair in enumerate(items)
        if any(encoded_id in pair[1] for encoded_id in encoded_ids)
        for index_or_item in pair
    ]
    return len(items), length, hits


def _search_unacked(
    connection: RedisConnection, layout: KeyLayout, ids: Sequence[str], locations: dict[str, MessageLocation]
) -> bool:
    encoded_ids = [encoded_id.encode() for encoded_id in ids]
    for tag, raw in unacked_messages(connection, layout):
        if not any(encoded_id in raw for encoded_id in encoded_ids):
            continue
        envelope, exchange, routing_key = decode_unacked(raw)
        job_message = message.from_envelope(envelope)
        if job_message.id in ids and job_message.id not in locations:
            score = connection.execute("ZSCORE", layout.unacked_index_key, tag)
            locations[job_message.id] = MessageLocation(
                message=job_message,
                key=layout.unacked_key,
                raw=raw,
                queue=routed_queue(connection, layout, exchange, routing_key),
                tag=tag.decode(),
                delivered=float(score) if score else None,
            )
    return _in_time(connection)


def unacked_messages(connection: RedisConnection, layout: KeyLayout) -> Iterator[tuple[bytes, bytes]]:
    """Delivery tag and content of every message that a worker has taken and not acknowledged."""
    cursor: bytes | str = "0"
    while _in_time(connection):
        cursor, flat = connection.execute("HSCAN", layout.unacked_key, cursor, "COUNT", WINDOW_MESSAGES)
        yield from zip(flat[::2], flat[1::2], strict=True)
        if cursor == b"0":
            return


def decode_unacked(raw: bytes) -> tuple[dict[str, Any], str, str]:
    """Of a held message: itself, its exchange and its routing key."""
    try:
        envelope, exchange, routing_key = msgspec.json.decode(raw)
    except (msgspec.DecodeError, TypeError, ValueError):
        return {}, "", ""
    return (envelope if isinstance(envelope, dict) else {}), str(exchange or ""), str(routing_key or "")


def routed_queue(connection: RedisConnection, layout: KeyLayout, exchange: str, routing_key: str) -> str:
    """The queue that an exchange hands this key to; without an exchange, the key names it."""
    if not exchange:
        return routing_key
    rows = [
        row.decode().split(layout.separator) for row in connection.execute("SMEMBERS", layout.bindings_key(exchange))
    ]
    matching_queues = [queue for bound_key, _, queue in rows if bound_key == routing_key]
    return min(matching_queues) if matching_queues else routing_key


def list_queues(connection: RedisConnection, layout: KeyLayout) -> list[str]:
    """Every queue that was ever declared here and not deleted."""
    queues = set(layout.queues)
    for table in _binding_tables(connection, layout):
        rows = connection.execute("SMEMBERS", table)
        queues |= {row.decode().split(layout.separator)[-1] for row in rows}
    return sorted(queue for queue in queues if not queue.endswith(".pidbox") and not queue.startswith("celeryev"))


def _binding_tables(connection: RedisConnection, layout: KeyLayout) -> Iterator[bytes]:
    """The binding tables of all exchanges."""
    pattern = f"{_escape_glob(layout.prefix)}_kombu.binding.*"
    cursor: bytes | str = "0"
    while _in_time(connection):
        cursor, tables = connection.execute("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_CALL)
        yield from tables
        if cursor == b"0":
            return


def _escape_glob(text: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in text)


def _in_time(connection: RedisConnection) -> bool:
    return time.monotonic() < connection.deadline - WORKER_REPLY_RESERVE_S
