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
from livectl.ops.beat.dues import MS_PER_SECOND, BeatEntry, ComputedDueTimes, fingerprint

if TYPE_CHECKING:
    from celery import Celery

    from livectl.ops.beat.dues import DueTimes

sources_logger = get_logger(__name__)

MAX_IS_DUE_CALLS = 10_000  # asked of one schedule at a time: one that never becomes due must not stop the others
HOURS_PER_DAY = 24


class CustomDueTimes(msgspec.Struct, frozen=True):
    """The due instants of a schedule of a class that only itself can reckon: it is asked as if it were then.

    Beats agree on them as long as its class takes the time from its `now()` alone.
    """

    celery_schedule: Any
    zone: tzinfo  # that it tells its times in

    @property
    def identity(self) -> str:
        text = repr(self.celery_schedule)
        return fingerprint((type(self.celery_schedule).__qualname__ if " at 0x" in text else text).encode())

    def after(self, moment: int) -> int | None:
        asked_at = moment
        for _ in range(MAX_IS_DUE_CALLS):
            due, wait = self._is_due(moment, asked_at)
            if due and asked_at > moment:
                return asked_at
            asked_at += max(1, math.ceil(wait * MS_PER_SECOND))
        return None

    def latest(self, first: int, until: int) -> int:
        latest = first
        for _ in range(MAX_IS_DUE_CALLS):
            next_due = self.after(latest)
            if next_due is None or next_due > until:
                return latest
            latest = next_due
        return latest

    def _is_due(self, last_run: int, asked_at: int) -> tuple[bool, float]:
        """Set and put back, not copied: what a class adds to Celery's own is lost in a copy."""
        original_nowfun, self.celery_schedule.nowfun = (
            self.celery_schedule.nowfun,
            lambda: datetime.fromtimestamp(asked_at / MS_PER_SECOND, self.zone),
        )
        try:
            due, wait = self.celery_schedule.is_due(datetime.fromtimestamp(last_run / MS_PER_SECOND, self.zone))
        finally:
            self.celery_schedule.nowfun = original_nowfun
        return bool(due), float(wait)


def app_entries(app: Celery, beat_schedule: Mapping[str, Any]) -> dict[str, BeatEntry]:
    """Those that can be run; each of the others is logged with its name."""
    entries_by_name = {}
    for name, raw_entry in beat_schedule.items():
        try:
            entries_by_name[name] = _app_entry(app, name, raw_entry)
        except Exception as error:
            sources_logger.error("beat_schedule: entry %r cannot be run and is left out: %s", name, error)
    return entries_by_name


def _app_entry(app: Celery, name: str, raw_entry: Any) -> BeatEntry:
    if isinstance(raw_entry, Mapping) and isinstance(raw_entry.get("schedule"), str):
        raise TypeError(f"schedule: {raw_entry['schedule']!r} is text: write seconds, crontab(...) or solar(...)")
    entry = raw_entry if isinstance(raw_entry, ScheduleEntry) else ScheduleEntry(**dict(raw_entry, name=name, app=app))
    if not entry.task or not isinstance(entry.task, str):
        raise ValueError("it names no task")
    if not isinstance(entry.args or (), list | tuple):
        raise TypeError(f"args: {entry.args!r} is no list: write [{entry.args!r}]")
    celery_schedule = entry.schedule
    deadline = app.conf.beat_cron_starting_deadline if isinstance(celery_schedule, crontab) else None
    return BeatEntry(
        name=name,
        task=entry.task,
        due_times=_app_due_times(app, name, celery_schedule),
        args=tuple(entry.args or ()),
        kwargs=dict(entry.kwargs or {}),
        options=dict(entry.options or {}),
        deadline=deadline,
    )


def _app_due_times(app: Celery, name: str, celery_schedule: Any) -> DueTimes:
    """Celery's own kinds are reckoned like those of the schedule file; any other is asked."""
    if celery_schedule is None:
        raise TypeError("it has no schedule")
    own_zone = celery_schedule.nowfun().tzinfo if getattr(celery_schedule, "nowfun", None) else None
    zone: tzinfo = own_zone or app.timezone
    zone_name = "UTC" if zone is UTC else getattr(zone, "key", None)
    timing: Interval | Cron | Solar
    if type(celery_schedule) is schedule and not celery_schedule.relative:
        if celery_schedule.seconds <= 0:
            raise ValueError("schedule: an interval is longer than 0 seconds")
        timing = Interval(celery_schedule.seconds)
    elif type(celery_schedule) is crontab and zone_name:
        timing = _cron_from_celery(celery_schedule)
    elif type(celery_schedule) is solar:
        timing = Solar(celery_schedule.event, celery_schedule.lat, celery_schedule.lon)
    else:
        return CustomDueTimes(celery_schedule, zone)
    return ComputedDueTimes(Schedule(name=name, task="", timing=timing, timezone=zone_name or "UTC"))


def _cron_from_celery(celery_crontab: crontab) -> Cron:
    """Its five sets. Celery wants a day to match by date as well as by weekday."""
    raw_fields = (celery_crontab._orig_minute, celery_crontab._orig_hour)
    return Cron(
        text=repr(celery_crontab),
        minute=tuple(sorted(celery_crontab.minute)),
        hour=tuple(sorted(celery_crontab.hour)),
        day=tuple(sorted(celery_crontab.day_of_month)),
        month=tuple(sorted(celery_crontab.month_of_year)),
        weekday=tuple(sorted(celery_crontab.day_of_week)),
        either_day=False,
        stepping=any(str(raw_field).startswith("*") for raw_field in raw_fields)
        or len(celery_crontab.hour) == HOURS_PER_DAY,
    )
