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
    return bool(store.hset(runs.PAUSED_KEY, name, msgspec.json.encode(Pause(reason, at))))


def resume(store: redis.Redis, name: str, now: str = "") -> bool:
    """Its runs count again from now on, by the store's clock or a given one. False when it was not paused."""
    _, was_paused = store.eval(runs.script_source("resume"), 2, runs.PAUSED_KEY, runs.SINCE_KEY, now, name)
    return bool(was_paused)


def read_pausable_names(store: redis.Redis, schedules: Iterable[Schedule]) -> set[str]:
    """The names that can be paused: of these schedules, and of whatever beats have run."""
    return {schedule.name for schedule in schedules} | {str(name) for name in store.zrange(runs.NAMES_KEY, 0, -1)}


def read_pauses(store: redis.Redis) -> dict[str, Pause]:
    """Every pause there is, by entry."""
    return {str(name): msgspec.json.decode(data, type=Pause) for name, data in store.hgetall(runs.PAUSED_KEY).items()}
