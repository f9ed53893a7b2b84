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
    from livectl.ops.beat.history import History
    from livectl.ops.beat.pauses import Pause
    from livectl.ops.schedules.schedulefile import ScheduleFile

SECOND = 1_000  # milliseconds
NONE_YET = "No schedules yet; docs/schedules.md shows how they are written."


def entries(schedules: Sequence[Schedule], history: History, now: int, zone: str) -> View:
    """Every schedule with its last run and its next."""
    data, rows = [], []
    for each in schedules:
        pause = history.paused.get(each.name)
        due = timing.next_due(each, now) if each.enabled and not pause else None
        row = _row(each, history, due)
        data.append({**row, "reason": pause.reason or None if pause else None})
        last = history.last.get(each.name)
        told = [_short(last.due, now, zone) if last else "", row["ended"] or ""]
        following = _paused(pause) if pause else _short(due, now, zone) if each.enabled else "off"
        rows.append([each.name, each.task, _when(each, zone), " ".join(filter(None, told)), following])
    return table(["name", "task", "schedule", "last", f"next, {zone}"], rows, data, empty=NONE_YET)


def runs(ahead: Sequence[Run], schedules: Mapping[str, Schedule], history: History, zone: str) -> View:
    """Runs in the order of time, and what a change of the clock did to them."""
    data, rows = [], []
    for run in ahead:
        each = schedules[run.name]
        note = "paused" if run.name in history.paused else upcoming.remark(each, run.due)
        data.append({**_row(each, history, run.due), "note": note or None})
        rows.append([f"{_local(run.due, zone):%Y-%m-%d %H:%M:%S}", each.name, _when(each, zone), note])
    heads = [f"due, {zone}", "name", "schedule", ""]
    return table(heads if any(row[-1] for row in rows) else heads[:-1], _trimmed(rows), data, empty="Nothing ahead.")


def verdict(file: str, found: ScheduleFile, *, checked: bool) -> View:
    """That a file is right: how much is in it, and what was looked at."""
    warnings = [warning._asdict() for warning in found.warnings]
    said = f"{file}: {_counted(len(found.schedules), 'schedule')}, {_counted(len(warnings), 'warning')}"
    looked = "tasks and arguments are the app's" if checked else "tasks not checked"
    data = {"file": file, "schedules": len(found.schedules), "checked": checked, "warnings": warnings}
    return sentence(f"{said}, no mistake; {looked}.", data)


def _row(schedule: Schedule, history: History, due: int | None) -> dict[str, Any]:
    last, ended = history.last.get(schedule.name), history.ended.get(schedule.name)
    return {
        "name": schedule.name,
        "task": schedule.task,
        "schedule": timing.in_words(schedule.timing),
        "timezone": schedule.timezone,
        "enabled": schedule.enabled,
        "paused": schedule.name in history.paused,
        "last": _utc(last.due) if last else None,
        "ended": str(ended) if ended else None,
        "next": _utc(due),
    }


def _paused(pause: Pause) -> str:
    return f"paused: {pause.reason}" if pause.reason else "paused"


def _trimmed(rows: list[list[str]]) -> list[list[str]]:
    """Without the column of remarks when there are none."""
    return rows if any(row[-1] for row in rows) else [row[:-1] for row in rows]


def _when(schedule: Schedule, zone: str) -> str:
    """The zone is told where it matters, and is another one than that of the page."""
    words = timing.in_words(schedule.timing)
    return f"{words} {schedule.timezone}" if isinstance(schedule.timing, Cron) and schedule.timezone != zone else words


def _short(moment: int | None, now: int, zone: str) -> str:
    """The time if it is of today, else the day too."""
    if moment is None:
        return ""
    local = _local(moment, zone)
    return f"{local:%H:%M:%S}" if local.date() == _local(now, zone).date() else f"{local:%Y-%m-%d %H:%M}"


def _local(moment: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment / SECOND, ZoneInfo(zone))


def _utc(moment: int | None) -> str | None:
    if moment is None:
        return None
    precision = "milliseconds" if moment % SECOND else "seconds"
    return datetime.fromtimestamp(moment / SECOND, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
