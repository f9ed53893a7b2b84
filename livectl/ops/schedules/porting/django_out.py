"""Schedules as a fixture for django-celery-beat: `manage.py loaddata FILE` puts them in its tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from livectl.model import Cron, Interval
from livectl.ops.schedules.porting.brought import Export, LeftOut
from livectl.ops.schedules.porting.python_out import EITHER, crontab_words, either, what_is_lost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.model import Schedule, Solar

APP = "django_celery_beat"
PERIODS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0, "microseconds": 0.000001}
COLUMNS = {"queue", "exchange", "routing_key", "headers", "priority", "expires"}
LONGEST_NAME = 200  # characters of a name or a task in its tables


def text(schedules: Sequence[Schedule], changed: str) -> Export:
    """`changed` is the time that the tables note, ISO 8601."""
    rows: dict[str, dict[str, Any]] = {}
    tasks: list[dict[str, Any]] = []
    left, notes = [], []
    for each in schedules:
        why = _unsayable(each)
        if why:
            left.append(LeftOut(name=each.name, why=why))
            continue
        kind, fields = _when(each)
        key = json.dumps([kind, fields])
        row = rows.setdefault(key, {"model": f"{APP}.{kind}schedule", "pk": _number(rows, kind), "fields": fields})
        tasks.append(_task(len(tasks) + 1, each, {kind: row["pk"]}, changed))
        if lost := what_is_lost(each):
            notes.append(LeftOut(name=each.name, why=f"said without {lost}"))
    return Export(json.dumps([*rows.values(), *tasks], indent=2, ensure_ascii=False) + "\n", left, notes)


def _number(rows: dict[str, dict[str, Any]], kind: str) -> int:
    return [row["model"] for row in rows.values()].count(f"{APP}.{kind}schedule") + 1


def _unsayable(each: Schedule) -> str:
    if isinstance(each.timing, Cron) and either(each.timing):
        return EITHER
    if each.options.keys() - COLUMNS:
        return f"no column for {', '.join(sorted(each.options.keys() - COLUMNS))}"
    if isinstance(each.timing, Interval) and _period(each.timing) is None:
        return "its interval is no whole number of microseconds"
    if max(len(each.name), len(each.task)) > LONGEST_NAME:
        return f"its name or task is longer than {LONGEST_NAME} characters"
    expires = each.options.get("expires")
    return "" if expires is None or float(expires).is_integer() else "expires is no whole number of seconds"


def _when(each: Schedule) -> tuple[str, dict[str, Any]]:
    timing: Interval | Cron | Solar = each.timing
    if isinstance(timing, Interval):
        every, period = _period(timing) or (0, "")
        return "interval", {"every": every, "period": period}
    if isinstance(timing, Cron):
        return "crontab", {**crontab_words(timing), "timezone": each.timezone}
    return "solar", {"event": timing.event, "latitude": str(timing.lat), "longitude": str(timing.lon)}


def _period(timing: Interval) -> tuple[int, str] | None:
    for name, seconds in PERIODS.items():
        every = round(timing.seconds / seconds)
        if every and abs(every * seconds - timing.seconds) < PERIODS["microseconds"] / 10:
            return every, name
    return None


def _task(number: int, each: Schedule, when: dict[str, int], changed: str) -> dict[str, Any]:
    options = dict(each.options)
    fields = {
        "name": each.name,
        "task": each.task,
        **when,
        "args": json.dumps(list(each.args)),
        "kwargs": json.dumps(each.kwargs),
        "headers": json.dumps(options.pop("headers", {})),
        "expire_seconds": int(options.pop("expires")) if "expires" in options else None,
        **options,
        "enabled": each.enabled,
        "date_changed": changed,
    }
    return {"model": f"{APP}.periodictask", "pk": number, "fields": fields}
