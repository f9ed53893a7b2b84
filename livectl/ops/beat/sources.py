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

from livectl.errors import FileError
from livectl.models import Cron, Interval, Schedule, Solar
from livectl.ops.beat.entries import MS_PER_SECOND, BeatEntry, ComputedDueTimes, fingerprint, to_beat_entry
from livectl.ops.beat.overlap import has_shared_results
from livectl.ops.schedules import schedule_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from celery import Celery

    from livectl.ops.beat.entries import DueTimes


logger = get_logger(__name__)

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


MAX_NAMES_LOGGED = 10  # in one line of the log

FileStamp = tuple[int, int, int]


class ReloadingSchedule:
    """What there is to send. `entries` and `schedules` are what was last read without a mistake."""

    def __init__(self, app: Celery, path: Path, defaults: Mapping[str, Any], *, optional: bool) -> None:
        self.path = path
        self.entries: dict[str, BeatEntry] = {}
        self.schedules: tuple[Schedule, ...] = ()  # of the file alone
        self._app = app
        self._defaults = defaults
        self._optional = optional
        self._stamp: FileStamp | None = None

    def read(self) -> None:
        """Takes in file and app; SettingsError holds what is wrong with the file, and leaves `entries` as they were."""
        self._stamp = self._stat_file()
        if self._stamp is None and self._optional:
            logger.warning("There is no %s: only the app's own beat_schedule is run.", self.path)
            schedules: tuple[Schedule, ...] = ()
        else:
            schedules = self._load_file()
            self._optional = False  # once read, a file that is gone is a mistake, and not an empty schedule
        file_entries = {schedule.name: to_beat_entry(schedule) for schedule in schedules}
        app_entries_by_name = app_entries(self._app, self._app.conf.beat_schedule)
        self._check_duplicates(app_entries_by_name.keys() & file_entries.keys())
        disabled = {schedule.name for schedule in schedules if not schedule.enabled}
        entries = {**app_entries(self._app, self._defaults), **file_entries, **app_entries_by_name}
        self.entries = {name: entry for name, entry in entries.items() if name not in disabled}
        self.schedules = schedules
        self._check_overlap()

    def reload_if_changed(self) -> bool:
        """Whether the file has changed for good. A mistake in it is logged, once, and all stays as it was."""
        if self._stat_file() == self._stamp:
            return False
        old_entries = self.entries
        try:
            self.read()
        except Exception as error:
            logger.error("%s has changed and cannot be used; the schedule before goes on.\n%s", self.path, error)
            return False
        _log_changes(self.path, old_entries, self.entries)
        return True

    def _stat_file(self) -> FileStamp | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load_file(self) -> tuple[Schedule, ...]:
        """What looks wrong to this app only, such as a task that another app has, is logged and sent all the same."""
        try:
            loaded = schedule_file.load(self.path, tasks=self._app.tasks)
            mistakes: Iterable[Any] = ()
        except FileError as error:
            loaded = schedule_file.load(self.path)
            mistakes = error.mistakes
        for warning in (*loaded.warnings, *(mistake for mistake in mistakes if not mistake.warning)):
            logger.warning("%s", warning)
        return loaded.schedules

    def _check_overlap(self) -> None:
        names = [name for name, entry in self.entries.items() if entry.overlap == "skip"]
        if names and not has_shared_results(self._app):
            logger.error(
                "overlap: skip needs a result backend that anyone can ask; this app has none, and jobs may overlap: %s",
                format_names(names),
            )

    def _check_duplicates(self, names: Iterable[str]) -> None:
        from livectl import yamlfile

        if duplicates := sorted(names):
            document = yamlfile.load(self.path)
            text = "is in the app's beat_schedule too"
            hint = "rename one of the two, or leave one out"
            raise FileError(
                [document.mistake(("schedules", name), f"{name} {text}", hint, key=True) for name in duplicates]
            )


def _log_changes(path: Path, old_entries: dict[str, BeatEntry], new_entries: dict[str, BeatEntry]) -> None:
    changed = [name for name in old_entries.keys() & new_entries.keys() if old_entries[name] != new_entries[name]]
    changes = (
        ("added", new_entries.keys() - old_entries.keys()),
        ("changed", changed),
        ("removed", old_entries.keys() - new_entries.keys()),
    )
    summary = "; ".join(f"{change} {format_names(names)}" for change, names in changes if names)
    logger.info("%s read again: %s", path, summary or "nothing changed")


def format_names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    hidden_count = len(ordered) - MAX_NAMES_LOGGED
    return ", ".join(ordered[:MAX_NAMES_LOGGED]) + (f" and {hidden_count} more" if hidden_count > 0 else "")
