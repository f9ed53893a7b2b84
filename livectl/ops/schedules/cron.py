"""Parses cron lines, and finds the local minutes that match one.

A minute is counted from the local midnight that began 1970. Time zones are left to due_times.py: which instant a minute
is, and whether the clock ever shows it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from livectl.models import Cron
from livectl.suggestions import did_you_mean
from livectl.units import format_count
from livectl.validation import quote

MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 24 * MINUTES_PER_HOUR
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
MIN_DAYS_OF_MONTH = 28  # days: the search may jump to the 28th of a month that does not match
MAX_DAYS_OF_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # by month; February in a leap year
FIELD_CACHE_SIZE = 4_096  # words: ten thousand lines are made of a few hundred
MIN_NAME_CHARS = 3  # letters that name a month or a weekday
# The longest word is "september".
RANGE_PATTERN = re.compile(r"(?P<first>\*|\w{1,9})(?:-(?P<last>\w{1,9}))?(?:/(?P<step>\d{1,9}))?", re.ASCII)
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class CronError(ValueError):
    """What is wrong with a cron line, and a hint how to write it."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


class CronField(NamedTuple):
    """One of the five fields: its name, its bounds, and the words that stand for its numbers from `low` on."""

    name: str
    low: int
    high: int
    value_names: tuple[str, ...] = ()
    sunday_is_7: bool = False  # 7 is Sunday too


MONTH_NAMES = "january february march april may june july august september october november december"
WEEKDAY_NAMES = "sunday monday tuesday wednesday thursday friday saturday"
MINUTE = CronField("minute", 0, 59)
HOUR = CronField("hour", 0, 23)
DAY = CronField("day of month", 1, 31)
MONTH = CronField("month", 1, 12, tuple(MONTH_NAMES.split()))
WEEKDAY = CronField("day of week", 0, 6, tuple(WEEKDAY_NAMES.split()), sunday_is_7=True)
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)
CELERY_FIELDS = dict(zip(("minute", "hour", "day_of_month", "month_of_year", "day_of_week"), FIELDS, strict=True))


def parse(text: str) -> Cron:
    """A line of five fields, or a name such as @daily.

    A day matches by date or by weekday when both are restricted.
    """
    line = MACROS.get(text.strip().lower(), text.strip())
    if line.startswith("@"):
        raise _macro_error(line)
    words = line.split()
    if len(words) != len(FIELDS):
        raise CronError(
            f"{quote(text)} has {format_count(len(words), 'field')}; cron has five",
            "minute hour day-of-month month day-of-week",
        )
    return build(text.strip(), words, either_day=not any(words[index].startswith("*") for index in (2, 4)))


def build(text: str, words: list[str], *, either_day: bool) -> Cron:
    """A line of five words, in the order of FIELDS. Raises CronError when it matches no day of any year."""
    minute, hour, day, month, weekday = (parse_field(field, word) for field, word in zip(FIELDS, words, strict=True))
    if not either_day and not _any_date_exists(day, month):
        raise CronError(f"{quote(text)} never comes: that month has no such day", "the longest February has 29 days")
    stepping = words[0].startswith("*") or words[1].startswith("*") or len(hour) > HOUR.high
    return Cron(text, minute, hour, day, month, weekday, either_day, stepping)


def _any_date_exists(days: tuple[int, ...], months: tuple[int, ...]) -> bool:
    """Whether any of the months ever has one of the days."""
    return any(day <= MAX_DAYS_OF_MONTH[month] for month in months for day in days)


@lru_cache(FIELD_CACHE_SIZE)
def parse_field(field: CronField, word: str) -> tuple[int, ...]:
    """The numbers that match a word of a field: numbers, ranges and steps between commas."""
    numbers: set[int] = set()
    for part in word.split(","):
        numbers.update(_parse_range(field, part))
    return tuple(sorted({number % 7 for number in numbers} if field.sunday_is_7 else numbers))


def _parse_range(field: CronField, part: str) -> list[int]:
    match = RANGE_PATTERN.fullmatch(part)
    if match is None:
        raise _field_error(field, part)
    first, last, step = match["first"], match["last"], match["step"]
    if step and first != "*" and not last:
        raise CronError(f"{field.name} {quote(part)}: a step needs a range", f"{first}-{field.high}/{step}")
    if first == "*" and last:
        raise _field_error(field, part)
    numbers = _expand_range(field, first, last)
    return numbers[:: _parse_step(field, step, part)] if step else numbers


