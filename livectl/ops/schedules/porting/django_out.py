"""Schedules as a fixture for django-celery-beat: `manage.py loaddata FILE` puts them in its tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from livectl.model import Cron, Interval
from livectl.ops.schedules.porting.brought import ConvertedSchedule, PortingNote
from livectl.ops.schedules.porting.python_out import (
    EITHER_DAY_REASON,
    crontab_fields,
    find_lost_keys,
    restricts_either_day,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.model import Schedule, Solar

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
