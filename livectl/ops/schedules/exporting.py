"""Exports schedules to other programs: Celery's beat_schedule, tables of django-celery-beat, crontab(5)."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from livectl.errors import UsageError
from livectl.models import After, At, Cron, Interval, Solar
from livectl.ops.schedules.conversion import CRONTAB_FIELDS, ConvertedSchedule, NotPortable, PortingNote
from livectl.ops.schedules.cron import CELERY_FIELDS, DAY, WEEKDAY
from livectl.ops.schedules.due_times import format_timing
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.models import Schedule
    from livectl.ops.schedules.cron import CronField

    ConvertedT = TypeVar("ConvertedT")


EITHER_DAY_REASON = "its days match by date or by weekday, Celery's by both: split it in two"
DJANGO_APP = "django_celery_beat"
DJANGO_PERIODS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0, "microseconds": 0.000001}
DJANGO_COLUMNS = {"queue", "exchange", "routing_key", "headers", "priority", "expires"}
MAX_DJANGO_CHARS = 200  # of a name or a task in its tables
CALL_FLAGS = {"queue": "--queue", "priority": "--priority", "expires": "--expires", "countdown": "--in", "eta": "--at"}
SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY = 60, 3600, 86400


def export_schedule(
    to: str | None, schedules: Sequence[Schedule], origin: str, app: str | None, now_ms: int
) -> ConvertedSchedule:
    """The schedules in a format: `python`, `django` or `crontab`. The text names `origin` as its source."""
    formats: dict[str | None, Callable[[], ConvertedSchedule]] = {
        "python": lambda: to_python(schedules, origin),
        "django": lambda: to_django(schedules, datetime.fromtimestamp(now_ms / MS_PER_SECOND, UTC).isoformat()),
        "crontab": lambda: to_crontab(schedules, origin, app),
    }
    if to not in formats:
        raise UsageError("no format", "Say --python, --django or --crontab.")
    return formats[to]()


def _convert_each(
    schedules: Sequence[Schedule], convert: Callable[[Schedule], ConvertedT]
) -> tuple[list[ConvertedT], list[PortingNote], list[PortingNote]]:
    """What `convert` returns for each schedule, a note for each that it refuses, and for each that loses keys."""
    converted, left, notes = [], [], []
    for schedule in schedules:
        try:
            converted.append(convert(schedule))
        except NotPortable as error:
            left.append(PortingNote(name=schedule.name, why=str(error)))
            continue
        if lost_keys := _lost_keys(schedule):
            notes.append(PortingNote(name=schedule.name, why=f"said without {lost_keys}"))
    return converted, left, notes


def _recurring(schedule: Schedule) -> Interval | Cron | Solar:
    """The timing of a schedule that runs more than once."""
    if isinstance(schedule.timing, At):
        raise NotPortable(f"it runs once, {format_timing(schedule.timing)}")
    if isinstance(schedule.timing, After):
        raise NotPortable(f"it runs {format_timing(schedule.timing)}")
    return schedule.timing


def _lost_keys(schedule: Schedule) -> str:
    """The keys of a schedule that only livectl's beat knows."""
    is_set_by_key = {
        "catchup": schedule.catchup != "once",
        "window": schedule.window is not None,
        "deadline": schedule.deadline is not None,
        "overlap": schedule.overlap != "allow",
        "start": schedule.start is not None,
        "end": schedule.end is not None,
        "count": schedule.count is not None,
        "jitter": schedule.jitter is not None,
        "except": bool(schedule.excluded),
    }
    return ", ".join(key for key, is_set in is_set_by_key.items() if is_set)


def to_python(schedules: Sequence[Schedule], origin: str) -> ConvertedSchedule:
    """A Python module with Celery's `beat_schedule`."""
    zone = _most_common_zone(schedules)
    entries, left, notes = _convert_each(schedules, lambda schedule: _python_entry(schedule, zone))
    lines = [f"    {line}" for entry in entries for line in entry]
    classes = sorted(name for name in ("crontab", "solar") if any(f" {name}(" in line for line in lines))
    head = [f'"""The schedule of Celery beat, from {origin}."""', ""]
    head += [f"from celery.schedules import {', '.join(classes)}", ""] if classes else []
    body = ["beat_schedule = {", *lines, "}"] if lines else ["beat_schedule = {}"]
    return ConvertedSchedule("\n".join([*head, f"timezone = {zone!r}", *body]) + "\n", left, notes)


