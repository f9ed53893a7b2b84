"""The local minutes that a cron line names, on a calendar without zones.

A minute is counted from the local midnight that began 1970; which instant it is, or whether the clock ever shows it, is
not known here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livectl.model import Cron

MINUTES_PER_HOUR = 60  # minutes
MINUTES_PER_DAY = 24 * MINUTES_PER_HOUR
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
MIN_DAYS_OF_MONTH = 28  # days: a wrong month may be left by a jump to its 28th


def first_minute_from(cron_line: Cron, first: int, stop: int) -> int | None:
    """The first matching minute from `first` on, before `stop`."""
    day, minute = divmod(first, MINUTES_PER_DAY)
    match = _time_from(cron_line, minute) if _matches(cron_line, _date(day)) else None
    if match is None:
        day = _day_from(cron_line, day + 1, -(-stop // MINUTES_PER_DAY))
        match = cron_line.hour[0] * MINUTES_PER_HOUR + cron_line.minute[0]
    match += day * MINUTES_PER_DAY
    return match if match < stop else None


def last_minute_until(cron_line: Cron, last: int, floor: int) -> int | None:
    """The last matching minute up to `last`, and not below `floor`."""
    day, minute = divmod(last, MINUTES_PER_DAY)
    match = _time_until(cron_line, minute) if _matches(cron_line, _date(day)) else None
    if match is None:
        day = _day_until(cron_line, day - 1, floor // MINUTES_PER_DAY)
        match = cron_line.hour[-1] * MINUTES_PER_HOUR + cron_line.minute[-1]
    match += day * MINUTES_PER_DAY
    return match if match >= floor else None


def runs_every_hour(cron_line: Cron) -> bool:
    return len(cron_line.hour) * MINUTES_PER_HOUR == MINUTES_PER_DAY


def _time_from(cron_line: Cron, minute: int) -> int | None:
    """The first matching time of day at or after a minute of it."""
    hour, minute = divmod(minute, MINUTES_PER_HOUR)
    if hour in cron_line.hour and minute <= cron_line.minute[-1]:
        return hour * MINUTES_PER_HOUR + cron_line.minute[bisect_left(cron_line.minute, minute)]
    index = bisect_right(cron_line.hour, hour)
    return cron_line.hour[index] * MINUTES_PER_HOUR + cron_line.minute[0] if index < len(cron_line.hour) else None


def _time_until(cron_line: Cron, minute: int) -> int | None:
    """The last matching time of day at or before a minute of it."""
    hour, minute = divmod(minute, MINUTES_PER_HOUR)
    if hour in cron_line.hour and minute >= cron_line.minute[0]:
        return hour * MINUTES_PER_HOUR + cron_line.minute[bisect_right(cron_line.minute, minute) - 1]
    index = bisect_left(cron_line.hour, hour)
    return cron_line.hour[index - 1] * MINUTES_PER_HOUR + cron_line.minute[-1] if index else None


def _day_from(cron_line: Cron, day: int, stop: int) -> int:
    """The first matching day from this one on; `stop` when there is none before it."""
    while day < stop:
        local_date = _date(day)
        if _matches(cron_line, local_date):
            return day
        day += 1 if local_date.month in cron_line.month else max(1, MIN_DAYS_OF_MONTH - local_date.day)
    return stop


def _day_until(cron_line: Cron, day: int, floor: int) -> int:
    """The last matching day up to this one; one below `floor` when there is none."""
    while day >= floor:
        local_date = _date(day)
        if _matches(cron_line, local_date):
            return day
        day -= 1 if local_date.month in cron_line.month else max(1, local_date.day - 1)
    return floor - 1


def _matches(cron_line: Cron, local_date: date) -> bool:
    if local_date.month not in cron_line.month:
        return False
    by_date = local_date.day in cron_line.day
    by_week = local_date.isoweekday() % 7 in cron_line.weekday
    return by_date or by_week if cron_line.either_day else by_date and by_week


def _date(day: int) -> date:
    return date.fromordinal(EPOCH_ORDINAL + day)
