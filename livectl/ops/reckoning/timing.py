"""When a schedule is due. Every instant is in UTC milliseconds, and every beat reckons the same ones."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from livectl.model import Cron, Interval, Solar
from livectl.ops.reckoning import calendar, zones

if TYPE_CHECKING:
    from livectl.model import Schedule
    from livectl.ops.reckoning.zones import Stretch

SECOND = 1_000  # milliseconds
MINUTE = 60  # seconds
UNITS = (("s", 60), ("m", 60), ("h", 24))  # each with how many of it make the next
YEARS = 41  # searched for a cron line: 29 February may take 40 years to fall on one given weekday


def next_due(schedule: Schedule, after_ms: int) -> int | None:
    """The first due instant after this one; None when there is none."""
    timing = schedule.timing
    if isinstance(timing, Interval):
        return _grid_until(timing, schedule.name, after_ms) + _step(timing)
    if isinstance(timing, Cron):
        found = _cron_from(timing, schedule.timezone, after_ms // SECOND + 1)
        return None if found is None else found * SECOND
    from livectl.ops.reckoning import sun

    return sun.event_after(timing, after_ms)


def last_due(schedule: Schedule, until_ms: int) -> int | None:
    """The latest due instant that is not after this one; None when there is none."""
    timing = schedule.timing
    if isinstance(timing, Interval):
        return _grid_until(timing, schedule.name, until_ms)
    if isinstance(timing, Cron):
        found = _cron_until(timing, schedule.timezone, until_ms // SECOND)
        return None if found is None else found * SECOND
    from livectl.ops.reckoning import sun

    return sun.event_until(timing, until_ms)


def in_words(timing: Interval | Cron | Solar) -> str:
    """As a person would write it: every 1h30m, 0 9 * * mon, sunset at 31.2, 121.5."""
    if isinstance(timing, Cron):
        return timing.text
    if isinstance(timing, Solar):
        return f"{timing.event} at {timing.lat:g}, {timing.lon:g}"
    seconds, milliseconds = divmod(_step(timing), SECOND)
    parts = [f"{milliseconds}ms"] if milliseconds else []
    for unit, size in UNITS:
        seconds, left = divmod(seconds, size)
        parts += [f"{left}{unit}"] if left else []
    return f"every {''.join(reversed([*parts, f'{seconds}d'] if seconds else parts))}"


def _step(interval: Interval) -> int:
    return max(1, round(interval.seconds * SECOND))


def _grid_until(interval: Interval, name: str, moment: int) -> int:
    """The grid is anchored at the epoch and moved by the name, so that not all entries fall on the same instant."""
    step = _step(interval)
    moved = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) % step
    return moment - (moment - moved) % step


def _cron_from(cron: Cron, zone: str, moment: int) -> int | None:
    for stretch in zones.onward(zone, moment, YEARS):
        if stretch.start >= moment and skipped(cron, stretch) is not None:
            return stretch.start
        first = max(moment + stretch.offset, _opening(cron, stretch))
        minute = calendar.following(cron, -(-first // MINUTE), -(-(stretch.end + stretch.offset) // MINUTE))
        if minute is not None:
            return minute * MINUTE - stretch.offset
    return None


def _cron_until(cron: Cron, zone: str, moment: int) -> int | None:
    for stretch in zones.backward(zone, moment, YEARS):
        last = min(moment, stretch.end - 1) + stretch.offset
        minute = calendar.preceding(cron, last // MINUTE, -(-_opening(cron, stretch) // MINUTE))
        if minute is not None:
            return minute * MINUTE - stretch.offset
        if skipped(cron, stretch) is not None:
            return stretch.start
    return None


def _opening(cron: Cron, stretch: Stretch) -> int:
    """The first local second of a stretch that is this line's: what the clock repeats belongs to lines that step."""
    opens = stretch.start + stretch.offset
    return opens if cron.stepping else max(opens, stretch.start + stretch.before)


def skipped(cron: Cron, stretch: Stretch) -> int | None:
    """The first local minute of the line that the change at the start leaves out, and that is owed right after it.

    A line of every hour is owed nothing: its next run is soon enough.
    """
    if not stretch.skipped or calendar.every_hour(cron):
        return None
    return _first(cron, stretch.skipped)


def repeated(cron: Cron, stretch: Stretch) -> int | None:
    """The first local minute of the line that the clock shows a second time after the change at the start."""
    return _first(cron, stretch.repeated) if stretch.repeated else None


def _first(cron: Cron, seconds: range) -> int | None:
    return calendar.following(cron, -(-seconds.start // MINUTE), -(-seconds.stop // MINUTE))