def _most_common_zone(schedules: Sequence[Schedule]) -> str:
    """The time zone of most cron lines: Celery has one zone for all."""
    zones = Counter(schedule.timezone for schedule in schedules if isinstance(schedule.timing, Cron))
    return zones.most_common(1)[0][0] if zones else "UTC"


def _python_entry(schedule: Schedule, zone: str) -> list[str]:
    if not schedule.enabled:
        raise NotPortable("it is switched off")
    if isinstance(schedule.timing, Cron) and schedule.timezone != zone:
        raise NotPortable(f"its zone is {schedule.timezone}, and Celery has one for all: {zone}")
    _check_days_for_celery(schedule)
    keys: dict[str, str] = {"task": repr(schedule.task), "schedule": _python_timing(_recurring(schedule))}
    keys |= {"args": repr(schedule.args)} if schedule.args else {}
    keys |= {"kwargs": repr(schedule.kwargs)} if schedule.kwargs else {}
    keys |= {"options": repr(schedule.options)} if schedule.options else {}
    return [f"{schedule.name!r}: {{", *(f"    {key!r}: {value}," for key, value in keys.items()), "},"]


def _python_timing(timing: Interval | Cron | Solar) -> str:
    if isinstance(timing, Interval):
        return repr(timing.seconds)
    if isinstance(timing, Cron):
        words = _celery_words(timing)
        return f"crontab({', '.join(f'{key}={words[key]!r}' for key in CRONTAB_FIELDS if words[key] != '*')})"
    return f"solar({timing.event!r}, {timing.lat!r}, {timing.lon!r})"


def _check_days_for_celery(schedule: Schedule) -> None:
    """Refuses a cron line that restricts dates and weekdays, and means either."""
    timing = schedule.timing
    if isinstance(timing, Cron) and timing.either_day and _restricts_dates_and_weekdays(timing):
        raise NotPortable(EITHER_DAY_REASON)


def _restricts_dates_and_weekdays(cron_line: Cron) -> bool:
    return not (_is_every_value(DAY, cron_line.day) or _is_every_value(WEEKDAY, cron_line.weekday))


def _is_every_value(field: CronField, values: tuple[int, ...]) -> bool:
    return len(values) == field.high - field.low + 1


def _celery_words(cron_line: Cron) -> dict[str, str]:
    """Celery's crontab fields: as the line has them where Celery reads the same, as numbers otherwise."""
    from celery.schedules import ParseException, crontab

    written = dict(zip(CELERY_FIELDS, cron_line.text.split(), strict=False))
    words = _number_words(cron_line)
    if len(written) != len(CELERY_FIELDS):
        return words
    for key, values in _values_by_field(cron_line).items():
        try:
            if tuple(sorted(getattr(crontab(**{key: written[key]}), key))) == values:
                words[key] = written[key]
        except (ParseException, ValueError, TypeError):
            continue
    return words


def _number_words(cron_line: Cron) -> dict[str, str]:
    """The five fields as numbers between commas, by Celery's names and in the order of a cron line."""
    return {
        key: "*" if _is_every_value(CELERY_FIELDS[key], values) else ",".join(map(str, values))
        for key, values in _values_by_field(cron_line).items()
    }


def _values_by_field(cron_line: Cron) -> dict[str, tuple[int, ...]]:
    values = (cron_line.minute, cron_line.hour, cron_line.day, cron_line.month, cron_line.weekday)
    return dict(zip(CELERY_FIELDS, values, strict=True))


