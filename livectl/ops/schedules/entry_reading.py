"""Reads and checks one entry of a schedule: the keys that say what is sent, and when."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import extras, validation
from livectl.models import After, At, Cron, Interval, Schedule, Solar
from livectl.ops.schedules import cron, due_times, options, policies
from livectl.ops.schedules.policies import Surroundings
from livectl.suggestions import did_you_mean
from livectl.units import MS_PER_SECOND
from livectl.validation import DEFAULT_ZONE, FileLocation, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Timing = Interval | Cron | Solar | At | After
    KeyReader = Callable[[FileLocation, Any], Any]


ENTRY_EXAMPLE = "{task: proj.tasks.add, every: 30s}"
NO_CALENDARS_HINT = "name its dates: an entry of the store has no calendars"
SPACES_AROUND_COMMA = re.compile(" *, *")
SOLAR_BOUNDS = {"lat": 90, "lon": 180}  # degrees, either side of 0
CLOCK_CHANGE_YEARS = 2  # ahead, in which changes of the clock make warnings
DAYS_PER_MONTH, DAYS_PER_WEEK = 31, 7


def read_alone(
    name: str,
    value: Any,
    source: str = "",
    tasks: Mapping[str, Any] | None = None,
    others: Mapping[str, Schedule] | None = None,
) -> Schedule:
    """The schedule of one entry that stands in no file. FileError with every mistake; messages call it `source`.

    Given the others that beats have beside it, it checks which of them it runs `after`.
    """
    from livectl import yamlfile

    location = FileLocation(yamlfile.ValueDocument({name: value}, source))
    entry_location = location.child(name)
    schedule = read(entry_location, name, value, Surroundings(DEFAULT_ZONE, calendar_hint=NO_CALENDARS_HINT))
    if tasks is not None:
        options.check_task(entry_location, value, tasks)
    if others is not None and schedule is not None:
        policies.check_after_in_store(entry_location, name, {**others, name: schedule})
    location.raise_mistakes()
    assert schedule is not None  # noqa: S101 - there would be a mistake
    return schedule


def add_warnings(location: FileLocation, value: dict[str, Any], schedule: Schedule, now_ms: int | None) -> None:
    for warning, hint in cron_warnings(schedule, now_ms):
        location.child(_timing_key(value)).add_warning(warning, hint)
    if now_ms is not None:
        for key, warning, hint in policies.warnings(schedule, now_ms):
            location.child(key).add_warning(warning, hint)


def read(location: FileLocation, name: str, value: Any, surroundings: Surroundings) -> Schedule | None:
    """The schedule that an entry describes; None when it has mistakes, which are noted."""
    if not isinstance(value, dict):
        location.add_mistake(f"{quote(value)} is no entry", ENTRY_EXAMPLE)
        return None
    mistakes_before = len(location.mistakes)
    if not name.strip():
        location.add_mistake("an entry needs a name", key=True)
    fields = {key: KEY_READERS[key](location.child(key), item) for key, item in value.items() if key in KEY_READERS}
    location.check_keys("key", value, ENTRY_KEYS)
    own = msgspec.structs.replace(surroundings, zone=fields["timezone"]) if "timezone" in fields else surroundings
    for key in policies.POLICY_READERS.keys() & value.keys():
        field = policies.FIELD_NAMES.get(key, key)
        fields[field] = policies.POLICY_READERS[key](location.child(key), value[key], own)
    timing = _read_timing(location, value, own.zone)
    if "task" not in value:
        location.add_mistake("no task", "task: proj.tasks.add", key=True)
    if len(location.mistakes) > mistakes_before or timing is None:
        return None
    schedule = Schedule(name=name, timing=timing, **{"timezone": own.zone, **fields})
    policies.check(location, value, schedule)
    return schedule if len(location.mistakes) == mistakes_before else None


def _read_task(location: FileLocation, value: Any) -> str:
    if not value:
        location.add_mistake("no task", "proj.tasks.add")
        return ""
    return validation.read_text(location, value)


def _read_args(location: FileLocation, value: Any) -> tuple[Any, ...]:
    if isinstance(value, list):
        return tuple(value)
    location.add_mistake(f"{quote(value)} is no list", f"say {_suggest_list(value)}")
    return ()


def _suggest_list(value: Any) -> str:
    """The list that was probably meant."""
    if value is None or value == {}:
        return "[]"
    if isinstance(value, dict):
        return f"kwargs: {quote(value)}"
    text = str(value).strip()
    if text.startswith("(") and text.endswith(")"):
        return f"[{text[1:-1].rstrip(', ')}]"
    return json.dumps([value], ensure_ascii=False)


def _timing_key(value: dict[str, Any]) -> str:
    """The key of an entry that says when; empty when there is none."""
    for key in value:
        if key in TIMING_READERS:
            return key
    return ""


def _read_timing(location: FileLocation, value: dict[str, Any], zone: str) -> Timing | None:
    first = _timing_key(value)
    if not first:
        location.add_mistake("nothing says when", "every: 30s, or cron, crontab, solar, at, after", key=True)
        return None
    for key in value:
        if key not in TIMING_READERS or key == first:
            continue
        location.child(key).add_mistake(
            f"a second time besides {first}", "one of the two in an entry of its own", key=True
        )
        TIMING_READERS[key](location.child(key), value[key], zone)
    timing: Timing | None = TIMING_READERS[first](location.child(first), value[first], zone)
    return timing


def _read_every(location: FileLocation, value: Any, _zone: str) -> Interval:
    return Interval(float(validation.read_duration(location, value)))


def _read_cron(location: FileLocation, value: Any, _zone: str) -> Cron | None:
    if not isinstance(value, str):
        location.add_mistake(f"{quote(value)} is no cron line", '"0 9 * * mon-fri" or "@daily"')
        return None
    try:
        return cron.parse(value)
    except cron.CronError as error:
        location.add_mistake(error.text, error.hint)
        return None


def _read_crontab(location: FileLocation, value: Any, _zone: str) -> Cron | None:
    """Celery's crontab fields; a field that is left out is `*`."""
    if not isinstance(value, dict):
        hint = f"cron: {quote(value)}" if isinstance(value, str) else "{minute: 30, hour: 7}"
        location.add_mistake(f"{quote(value)} is no mapping of Celery's fields", hint)
        return None
    mistakes_before = len(location.mistakes)
    location.check_keys("field", value, cron.CELERY_FIELDS)
    words = [_read_field(location.child(key), field, value.get(key, "*")) for key, field in cron.CELERY_FIELDS.items()]
    if len(location.mistakes) > mistakes_before:
        return None
    try:
        return cron.build(" ".join(words), words, either_day=False)
    except cron.CronError as error:
        location.add_mistake(error.text, error.hint)
        return None


