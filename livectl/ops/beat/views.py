"""Reads and shows what is scheduled: the entries, their next runs, and where the file and the running beats differ."""

from __future__ import annotations

from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError
from livectl.models import Cron, JobState, Run, Schedule
from livectl.ops.beat import heartbeats, run_store
from livectl.ops.beat.run_store import Pause  # noqa: TC001
from livectl.ops.jobs.status import StatusLookup
from livectl.ops.processes import launch
from livectl.ops.schedules import due_times, schedule_file
from livectl.render import View, sentence, table
from livectl.units import MS_PER_SECOND, format_count, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from livectl.address import Address
    from livectl.ops.beat.heartbeats import Heartbeat
    from livectl.ops.beat.run_store import LoadedSchedule
    from livectl.ops.deployment import Deployment
    from livectl.ops.schedules.schedule_file import ScheduleFile


NO_SCHEDULES_TEXT = "No schedules yet; docs/schedules.md shows how they are written."
COMPARED_FIELDS = tuple(field.name for field in msgspec.structs.fields(Schedule) if field.name != "name")
CHANGE_TEXTS = {"added": "only in the file", "removed": "only in the beat", "changed": "differs: "}


class EntryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule with its last run and its next; both in UTC milliseconds, None where there is none."""

    schedule: Schedule
    last: int | None = None
    ended: JobState | None = None  # how the job of the last run ended
    next: int | None = None
    pause: Pause | None = None


def list_entries(schedules: Sequence[Schedule], history: RunHistory, now: int) -> list[EntryStatus]:
    """Each schedule with its last run and its next."""
    return [_entry_status(schedule, history, _next_due(schedule, history, now)) for schedule in schedules]


def _next_due(schedule: Schedule, history: RunHistory, now: int) -> int | None:
    if not schedule.enabled or schedule.name in history.pauses:
        return None
    return due_times.next_due(schedule, now)


def _entry_status(schedule: Schedule, history: RunHistory, due: int | None) -> EntryStatus:
    last_run = history.last_runs.get(schedule.name)
    return EntryStatus(
        schedule=schedule,
        last=last_run.due if last_run else None,
        ended=history.job_states.get(schedule.name),
        next=due,
        pause=history.pauses.get(schedule.name),
    )


def entry_json(entry: EntryStatus) -> dict[str, Any]:
    """An entry as `livectl schedules list --json` has it."""
    return {**_entry_fields(entry), "reason": entry.pause.reason or None if entry.pause else None}


def _entry_fields(entry: EntryStatus) -> dict[str, Any]:
    schedule = entry.schedule
    return {
        "name": schedule.name,
        "task": schedule.task,
        "schedule": due_times.format_timing(schedule.timing),
        "timezone": schedule.timezone,
        "enabled": schedule.enabled,
        "paused": entry.pause is not None,
        "last": _format_utc(entry.last),
        "ended": str(entry.ended) if entry.ended else None,
        "next": _format_utc(entry.next),
    }


def render_entries(entries: Sequence[EntryStatus], now: int, zone: str) -> View:
    rows = [
        [
            entry.schedule.name,
            entry.schedule.task,
            _format_schedule(entry.schedule, zone),
            " ".join(filter(None, [_format_short_time(entry.last, now, zone), entry.ended or ""])),
            _format_next(entry, now, zone),
        ]
        for entry in entries
    ]
    data = [entry_json(entry) for entry in entries]
    return table(["name", "task", "schedule", "last", f"next, {zone}"], rows, data, empty=NO_SCHEDULES_TEXT)


def _format_next(entry: EntryStatus, now: int, zone: str) -> str:
    if entry.pause:
        return f"paused: {entry.pause.reason}" if entry.pause.reason else "paused"
    return _format_short_time(entry.next, now, zone) if entry.schedule.enabled else "off"


def upcoming_runs(schedules: Iterable[Schedule], after_ms: int) -> Iterator[Run]:
    """The runs of all schedules that are switched on, in the order of time; usually without end."""
    runs_by_schedule = (_runs_after(schedule, after_ms) for schedule in schedules if schedule.enabled)
    return merge(*runs_by_schedule, key=lambda run: (run.due, run.name))


def _runs_after(schedule: Schedule, moment: int) -> Iterator[Run]:
    while (due := due_times.next_due(schedule, moment)) is not None:
        yield Run(schedule.name, due)
        moment = due


def render_runs(next_runs: Sequence[Run], schedules: Mapping[str, Schedule], history: RunHistory, zone: str) -> View:
    """The runs, each with a note of what a change of the clock does to it."""
    data, rows = [], []
    for run in next_runs:
        schedule = schedules[run.name]
        note = "paused" if run.name in history.pauses else clock_change_note(schedule, run.due)
        data.append({**_entry_fields(_entry_status(schedule, history, run.due)), "note": note or None})
        rows.append(
            [f"{_local_time(run.due, zone):%Y-%m-%d %H:%M:%S}", schedule.name, _format_schedule(schedule, zone), note]
        )
    columns = 4 if any(row[-1] for row in rows) else 3  # without the notes if there are none
    headings = [f"due, {zone}", "name", "schedule", ""]
    return table(headings[:columns], [row[:columns] for row in rows], data, empty="Nothing ahead.")


def clock_change_note(schedule: Schedule, due: int) -> str:
    """What a change of the clock does to the run at this instant; empty if it does nothing."""
    cron_line, second = schedule.timing, due // MS_PER_SECOND
    if not isinstance(cron_line, Cron):
        return ""
    period, *later_periods = islice(due_times.offset_periods_from(schedule.timezone, second, 2), 2)
    if second == period.start and (minute := due_times.skipped_minute(cron_line, period)) is not None:
        return f"{_format_clock_time(minute * due_times.SECONDS_PER_MINUTE)} does not exist that day"
    local_second = second + period.offset
    if local_second in period.repeated_seconds:
        return f"second of two {_format_clock_time(local_second)}"
    if later_periods and local_second in later_periods[0].repeated_seconds:
        return f"first of two {_format_clock_time(local_second)}"
    return ""


def _format_clock_time(local_second: int) -> str:
    return f"{datetime.fromtimestamp(local_second, UTC):%H:%M}"


def render_check(file: str, schedule_file: ScheduleFile, *, checked: bool) -> View:
    """That a file has no mistake, and how much was checked."""
    warnings = [warning._asdict() for warning in schedule_file.warnings]
    schedule_count = format_count(len(schedule_file.schedules), "schedule", zero="no")
    counts = f"{file}: {schedule_count}, {format_count(len(warnings), 'warning', zero='no')}"
    checked_text = "tasks and arguments are the app's" if checked else "tasks not checked"
    data = {"file": file, "schedules": len(schedule_file.schedules), "checked": checked, "warnings": warnings}
    return sentence(f"{counts}, no mistake; {checked_text}.", data)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that differs between the file and a running beat."""

    beat: str
    file: str  # of the beat
    name: str
    change: Literal["added", "removed", "changed"]
    fields: tuple[str, ...] = ()


