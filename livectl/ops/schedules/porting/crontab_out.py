"""Schedules as a crontab(5) file whose lines call `livectl call`."""

from __future__ import annotations

import json
import shlex
from itertools import groupby
from typing import TYPE_CHECKING

from livectl.model import Cron, Interval
from livectl.ops.reckoning.cron import FIELDS
from livectl.ops.schedules.porting.brought import Export, LeftOut
from livectl.ops.schedules.porting.python_out import ORDER, numbers, sets, what_is_lost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.model import Schedule

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds
FLAGS = {"queue": "--queue", "priority": "--priority", "expires": "--expires", "countdown": "--in", "eta": "--at"}


def text(schedules: Sequence[Schedule], origin: str, app: str | None) -> Export:
    """Grouped by zone: CRON_TZ, which cronie and others know, holds for the lines after it."""
    said, left, notes = [], [], []
    for each in schedules:
        why = _unsayable(each)
        if why:
            left.append(LeftOut(name=each.name, why=why))
            continue
        said.append((_zone(each), f"{_line(each)} {_command(each, app)}"))
        if lost := what_is_lost(each):
            notes.append(LeftOut(name=each.name, why=f"said without {lost}"))
    lines = [f"# From {origin}, by livectl schedules export --crontab."]
    for zone, group in groupby(sorted(said, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        lines += [f"CRON_TZ={zone}"] if zone else []
        lines += [line for _, line in group]
    return Export("\n".join(lines) + "\n", left, notes)


def _unsayable(each: Schedule) -> str:
    if not each.enabled:
        return "it is switched off"
    if isinstance(each.timing, Interval):
        return "" if _interval(each.timing.seconds) else "cron has no line for its interval"
    if not isinstance(each.timing, Cron):
        return "cron does not know the sun"
    if not each.timing.either_day and either_would_differ(each.timing):
        return "its days match by date and weekday, cron's by either"
    unknown = sorted(each.options.keys() - FLAGS.keys())
    return f"livectl call has no option for {', '.join(unknown)}" if unknown else ""


def either_would_differ(line: Cron) -> bool:
    all_days = len(line.day) == FIELDS[2].high
    all_weekdays = len(line.weekday) == FIELDS[4].high + 1
    return not (all_days or all_weekdays)


def _zone(each: Schedule) -> str:
    return each.timezone if isinstance(each.timing, Cron) else ""


def _line(each: Schedule) -> str:
    if isinstance(each.timing, Interval):
        return _interval(each.timing.seconds)
    if isinstance(each.timing, Cron):
        return " ".join(numbers(key, values) for key, values in zip(ORDER, sets(each.timing), strict=True))
    return ""


def _interval(seconds: float) -> str:
    """A line with the same distance between all its runs, if there is one."""
    if seconds % MINUTE:
        return ""
    minutes, hours = seconds / MINUTE, seconds / HOUR
    if minutes < MINUTE and MINUTE % minutes == 0:
        return f"*/{int(minutes)} * * * *" if minutes > 1 else "* * * * *"
    if hours.is_integer() and DAY % seconds == 0:
        return {HOUR: "0 * * * *", DAY: "0 0 * * *"}.get(int(seconds), f"0 */{int(hours)} * * *")
    return ""


def _command(each: Schedule, app: str | None) -> str:
    words = ["livectl", *(["-A", app] if app else []), "call", each.task]
    words += [json.dumps(argument, ensure_ascii=False) for argument in each.args]
    words += ["--kwargs", json.dumps(each.kwargs, ensure_ascii=False)] if each.kwargs else []
    for key, value in each.options.items():
        words += [FLAGS[key], f"{value}s" if key in {"expires", "countdown"} else str(value)]
    return shlex.join(words).replace("%", r"\%")
