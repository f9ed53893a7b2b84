"""When a schedule is due. Every instant is in UTC milliseconds, and every beat reckons the same ones."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from livectl.model import Cron, Interval, Solar
from livectl.ops.reckoning import calendar, zones

if TYPE_CHECKING:
    from livectl.model import Schedule
    from livectl.ops.reckoning.zones import OffsetPeriod

MS_PER_SECOND = 1_000  # milliseconds
SECONDS_PER_MINUTE = 60  # seconds
DURATION_UNITS = (("s", 60), ("m", 60), ("h", 24))  # each with how many of it make the next
MAX_SEARCH_YEARS = 41  # searched for a cron line: 29 February may take 40 years to fall on one given weekday


def next_due(schedule: Schedule, after_ms: int) -> int | None:
    """The first due instant after this one; None when there is none."""
    timing = schedule.timing
    if isinstance(timing, Interval):
        return _interval_due_until(timing, schedule.name, after_ms) + _interval_ms(timing)
    if isinstance(timing, Cron):
        due_second = _cron_due_from(timing, schedule.timezone, after_ms // MS_PER_SECOND + 1)
        return None if due_second is None else due_second * MS_PER_SECOND
    from livectl.ops.reckoning import sun

    return sun.solar_event_after(timing, after_ms)


def last_due(schedule: Schedule, until_ms: int) -> int | None:
    """The latest due instant that is not after this one; None when there is none."""
    timing = schedule.timing
    if isinstance(timing, Interval):
        return _interval_due_until(timing, schedule.name, until_ms)
    if isinstance(timing, Cron):
        due_second = _cron_due_until(timing, schedule.timezone, until_ms // MS_PER_SECOND)
        return None if due_second is None else due_second * MS_PER_SECOND
    from livectl.ops.reckoning import sun

    return sun.solar_event_until(timing, until_ms)


def format_timing(timing: Interval | Cron | Solar) -> str:
    """As a person would write it: every 1h30m, 0 9 * * mon, sunset at 31.2, 121.5."""
    if isinstance(timing, Cron):
        return timing.text
    if isinstance(timing, Solar):
        return f"{timing.event} at {timing.lat:g}, {timing.lon:g}"
    seconds, milliseconds = divmod(_interval_ms(timing), MS_PER_SECOND)
    parts = [f"{milliseconds}ms"] if milliseconds else []
    for unit, size in DURATION_UNITS:
        seconds, remainder = divmod(seconds, size)
        parts += [f"{remainder}{unit}"] if remainder else []
    return f"every {''.join(reversed([*parts, f'{seconds}d'] if seconds else parts))}"


def _interval_ms(interval: Interval) -> int:
    return max(1, round(interval.seconds * MS_PER_SECOND))


def _interval_due_until(interval: Interval, name: str, moment: int) -> int:
    """The grid is anchored at the epoch and moved by the name, so that not all entries fall on the same instant."""
    step = _interval_ms(interval)
    shift = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) % step
    return moment - (moment - shift) % step


def _cron_due_from(cron_line: Cron, zone: str, moment: int) -> int | None:
    for period in zones.offset_periods_from(zone, moment, MAX_SEARCH_YEARS):
        if period.start >= moment and skipped_minute(cron_line, period) is not None:
            return period.start
        first = max(moment + period.offset, _first_local_second(cron_line, period))
        minute = calendar.first_minute_from(
            cron_line, -(-first // SECONDS_PER_MINUTE), -(-(period.end + period.offset) // SECONDS_PER_MINUTE)
        )
        if minute is not None:
            return minute * SECONDS_PER_MINUTE - period.offset
    return None


def _cron_due_until(cron_line: Cron, zone: str, moment: int) -> int | None:
    for period in zones.offset_periods_back_from(zone, moment, MAX_SEARCH_YEARS):
        last = min(moment, period.end - 1) + period.offset
        minute = calendar.last_minute_until(
            cron_line, last // SECONDS_PER_MINUTE, -(-_first_local_second(cron_line, period) // SECONDS_PER_MINUTE)
        )
        if minute is not None:
            return minute * SECONDS_PER_MINUTE - period.offset
        if skipped_minute(cron_line, period) is not None:
            return period.start
    return None


def _first_local_second(cron_line: Cron, period: OffsetPeriod) -> int:
    """The first local second of a stretch that is this line's: what the clock repeats belongs to lines that step."""
    local_start = period.start + period.offset
    return local_start if cron_line.stepping else max(local_start, period.start + period.offset_before)


def skipped_minute(cron_line: Cron, period: OffsetPeriod) -> int | None:
    """The first local minute of the line that the change at the start leaves out, and that is owed right after it.

    A line of every hour is owed nothing: its next run is soon enough.
    """
    if not period.skipped_seconds or calendar.runs_every_hour(cron_line):
        return None
    return _first_minute_in(cron_line, period.skipped_seconds)


def repeated_minute(cron_line: Cron, period: OffsetPeriod) -> int | None:
    """The first local minute of the line that the clock shows a second time after the change at the start."""
    return _first_minute_in(cron_line, period.repeated_seconds) if period.repeated_seconds else None


def _first_minute_in(cron_line: Cron, seconds: range) -> int | None:
    return calendar.first_minute_from(
        cron_line, -(-seconds.start // SECONDS_PER_MINUTE), -(-seconds.stop // SECONDS_PER_MINUTE)
    )