def find_differences(store: Address, path: Path, schedules: Sequence[Schedule]) -> list[Difference]:
    """Where the schedules of a file and those of each running beat differ. Raises LivectlError when no beat runs."""
    with redis_client.connect(store) as connection:
        beats = heartbeats.read_activity(connection).heartbeats
        loaded_schedules = heartbeats.read_loaded_schedules(connection)
    pairs = [(beats[name], loaded_schedules[name]) for name in sorted(beats) if name in loaded_schedules]
    if not pairs:
        raise LivectlError("no beat is at work on this store", "Start one with `livectl beat`.")
    return [
        difference
        for beat, loaded_schedule in pairs
        for difference in _beat_differences(beat, loaded_schedule, path, schedules)
    ]


def _beat_differences(
    beat: Heartbeat, loaded_schedule: LoadedSchedule, path: Path, schedules: Sequence[Schedule]
) -> Iterator[Difference]:
    beat_name = (
        beat.process if loaded_schedule.file == str(path) else f"{beat.process}, which runs {loaded_schedule.file}"
    )
    in_file = {schedule.name: schedule for schedule in schedules}
    in_beat = {schedule.name: schedule for schedule in loaded_schedule.schedules}
    for name in sorted(in_file.keys() | in_beat.keys()):
        change, fields = _compare_schedules(in_file.get(name), in_beat.get(name))
        if change:
            yield Difference(beat=beat_name, file=loaded_schedule.file, name=name, change=change, fields=fields)


