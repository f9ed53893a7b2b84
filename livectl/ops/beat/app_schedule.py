"""Reads and checks the `beat_schedule` of an app: entries that Celery would run, whatever they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any

import msgspec
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule, solar
from celery.utils.log import get_logger

from livectl.errors import Mistake
from livectl.models import Cron, Interval, Schedule, Solar
from livectl.ops import apps
from livectl.ops.beat.entries import BeatEntry, ComputedDueTimes, CustomDueTimes, to_beat_entry
from livectl.ops.beat.views import AppEntry
from livectl.ops.schedules import cron, due_times, entry_reading, options
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    from celery import Celery

    from livectl.ops.beat.entries import DueTimes

logger = get_logger(__name__)

ENTRY_KEYS = tuple(name for name in signature(ScheduleEntry).parameters if name not in {"name", "app"})
MAX_SCHEDULE_CHARS = 40  # of what Python calls a schedule


def to_schedule(entry: BeatEntry) -> Schedule | None:
    """The schedule of an entry of the app; None where a class of the app's own says when it is due."""
    if not isinstance(entry.due_times, ComputedDueTimes):
        return None
    return msgspec.structs.replace(
        entry.due_times.schedule,
        name=entry.name,
        task=entry.task,
        args=entry.args,
        kwargs=entry.kwargs,
        options=entry.options,
        deadline=entry.deadline,
    )


def find_repeated(entries_by_name: Mapping[str, BeatEntry], in_file: Iterable[Schedule]) -> set[str]:
    """The names of entries that the file has in the same words, as after an import: beat sends those once."""
    return {
        file_schedule.name
        for file_schedule in in_file
        if (entry := entries_by_name.get(file_schedule.name)) and entry.says_the_same_as(to_beat_entry(file_schedule))
    }


def app_entries(app: Celery, beat_schedule: Mapping[str, Any]) -> dict[str, BeatEntry]:
    """The entries of a `beat_schedule`, by name. One that cannot be run is logged and left out."""
    entries_by_name, broken = _read_entries(app, beat_schedule)
    for entry in broken:
        logger.error("beat_schedule: entry %r cannot be run and is left out: %s", entry.name, entry.problem)
    return entries_by_name


def read_app_entries(app: Celery) -> tuple[dict[str, BeatEntry], tuple[AppEntry, ...]]:
    """The entries of the app's `beat_schedule`, by name, and those that cannot be run. Raises for a wrong time zone."""
    return _read_entries(app, apps.read_beat_schedule(app))


def _read_entries(app: Celery, beat_schedule: Mapping[str, Any]) -> tuple[dict[str, BeatEntry], tuple[AppEntry, ...]]:
    zone = apps.find_zone(app) or str(app.timezone)
    entries_by_name: dict[str, BeatEntry] = {}
    broken = []
    for name, raw_entry in beat_schedule.items():
        try:
            entries_by_name[name] = _app_entry(app, name, raw_entry)
        except Exception as error:
            broken.append(
                AppEntry(
                    name=name,
                    task=str(_read_field(raw_entry, "task") or ""),
                    schedule=describe_schedule(_read_field(raw_entry, "schedule")),
                    timezone=zone,
                    problem=str(error),
                )
            )
    return entries_by_name, tuple(broken)


def _read_field(raw_entry: Any, name: str) -> Any:
    return raw_entry.get(name) if isinstance(raw_entry, Mapping) else getattr(raw_entry, name, None)


def describe_schedule(celery_schedule: Any) -> str:
    """When an entry is due, as people write it: a cron line, an interval; else what Python calls it."""
    if isinstance(celery_schedule, timedelta):
        celery_schedule = celery_schedule.total_seconds()
    if isinstance(celery_schedule, int | float) and celery_schedule > 0:
        return due_times.format_timing(Interval(float(celery_schedule)))
    if isinstance(celery_schedule, crontab):
        return _cron_text(celery_schedule)
    if type(celery_schedule) is schedule:
        return due_times.format_timing(Interval(celery_schedule.seconds))
    text = "" if celery_schedule is None else repr(celery_schedule)
    return text if len(text) <= MAX_SCHEDULE_CHARS else type(celery_schedule).__qualname__


