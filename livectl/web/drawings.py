"""Draws what pages show as SVG: the heat map of the week."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.live.history import DAYS_PER_WEEK, HOURS_PER_DAY, LABEL_EVERY_HOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.history import HeatMap


LEVELS = 5  # shades; level 0 is never
CELL_PX, GAP_PX, LEFT_PX, TOP_PX = 20, 2, 44, 20
STEP_PX = CELL_PX + GAP_PX
HOUR_BASELINE_PX, DAY_BASELINE_PX = -7, 14  # of a label's text, from the upper edge of the squares beside it


class HeatMapCell(msgspec.Struct, frozen=True):
    """The square of one hour of the week."""

    x: int
    y: int
    level: int
    day: str
    hour: str
    percent: int


class HeatMapLabel(msgspec.Struct, frozen=True):
    """A weekday or an hour at the edge."""

    x: int
    y: int
    text: str


class HeatMapDrawing(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page draws, in pixels."""

    cells: list[HeatMapCell]
    hours: list[HeatMapLabel]
    days: list[HeatMapLabel]
    cell: int = CELL_PX
    width: int = LEFT_PX + HOURS_PER_DAY * STEP_PX
    height: int = TOP_PX + DAYS_PER_WEEK * STEP_PX


def draw_heat_map(heat_map: HeatMap, day_names: Sequence[str]) -> HeatMapDrawing:
    """`day_names` are the weekdays in the visitor's language, from Monday on."""
    return HeatMapDrawing(
        cells=[
            HeatMapCell(_x(hour), _y(day), _level(share), day_names[day], f"{hour:02}", round(share * 100))
            for day, row in enumerate(heat_map.shares)
            for hour, share in enumerate(row)
        ],
        hours=[
            HeatMapLabel(_x(hour), TOP_PX + HOUR_BASELINE_PX, f"{hour:02}")
            for hour in range(0, HOURS_PER_DAY, LABEL_EVERY_HOURS)
        ],
        days=[HeatMapLabel(0, _y(day) + DAY_BASELINE_PX, name) for day, name in enumerate(day_names)],
    )


def _x(hour: int) -> int:
    return LEFT_PX + hour * STEP_PX


def _y(day: int) -> int:
    return TOP_PX + day * STEP_PX


def _level(share: float) -> int:
    return min(LEVELS, 1 + int(share * LEVELS)) if share else 0
