"""Schedules as a Python module with Celery's `beat_schedule`."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any

from livectl.models import Cron, Interval
from livectl.ops.schedules.cron import FIELDS
from livectl.ops.schedules.import_python import CRONTAB_FIELDS
from livectl.ops.schedules.portable import ConvertedSchedule, PortingNote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.models import Schedule, Solar


CRON_FIELD_ORDER = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")  # of a cron line's fields
EITHER_DAY_REASON = "its days match by date or by weekday, Celery's by both: split it in two"


def to_python(schedules: Sequence[Schedule], origin: str) -> ConvertedSchedule:
    zone = most_common_zone(schedules)
    lines, left, notes = [], [], []
    for schedule in schedules:
        reason = _reason_not_python(schedule, zone)
        if reason:
            left.append(PortingNote(name=schedule.name, why=reason))
            continue
        lines += [f"    {line}" for line in _python_entry(schedule)]
        if lost_keys := find_lost_keys(schedule):
            notes.append(PortingNote(name=schedule.name, why=f"said without {lost_keys}"))
    imports = sorted(
        {class_name for class_name in ("crontab", "solar") if any(f" {class_name}(" in line for line in lines)}
    )
    head = [f'"""The schedule of Celery beat, from {origin}."""', ""]
    head += [f"from celery.schedules import {', '.join(imports)}", ""] if imports else []
    body = ["beat_schedule = {", *lines, "}"] if lines else ["beat_schedule = {}"]
    return ConvertedSchedule("\n".join([*head, f"timezone = {zone!r}", *body]) + "\n", left, notes)


def most_common_zone(schedules: Sequence[Schedule]) -> str:
    """Celery has one zone for all: the one of most cron lines."""
    zones = Counter(schedule.timezone for schedule in schedules if isinstance(schedule.timing, Cron))
    return zones.most_common(1)[0][0] if zones else "UTC"


def find_lost_keys(schedule: Schedule) -> str:
    """Keys that only our beat knows."""
    is_set_by_key = {
        "catchup": schedule.catchup != "once",
        "deadline": schedule.deadline is not None,
        "overlap": schedule.overlap != "allow",
    }
    return ", ".join(key for key, is_set in is_set_by_key.items() if is_set)


def _reason_not_python(schedule: Schedule, zone: str) -> str:
    if not schedule.enabled:
        return "it is switched off"
    if isinstance(schedule.timing, Cron) and schedule.timezone != zone:
        return f"its zone is {schedule.timezone}, and Celery has one for all: {zone}"
    if isinstance(schedule.timing, Cron) and restricts_either_day(schedule.timing):
        return EITHER_DAY_REASON
    return ""


def restricts_either_day(cron_line: Cron) -> bool:
    """Whether a cron line means a day by date or by weekday, both being restricted."""
    days, weekdays = cron_line.day, cron_line.weekday
    return cron_line.either_day and len(days) <= FIELDS[2].high - FIELDS[2].low and len(weekdays) <= FIELDS[4].high


def _python_entry(schedule: Schedule) -> list[str]:
    keys: dict[str, str] = {"task": repr(schedule.task), "schedule": _python_timing(schedule.timing)}
    keys |= {"args": repr(schedule.args)} if schedule.args else {}
    keys |= {"kwargs": repr(schedule.kwargs)} if schedule.kwargs else {}
    keys |= {"options": repr(schedule.options)} if schedule.options else {}
    return [f"{schedule.name!r}: {{", *(f"    {key!r}: {value}," for key, value in keys.items()), "},"]


def _python_timing(timing: Interval | Cron | Solar) -> str:
    if isinstance(timing, Interval):
        return repr(timing.seconds)
    if isinstance(timing, Cron):
        words = crontab_fields(timing)
        return f"crontab({', '.join(f'{key}={words[key]!r}' for key in CRONTAB_FIELDS if words[key] != '*')})"
    return f"solar({timing.event!r}, {timing.lat!r}, {timing.lon!r})"


def crontab_fields(cron_line: Cron) -> dict[str, str]:
    """Celery's five fields: as they were written where Celery understands them so, as numbers otherwise."""
    from celery.schedules import ParseException, crontab

    written = dict(zip(CRON_FIELD_ORDER, cron_line.text.split(), strict=False))
    meant = dict(zip(CRON_FIELD_ORDER, value_sets(cron_line), strict=True))
    words = {}
    for key, values in meant.items():
        try:
            understood = tuple(sorted(getattr(crontab(**{key: written[key]}), key))) == values
        except (ParseException, ValueError, KeyError, TypeError):
            understood = False
        words[key] = (
            written[key] if understood and len(written) == len(CRON_FIELD_ORDER) else format_values(key, values)
        )
    return words


