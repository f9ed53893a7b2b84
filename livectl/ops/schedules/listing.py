"""A schedule as people and programs see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from livectl.model import Cron
from livectl.ops.reckoning import timing
from livectl.ops.schedules import upcoming
from livectl.render import View, sentence, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.model import Run, Schedule
    from livectl.ops.beat.history import RunHistory
    from livectl.ops.beat.pauses import Pause
    from livectl.ops.schedules.schedulefile import ScheduleFile

SECOND_MS = 1_000  # milliseconds
NO_SCHEDULES_TEXT = "No schedules yet; docs/schedules.md shows how they are written."


def render_entries(schedules: Sequence[Schedule], history: RunHistory, now: int, zone: str) -> View:
    """Every schedule with its last run and its next."""
    data, rows = [], []
    for schedule in schedules:
        pause = history.pauses.get(schedule.name)
        due = timing.next_due(schedule, now) if schedule.enabled and not pause else None
        row = _entry_row(schedule, history, due)
        data.append({**row, "reason": pause.reason or None if pause else None})
        last_run = history.last_runs.get(schedule.name)
        last_texts = [_format_short_time(last_run.due, now, zone) if last_run else "", row["ended"] or ""]
        next_text = _format_pause(pause) if pause else _format_short_time(due, now, zone) if schedule.enabled else "off"
        rows.append(
            [
                schedule.name,
                schedule.task,
                _format_schedule(schedule, zone),
                " ".join(filter(None, last_texts)),
                next_text,
            ]
        )
    return table(["name", "task", "schedule", "last", f"next, {zone}"], rows, data, empty=NO_SCHEDULES_TEXT)


def render_runs(next_runs: Sequence[Run], schedules: Mapping[str, Schedule], history: RunHistory, zone: str) -> View:
    """Runs in the order of time, and what a change of the clock did to them."""
    data, rows = [], []
    for run in next_runs:
        schedule = schedules[run.name]
        note = "paused" if run.name in history.pauses else upcoming.clock_change_note(schedule, run.due)
        data.append({**_entry_row(schedule, history, run.due), "note": note or None})
        rows.append(
            [f"{_local_time(run.due, zone):%Y-%m-%d %H:%M:%S}", schedule.name, _format_schedule(schedule, zone), note]
        )
    headings = [f"due, {zone}", "name", "schedule", ""]
    return table(
        headings if any(row[-1] for row in rows) else headings[:-1],
        _drop_empty_notes(rows),
        data,
        empty="Nothing ahead.",
    )


def render_check(file: str, schedule_file: ScheduleFile, *, checked: bool) -> View:
    """That a file is right: how much is in it, and what was looked at."""
    warnings = [warning._asdict() for warning in schedule_file.warnings]
    counts = (
        f"{file}: {_format_count(len(schedule_file.schedules), 'schedule')}, {_format_count(len(warnings), 'warning')}"
    )
    checked_text = "tasks and arguments are the app's" if checked else "tasks not checked"
    data = {"file": file, "schedules": len(schedule_file.schedules), "checked": checked, "warnings": warnings}
    return sentence(f"{counts}, no mistake; {checked_text}.", data)


def _entry_row(schedule: Schedule, history: RunHistory, due: int | None) -> dict[str, Any]:
    last_run, job_state = history.last_runs.get(schedule.name), history.job_states.get(schedule.name)
    return {
        "name": schedule.name,
        "task": schedule.task,
        "schedule": timing.format_timing(schedule.timing),
        "timezone": schedule.timezone,
        "enabled": schedule.enabled,
        "paused": schedule.name in history.pauses,
        "last": _format_utc(last_run.due) if last_run else None,
        "ended": str(job_state) if job_state else None,
        "next": _format_utc(due),
    }


def _format_pause(pause: Pause) -> str:
    return f"paused: {pause.reason}" if pause.reason else "paused"


def _drop_empty_notes(rows: list[list[str]]) -> list[list[str]]:
    """Without the column of remarks when there are none."""
    return rows if any(row[-1] for row in rows) else [row[:-1] for row in rows]


def _format_schedule(schedule: Schedule, zone: str) -> str:
    """The zone is told where it matters, and is another one than that of the page."""
    timing_text = timing.format_timing(schedule.timing)
    return (
        f"{timing_text} {schedule.timezone}"
        if isinstance(schedule.timing, Cron) and schedule.timezone != zone
        else timing_text
    )


def _format_short_time(moment: int | None, now: int, zone: str) -> str:
    """The time if it is of today, else the day too."""
    if moment is None:
        return ""
    local = _local_time(moment, zone)
    return f"{local:%H:%M:%S}" if local.date() == _local_time(now, zone).date() else f"{local:%Y-%m-%d %H:%M}"


def _local_time(moment: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment / SECOND_MS, ZoneInfo(zone))


def _format_utc(moment: int | None) -> str | None:
    if moment is None:
        return None
    precision = "milliseconds" if moment % SECOND_MS else "seconds"
    return datetime.fromtimestamp(moment / SECOND_MS, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _format_count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
