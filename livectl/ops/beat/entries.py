"""The entries that beat runs: schedules of the file, and what the app has in its own `beat_schedule`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule, solar
from celery.utils.log import get_logger

from livectl.models import Cron, Interval, Schedule, Solar
from livectl.ops.schedules import cron, due_times
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from celery import Celery

logger = get_logger(__name__)

MAX_IS_DUE_CALLS = 10_000  # of one schedule at a time: one that never becomes due must not stop the others


class DueTimes(Protocol):
    """When an entry is due, in UTC milliseconds. Every beat must find the same instants."""

    @property
    def identity(self) -> str:
        """Differs between entries that are due at different times."""

    def after(self, moment: int) -> int | None:
        """The first due instant after this moment; None when there is none."""

    def latest(self, first: int, until: int) -> int:
        """The latest due instant up to `until`, given an earlier one."""


class BeatEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What beat sends, and when."""

    name: str
    task: str
    due_times: DueTimes
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    catchup: Literal["once", "skip"] = "once"
    deadline: float | None = None  # seconds
    overlap: Literal["allow", "skip"] = "allow"


def to_beat_entry(file_schedule: Schedule) -> BeatEntry:
    """The entry of a schedule of the file."""
    return BeatEntry(
        name=file_schedule.name,
        task=file_schedule.task,
        due_times=ComputedDueTimes(file_schedule),
        args=file_schedule.args,
        kwargs=file_schedule.kwargs,
        options=file_schedule.options,
        catchup=file_schedule.catchup,
        deadline=file_schedule.deadline,
        overlap=file_schedule.overlap,
    )


def app_entries(app: Celery, beat_schedule: Mapping[str, Any]) -> dict[str, BeatEntry]:
    """The entries of a `beat_schedule`, by name. One that cannot be run is logged and left out."""
    entries_by_name = {}
    for name, raw_entry in beat_schedule.items():
        try:
            entries_by_name[name] = _app_entry(app, name, raw_entry)
        except Exception as error:
            logger.error("beat_schedule: entry %r cannot be run and is left out: %s", name, error)
    return entries_by_name


def _app_entry(app: Celery, name: str, raw_entry: Any) -> BeatEntry:
    if isinstance(raw_entry, Mapping) and isinstance(raw_entry.get("schedule"), str):
        raise TypeError(f"schedule: {raw_entry['schedule']!r} is text: write seconds, crontab(...) or solar(...)")
    entry = raw_entry if isinstance(raw_entry, ScheduleEntry) else ScheduleEntry(**dict(raw_entry, name=name, app=app))
    if not entry.task or not isinstance(entry.task, str):
        raise ValueError("it names no task")
    if not isinstance(entry.args or (), list | tuple):
        raise TypeError(f"args: {entry.args!r} is no list: write [{entry.args!r}]")
    return BeatEntry(
        name=name,
        task=entry.task,
        due_times=_app_due_times(app, name, entry.schedule),
        args=tuple(entry.args or ()),
        kwargs=dict(entry.kwargs or {}),
        options=dict(entry.options or {}),
        deadline=app.conf.beat_cron_starting_deadline if isinstance(entry.schedule, crontab) else None,
    )


def _app_due_times(app: Celery, name: str, celery_schedule: Any) -> DueTimes:
    """Celery's own kinds of schedules are computed as those of the file; an instance of any other class is asked."""
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
    """The cron line of Celery's five sets. Celery wants a day to match by date as well as by weekday."""
    words = (celery_crontab._orig_minute, celery_crontab._orig_hour)
    return Cron(
        text=repr(celery_crontab),
        minute=tuple(sorted(celery_crontab.minute)),
        hour=tuple(sorted(celery_crontab.hour)),
        day=tuple(sorted(celery_crontab.day_of_month)),
        month=tuple(sorted(celery_crontab.month_of_year)),
        weekday=tuple(sorted(celery_crontab.day_of_week)),
        either_day=False,
        stepping=any(str(word).startswith("*") for word in words) or len(celery_crontab.hour) > cron.HOUR.high,
    )


class ComputedDueTimes(msgspec.Struct, frozen=True):
    """The due instants of a schedule that livectl computes."""

    schedule: Schedule

    @property
    def identity(self) -> str:
        return _fingerprint(msgspec.json.encode((self.schedule.timing, self.schedule.timezone), order="deterministic"))

    def after(self, moment: int) -> int | None:
        return due_times.next_due(self.schedule, moment)

    def latest(self, first: int, until: int) -> int:
        return due_times.last_due(self.schedule, until) or first


class CustomDueTimes(msgspec.Struct, frozen=True):
    """The due instants of a schedule of some other class, which is asked `is_due` at one moment after another.

    Beats agree on them as long as the class takes the time from its `now()` alone.
    """

    celery_schedule: Any
    zone: tzinfo  # of the times that the class is given

    @property
    def identity(self) -> str:
        text = repr(self.celery_schedule)
        return _fingerprint((type(self.celery_schedule).__qualname__ if " at 0x" in text else text).encode())

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
        """Whether a run would be due at a moment, and the seconds until the class wants to be asked again."""
        # The schedule itself is changed and put back: a copy loses what a class adds to Celery's own attributes.
        original_nowfun, self.celery_schedule.nowfun = (
            self.celery_schedule.nowfun,
            lambda: datetime.fromtimestamp(asked_at / MS_PER_SECOND, self.zone),
        )
        try:
            due, wait = self.celery_schedule.is_due(datetime.fromtimestamp(last_run / MS_PER_SECOND, self.zone))
        finally:
            self.celery_schedule.nowfun = original_nowfun
        return bool(due), float(wait)


def _fingerprint(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