def value_sets(cron_line: Cron) -> tuple[tuple[int, ...], ...]:
    return (cron_line.minute, cron_line.hour, cron_line.day, cron_line.month, cron_line.weekday)


def format_values(key: str, values: tuple[int, ...]) -> str:
    field = FIELDS[CRON_FIELD_ORDER.index(key)]
    return "*" if len(values) == field.high - field.low + 1 else ",".join(map(str, values))


DJANGO_APP = "django_celery_beat"
DJANGO_PERIODS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0, "microseconds": 0.000001}
DJANGO_COLUMNS = {"queue", "exchange", "routing_key", "headers", "priority", "expires"}
MAX_NAME_CHARS = 200  # characters of a name or a task in its tables


def to_django(schedules: Sequence[Schedule], changed: str) -> ConvertedSchedule:
    """`changed` is the time that the tables note, ISO 8601."""
    rows: dict[str, dict[str, Any]] = {}
    tasks: list[dict[str, Any]] = []
    left, notes = [], []
    for schedule in schedules:
        reason = _reason_not_django(schedule)
        if reason:
            left.append(PortingNote(name=schedule.name, why=reason))
            continue
        kind, fields = _django_timing(schedule)
        key = json.dumps([kind, fields])
        row = rows.setdefault(
            key, {"model": f"{DJANGO_APP}.{kind}schedule", "pk": _next_primary_key(rows, kind), "fields": fields}
        )
        tasks.append(_django_task(len(tasks) + 1, schedule, {kind: row["pk"]}, changed))
        if lost_keys := find_lost_keys(schedule):
            notes.append(PortingNote(name=schedule.name, why=f"said without {lost_keys}"))
    return ConvertedSchedule(json.dumps([*rows.values(), *tasks], indent=2, ensure_ascii=False) + "\n", left, notes)


def _next_primary_key(rows: dict[str, dict[str, Any]], kind: str) -> int:
    return [row["model"] for row in rows.values()].count(f"{DJANGO_APP}.{kind}schedule") + 1


def _reason_not_django(schedule: Schedule) -> str:
    if isinstance(schedule.timing, Cron) and restricts_either_day(schedule.timing):
        return EITHER_DAY_REASON
    if schedule.options.keys() - DJANGO_COLUMNS:
        return f"no column for {', '.join(sorted(schedule.options.keys() - DJANGO_COLUMNS))}"
    if isinstance(schedule.timing, Interval) and _django_period(schedule.timing) is None:
        return "its interval is no whole number of microseconds"
    if max(len(schedule.name), len(schedule.task)) > MAX_NAME_CHARS:
        return f"its name or task is longer than {MAX_NAME_CHARS} characters"
    expires = schedule.options.get("expires")
    return "" if expires is None or float(expires).is_integer() else "expires is no whole number of seconds"


def _django_timing(schedule: Schedule) -> tuple[str, dict[str, Any]]:
    timing: Interval | Cron | Solar = schedule.timing
    if isinstance(timing, Interval):
        every, period = _django_period(timing) or (0, "")
        return "interval", {"every": every, "period": period}
    if isinstance(timing, Cron):
        return "crontab", {**crontab_fields(timing), "timezone": schedule.timezone}
    return "solar", {"event": timing.event, "latitude": str(timing.lat), "longitude": str(timing.lon)}


def _django_period(timing: Interval) -> tuple[int, str] | None:
    for name, seconds in DJANGO_PERIODS.items():
        every = round(timing.seconds / seconds)
        if every and abs(every * seconds - timing.seconds) < DJANGO_PERIODS["microseconds"] / 10:
            return every, name
    return None


