"""Reads the `beat_schedule` of an imported app, and says a schedule in Celery's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from celery.schedules import crontab, schedule, solar

from livectl.models import Cron, Interval, Schedule
from livectl.ops.schedules.cron import DAY, HOUR, MINUTE, MONTH, WEEKDAY, any_date_exists
from livectl.ops.schedules.import_python import CRONTAB_FIELDS, field_value
from livectl.ops.schedules.portable import (
    ImportedSchedule,
    NotPortable,
    PortableEntry,
    PortableTiming,
    PortingNote,
    portable_keys,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo

    from celery import Celery

    from livectl.ops.schedules.cron import CronField


WEEKDAYS_NAME = "{} (weekdays)"  # the second half of a line that Celery cannot say in one


class ZonedCrontab(crontab):  # type: ignore[misc]  # Celery has no types
    """Celery's crontab in a zone of its own, where Celery has one for the whole app."""

    def __init__(self, *fields: str, zone: str = "UTC") -> None:
        self.zone = zone
        super().__init__(*fields)

    @property
    def tz(self) -> tzinfo:
        return ZoneInfo(self.zone)

    def __reduce__(self) -> tuple[Any, ...]:
        return _zoned, (super().__reduce__()[1], self.zone)


def to_beat_schedule(schedules: Iterable[Schedule]) -> dict[str, dict[str, Any]]:
    """Those that are switched on. Celery has no words for catchup, deadline and overlap."""
    return {
        name: {
            "task": entry.task,
            "schedule": celery_schedule,
            "args": entry.args,
            "kwargs": entry.kwargs,
            "options": entry.options,
        }
        for entry in schedules
        if entry.enabled
        for name, celery_schedule in _celery_schedules(entry)
    }


def _celery_schedules(entry: Schedule) -> Iterator[tuple[str, schedule | crontab | solar]]:
    timing = entry.timing
    if isinstance(timing, Interval):
        yield entry.name, schedule(timing.seconds)
    elif isinstance(timing, Cron):
        yield from _celery_crontabs(entry.name, timing, entry.timezone)
    else:
        yield entry.name, solar(timing.event, timing.lat, timing.lon)


def _celery_crontabs(name: str, cron_line: Cron, zone: str) -> Iterator[tuple[str, ZonedCrontab]]:
    """Celery wants date and weekday to match. A line that wants either is two: dates, and weekdays on others."""
    minute, hour, weekday = (
        _format_values(MINUTE, cron_line.minute),
        _format_values(HOUR, cron_line.hour),
        _format_values(WEEKDAY, cron_line.weekday),
    )
    month = _format_values(MONTH, cron_line.month)
    if not cron_line.either_day or weekday == "*":
        day = "*" if cron_line.either_day else _format_values(DAY, cron_line.day)
        yield name, ZonedCrontab(minute, hour, weekday, day, month, zone=zone)
        return
    other_days = tuple(day for day in range(DAY.low, DAY.high + 1) if day not in cron_line.day)
    if any_date_exists(cron_line.day, cron_line.month):
        yield name, ZonedCrontab(minute, hour, "*", _format_values(DAY, cron_line.day), month, zone=zone)
    if any_date_exists(other_days, cron_line.month):
        yield (
            WEEKDAYS_NAME.format(name),
            ZonedCrontab(minute, hour, weekday, _format_values(DAY, other_days), month, zone=zone),
        )


def _format_values(field: CronField, values: tuple[int, ...]) -> str:
    return "*" if len(values) == field.high - field.low + 1 else ",".join(map(str, values))


def _zoned(fields: tuple[str, ...], zone: str) -> ZonedCrontab:
    return ZonedCrontab(*fields, zone=zone)


def read_app(app: Celery, name: str) -> ImportedSchedule:
    """The app's own code has run by now: every value is what beat would be given."""
    imported = ImportedSchedule(origin=name, timezone=str(app.timezone))
    app.finalize()
    for key, entry in (app.conf.beat_schedule or {}).items():
        try:
            imported.entries.append(PortableEntry(name=str(key), keys=portable_keys(_to_plain_dict(entry))))
        except NotPortable as error:
            imported.left.append(PortingNote(name=str(key), why=str(error)))
    return imported


def _to_plain_dict(entry: Any) -> dict[str, Any]:
    """An entry as a dict, Celery's schedules in it as ours; beat takes entries of both kinds."""
    values = dict(entry) if isinstance(entry, dict) else {key: getattr(entry, key, None) for key in ENTRY_KEYS}
    return {**values, "schedule": _to_portable_timing(values.get("schedule"))}


ENTRY_KEYS = ("task", "schedule", "args", "kwargs", "options")


def _to_portable_timing(celery_schedule: Any) -> Any:

    if type(celery_schedule) is schedule and celery_schedule.nowfun is None:
        return PortableTiming("every", float(celery_schedule.seconds), relative=bool(celery_schedule.relative))
    if type(celery_schedule) in {crontab, ZonedCrontab} and celery_schedule.nowfun is None:
        given = {key: getattr(celery_schedule, f"_orig_{key}") for key in CRONTAB_FIELDS}
        fields = {key: field_value(value) for key, value in given.items() if value != "*"}
        return PortableTiming("crontab", fields or {"minute": "*"}, zone=getattr(celery_schedule, "zone", ""))
    if type(celery_schedule) is solar and celery_schedule.nowfun is None:
        return PortableTiming(
            "solar", {"event": celery_schedule.event, "lat": celery_schedule.lat, "lon": celery_schedule.lon}
        )
    if hasattr(celery_schedule, "is_due"):
        raise NotPortable(
            f"{type(celery_schedule).__module__}.{type(celery_schedule).__qualname__} is a class of its own"
        )
    return celery_schedule
