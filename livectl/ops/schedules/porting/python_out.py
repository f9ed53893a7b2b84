"""Schedules as a Python module with Celery's `beat_schedule`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from livectl.model import Cron, Interval
from livectl.ops.reckoning.cron import FIELDS
from livectl.ops.schedules.porting.brought import ConvertedSchedule, PortingNote
from livectl.ops.schedules.porting.literals import CRONTAB_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.model import Schedule, Solar

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
