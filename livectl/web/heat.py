"""The heat map: in how many of the last weeks somebody was live at each hour of the week."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from livectl.model import Session

HOUR = 3600.0  # seconds
WEEK = 168 * HOUR
WEEKS = 12  # habits change with the seasons
QUARTER = 900.0  # seconds: no zone is off the hour by less
DAYS, HOURS = 7, 24
LEVELS = 5  # shades; level 0 is never
CELL, GAP, LEFT, TOP = 20, 2, 44, 20  # of the drawing
EVERY = 3  # hours between two labels
MOST_USUAL = 3


class Heat(msgspec.Struct, frozen=True, kw_only=True):
    """Shares from 0 to 1: a row a weekday from Monday on, a column an hour of the day, in this zone."""

    timezone: str
    weeks: float
    shares: tuple[tuple[float, ...], ...]

    @property
    def usual(self) -> list[tuple[int, int]]:
        """The hours in which they were live most often, as weekday and hour; no more than one a day."""
        best = [(max(row), day, row.index(max(row))) for day, row in enumerate(self.shares)]
        return [(day, hour) for share, day, hour in sorted(best, key=lambda one: -one[0])[:MOST_USUAL] if share]


class Cell(msgspec.Struct, frozen=True):
    """One hour as it is drawn."""

    x: int
    y: int
    level: int
    day: int
    hour: int
    percent: int


def reckon(sessions: Sequence[Session], first: float | None, now: float, zone: str) -> Heat:
    since = max(now - WEEKS * WEEK, min([first or now, *(one.started_at for one in sessions)]))
    weeks = max(1.0, (now - since) / WEEK)
    hours = [[0.0] * HOURS for _ in range(DAYS)]
    clock = ZoneInfo(zone)
    for start, end in _slices(sessions, since, now):
        local = datetime.fromtimestamp(start, clock)
        hours[local.weekday()][local.hour] += (end - start) / HOUR
    shares = tuple(tuple(round(min(1.0, hour / weeks), 3) for hour in row) for row in hours)
    return Heat(timezone=zone, weeks=round(weeks, 1), shares=shares)


def _slices(sessions: Iterable[Session], since: float, now: float) -> Iterator[tuple[float, float]]:
    for one in sessions:
        at, end = max(one.started_at, since), min(one.ended_at or now, now)
        while at < end:
            until = min(end, (at // QUARTER + 1) * QUARTER)
            yield at, until
            at = until


def cells(heat: Heat) -> list[Cell]:
    step = CELL + GAP
    return [
        Cell(LEFT + hour * step, TOP + day * step, _level(share), day, hour, round(share * 100))
        for day, row in enumerate(heat.shares)
        for hour, share in enumerate(row)
    ]


def width() -> int:
    return LEFT + HOURS * (CELL + GAP)


def height() -> int:
    return TOP + DAYS * (CELL + GAP)


def _level(share: float) -> int:
    return min(LEVELS, 1 + int(share * LEVELS)) if share else 0