def _compare_schedules(
    in_file: Schedule | None, in_beat: Schedule | None
) -> tuple[Literal["added", "removed", "changed"] | None, tuple[str, ...]]:
    if in_file is None or in_beat is None:
        return ("removed" if in_file is None else "added"), ()
    fields = tuple(name for name in COMPARED_FIELDS if getattr(in_file, name) != getattr(in_beat, name))
    return ("changed" if fields else None), fields


def render_differences(path: Path, differences: Sequence[Difference]) -> View:
    rows = [
        (difference.name, CHANGE_TEXTS[difference.change] + ", ".join(difference.fields), difference.beat)
        for difference in differences
    ]
    return table(("name", "difference", "beat"), rows, differences, empty=f"Every beat holds what {path.name} says.")


def _format_schedule(schedule: Schedule, zone: str) -> str:
    """When a schedule is due; with its time zone if it has a cron line in another zone than the one that is shown."""
    timing_text = due_times.format_timing(schedule.timing)
    has_other_zone = isinstance(schedule.timing, Cron) and schedule.timezone != zone
    return f"{timing_text} {schedule.timezone}" if has_other_zone else timing_text


def _format_short_time(moment: int | None, now: int, zone: str) -> str:
    """The time of an instant of today, else the day and the time."""
    if moment is None:
        return ""
    local = _local_time(moment, zone)
    return f"{local:%H:%M:%S}" if local.date() == _local_time(now, zone).date() else f"{local:%Y-%m-%d %H:%M}"


def _local_time(moment: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment / MS_PER_SECOND, ZoneInfo(zone))


def _format_utc(moment: int | None) -> str | None:
    if moment is None:
        return None
    return format_instant(moment / MS_PER_SECOND, "milliseconds" if moment % MS_PER_SECOND else "seconds")


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What the store and the results have of entries, by entry. Entries without are left out."""

    last_runs: dict[str, Run] = {}
    job_states: dict[str, JobState] = {}
    pauses: dict[str, Pause] = {}


def read(store: Address, deployment: Deployment) -> RunHistory:
    """Reads it. How jobs ended is known where results are kept, or where the workers are livectl's own."""
    with redis_client.open_store(store) as client:
        last_runs, pauses = run_store.read_last_runs(client), run_store.read_pauses(client)
        task_ids = run_store.read_task_ids(client, last_runs.values())
    with StatusLookup(deployment) as lookup:
        states = lookup.end_states(list(task_ids.values())) if task_ids else {}
    job_states = {run.name: states[task_id] for run, task_id in task_ids.items() if task_id in states}
    return RunHistory(last_runs=last_runs, job_states=job_states, pauses=pauses)


class ScheduleSnapshot(msgspec.Struct, frozen=True):
    """Everything scheduled, and notes on what only beat itself can compute."""

    schedules: tuple[Schedule, ...]
    notes: tuple[str, ...] = ()


def read_snapshot(path: Path, *, name: str = "", app: Any = None, optional: bool = False) -> ScheduleSnapshot:
    """The schedules of a file, which messages call `name`, and of an app. An optional file may be missing."""
    file_schedules = (
        () if optional and app is not None and not path.exists() else schedule_file.load(path, name=name).schedules
    )
    if app is None:
        return ScheduleSnapshot(file_schedules)
    app_schedules, notes = _read_app_schedules(app)
    return ScheduleSnapshot((*file_schedules, *app_schedules), (*notes, *_store_notes(app)))


def _read_app_schedules(app: Any) -> tuple[list[Schedule], list[str]]:
    from livectl.ops.beat.entries import ComputedDueTimes, app_entries

    schedules, notes = [], []
    for name, entry in app_entries(app, app.conf.beat_schedule).items():
        if not isinstance(entry.due_times, ComputedDueTimes):
            notes.append(f"{name} is in the app's beat_schedule; only beat can tell when it is due")
            continue
        schedules.append(
            msgspec.structs.replace(
                entry.due_times.schedule,
                name=name,
                task=entry.task,
                args=entry.args,
                kwargs=entry.kwargs,
                options=entry.options,
                deadline=entry.deadline,
            )
        )
    return schedules, notes


def _store_notes(app: Any) -> list[str]:
    """What the app's own scheduler reads besides beat_schedule."""
    scheduler = str(app.conf.beat_scheduler or "")
    if not (text := launch.describe_store(scheduler)):
        return []
    hint = "" if launch.name_store(scheduler) == "other" else "; `livectl schedules import` prints that"
    return [f"not shown here: {text}{hint}"]
