"""Looks into the cells of a store, and changes what is there, for tests of what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.live.cells import Cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import redis


def key(client: redis.Redis, kind: str, platform: str, streamer_id: str) -> str:
    """The key of this kind in the cell of a streamer."""
    return Cells(client).key(kind, platform, streamer_id)


def keys(client: redis.Redis, kind: str, platform: str) -> Iterator[str]:
    """This key of each cell that there may be."""
    return (f"{cell.place}{kind}" for cell in Cells(client).possible(platform))


def due(client: redis.Redis, platform: str, streamer_id: str) -> float:
    """When somebody is asked next; 0 for somebody who does not wait."""
    score: Any = client.zscore(key(client, "due", platform, streamer_id), streamer_id)
    return float(score or 0)


def set_due(client: redis.Redis, platform: str, dues: Mapping[str, float]) -> None:
    for cell, ids in Cells(client).split(platform, dues).items():
        client.zadd(f"{cell.place}due", {each: dues[each] for each in ids})


def scores(client: redis.Redis, kind: str, platform: str) -> dict[str, float]:
    """What the cells have in their sorted sets of this kind."""
    found: dict[str, float] = {}
    for each in keys(client, kind, platform):
        pairs: Any = client.zrange(each, 0, -1, withscores=True)
        found |= dict(pairs)
    return found


def fields(client: redis.Redis, kind: str, platform: str) -> dict[str, str]:
    """What the cells have in their hashes of this kind."""
    found: Any = {}
    for each in keys(client, kind, platform):
        found |= client.hgetall(each)
    return dict(found)


def remove(client: redis.Redis, kind: str, platform: str, ids: Sequence[str]) -> None:
    """Takes these out of the sorted set or the hash that they are in."""
    for each in ids:
        name = key(client, kind, platform, each)
        if client.type(name) == "hash":
            client.hdel(name, each)
        else:
            client.zrem(name, each)
