"""The heat map: in how many of the last weeks somebody was live at each hour of the week."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.live import history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.models import Session


LEVELS = 5  # shades; level 0 is never
CELL, GAP, LEFT, TOP = 20, 2, 44, 20  # of the drawing
MAX_USUAL_HOURS = 3


class HeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """Shares from 0 to 1: a row a weekday from Monday on, a column an hour of the day, in this zone."""

    timezone: str
    weeks: float
    shares: tuple[tuple[float, ...], ...]

    @property
    def usual_hours(self) -> list[tuple[int, int]]:
        """The hours in which they were live most often, as weekday and hour; no more than one a day."""
        best = [(max(row), day, row.index(max(row))) for day, row in enumerate(self.shares)]
        return [(day, hour) for share, day, hour in sorted(best, key=lambda item: -item[0])[:MAX_USUAL_HOURS] if share]


class HeatMapCell(msgspec.Struct, frozen=True):
    """One hour as it is drawn."""

    x: int
    y: int
    level: int
    day: int
    hour: int
    percent: int


def compute_heat_map(sessions: Sequence[Session], first_asked: float | None, now: float, zone: str) -> HeatMap:
    since = min([first_asked or now, *(session.started_at for session in sessions)])
    weeks = max(1.0, min((now - since) / history.WEEK_SECONDS, history.MAX_WEEKS))
    shares = tuple(map(tuple, history.hourly_shares(sessions, since, now, zone)))
    return HeatMap(timezone=zone, weeks=round(weeks, 1), shares=shares)


def heat_map_cells(heat_map: HeatMap) -> list[HeatMapCell]:
    step = CELL + GAP
    return [
        HeatMapCell(LEFT + hour * step, TOP + day * step, _level(share), day, hour, round(share * 100))
        for day, row in enumerate(heat_map.shares)
        for hour, share in enumerate(row)
    ]


def width() -> int:
    return LEFT + history.HOURS_PER_DAY * (CELL + GAP)


def height() -> int:
    return TOP + history.DAYS_PER_WEEK * (CELL + GAP)


def _level(share: float) -> int:
    return min(LEVELS, 1 + int(share * LEVELS)) if share else 0
