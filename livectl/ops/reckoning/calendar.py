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

HOUR = 60  # minutes
DAY = 24 * HOUR
EPOCH = date(1970, 1, 1).toordinal()
SHORTEST_MONTH = 28  # days: a wrong month may be left by a jump to its 28th


def following(cron: Cron, first: int, stop: int) -> int | None:
    """The first matching minute from `first` on, before `stop`."""
    day, minute = divmod(first, DAY)
    found = _time_from(cron, minute) if _matches(cron, _date(day)) else None
    if found is None:
        day = _day_from(cron, day + 1, -(-stop // DAY))
        found = cron.hour[0] * HOUR + cron.minute[0]
    found += day * DAY
    return found if found < stop else None


def preceding(cron: Cron, last: int, floor: int) -> int | None:
    """The last matching minute up to `last`, and not below `floor`."""
    day, minute = divmod(last, DAY)
    found = _time_until(cron, minute) if _matches(cron, _date(day)) else None
    if found is None:
        day = _day_until(cron, day - 1, floor // DAY)
        found = cron.hour[-1] * HOUR + cron.minute[-1]
    found += day * DAY
    return found if found >= floor else None


def every_hour(cron: Cron) -> bool:
    return len(cron.hour) * HOUR == DAY


def _time_from(cron: Cron, minute: int) -> int | None:
    """The first matching time of day at or after a minute of it."""
    hour, minute = divmod(minute, HOUR)
    if hour in cron.hour and minute <= cron.minute[-1]:
        return hour * HOUR + cron.minute[bisect_left(cron.minute, minute)]
    later = bisect_right(cron.hour, hour)
    return cron.hour[later] * HOUR + cron.minute[0] if later < len(cron.hour) else None


def _time_until(cron: Cron, minute: int) -> int | None:
    """The last matching time of day at or before a minute of it."""
    hour, minute = divmod(minute, HOUR)
    if hour in cron.hour and minute >= cron.minute[0]:
        return hour * HOUR + cron.minute[bisect_right(cron.minute, minute) - 1]
    earlier = bisect_left(cron.hour, hour)
    return cron.hour[earlier - 1] * HOUR + cron.minute[-1] if earlier else None


def _day_from(cron: Cron, day: int, stop: int) -> int:
    """The first matching day from this one on; `stop` when there is none before it."""
    while day < stop:
        when = _date(day)
        if _matches(cron, when):
            return day
        day += 1 if when.month in cron.month else max(1, SHORTEST_MONTH - when.day)
    return stop


def _day_until(cron: Cron, day: int, floor: int) -> int:
    """The last matching day up to this one; one below `floor` when there is none."""
    while day >= floor:
        when = _date(day)
        if _matches(cron, when):
            return day
        day -= 1 if when.month in cron.month else max(1, when.day - 1)
    return floor - 1


def _matches(cron: Cron, when: date) -> bool:
    if when.month not in cron.month:
        return False
    by_date = when.day in cron.day
    by_week = when.isoweekday() % 7 in cron.weekday
    return by_date or by_week if cron.either_day else by_date and by_week


def _date(day: int) -> date:
    return date.fromordinal(EPOCH + day)