def _read_field(location: FileLocation, field: cron.CronField, value: Any) -> str:
    """A number, text, or a list of them, as a word of a cron line."""
    parts = value if isinstance(value, list) else [value]
    word = SPACES_AROUND_COMMA.sub(",", ",".join(str(part).strip() for part in parts))
    if not all(isinstance(part, int | str) and not isinstance(part, bool) for part in parts):
        location.add_mistake(
            f"{quote(value)} is no {field.name}", 'a number, a list of numbers, or text such as "*/15"'
        )
        return word
    try:
        cron.parse_field(field, word)
    except cron.CronError as error:
        location.add_mistake(error.text.removeprefix(f"{field.name} "), error.hint)
    return word


def _read_solar(location: FileLocation, value: Any, _zone: str) -> Solar | None:
    if not isinstance(value, dict):
        location.add_mistake(f"{quote(value)} is no mapping", "{event: sunset, lat: 31.2, lon: 121.5}")
        return None
    mistakes_before = len(location.mistakes)
    location.check_keys("key", value, ("event", *SOLAR_BOUNDS))
    if value.get("event") not in tuple(due_times.SOLAR_EVENTS):  # a mapping here has no hash
        suggestion = did_you_mean(str(value.get("event")), due_times.SOLAR_EVENTS)
        location.child("event").add_mistake(
            f"{quote(value.get('event'))} is no event", suggestion or f"one of {', '.join(due_times.SOLAR_EVENTS)}"
        )
    for key, bound in SOLAR_BOUNDS.items():
        _check_degrees(location, key, value.get(key), bound)
    if not due_times.has_ephem():
        text, cure = "solar times need ephem, which is not installed", extras.install_command("solar")
        location.add_mistake(text, cure, key=True)
    if len(location.mistakes) > mistakes_before:
        return None
    return Solar(value["event"], float(value["lat"]), float(value["lon"]))


