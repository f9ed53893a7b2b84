"""Reads and checks the keys of an entry that say whose it is, and which of its runs are left out or moved."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from livectl import validation
from livectl.errors import SettingsError
from livectl.models import After, At, ExcludedDays, Expectation, Interval
from livectl.ops.schedules import cron, days, due_times
from livectl.suggestions import did_you_mean
from livectl.units import MS_PER_SECOND, format_instant, parse_times
from livectl.validation import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from livectl.models import Schedule
    from livectl.validation import FileLocation


INSTANT_HINT = "such as 2027-01-31T09:00 or 2027-01-31T09:00:00Z"
DAYS_HINT = "such as [sat, sun, 2026-12-24..2027-01-02], or the name of a calendar"
CALENDARS_EXAMPLE = "{holidays: holidays.ics}"
MAX_CALENDAR_BYTES = 4_000_000
DAYS_OF_WEEK = 7
AFTER_WORDS = ("succeeded", "failed", "ended")
NOT_AFTER = {"catchup", "window", "jitter"}  # keys that only a run with a time of its own can have
LAST_MOMENT = time(23, 59, 59, 999_000)  # of a day
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MAX_INSTANT = (datetime(due_times.LAST_YEAR, 12, 31, tzinfo=UTC) - EPOCH) // MILLISECOND


class Surroundings(msgspec.Struct, frozen=True):
    """What a file says for all of its entries."""

    zone: str
    calendars: dict[str, ExcludedDays] = {}
    calendar_hint: str = f"calendars: {CALENDARS_EXAMPLE} at the top names one"


def read_calendars(location: FileLocation, value: Any, folder: Path) -> dict[str, ExcludedDays]:
    """The calendars of a file, by name. Their paths are relative to its folder."""
    if not isinstance(value, dict):
        location.add_mistake(f"{quote(value)} is no mapping of names to files", CALENDARS_EXAMPLE)
        return {}
    return {name: _read_calendar(location.child(name), name, path, folder) for name, path in value.items()}


def _read_calendar(location: FileLocation, name: str, path: Any, folder: Path) -> ExcludedDays:
    """Without a day where there is a mistake: entries that name it are not told off as well."""
    unread = ExcludedDays(name)
    if _is_day(name):
        location.add_mistake("a calendar cannot have the name of a day", "another name", key=True)
        return unread
    if not isinstance(path, str) or not path:
        location.add_mistake(f"{quote(path)} is no path of a file", "holidays.ics, or a file with a date on each line")
        return unread
    try:
        with (folder / path).open("rb") as file:
            content = file.read(MAX_CALENDAR_BYTES + 1)
        if len(content) > MAX_CALENDAR_BYTES:
            location.add_mistake(f"{path} is larger than {MAX_CALENDAR_BYTES:,} bytes", "is it the right file?")
            return unread
        calendar = days.parse_calendar(name, content.decode(errors="replace"))
    except (OSError, ValueError) as error:
        _add_calendar_mistake(location, path, error)
        return unread
    if not calendar.ranges and not calendar.yearly:
        location.add_warning(f"{path} names no day", "is it the right file?")
    return calendar


def _add_calendar_mistake(location: FileLocation, path: str, error: Exception) -> None:
    if isinstance(error, days.DaysError):
        location.add_mistake(f"{path}:{error.line}: {error.text}", error.hint)
    elif isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
        location.add_mistake(f"{path}: {reason}", "paths are relative to the folder of this file")
    else:
        location.add_mistake(f"{quote(path)} is no path of a file", "holidays.ics")


def _is_day(text: str) -> bool:
    try:
        days.parse(text)
    except days.DaysError:
        return False
    return True


def list_calendar_files(value: Any, folder: Path) -> tuple[Path, ...]:
    """The files of the `calendars` of a document, whatever mistakes it may have."""
    calendars = value.get("calendars") if isinstance(value, dict) else None
    paths = calendars.values() if isinstance(calendars, dict) else ()
    return tuple(folder / path for path in paths if isinstance(path, str) and path and "\0" not in path)


def read_tags(location: FileLocation, value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    for number, item in enumerate(items):
        if not isinstance(item, str) or not item:
            place = location.child(number, silent=True) if isinstance(value, list) else location
            place.add_mistake(f"{quote(item)} is no tag", "text, such as [nightly, billing]")
    return tuple(str(item) for item in items)


def read_count(location: FileLocation, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        location.add_mistake(
            f"{quote(value)} is no number of runs", "1 or more; `enabled: false` switches an entry off"
        )
        return 1
    return value


def read_failures(location: FileLocation, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        location.add_mistake(f"{quote(value)} is no number of failed runs", "1 or more, such as 3")
        return 1
    return value


def read_after(location: FileLocation, value: Any, _zone: str) -> After | None:
    fields = {"entry": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or not isinstance(fields.get("entry"), str) or not fields["entry"]:
        location.add_mistake(f"{quote(value)} names no entry", "after: import, or {entry: import, when: failed}")
        return None
    location.check_keys("key", fields, ("entry", "when"))
    when = fields.get("when", "succeeded")
    if when not in AFTER_WORDS:
        location.child("when").add_mistake(f"{quote(when)} is no end of a run", f"one of {', '.join(AFTER_WORDS)}")
        return None
    return After(fields["entry"], when)


def check_after(entries: FileLocation, names: Collection[str], schedules: Mapping[str, Schedule]) -> None:
    """Notes entries that run after one that is not there, is switched off, or after themselves."""
    told: set[str] = set()
    for name, schedule in schedules.items():
        if not isinstance(schedule.timing, After):
            continue
        location, other = entries.child(name).child("after"), schedule.timing.entry
        if other not in names:
            location.add_mistake(
                f"{quote(other)} is no entry of this file",
                did_you_mean(other, [each for each in names if each != name]) or "one that is under schedules:",
            )
        elif other in schedules and not schedules[other].enabled:
            location.add_warning(f"{other} is switched off, so that this never runs", "enabled: true there")
        if name not in told:
            told.update(_note_circle(location, name, schedules))


def check_after_in_store(location: FileLocation, name: str, schedules: Mapping[str, Schedule]) -> None:
    """The same of one entry of the store, given all that beats would have with it."""
    timing = schedules[name].timing
    if not isinstance(timing, After):
        return
    if timing.entry not in schedules:
        location.child("after").add_mistake(
            f"{quote(timing.entry)} is no entry of the store, nor of a running beat's file",
            did_you_mean(timing.entry, [each for each in schedules if each != name]) or "add that one first",
        )
    _note_circle(location.child("after"), name, schedules)


def _note_circle(location: FileLocation, name: str, schedules: Mapping[str, Schedule]) -> list[str]:
    """Notes an entry that runs after itself in the end. Returns the entries of that circle."""
    chain = _chain_of(name, schedules)
    if chain[-1] != name:
        return []
    location.add_mistake(f"{', after '.join(chain)}: none would ever begin", "one of them needs a time of its own")
    return chain


def _chain_of(name: str, schedules: Mapping[str, Schedule]) -> list[str]:
    """The entry, the one that it runs after, and so on, as far as the first that is there already."""
    chain = [name]
    while (schedule := schedules.get(chain[-1])) and isinstance(schedule.timing, After):
        chain.append(schedule.timing.entry)
        if chain[-1] in chain[:-1]:
            break
    return chain if len(chain) > 1 else [*chain, ""]


EXPECT_KEYS = ("start_within", "end_within", "succeed", "slower_than")
EXPECT_EXAMPLE = "{start_within: 1m, end_within: 10m, succeed: true, slower_than: 3x}"


def read_expectation(location: FileLocation, value: Any) -> Expectation | None:
    """What is expected of each run."""
    if not isinstance(value, dict):
        location.add_mistake(f"{quote(value)} says nothing that can be expected", EXPECT_EXAMPLE)
        return None
    location.check_keys("key", value, EXPECT_KEYS)
    readers: dict[str, Callable[[FileLocation, Any], Any]] = {
        "start_within": validation.read_duration,
        "end_within": validation.read_duration,
        "succeed": validation.read_bool,
        "slower_than": _read_times,
    }
    fields: dict[str, Any] = {
        key: read(location.child(key), value[key]) for key, read in readers.items() if key in value
    }
    return Expectation(**fields)


def _read_times(location: FileLocation, value: Any) -> float:
    """How many times as long as usual: 3x."""
    try:
        return parse_times(value)
    except SettingsError:
        location.add_mistake(f"{quote(value)} is not how many times as long as usual", "3x; more than 1x")
        return 2.0


def read_at(location: FileLocation, value: Any, zone: str) -> At | None:
    instant = _read_instant(location, value, zone)
    return None if instant is None else At(instant)


def read_start(location: FileLocation, value: Any, surroundings: Surroundings) -> int | None:
    return _read_instant(location, value, surroundings.zone, day_time=time.min)


def read_end(location: FileLocation, value: Any, surroundings: Surroundings) -> int | None:
    return _read_instant(location, value, surroundings.zone, day_time=LAST_MOMENT)


def _read_instant(location: FileLocation, value: Any, zone: str, day_time: time | None = None) -> int | None:
    """An instant in UTC milliseconds; without an offset, it is a time of the entry's zone.

    `day_time` is the time of a date that stands alone.
    """
    try:
        instant = parse_instant(value if isinstance(value, str) else "", zone, day_time)
    except (ValueError, OverflowError):
        location.add_mistake(f"{quote(value)} is no instant", INSTANT_HINT)
        return None
    if not 0 <= instant < MAX_INSTANT:
        location.add_mistake(f"{quote(value)} is out of range", f"years 1970 to {due_times.LAST_YEAR}")
        return None
    return instant


def parse_instant(text: str, zone: str, day_time: time | None = None) -> int:
    """UTC milliseconds of a time with an offset, of one in a zone, or of a date if there is a time for it."""
    if day_time is not None and len(text) == len("2027-01-31"):
        moment = datetime.combine(date.fromisoformat(text), day_time)
    else:
        moment = datetime.fromisoformat(text)
        if len(text) <= len("2027-01-31"):
            raise ValueError(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return (moment - EPOCH) // MILLISECOND


def read_excluded(location: FileLocation, value: Any, surroundings: Surroundings) -> tuple[ExcludedDays, ...]:
    items = value if isinstance(value, list) else [value]
    excluded = []
    for number, item in enumerate(items):
        place = location.child(number, silent=True) if isinstance(value, list) else location
        if found := _read_excluded_item(place, item, surroundings):
            excluded.append(found)
    if len({weekday for item in excluded for weekday in item.weekdays}) == DAYS_OF_WEEK:
        location.add_mistake("leaves out every day of the week", "`enabled: false` switches an entry off")
    return tuple(excluded)


def _read_excluded_item(location: FileLocation, item: Any, surroundings: Surroundings) -> ExcludedDays | None:
    if not isinstance(item, str) or not item:
        location.add_mistake(f"{quote(item)} is neither a day nor a calendar", DAYS_HINT)
        return None
    calendars = surroundings.calendars
    if item in calendars:
        return calendars[item]
    try:
        return days.parse(item)
    except days.DaysError as error:
        if item[0].isdigit():
            location.add_mistake(error.text, error.hint)
        else:
            known = [*calendars, *cron.WEEKDAY_NAMES.split()]
            hint = did_you_mean(item, known) or surroundings.calendar_hint
            location.add_mistake(f"{quote(item)} is neither a day nor a calendar", hint)
        return None


POLICY_READERS: dict[str, Callable[[FileLocation, Any, Surroundings], Any]] = {
    "start": read_start,
    "end": read_end,
    "except": read_excluded,
}
FIELD_NAMES = {"except": "excluded"}  # of keys that are words of Python


def check(location: FileLocation, value: Mapping[str, Any], schedule: Schedule) -> None:
    """Notes what policies of one entry contradict each other."""
    if isinstance(schedule.timing, After):
        for key in NOT_AFTER & value.keys():
            location.child(key).add_mistake("has no meaning for a run that follows another", "take it out", key=True)
    if schedule.catchup == "all" and schedule.window is None:
        location.child("catchup").add_mistake("all needs a window: how far back", "window: 1d")
    if schedule.catchup == "skip" and schedule.window is not None:
        location.child("window").add_mistake("nothing is caught up with", "catchup: once, or all", key=True)
    if schedule.start is not None and schedule.end is not None and schedule.end < schedule.start:
        started = format_instant(schedule.start / MS_PER_SECOND)
        location.child("end").add_mistake(f"{quote(value['end'])} is before the start", f"after {started}")
        return
    if schedule.jitter and isinstance(schedule.timing, Interval) and schedule.jitter > schedule.timing.seconds:
        location.child("jitter").add_mistake(
            f"{quote(value['jitter'])} is longer than every {quote(value['every'])}", "at most as long"
        )
    if isinstance(schedule.timing, After) or (
        schedule.start is None and schedule.end is None and not schedule.excluded
    ):
        return
    if due_times.next_due(schedule, (schedule.start or 0) - 1) is None:
        key = next(key for key in ("except", "end", "start") if key in value)
        location.child(key).add_mistake("leaves no run at all", "`livectl schedules next --why` shows what is left out")


def warnings(schedule: Schedule, now_ms: int) -> Iterator[tuple[str, str, str]]:
    """Key, text and hint of what may not be meant, at this time."""
    if isinstance(schedule.timing, At) and schedule.timing.instant <= now_ms:
        yield "at", "that instant has passed: it is not sent any more", "take the entry out"
    elif schedule.end is not None and schedule.end < now_ms:
        yield "end", "that instant has passed: it is not sent any more", "take the entry out"
