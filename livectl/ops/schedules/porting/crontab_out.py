"""Schedules as a crontab(5) file whose lines call `livectl call`."""

from __future__ import annotations

import json
import shlex
from itertools import groupby
from typing import TYPE_CHECKING

from livectl.model import Cron, Interval
from livectl.ops.reckoning.cron import FIELDS
from livectl.ops.schedules.porting.brought import ConvertedSchedule, PortingNote
from livectl.ops.schedules.porting.python_out import CRON_FIELD_ORDER, find_lost_keys, format_values, value_sets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.model import Schedule

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