def _check_degrees(location: FileLocation, key: str, degrees: Any, bound: int) -> None:
    if degrees is None:
        location.add_mistake(f"no {key}", f"{key}: a number from -{bound} to {bound}")
    elif not validation.is_number(degrees) or not -bound <= degrees <= bound:
        location.child(key).add_mistake(f"{quote(degrees)} is no number of degrees", f"from -{bound} to {bound}")


def cron_warnings(schedule: Schedule, now_ms: int | None) -> Iterator[tuple[str, str]]:
    """What a cron line does that may not be meant, and how to write what may be; with the time, clock changes too."""
    cron_line = schedule.timing
    if not isinstance(cron_line, Cron):
        return
    if warning := _every_minute_warning(cron_line):
        yield warning, f'"{_once_per_hour(cron_line)}" does once'
    if now_ms is not None:
        for warning in _clock_change_warnings(cron_line, schedule.timezone, now_ms // MS_PER_SECOND):
            yield warning, ""


def _every_minute_warning(cron_line: Cron) -> str:
    """A warning of a line that names hours or days, and no minute."""
    if len(cron_line.minute) < cron.MINUTES_PER_HOUR:
        return ""
    if not cron.runs_every_hour(cron_line):
        return f'"{cron_line.text}" runs every minute of {"that hour" if len(cron_line.hour) == 1 else "those hours"}'
    if len(cron_line.day) < DAYS_PER_MONTH or len(cron_line.weekday) < DAYS_PER_WEEK:
        return f'"{cron_line.text}" runs every minute of those days'
    return ""


def _once_per_hour(cron_line: Cron) -> str:
    """The same line, with one run in each hour that it names, or one a day."""
    _, hour, *days = cron_line.text.split()
    return " ".join(["0", "0" if cron.runs_every_hour(cron_line) else hour, *days])


def _clock_change_warnings(cron_line: Cron, zone: str, now: int) -> Iterator[str]:
    """Warns of the next change of the clock that skips a local time of the line, and of the next that repeats one."""
    changes = [
        period
        for period in due_times.offset_periods_from(zone, now, CLOCK_CHANGE_YEARS + 1)
        if now < period.start and period.offset != period.offset_before
    ]
    for change in changes:
        minute = due_times.skipped_minute(cron_line, change)
        if minute is not None:
            run_time = datetime.fromtimestamp(change.start + change.offset, UTC)
            yield f"{_format_minute(minute)} does not exist in {zone}; it runs at {run_time:%H:%M} that day"
            break
    for change in changes:
        minute = due_times.repeated_minute(cron_line, change)
        if minute is not None and not cron.runs_every_hour(cron_line):
            times = "both times" if cron_line.stepping else "the first time only"
            yield f"{_format_minute(minute)} comes twice in {zone}; it runs {times}"
            break


def _format_minute(minute: int) -> str:
    return f"{datetime.fromtimestamp(minute * due_times.SECONDS_PER_MINUTE, UTC):%Y-%m-%d %H:%M}"


KEY_READERS: dict[str, KeyReader] = {
    "task": _read_task,
    "args": _read_args,
    "kwargs": validation.read_mapping,
    "options": options.read,
    "timezone": validation.read_zone,
    "enabled": validation.read_bool,
    "catchup": partial(validation.read_choice, known=("once", "skip", "all")),
    "window": validation.read_duration,
    "deadline": validation.read_duration,
    "overlap": partial(validation.read_choice, known=("allow", "skip", "queue", "queue-all", "cancel")),
    "description": validation.read_text,
    "owner": validation.read_text,
    "tags": policies.read_tags,
    "group": validation.read_text,
    "count": policies.read_count,
    "pause_on_failure": policies.read_failures,
    "jitter": validation.read_duration,
    "expect": policies.read_expectation,
}
TIMING_READERS: dict[str, Callable[[FileLocation, Any, str], Any]] = {
    "every": _read_every,
    "cron": _read_cron,
    "crontab": _read_crontab,
    "solar": _read_solar,
    "at": policies.read_at,
    "after": policies.read_after,
}
ENTRY_KEYS = dict.fromkeys(("task", *TIMING_READERS, *KEY_READERS, *policies.POLICY_READERS))  # in this order
