"""Pauses of entries: no beat claims a run of an entry while it has one in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.ops.beat.run_store import ENTRIES_KEY, FAILURES_KEY, NAMES_KEY, PAUSED_KEY, SINCE_KEY, Pause, script_source
from livectl.units import MICROSECONDS_PER_MS, MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from livectl.models import Schedule


def pause(store: redis.Redis, name: str, reason: str) -> bool:
    """Lets no beat claim a run of this entry any more. False when it was paused already, for another reason."""
    return pause_all(store, [name], reason) == 1


def pause_all(store: redis.Redis, names: Iterable[str], reason: str) -> int:
    """Lets no beat claim a run of these entries any more, in one step. Returns how many were not paused yet."""
    seconds, microseconds = store.time()
    at = seconds * MS_PER_SECOND + microseconds // MICROSECONDS_PER_MS
    return int(store.hset(PAUSED_KEY, mapping=dict.fromkeys(names, msgspec.json.encode(Pause(reason, at)))))


def resume(store: redis.Redis, name: str, now: str = "") -> bool:
    """Lets runs of this entry be claimed again, from now on. False when it was not paused.

    `now` are UTC milliseconds; without it, the store's clock counts.
    """
    return resume_all(store, [name], now) == 1


def resume_all(store: redis.Redis, names: Iterable[str], now: str = "") -> int:
    """Lets runs of these entries be claimed again, in one step. Returns how many of them were paused."""
    _, resumed = store.eval(script_source("resume"), 3, PAUSED_KEY, SINCE_KEY, FAILURES_KEY, now, *names)
    return int(resumed)


def read_pauses(store: redis.Redis) -> dict[str, Pause]:
    """All pauses, by entry."""
    return {str(name): msgspec.json.decode(data, type=Pause) for name, data in store.hgetall(PAUSED_KEY).items()}


def read_pausable_names(store: redis.Redis, schedules: Iterable[Schedule]) -> set[str]:
    """The names of entries that can be paused: these schedules, and all that beats have run lately."""
    seen = {str(name) for name in (*store.zrange(NAMES_KEY, 0, -1), *store.hkeys(ENTRIES_KEY))}
    return {schedule.name for schedule in schedules} | seen
