"""Local days on which a schedule does not run: in words, in files of dates, and on the clock.

An item is a weekday, a date (`2026-12-24`), a range of dates (`2026-12-24..2027-01-02`) or the name of a calendar. A
calendar is a file with a date or a range on each line, or an iCalendar file, whose events are days without a run.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from livectl.models import ExcludedDays
from livectl.ops.schedules import cron
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    DateRange = tuple[date, date]


ONE_DAY = timedelta(days=1)
MAX_DAYS_CLOSED = 366 * 40  # looked through for an open day
MAX_RANGE_DAYS = 366 * 10  # of one event or range: a longer one is a slip of the pen
DAY_CACHE_SIZE = 4_096
DATE_EXAMPLE = "such as 2026-12-24 or 2026-12-24..2027-01-02"
PROPERTY = re.compile(r"(?P<name>[A-Za-z0-9-]+)(?P<parameters>(?:;[^:\"]*(?:\"[^\"]*\"[^:\"]*)*)?):(?P<value>.*)")
ICALENDAR_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d{6})Z?)?")
ICALENDAR_DAYS = re.compile(r"P(?:(?P<weeks>\d+)W|(?P<days>\d+)D)(?:T0[HMS])*")


class DaysError(ValueError):
    """What is wrong with words for days, how to mend it, and on which line of a file."""

    def __init__(self, text: str, hint: str, line: int = 0) -> None:
        super().__init__(text)
        self.text, self.hint, self.line = text, hint, line


def parse(text: str) -> ExcludedDays:
    """A weekday, a date or a range of dates. Raises DaysError."""
    try:
        (weekday,) = cron.parse_field(cron.WEEKDAY, text.lower()) if text.isalpha() else ()
    except (cron.CronError, ValueError):
        return ExcludedDays(text, ranges=(parse_range(text),))
    return ExcludedDays(text, weekdays=(weekday,))


def parse_range(text: str) -> DateRange:
    first_text, dots, last_text = text.partition("..")
    first = _parse_date(first_text.strip())
    last = _parse_date(last_text.strip()) if dots else first
    if last < first:
        raise DaysError(f'"{text}" ends before it starts', f"{last}..{first}")
    if (last - first).days > MAX_RANGE_DAYS:
        raise DaysError(f'"{text}" is longer than ten years', "say `end:`, or take the entry out")
    return first, last


def _parse_date(text: str) -> date:
    try:
        return date.fromisoformat(text) if len(text) == len("2026-12-24") else date.fromisoformat("")
    except ValueError:
        raise DaysError(f'"{text}" is no date', DATE_EXAMPLE) from None


def parse_calendar(name: str, text: str) -> ExcludedDays:
    """The days of a calendar file. Raises DaysError with the line at fault."""
    if text.lstrip("\ufeff \r\n").upper().startswith("BEGIN:VCALENDAR"):
        return _parse_icalendar(name, text)
    ranges = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        words = line.partition("#")[0].split(maxsplit=1)
        if words:
            try:
                ranges.append(parse_range(words[0]))
            except DaysError as error:
                raise DaysError(error.text, error.hint, number) from None
    return ExcludedDays(name, ranges=_merge(ranges))


class IcalendarProperty(NamedTuple):
    """One property of an iCalendar file: `DTSTART;VALUE=DATE:20261225`."""

    line: int
    name: str
    value: str


def _parse_icalendar(name: str, text: str) -> ExcludedDays:
    ranges: list[DateRange] = []
    yearly: set[tuple[int, int]] = set()
    event: dict[str, IcalendarProperty] | None = None
    boundary, line = ("", ""), 1
    for item in _read_properties(text):
        boundary, line = (item.name, item.value.upper()), item.line
        if boundary == ("END", "VEVENT") and event is not None:
            _add_event(event, line, ranges, yearly)
            event = None
        elif boundary == ("BEGIN", "VEVENT") and event is None:
            event = {}
        elif boundary in {("BEGIN", "VEVENT"), ("END", "VCALENDAR")} and event is not None:
            raise DaysError("the event before this line has no end", "END:VEVENT", line)
        elif event is not None:
            event.setdefault(item.name, item)
    if boundary != ("END", "VCALENDAR"):
        raise DaysError("the file ends before its calendar does", "is it whole? it ends with END:VCALENDAR", line)
    return ExcludedDays(name, ranges=_merge(ranges), yearly=tuple(sorted(yearly)))


def _read_properties(text: str) -> Iterator[IcalendarProperty]:
    """The properties, each with the line that it starts on. A line that starts with a space goes on with the last."""
    unfolded: list[tuple[int, str]] = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        if line[:1] in {" ", "\t"} and unfolded:
            unfolded[-1] = (unfolded[-1][0], unfolded[-1][1] + line[1:])
        elif line.strip():
            unfolded.append((number, line))
    for number, line in unfolded:
        if match := PROPERTY.fullmatch(line):
            yield IcalendarProperty(number, match["name"].upper(), match["value"].strip())


def _add_event(
    event: dict[str, IcalendarProperty], line: int, ranges: list[DateRange], yearly: set[tuple[int, int]]
) -> None:
    if "STATUS" in event and event["STATUS"].value.upper() == "CANCELLED":
        return
    if "DTSTART" not in event:
        raise DaysError("an event without DTSTART", "DTSTART;VALUE=DATE:20261225", line)
    first, last = _event_days(event)
    for name in ("RDATE", "EXDATE"):
        if name in event:
            raise DaysError(f"{name} is not read", "write the days out as events of their own", event[name].line)
    if "RRULE" not in event:
        ranges.append((first, last))
        return
    _check_yearly(event["RRULE"], first)
    yearly.update(
        (day.month, day.day) for day in (first + number * ONE_DAY for number in range((last - first).days + 1))
    )


def _event_days(event: dict[str, IcalendarProperty]) -> DateRange:
    start = event["DTSTART"]
    first, _ = _icalendar_date(start)
    last = first
    if "DTEND" in event:
        end, is_midnight = _icalendar_date(event["DTEND"])
        last = max(first, end - ONE_DAY) if is_midnight and end >= first else end
    elif "DURATION" in event and (match := ICALENDAR_DAYS.fullmatch(event["DURATION"].value)):
        last = first + timedelta(days=max(1, int(match["weeks"] or 0) * 7 + int(match["days"] or 0)) - 1)
    if last < first:
        raise DaysError("an event that ends before it starts", "look at DTSTART and DTEND", start.line)
    if (last - first).days > MAX_RANGE_DAYS:
        raise DaysError("an event longer than ten years", "look at DTSTART and DTEND", start.line)
    return first, last


def _icalendar_date(item: IcalendarProperty) -> tuple[date, bool]:
    """The day of a property, and whether it is that day's first moment."""
    match = ICALENDAR_DATE.fullmatch(item.value)
    try:
        if match:
            return date(int(match[1]), int(match[2]), int(match[3])), match[4] in {None, "000000"}
    except ValueError:
        pass
    raise DaysError(f'{item.name} "{item.value}" is no date', "such as 20261225", item.line)


