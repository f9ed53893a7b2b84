"""Schedules as a Python module with Celery's `beat_schedule`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from livectl.model import Cron, Interval
from livectl.ops.reckoning.cron import FIELDS
from livectl.ops.schedules.porting.brought import Export, LeftOut
from livectl.ops.schedules.porting.literals import CRONTAB_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.model import Schedule, Solar

ORDER = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")  # of a cron line's fields
EITHER = "its days match by date or by weekday, Celery's by both: split it in two"


def text(schedules: Sequence[Schedule], origin: str) -> Export:
    zone = main_zone(schedules)
    lines, left, notes = [], [], []
    for each in schedules:
        why = _unsayable(each, zone)
        if why:
            left.append(LeftOut(name=each.name, why=why))
            continue
        lines += [f"    {line}" for line in _entry(each)]
        if lost := what_is_lost(each):
            notes.append(LeftOut(name=each.name, why=f"said without {lost}"))
    imports = sorted({word for word in ("crontab", "solar") if any(f" {word}(" in line for line in lines)})
    head = [f'"""The schedule of Celery beat, from {origin}."""', ""]
    head += [f"from celery.schedules import {', '.join(imports)}", ""] if imports else []
    body = ["beat_schedule = {", *lines, "}"] if lines else ["beat_schedule = {}"]
    return Export("\n".join([*head, f"timezone = {zone!r}", *body]) + "\n", left, notes)


def main_zone(schedules: Sequence[Schedule]) -> str:
    """Celery has one zone for all: the one of most cron lines."""
    zones = Counter(each.timezone for each in schedules if isinstance(each.timing, Cron))
    return zones.most_common(1)[0][0] if zones else "UTC"


def what_is_lost(each: Schedule) -> str:
    """Keys that only our beat knows."""
    said = {
        "catchup": each.catchup != "once",
        "deadline": each.deadline is not None,
        "overlap": each.overlap != "allow",
    }
    return ", ".join(key for key, is_said in said.items() if is_said)


def _unsayable(each: Schedule, zone: str) -> str:
    if not each.enabled:
        return "it is switched off"
    if isinstance(each.timing, Cron) and each.timezone != zone:
        return f"its zone is {each.timezone}, and Celery has one for all: {zone}"
    if isinstance(each.timing, Cron) and either(each.timing):
        return EITHER
    return ""


def either(line: Cron) -> bool:
    """Whether a cron line means a day by date or by weekday, both being restricted."""
    days, weekdays = line.day, line.weekday
    return line.either_day and len(days) <= FIELDS[2].high - FIELDS[2].low and len(weekdays) <= FIELDS[4].high


def _entry(each: Schedule) -> list[str]:
    keys: dict[str, str] = {"task": repr(each.task), "schedule": _when(each.timing)}
    keys |= {"args": repr(each.args)} if each.args else {}
    keys |= {"kwargs": repr(each.kwargs)} if each.kwargs else {}
    keys |= {"options": repr(each.options)} if each.options else {}
    return [f"{each.name!r}: {{", *(f"    {key!r}: {value}," for key, value in keys.items()), "},"]


def _when(timing: Interval | Cron | Solar) -> str:
    if isinstance(timing, Interval):
        return repr(timing.seconds)
    if isinstance(timing, Cron):
        words = crontab_words(timing)
        return f"crontab({', '.join(f'{key}={words[key]!r}' for key in CRONTAB_FIELDS if words[key] != '*')})"
    return f"solar({timing.event!r}, {timing.lat!r}, {timing.lon!r})"


def crontab_words(line: Cron) -> dict[str, str]:
    """Celery's five fields: as they were written where Celery understands them so, as numbers otherwise."""
    from celery.schedules import ParseException, crontab

    written = dict(zip(ORDER, line.text.split(), strict=False))
    meant = dict(zip(ORDER, sets(line), strict=True))
    words = {}
    for key, values in meant.items():
        try:
            understood = tuple(sorted(getattr(crontab(**{key: written[key]}), key))) == values
        except (ParseException, ValueError, KeyError, TypeError):
            understood = False
        words[key] = written[key] if understood and len(written) == len(ORDER) else numbers(key, values)
    return words


def sets(line: Cron) -> tuple[tuple[int, ...], ...]:
    return (line.minute, line.hour, line.day, line.month, line.weekday)


def numbers(key: str, values: tuple[int, ...]) -> str:
    field = FIELDS[ORDER.index(key)]
    return "*" if len(values) == field.high - field.low + 1 else ",".join(map(str, values))
