"""The `beat_schedule` that an app brings along, as entries of beat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import msgspec
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule, solar
from celery.utils.log import get_logger

from livectl.model import Cron, Interval, Schedule, Solar
from livectl.ops.beat.dues import SECOND, Entry, Reckoned, fingerprint

if TYPE_CHECKING:
    from celery import Celery

    from livectl.ops.beat.dues import Dues

logger = get_logger(__name__)

QUESTIONS = 10_000  # asked of one schedule at a time: one that never becomes due must not stop the others
ALL_HOURS = 24


class Asked(msgspec.Struct, frozen=True):
    """The due instants of a schedule of a class that only itself can reckon: it is asked as if it were then.

    Beats agree on them as long as its class takes the time from its `now()` alone.
    """

    found: Any
    zone: tzinfo  # that it tells its times in

    @property
    def identity(self) -> str:
        said = repr(self.found)
        return fingerprint((type(self.found).__qualname__ if " at 0x" in said else said).encode())

    def after(self, moment: int) -> int | None:
        asked_at = moment
        for _ in range(QUESTIONS):
            due, wait = self._is_due(moment, asked_at)
            if due and asked_at > moment:
                return asked_at
            asked_at += max(1, math.ceil(wait * SECOND))
        return None

    def latest(self, first: int, until: int) -> int:
        latest = first
        for _ in range(QUESTIONS):
            following = self.after(latest)
            if following is None or following > until:
                return latest
            latest = following
        return latest

    def _is_due(self, last_run: int, asked_at: int) -> tuple[bool, float]:
        """Set and put back, not copied: what a class adds to Celery's own is lost in a copy."""
        usual, self.found.nowfun = self.found.nowfun, lambda: datetime.fromtimestamp(asked_at / SECOND, self.zone)
        try:
            due, wait = self.found.is_due(datetime.fromtimestamp(last_run / SECOND, self.zone))
        finally:
            self.found.nowfun = usual
        return bool(due), float(wait)


def entries(app: Celery, told: Mapping[str, Any]) -> dict[str, Entry]:
    """Those that can be run; each of the others is logged with its name."""
    found = {}
    for name, said in told.items():
        try:
            found[name] = _entry(app, name, said)
        except Exception as error:
            logger.error("beat_schedule: entry %r cannot be run and is left out: %s", name, error)
    return found


def _entry(app: Celery, name: str, said: Any) -> Entry:
    if isinstance(said, Mapping) and isinstance(said.get("schedule"), str):
        raise TypeError(f"schedule: {said['schedule']!r} is text: write seconds, crontab(...) or solar(...)")
    entry = said if isinstance(said, ScheduleEntry) else ScheduleEntry(**dict(said, name=name, app=app))
    if not entry.task or not isinstance(entry.task, str):
        raise ValueError("it names no task")
    if not isinstance(entry.args or (), list | tuple):
        raise TypeError(f"args: {entry.args!r} is no list: write [{entry.args!r}]")
    when = entry.schedule
    deadline = app.conf.beat_cron_starting_deadline if isinstance(when, crontab) else None
    return Entry(
        name=name,
        task=entry.task,
        dues=_dues(app, name, when),
        args=tuple(entry.args or ()),
        kwargs=dict(entry.kwargs or {}),
        options=dict(entry.options or {}),
        deadline=deadline,
    )


def _dues(app: Celery, name: str, when: Any) -> Dues:
    """Celery's own kinds are reckoned like those of the schedule file; any other is asked."""
    if when is None:
        raise TypeError("it has no schedule")
    own = when.nowfun().tzinfo if getattr(when, "nowfun", None) else None
    zone: tzinfo = own or app.timezone
    name_of_zone = "UTC" if zone is UTC else getattr(zone, "key", None)
    timing: Interval | Cron | Solar
    if type(when) is schedule and not when.relative:
        if when.seconds <= 0:
            raise ValueError("schedule: an interval is longer than 0 seconds")
        timing = Interval(when.seconds)
    elif type(when) is crontab and name_of_zone:
        timing = _cron(when)
    elif type(when) is solar:
        timing = Solar(when.event, when.lat, when.lon)
    else:
        return Asked(when, zone)
    return Reckoned(Schedule(name=name, task="", timing=timing, timezone=name_of_zone or "UTC"))


def _cron(line: crontab) -> Cron:
    """Its five sets. Celery wants a day to match by date as well as by weekday."""
    words = (line._orig_minute, line._orig_hour)
    return Cron(
        text=repr(line),
        minute=tuple(sorted(line.minute)),
        hour=tuple(sorted(line.hour)),
        day=tuple(sorted(line.day_of_month)),
        month=tuple(sorted(line.month_of_year)),
        weekday=tuple(sorted(line.day_of_week)),
        either_day=False,
        stepping=any(str(word).startswith("*") for word in words) or len(line.hour) == ALL_HOURS,
    )
