"""What a valid cron line does that its author may not expect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from livectl.ops.reckoning import calendar, timing, zones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.model import Cron

YEARS_AHEAD = 2  # ahead that changes of the clock are looked for
MINUTES_PER_HOUR, MAX_DAYS_PER_MONTH, DAYS_PER_WEEK = 60, 31, 7
MS_PER_SECOND = 1_000  # milliseconds
SECONDS_PER_MINUTE = 60  # seconds


def every_minute_warning(cron_line: Cron) -> str:
    """Of a line that names hours or days, and no minute."""
    if len(cron_line.minute) < MINUTES_PER_HOUR:
        return ""
    if not calendar.runs_every_hour(cron_line):
        return f'"{cron_line.text}" runs every minute of {"that hour" if len(cron_line.hour) == 1 else "those hours"}'
    if len(cron_line.day) < MAX_DAYS_PER_MONTH or len(cron_line.weekday) < DAYS_PER_WEEK:
        return f'"{cron_line.text}" runs every minute of those days'
    return ""


def once_per_hour(cron_line: Cron) -> str:
    """The same line, once in each hour it names, or once in the day."""
    _, hour, *days = cron_line.text.split()
    return " ".join(["0", "0" if calendar.runs_every_hour(cron_line) else hour, *days])


def clock_change_warnings(cron_line: Cron, zone: str, now_ms: int) -> Iterator[str]:
    """The next change of the clock that skips a local time of the line, and the next that repeats one."""
    now = now_ms // MS_PER_SECOND
    changes = [
        period
        for period in zones.offset_periods_from(zone, now, YEARS_AHEAD + 1)
        if now < period.start and period.offset != period.offset_before
    ]
    for change in changes:
        minute = timing.skipped_minute(cron_line, change)
        if minute is not None:
            run_time = _naive_time(change.start + change.offset)
            yield f"{_naive_time(minute * SECONDS_PER_MINUTE):%Y-%m-%d %H:%M} does not exist in {zone}; it runs at {run_time:%H:%M} that day"
            break
    for change in changes:
        minute = timing.repeated_minute(cron_line, change)
        if minute is not None and not calendar.runs_every_hour(cron_line):
            times = "both times" if cron_line.stepping else "the first time only"
            yield f"{_naive_time(minute * SECONDS_PER_MINUTE):%Y-%m-%d %H:%M} comes twice in {zone}; it runs {times}"
            break


def _naive_time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
