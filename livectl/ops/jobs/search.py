"""Finds messages by the ids of their jobs in the queues of a Redis broker, and among those that workers hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.ops.jobs import message
from livectl.resp import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.ops.cluster.layout import Layout
    from livectl.ops.jobs.message import Message
    from livectl.resp import Wire

WINDOW = 1000  # messages looked at in one call: under a millisecond of the server's time
KEYS_A_CALL = 1000
ASKING_SECONDS = 1.4  # left over from a search, for asking the workers

# Messages that name an id stay on the server unless they do. Reckoned from the end that nothing is taken from, so that
# no message slips between two windows. Answers how many were looked at, the length, and index and text of each hit.
FIND = """
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


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A message, and where it is: in a queue at a position, or with a worker since a moment."""

    message: Message
    key: str
    raw: bytes
    queue: str
    position: int | None = None  # 1 is taken next
    tag: str = ""
    delivered: float | None = None  # seconds since the epoch


class Search(msgspec.Struct, frozen=True):
    """What was found, by id, and whether there was time to look everywhere."""

    found: dict[str, Found] = {}
    complete: bool = True


def find(wire: Wire, layout: Layout, ids: Sequence[str], queues: Sequence[str]) -> Search:
    """Looks in the named queues, then with the workers, then in every other queue this broker knows."""
    found: dict[str, Found] = {}
    complete = _look_into(wire, layout, ids, queues, found)
    if len(found) < len(ids):
        complete &= _look_at_held(wire, layout, ids, found)
    if len(found) < len(ids):
        others = [queue for queue in known_queues(wire, layout) if queue not in queues]
        complete &= _look_into(wire, layout, ids, others, found)
    return Search(found, complete)


def _look_into(wire: Wire, layout: Layout, ids: Sequence[str], queues: Sequence[str], found: dict[str, Found]) -> bool:
    for queue in queues:
        ahead = 0
        for key in layout.keys(queue):
            length = _look_into_list(wire, key, queue, ids, ahead, found)
            if length is None:
                return False
            if len(found) == len(ids):
                return True
            ahead += length
    return True


def _look_into_list(
    wire: Wire, key: str, queue: str, ids: Sequence[str], ahead: int, found: dict[str, Found]
) -> int | None:
    """The length of the list, or None when the time was over before its end."""
    start = 0
    while _in_time(wire):
        seen, length, hits = _window(wire, key, start, ids)
        for index, raw in zip(hits[::2], hits[1::2], strict=True):
            said = message.read(raw)
            position = ahead + length - (start + index)
            if said.id in ids and said.id not in found:
                found[said.id] = Found(message=said, key=key, raw=raw, queue=queue, position=position)
        start += seen
        if seen < WINDOW:
            return int(length)
    return None


def _window(wire: Wire, key: str, start: int, ids: Sequence[str]) -> tuple[int, int, list[Any]]:
    stop = start + WINDOW - 1
    try:
        return tuple(wire.ask("EVAL", FIND, 1, key, start, stop, *ids))
    except Refused as refusal:  # no scripts for this user, or a list of that name that is none
        if "WRONGTYPE" in str(refusal):
            return 0, 0, []
    items, length = wire.ask_all([("LRANGE", key, start, stop), ("LLEN", key)])
    wanted = [one.encode() for one in ids]
    hits = [part for pair in enumerate(items) if any(one in pair[1] for one in wanted) for part in pair]
    return len(items), length, hits


def _look_at_held(wire: Wire, layout: Layout, ids: Sequence[str], found: dict[str, Found]) -> bool:
    wanted = [one.encode() for one in ids]
    for tag, raw in held(wire, layout):
        if not any(one in raw for one in wanted):
            continue
        envelope, exchange, key = unwrap(raw)
        said = message.describe(envelope)
        if said.id in ids and said.id not in found:
            score = wire.ask("ZSCORE", layout.unacked_index_key, tag)
            found[said.id] = Found(
                message=said,
                key=layout.unacked_key,
                raw=raw,
                queue=queue_of(wire, layout, exchange, key),
                tag=tag.decode(),
                delivered=float(score) if score else None,
            )
    return _in_time(wire)


def held(wire: Wire, layout: Layout) -> Iterator[tuple[bytes, bytes]]:
    """Delivery tag and content of every message that a worker has taken and not acknowledged."""
    cursor: bytes | str = "0"
    while _in_time(wire):
        cursor, flat = wire.ask("HSCAN", layout.unacked_key, cursor, "COUNT", WINDOW)
        yield from zip(flat[::2], flat[1::2], strict=True)
        if cursor == b"0":
            return


def unwrap(raw: bytes) -> tuple[dict[str, Any], str, str]:
    """Of a held message: itself, its exchange and its routing key."""
    try:
        envelope, exchange, key = msgspec.json.decode(raw)
    except (msgspec.DecodeError, TypeError, ValueError):
        return {}, "", ""
    return (envelope if isinstance(envelope, dict) else {}), str(exchange or ""), str(key or "")


def queue_of(wire: Wire, layout: Layout, exchange: str, key: str) -> str:
    """The queue that an exchange hands this key to; without an exchange, the key names it."""
    if not exchange:
        return key
    rows = [row.decode().split(layout.separator) for row in wire.ask("SMEMBERS", layout.bindings(exchange))]
    exact = [queue for bound, _, queue in rows if bound == key]
    return min(exact) if exact else key


def known_queues(wire: Wire, layout: Layout) -> list[str]:
    """Every queue that was ever declared here and not deleted."""
    queues = set(layout.queues)
    for table in _tables(wire, layout):
        rows = wire.ask("SMEMBERS", table)
        queues |= {row.decode().split(layout.separator)[-1] for row in rows}
    return sorted(queue for queue in queues if not queue.endswith(".pidbox") and not queue.startswith("celeryev"))


def _tables(wire: Wire, layout: Layout) -> Iterator[bytes]:
    """The binding tables of all exchanges."""
    pattern = f"{_literally(layout.prefix)}_kombu.binding.*"
    cursor: bytes | str = "0"
    while _in_time(wire):
        cursor, tables = wire.ask("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_A_CALL)
        yield from tables
        if cursor == b"0":
            return


def _literally(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in text)


def _in_time(wire: Wire) -> bool:
    return time.monotonic() < wire.until - ASKING_SECONDS
