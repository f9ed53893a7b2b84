"""Reads what celery-redis-plus keeps on a Redis: each message in a hash, queues and what waits as sorted sets of tags.

A queue's index has the tags of all its messages: those that are ready, those that a worker holds, and those that wait
for their time. The queue itself has those that are ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.ops.protocol.keys import has_time_left

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection

TAGS_PER_CALL = 500


class PlusCounts(msgspec.Struct, frozen=True):
    """How many messages of a queue are ready, with a worker, and wait for their time."""

    ready: int = 0
    held: int = 0
    delayed: int = 0


class PlusMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message, and where it is."""

    tag: str
    queue: str
    raw: bytes
    position: int | None  # 1 is taken next; None where it is not ready
    is_delayed: bool


def count(connection: RedisConnection, layout: KeyLayout, queues: Sequence[str]) -> dict[str, PlusCounts]:
    """The counts of those of these queues that have any such message."""
    sizes = iter(connection.execute_all([("ZCARD", key) for queue in queues for key in _keys(layout, queue)]))
    counts = {}
    for queue in queues:
        ready, all_tags = (size if isinstance(size, int) else 0 for size in (next(sizes), next(sizes)))
        if ready or all_tags:
            delayed = sum(message.is_delayed for message in scan(connection, layout, queue)) if all_tags > ready else 0
            counts[queue] = PlusCounts(ready, max(0, all_tags - ready - delayed), delayed)
    return counts


def find(
    connection: RedisConnection, layout: KeyLayout, ids: Sequence[str], queues: Iterable[str]
) -> Iterator[PlusMessage]:
    """The messages that mention one of these ids, as long as the connection has time."""
    encoded_ids = [job_id.encode() for job_id in ids]
    for queue in queues:
        for message in scan(connection, layout, queue):
            if any(job_id in message.raw for job_id in encoded_ids):
                yield message


def remove(connection: RedisConnection, layout: KeyLayout, tag: str, queue: str) -> bool:
    """Removes one message. True when it was still there."""
    queue_key, index_key = _keys(layout, queue)
    commands = [("DEL", _message_key(layout, tag)), ("ZREM", queue_key, tag), ("ZREM", index_key, tag)]
    removed: bool = connection.execute_all(commands)[0] == 1
    return removed


def scan(connection: RedisConnection, layout: KeyLayout, queue: str) -> Iterator[PlusMessage]:
    """The messages of a queue, as long as the connection has time."""
    queue_key, index_key = _keys(layout, queue)
    start = 0
    while has_time_left(connection):
        tags = connection.execute_all([("ZRANGE", index_key, start, start + TAGS_PER_CALL - 1)])[0]
        if not isinstance(tags, list) or not tags:
            return
        names = [tag.decode() for tag in tags]
        fields = connection.execute_all(
            [("HMGET", _message_key(layout, tag), "payload", "native_delayed") for tag in names]
        )
        ranks = connection.execute_all([("ZRANK", queue_key, tag) for tag in names])
        for tag, pair, rank in zip(names, fields, ranks, strict=True):
            if isinstance(pair, list) and pair[0]:
                position = rank + 1 if isinstance(rank, int) else None
                yield PlusMessage(tag=tag, queue=queue, raw=pair[0], position=position, is_delayed=pair[1] == b"1")
        start += TAGS_PER_CALL


def _keys(layout: KeyLayout, queue: str) -> tuple[str, str]:
    """Those of a queue: what is ready, and all."""
    return f"{layout.prefix}queue:{queue}", f"{layout.prefix}messages_index:{queue}"


def _message_key(layout: KeyLayout, tag: str) -> str:
    return f"{layout.prefix}message:{tag}"