def to_django(schedules: Sequence[Schedule], changed: str) -> ConvertedSchedule:
    """A fixture for django-celery-beat. `changed` is the ISO 8601 time that its tables note."""
    entries, left, notes = _convert_each(schedules, lambda schedule: (schedule, *_django_timing(schedule)))
    timing_rows: dict[str, dict[str, Any]] = {}
    task_rows: list[dict[str, Any]] = []
    for schedule, kind, fields in entries:
        model = f"{DJANGO_APP}.{kind}schedule"
        next_key = [row["model"] for row in timing_rows.values()].count(model) + 1
        timing_row = timing_rows.setdefault(
            json.dumps([kind, fields]), {"model": model, "pk": next_key, "fields": fields}
        )
        task_rows.append(_django_task(len(task_rows) + 1, schedule, {kind: timing_row["pk"]}, changed))
    rows = [*timing_rows.values(), *task_rows]
    return ConvertedSchedule(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", left, notes)


def _django_timing(schedule: Schedule) -> tuple[str, dict[str, Any]]:
    """The table that has the timing of a schedule, and the fields of its row."""
    _check_for_django(schedule)
    timing = _recurring(schedule)
    if isinstance(timing, Interval):
        every, period = _django_period(timing)
        return "interval", {"every": every, "period": period}
    if isinstance(timing, Cron):
        return "crontab", {**_celery_words(timing), "timezone": schedule.timezone}
    return "solar", {"event": timing.event, "latitude": str(timing.lat), "longitude": str(timing.lon)}


def _check_for_django(schedule: Schedule) -> None:
    _check_days_for_celery(schedule)
    if unknown := sorted(schedule.options.keys() - DJANGO_COLUMNS):
        raise NotPortable(f"no column for {', '.join(unknown)}")
    if max(len(schedule.name), len(schedule.task)) > MAX_DJANGO_CHARS:
        raise NotPortable(f"its name or task is longer than {MAX_DJANGO_CHARS} characters")
    expires = schedule.options.get("expires")
    if expires is not None and not float(expires).is_integer():
        raise NotPortable("expires is no whole number of seconds")


def _django_period(timing: Interval) -> tuple[int, str]:
    for name, seconds in DJANGO_PERIODS.items():
        every = round(timing.seconds / seconds)
        if every and abs(every * seconds - timing.seconds) < DJANGO_PERIODS["microseconds"] / 10:
            return every, name
    raise NotPortable("its interval is no whole number of microseconds")


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


def to_crontab(schedules: Sequence[Schedule], origin: str, app: str | None) -> ConvertedSchedule:
    """A crontab(5) file that runs `livectl call`. CRON_TZ, known to cronie and others, sets the zone of later lines."""
    zoned_lines, left, notes = _convert_each(schedules, lambda schedule: _zoned_line(schedule, app))
    lines = [f"# From {origin}, by livectl schedules export --crontab."]
    for zone, group in groupby(sorted(zoned_lines, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        lines += [f"CRON_TZ={zone}"] if zone else []
        lines += [line for _, line in group]
    return ConvertedSchedule("\n".join(lines) + "\n", left, notes)


def _zoned_line(schedule: Schedule, app: str | None) -> tuple[str, str]:
    """The time zone of a line, empty where any will do, and the line."""
    if not schedule.enabled:
        raise NotPortable("it is switched off")
    fields = _crontab_fields(_recurring(schedule))
    if unknown := sorted(schedule.options.keys() - CALL_FLAGS.keys()):
        raise NotPortable(f"livectl call has no option for {', '.join(unknown)}")
    zone = schedule.timezone if isinstance(schedule.timing, Cron) else ""
    return zone, f"{fields} {_call_command(schedule, app)}"


def _crontab_fields(timing: Interval | Cron | Solar) -> str:
    if isinstance(timing, Interval):
        return _interval_fields(timing.seconds)
    if not isinstance(timing, Cron):
        raise NotPortable("cron does not know the sun")
    if not timing.either_day and _restricts_dates_and_weekdays(timing):
        raise NotPortable("its days match by date and weekday, cron's by either")
    return " ".join(_number_words(timing).values())


def _interval_fields(seconds: float) -> str:
    """Fields with the same time between all runs, the end of an hour and of a day included."""
    minutes, hours = seconds / SECONDS_PER_MINUTE, seconds / SECONDS_PER_HOUR
    if minutes.is_integer() and minutes < SECONDS_PER_MINUTE and SECONDS_PER_MINUTE % minutes == 0:
        return f"*/{int(minutes)} * * * *" if minutes > 1 else "* * * * *"
    if hours.is_integer() and SECONDS_PER_DAY % seconds == 0:
        return {SECONDS_PER_HOUR: "0 * * * *", SECONDS_PER_DAY: "0 0 * * *"}.get(
            int(seconds), f"0 */{int(hours)} * * *"
        )
    raise NotPortable("cron has no line for its interval")


def _call_command(schedule: Schedule, app: str | None) -> str:
    words = ["livectl", *(["-A", app] if app else []), "call", schedule.task]
    words += [json.dumps(argument, ensure_ascii=False) for argument in schedule.args]
    words += ["--kwargs", json.dumps(schedule.kwargs, ensure_ascii=False)] if schedule.kwargs else []
    for key, value in schedule.options.items():
        words += [CALL_FLAGS[key], f"{value}s" if key in {"expires", "countdown"} else str(value)]
    return shlex.join(words).replace("%", r"\%")
