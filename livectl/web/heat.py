"""The heat map: in how many of the last weeks somebody was live at each hour of the week."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.live.views import hours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.model import Session

LEVELS = 5  # shades; level 0 is never
CELL, GAP, LEFT, TOP = 20, 2, 44, 20  # of the drawing
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
    since = min([first or now, *(one.started_at for one in sessions)])
    weeks = max(1.0, min((now - since) / hours.WEEK, hours.WEEKS))
    shares = tuple(map(tuple, hours.shares(sessions, since, now, zone)))
    return Heat(timezone=zone, weeks=round(weeks, 1), shares=shares)


def cells(heat: Heat) -> list[Cell]:
    step = CELL + GAP
    return [
        Cell(LEFT + hour * step, TOP + day * step, _level(share), day, hour, round(share * 100))
        for day, row in enumerate(heat.shares)
        for hour, share in enumerate(row)
    ]


def width() -> int:
    return LEFT + hours.HOURS * (CELL + GAP)


def height() -> int:
    return TOP + hours.DAYS * (CELL + GAP)


def _level(share: float) -> int:
    return min(LEVELS, 1 + int(share * LEVELS)) if share else 0