def _app_entry(app: Celery, name: str, raw_entry: Any) -> BeatEntry:
    if problem := _find_problem(raw_entry):
        raise TypeError(problem)
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


def _find_problem(raw_entry: Any) -> str:
    """What cannot be an entry at all; empty for what may be one."""
    if isinstance(raw_entry, ScheduleEntry):
        return ""
    if not isinstance(raw_entry, Mapping):
        return f"{raw_entry!r} is no dict with task and schedule"
    for key in raw_entry:
        if key not in ENTRY_KEYS:
            hint = did_you_mean(str(key), ENTRY_KEYS)
            return f"Celery's entries have no key {key!r}{f' ({hint})' if hint else ''}"
    for key in ("kwargs", "options"):
        if not isinstance(raw_entry.get(key) or {}, Mapping):
            return f"{key}: {raw_entry[key]!r} is no dict"
    if isinstance(raw_entry.get("schedule"), str):
        return f"schedule: {raw_entry['schedule']!r} is text: write seconds, crontab(...) or solar(...)"
    return ""


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
        text=_cron_text(celery_crontab),
        minute=tuple(sorted(celery_crontab.minute)),
        hour=tuple(sorted(celery_crontab.hour)),
        day=tuple(sorted(celery_crontab.day_of_month)),
        month=tuple(sorted(celery_crontab.month_of_year)),
        weekday=tuple(sorted(celery_crontab.day_of_week)),
        either_day=False,
        stepping=any(str(word).startswith("*") for word in words) or len(celery_crontab.hour) > cron.HOUR.high,
    )


def _cron_text(celery_crontab: crontab) -> str:
    """The cron line of its five fields, each as it was given: `0 */3 * * mon-fri`."""
    return " ".join(_cron_word(getattr(celery_crontab, f"_orig_{field}")) for field in cron.CELERY_FIELDS)


def _cron_word(given: Any) -> str:
    """A number, text, or a collection of them."""
    if isinstance(given, str):
        return "".join(given.split())
    return ",".join(map(str, given)) if isinstance(given, Iterable) else str(given)


class AppScheduleCheck(msgspec.Struct, frozen=True):
    """How many entries the `beat_schedule` of an app has, and what is wrong or may not be meant in them."""

    count: int
    mistakes: tuple[Mistake, ...]


def check_app_schedule(
    app: Celery, tasks: Mapping[str, Any], source: str, now_ms: int, in_file: Sequence[Schedule]
) -> AppScheduleCheck:
    """Checks the `beat_schedule` of an app, which messages call `source`, as `schedules.yaml` is checked."""
    entries_by_name, broken = read_app_entries(app)
    mistakes = [Mistake(source, 0, 0, f"{entry.name}: {entry.problem}") for entry in broken]
    differing = {file_schedule.name for file_schedule in in_file} - find_repeated(entries_by_name, in_file)
    for name, entry in entries_by_name.items():
        if name in differing:
            mistakes.append(Mistake(source, 0, 0, f"{name} is in the file too", "rename one of the two"))
        if reason := options.refusal(entry.task, entry.args, entry.kwargs, tasks):
            mistakes.append(Mistake(source, 0, 0, f"{name}: {reason}"))
        mistakes += [
            Mistake(source, 0, 0, f"{name}: {text}", hint, warning=True) for text, hint in _find_warnings(entry, now_ms)
        ]
    return AppScheduleCheck(len(entries_by_name) + len(broken), tuple(mistakes))


def _find_warnings(entry: BeatEntry, now_ms: int) -> Iterator[tuple[str, str]]:
    known_options = {*options.OPTION_READERS, *options.REFUSED_OPTIONS}
    for option in entry.options.keys() - known_options:
        yield f'options: Celery has no option "{option}"', did_you_mean(str(option), known_options)
    if computed := to_schedule(entry):
        yield from entry_reading.cron_warnings(computed, now_ms)