def _check_yearly(rule: IcalendarProperty, first: date) -> None:
    """Refuses a rule unless it means the same day of every year."""
    parts = dict(part.upper().partition("=")[::2] for part in rule.value.split(";"))
    same_day = {"FREQ": "YEARLY", "INTERVAL": "1", "BYMONTH": str(first.month), "BYMONTHDAY": str(first.day)}
    if parts.get("FREQ") != "YEARLY" or any(
        same_day.get(key) != value for key, value in parts.items() if key != "WKST"
    ):
        raise DaysError(f"RRULE:{rule.value} is not read", "write the days out as events of their own", rule.line)


def _merge(ranges: Iterable[DateRange]) -> tuple[DateRange, ...]:
    """The same days in order, without ranges that touch or overlap."""
    merged: list[DateRange] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + ONE_DAY:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def excluded_by(excluded: Sequence[ExcludedDays], day: date) -> str:
    """The words of the first item that excludes a day; empty when none does."""
    return next((item.text for item in excluded if _excludes(item, day)), "")


def _excludes(item: ExcludedDays, day: date) -> bool:
    if day.isoweekday() % 7 in item.weekdays or (day.month, day.day) in item.yearly:
        return True
    number = bisect_right(item.ranges, day, key=lambda days: days[0]) - 1
    return number >= 0 and day <= item.ranges[number][1]


def opens_at(excluded: Sequence[ExcludedDays], moment: int, zone: str) -> int | None:
    """When the first day after that of this moment begins that is not excluded; None when there is none for long."""
    day = _open_day(excluded, local_day(moment, zone), 1)
    return min(_midnights(day, zone)) if day else None


def closed_at(excluded: Sequence[ExcludedDays], moment: int, zone: str) -> int | None:
    """When the last day before that of this moment ends that is not excluded; None when there is none for long."""
    day = _open_day(excluded, local_day(moment, zone), -1)
    return max(_midnights(day + ONE_DAY, zone)) if day else None


@lru_cache(DAY_CACHE_SIZE)
def _open_day(excluded: tuple[ExcludedDays, ...], day: date, step: int) -> date | None:
    for number in range(1, MAX_DAYS_CLOSED):
        other = day + number * step * ONE_DAY
        if not excluded_by(excluded, other):
            return other
    return None


def _midnights(day: date, zone: str) -> tuple[int, int]:
    """When a day begins: at two instants if the clock shows its first moment twice, or skips it."""
    zone_info = ZoneInfo(zone)
    first, second = (datetime(day.year, day.month, day.day, tzinfo=zone_info, fold=fold) for fold in (0, 1))
    return int(first.timestamp()) * MS_PER_SECOND, int(second.timestamp()) * MS_PER_SECOND


def begins_at(day: date, zone: str) -> int:
    """The first moment of a local day, in UTC milliseconds."""
    return min(_midnights(day, zone))


def local_day(moment: int, zone: str) -> date:
    if zone == "UTC":
        return datetime.fromtimestamp(moment // MS_PER_SECOND, UTC).date()
    return datetime.fromtimestamp(moment // MS_PER_SECOND, ZoneInfo(zone)).date()
