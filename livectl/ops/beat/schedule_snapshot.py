"""Reads everything that is scheduled, in the file and in the app, without starting a beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.ops.schedules import schedule_file

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.models import Schedule


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
    return ScheduleSnapshot((*file_schedules, *app_schedules), (*notes, *_database_notes(app)))


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


def _database_notes(app: Any) -> list[str]:
    scheduler = str(app.conf.beat_scheduler or "")
    if scheduler.startswith("django_celery_beat"):
        return ["this app's beat reads its schedule from Django's database, which is not shown here"]
    return []
