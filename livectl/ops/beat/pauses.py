"""Pauses: entries of the schedule that no beat sends until they are resumed. What falls due meanwhile is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.ops.beat import runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from livectl.model import Schedule


class Pause(msgspec.Struct, frozen=True):
    """Why and since when (UTC milliseconds) an entry is not sent."""

    reason: str
    at: int


def pause(store: redis.Redis, name: str, reason: str) -> bool:
    """From this moment on no beat claims a run of it. False when it was paused already; its reason is the new one."""
    seconds, microseconds = store.time()
    at = seconds * 1000 + microseconds // 1000
    return bool(store.hset(runs.PAUSED, name, msgspec.json.encode(Pause(reason, at))))


def resume(store: redis.Redis, name: str, now: str = "") -> bool:
    """Its runs count again from now on, by the store's clock or a given one. False when it was not paused."""
    _, was = store.eval(runs.source("resume"), 2, runs.PAUSED, runs.SINCE, now, name)
    return bool(was)


def known(store: redis.Redis, schedules: Iterable[Schedule]) -> set[str]:
    """The names that can be paused: of these schedules, and of whatever beats have run."""
    return {each.name for each in schedules} | {str(name) for name in store.zrange(runs.NAMES, 0, -1)}


def paused(store: redis.Redis) -> dict[str, Pause]:
    """Every pause there is, by entry."""
    return {str(name): msgspec.json.decode(said, type=Pause) for name, said in store.hgetall(runs.PAUSED).items()}
