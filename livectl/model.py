"""The values that travel between stages; nothing that acts on them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Interval(msgspec.Struct, frozen=True, tag="every"):
    """Every so many seconds, on a grid anchored at the epoch."""

    seconds: float


class Cron(msgspec.Struct, frozen=True, tag="cron"):
    """Local times: the sets of minutes, hours, days of month, months and days of week (0 is Sunday) that match."""

    text: str
    minute: frozenset[int]
    hour: frozenset[int]
    day: frozenset[int]
    month: frozenset[int]
    weekday: frozenset[int]
    either_day: bool  # crontab(5): a day matches by date or by weekday when both are restricted; Celery wants both
    stepping: bool  # minute or hour is `*` or `*/n`: it runs through a repeated hour twice


class Solar(msgspec.Struct, frozen=True, tag="solar"):
    """A sunrise, sunset or the like, seen from a place."""

    event: str
    lat: float
    lon: float


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a task is sent, and with what."""

    name: str
    task: str
    timing: Interval | Cron | Solar
    timezone: str = "UTC"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    enabled: bool = True
    catchup: Literal["once", "skip"] = "once"
    deadline: float | None = None  # seconds after its due instant beyond which a run is not worth sending
    overlap: Literal["allow", "skip"] = "allow"


class Run(msgspec.Struct, frozen=True):
    """One due time of a schedule: its name and the instant, in UTC milliseconds since the epoch."""

    name: str
    due: int