def _django_task(number: int, schedule: Schedule, timing: dict[str, int], changed: str) -> dict[str, Any]:
    options = dict(schedule.options)
    fields = {
        "name": schedule.name,
        "task": schedule.task,
        **timing,
        "args": json.dumps(list(schedule.args)),
        "kwargs": json.dumps(schedule.kwargs),
        "headers": json.dumps(options.pop("headers", {})),
        "expire_seconds": int(options.pop("expires")) if "expires" in options else None,
        **options,
        "enabled": schedule.enabled,
        "date_changed": changed,
    }
    return {"model": f"{DJANGO_APP}.periodictask", "pk": number, "fields": fields}


SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY = 60, 3600, 86400  # seconds
CALL_FLAGS = {"queue": "--queue", "priority": "--priority", "expires": "--expires", "countdown": "--in", "eta": "--at"}


def to_crontab(schedules: Sequence[Schedule], origin: str, app: str | None) -> ConvertedSchedule:
    """Grouped by zone: CRON_TZ, which cronie and others know, holds for the lines after it."""
    zoned_lines, left, notes = [], [], []
    for schedule in schedules:
        reason = _reason_not_crontab(schedule)
        if reason:
            left.append(PortingNote(name=schedule.name, why=reason))
            continue
        zoned_lines.append((_crontab_zone(schedule), f"{_crontab_line(schedule)} {_call_command(schedule, app)}"))
        if lost_keys := find_lost_keys(schedule):
            notes.append(PortingNote(name=schedule.name, why=f"said without {lost_keys}"))
    lines = [f"# From {origin}, by livectl schedules export --crontab."]
    for zone, group in groupby(sorted(zoned_lines, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        lines += [f"CRON_TZ={zone}"] if zone else []
        lines += [line for _, line in group]
    return ConvertedSchedule("\n".join(lines) + "\n", left, notes)


def _reason_not_crontab(schedule: Schedule) -> str:
    if not schedule.enabled:
        return "it is switched off"
    if isinstance(schedule.timing, Interval):
        return "" if _interval_line(schedule.timing.seconds) else "cron has no line for its interval"
    if not isinstance(schedule.timing, Cron):
        return "cron does not know the sun"
    if not schedule.timing.either_day and either_would_differ(schedule.timing):
        return "its days match by date and weekday, cron's by either"
    unknown = sorted(schedule.options.keys() - CALL_FLAGS.keys())
    return f"livectl call has no option for {', '.join(unknown)}" if unknown else ""


def either_would_differ(cron_line: Cron) -> bool:
    all_days = len(cron_line.day) == FIELDS[2].high
    all_weekdays = len(cron_line.weekday) == FIELDS[4].high + 1
    return not (all_days or all_weekdays)


def _crontab_zone(schedule: Schedule) -> str:
    return schedule.timezone if isinstance(schedule.timing, Cron) else ""


def _crontab_line(schedule: Schedule) -> str:
    if isinstance(schedule.timing, Interval):
        return _interval_line(schedule.timing.seconds)
    if isinstance(schedule.timing, Cron):
        return " ".join(
            format_values(key, values)
            for key, values in zip(CRON_FIELD_ORDER, value_sets(schedule.timing), strict=True)
        )
    return ""


def _interval_line(seconds: float) -> str:
    """A line with the same distance between all its runs, if there is one."""
    if seconds % SECONDS_PER_MINUTE:
        return ""
    minutes, hours = seconds / SECONDS_PER_MINUTE, seconds / SECONDS_PER_HOUR
    if minutes < SECONDS_PER_MINUTE and SECONDS_PER_MINUTE % minutes == 0:
        return f"*/{int(minutes)} * * * *" if minutes > 1 else "* * * * *"
    if hours.is_integer() and SECONDS_PER_DAY % seconds == 0:
        return {SECONDS_PER_HOUR: "0 * * * *", SECONDS_PER_DAY: "0 0 * * *"}.get(
            int(seconds), f"0 */{int(hours)} * * *"
        )
    return ""


def _call_command(schedule: Schedule, app: str | None) -> str:
    words = ["livectl", *(["-A", app] if app else []), "call", schedule.task]
    words += [json.dumps(argument, ensure_ascii=False) for argument in schedule.args]
    words += ["--kwargs", json.dumps(schedule.kwargs, ensure_ascii=False)] if schedule.kwargs else []
    for key, value in schedule.options.items():
        words += [CALL_FLAGS[key], f"{value}s" if key in {"expires", "countdown"} else str(value)]
    return shlex.join(words).replace("%", r"\%")
