"""The `beat_schedule` of an imported app, whatever put it together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.ops.schedules.porting.brought import (
    ImportedSchedule,
    NotPortable,
    PortableEntry,
    PortableTiming,
    PortingNote,
    portable_keys,
)
from livectl.ops.schedules.porting.literals import CRONTAB_FIELDS, field_value
from livectl.ops.schedules.stock import ZonedCrontab

if TYPE_CHECKING:
    from celery import Celery


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
    from celery.schedules import crontab, schedule, solar

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
