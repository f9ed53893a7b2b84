"""A schedule in Celery's own words: the `beat_schedule` that stock beat, and whatever else reads Celery's, can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from celery.schedules import crontab, schedule, solar

from livectl.model import Cron, Interval, Schedule
from livectl.ops.reckoning.cron import DAY, HOUR, MINUTE, MONTH, WEEKDAY, occurs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo

    from livectl.ops.reckoning.cron import Field

WEEKDAYS_OF = "{} (weekdays)"  # the second half of a line that Celery cannot say in one


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
            "task": each.task,
            "schedule": when,
            "args": each.args,
            "kwargs": each.kwargs,
            "options": each.options,
        }
        for each in schedules
        if each.enabled
        for name, when in _named(each)
    }


def _named(each: Schedule) -> Iterator[tuple[str, schedule | crontab | solar]]:
    timing = each.timing
    if isinstance(timing, Interval):
        yield each.name, schedule(timing.seconds)
    elif isinstance(timing, Cron):
        yield from _crontabs(each.name, timing, each.timezone)
    else:
        yield each.name, solar(timing.event, timing.lat, timing.lon)


def _crontabs(name: str, line: Cron, zone: str) -> Iterator[tuple[str, ZonedCrontab]]:
    """Celery wants date and weekday to match. A line that wants either is two: dates, and weekdays on others."""
    minute, hour, weekday = _word(MINUTE, line.minute), _word(HOUR, line.hour), _word(WEEKDAY, line.weekday)
    month = _word(MONTH, line.month)
    if not line.either_day or weekday == "*":
        day = "*" if line.either_day else _word(DAY, line.day)
        yield name, ZonedCrontab(minute, hour, weekday, day, month, zone=zone)
        return
    others = tuple(day for day in range(DAY.low, DAY.high + 1) if day not in line.day)
    if occurs(line.day, line.month):
        yield name, ZonedCrontab(minute, hour, "*", _word(DAY, line.day), month, zone=zone)
    if occurs(others, line.month):
        yield WEEKDAYS_OF.format(name), ZonedCrontab(minute, hour, weekday, _word(DAY, others), month, zone=zone)


def _word(field: Field, values: tuple[int, ...]) -> str:
    return "*" if len(values) == field.high - field.low + 1 else ",".join(map(str, values))


def _zoned(fields: tuple[str, ...], zone: str) -> ZonedCrontab:
    return ZonedCrontab(*fields, zone=zone)
