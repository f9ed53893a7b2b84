"""What a valid cron line does that its author may not expect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from livectl.ops.reckoning import calendar, timing, zones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.model import Cron

YEARS = 2  # ahead that changes of the clock are looked for
ALL_MINUTES, ALL_DAYS, ALL_WEEKDAYS = 60, 31, 7
SECOND = 1_000  # milliseconds
MINUTE = 60  # seconds


def every_minute(line: Cron) -> str:
    """Of a line that names hours or days, and no minute."""
    if len(line.minute) < ALL_MINUTES:
        return ""
    if not calendar.every_hour(line):
        return f'"{line.text}" runs every minute of {"that hour" if len(line.hour) == 1 else "those hours"}'
    if len(line.day) < ALL_DAYS or len(line.weekday) < ALL_WEEKDAYS:
        return f'"{line.text}" runs every minute of those days'
    return ""


def once(line: Cron) -> str:
    """The same line, once in each hour it names, or once in the day."""
    _, hour, *days = line.text.split()
    return " ".join(["0", "0" if calendar.every_hour(line) else hour, *days])


def clock_changes(line: Cron, zone: str, now_ms: int) -> Iterator[str]:
    """The next change of the clock that skips a local time of the line, and the next that repeats one."""
    now = now_ms // SECOND
    changes = [each for each in zones.onward(zone, now, YEARS + 1) if now < each.start and each.offset != each.before]
    for change in changes:
        minute = timing.skipped(line, change)
        if minute is not None:
            runs = _local(change.start + change.offset)
            yield f"{_local(minute * MINUTE):%Y-%m-%d %H:%M} does not exist in {zone}; it runs at {runs:%H:%M} that day"
            break
    for change in changes:
        minute = timing.repeated(line, change)
        if minute is not None and not calendar.every_hour(line):
            times = "both times" if line.stepping else "the first time only"
            yield f"{_local(minute * MINUTE):%Y-%m-%d %H:%M} comes twice in {zone}; it runs {times}"
            break


def _local(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