def _expand_range(field: CronField, first: str, last: str | None) -> list[int]:
    """The numbers from first to last. A range may go over the end of its field: 22-2 is a night."""
    if first == "*":
        return list(range(field.low, field.high + 1))
    start = _parse_number(field, first)
    if last is None:
        return [start]
    end = _parse_number(field, last)
    if start <= end:
        return list(range(start, end + 1))
    return [*range(start, field.high + 1), *range(field.low, end + 1)]


def _parse_step(field: CronField, step: str, part: str) -> int:
    size = int(step)
    if not 1 <= size <= field.high - field.low + 1:
        raise CronError(f"{field.name} {quote(part)}: no such step", f"from 1 to {field.high - field.low + 1}")
    return size


def _parse_number(field: CronField, word: str) -> int:
    """A number within the bounds of the field, or the name of one in full or in three letters."""
    if word.isdecimal():
        number = int(word)
        if field.low <= number <= field.high + field.sunday_is_7:
            return number
        raise CronError(f"{field.name} {word} is out of range", f"{field.name} goes from {field.low} to {field.high}")
    for number, name in enumerate(field.value_names, field.low):
        if word.lower() in (name, name[:3]):
            return number
    raise _field_error(field, word)


def _field_error(field: CronField, part: str) -> CronError:
    names = [name[:3] for name in field.value_names]
    suggestion = did_you_mean(part[:3], names) if part.isalpha() and len(part) >= MIN_NAME_CHARS else ""
    if suggestion:
        return CronError(f"{field.name} {quote(part)} is not understood", suggestion)
    if part == "?":
        return CronError(f'{field.name} "?" is not understood', "say *")
    allowed = f"{field.low} to {field.high}{f' or {names[0]} to {names[-1]}' if names else ''}"
    return CronError(
        f"{field.name} {quote(part)} is not understood", f"*, {allowed}, a-b, */n, a-b/n, and lists of these"
    )


def _macro_error(line: str) -> CronError:
    name, *rest = line.split()
    if name.lower() == "@reboot":
        return CronError("@reboot has no due time", "beat knows the clock only; send the task with livectl call")
    if name.lower() == "@every":
        return CronError(f"{quote(line)} is no cron line", f"every: {' '.join(rest) or '5m'}")
    return CronError(f"{quote(line)} is not known", did_you_mean(name, MACROS) or f"one of {', '.join(MACROS)}")


def first_minute_from(cron_line: Cron, first: int, stop: int) -> int | None:
    """The first minute that matches, from `first` on and before `stop`."""
    day, minute = divmod(first, MINUTES_PER_DAY)
    match = _time_from(cron_line, minute) if _matches(cron_line, _date(day)) else None
    if match is None:
        day = _day_from(cron_line, day + 1, -(-stop // MINUTES_PER_DAY))
        match = cron_line.hour[0] * MINUTES_PER_HOUR + cron_line.minute[0]
    match += day * MINUTES_PER_DAY
    return match if match < stop else None


def last_minute_until(cron_line: Cron, last: int, floor: int) -> int | None:
    """The last minute that matches, up to `last` and not before `floor`."""
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
    """The first time of day that matches, from this minute of the day on."""
    hour, minute = divmod(minute, MINUTES_PER_HOUR)
    if hour in cron_line.hour and minute <= cron_line.minute[-1]:
        return hour * MINUTES_PER_HOUR + cron_line.minute[bisect_left(cron_line.minute, minute)]
    index = bisect_right(cron_line.hour, hour)
    return cron_line.hour[index] * MINUTES_PER_HOUR + cron_line.minute[0] if index < len(cron_line.hour) else None


def _time_until(cron_line: Cron, minute: int) -> int | None:
    """The last time of day that matches, up to this minute of the day."""
    hour, minute = divmod(minute, MINUTES_PER_HOUR)
    if hour in cron_line.hour and minute >= cron_line.minute[0]:
        return hour * MINUTES_PER_HOUR + cron_line.minute[bisect_right(cron_line.minute, minute) - 1]
    index = bisect_left(cron_line.hour, hour)
    return cron_line.hour[index - 1] * MINUTES_PER_HOUR + cron_line.minute[-1] if index else None


def _day_from(cron_line: Cron, day: int, stop: int) -> int:
    """The first day that matches, from this one on; `stop` when there is none before it."""
    while day < stop:
        local_date = _date(day)
        if _matches(cron_line, local_date):
            return day
        day += 1 if local_date.month in cron_line.month else max(1, MIN_DAYS_OF_MONTH - local_date.day)
    return stop


def _day_until(cron_line: Cron, day: int, floor: int) -> int:
    """The last day that matches, up to this one; the day before `floor` when there is none from it on."""
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
