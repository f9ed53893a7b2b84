"""Draws what pages show as SVG: the heat map of the week, viewers over a session, sessions over a day."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from livectl.live.history import DAYS_PER_WEEK, HOURS_PER_DAY, LABEL_EVERY_HOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.history import HeatMap
    from livectl.models import ViewerCurve


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


SPARK_WIDTH, SPARK_HEIGHT = 60, 18
SPARK_EDGE = 2  # above and below the line
MAX_SPARK_POINTS = 30


@lru_cache(4_096)
def draw_sparkline(curve: ViewerCurve) -> str:
    """The path of a small line without numbers; empty of less than three counts, which make no line."""
    counts = curve.counts[:: -(-len(curve.counts) // MAX_SPARK_POINTS) or 1]
    known = [count for count in counts if count is not None]
    if len(known) < 3:
        return ""
    low, high = min(known), max(known)
    points = [
        (round(at * SPARK_WIDTH / (len(counts) - 1)), _spark_y(count, low, high))
        for at, count in enumerate(counts)
        if count is not None
    ]
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def _spark_y(count: int, low: int, high: int) -> int:
    room = SPARK_HEIGHT - 2 * SPARK_EDGE
    return SPARK_HEIGHT - SPARK_EDGE - (round(room * (count - low) / (high - low)) if high > low else room // 2)


CURVE_WIDTH, CURVE_HEIGHT = 600, 120


class CurveDrawing(msgspec.Struct, frozen=True, kw_only=True):
    """Viewers over a session: an area from nought, in pixels, and the numbers beside it."""

    line: str
    area: str
    peak: int
    average: int
    width: int = CURVE_WIDTH
    height: int = CURVE_HEIGHT


def draw_curve(curve: ViewerCurve | None) -> CurveDrawing | None:
    """None where too little is known to draw it."""
    counts = curve.counts if curve else ()
    known = [(at, count) for at, count in enumerate(counts) if count is not None]
    if len(known) < 2:
        return None
    peak = max(count for _, count in known)
    points = [
        (
            round(at * CURVE_WIDTH / (len(counts) - 1)),
            round(CURVE_HEIGHT - 4 - (CURVE_HEIGHT - 8) * count / (peak or 1)),
        )
        for at, count in known
    ]
    line = "L".join(f"{x} {y}" for x, y in points)
    return CurveDrawing(
        line=f"M{line}",
        area=f"M{points[0][0]} {CURVE_HEIGHT}L{line}L{points[-1][0]} {CURVE_HEIGHT}Z",
        peak=peak,
        average=round(sum(count for _, count in known) / len(known)),
    )
