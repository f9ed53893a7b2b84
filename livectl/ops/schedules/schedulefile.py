"""schedules.yaml: what is sent when, read with every mistake at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import FileError, Mistake
from livectl.model import Cron, Schedule
from livectl.ops.schedules import binding, entries, plain, surprises
from livectl.ops.schedules.spot import FileLocation, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DEFAULT_ZONE = "UTC"
TOP_KEYS = ("timezone", "schedules")
FILE_EXAMPLE = "schedules: {ping: {task: livectl.ping, every: 5s}}"


class ScheduleFile(msgspec.Struct, frozen=True):
    """What a file says, and what in it deserves a second look."""

    schedules: tuple[Schedule, ...]
    warnings: tuple[Mistake, ...]


def load(
    path: Path, *, name: str = "", now_ms: int | None = None, tasks: Mapping[str, Any] | None = None
) -> ScheduleFile:
    """The schedules of a file, which messages call `name`; FileError holds every mistake in it.

    With an app's tasks, names and arguments are checked against them. With the time, there are warnings of what changes
    of the clock will do to entries in the next years.
    """
    from livectl import yamlfile

    mistakes: list[Mistake] = []
    document = yamlfile.load(path, name)
    location = FileLocation(document, mistakes)
    zone = _read_top_level(location, document.value)
    schedules = []
    for entry, value, entry_location in _list_entries(location, document.value):
        schedule = entries.read_entry(entry_location, entry, value, zone)
        if schedule:
            schedules.append(schedule)
            _add_cron_warnings(entry_location.child(entries.timing_key(value)), schedule, now_ms)
        if tasks is not None:
            binding.check_task(entry_location, value, tasks)
    mistakes.sort(key=lambda mistake: (mistake.line, mistake.column))
    if any(not mistake.warning for mistake in mistakes):
        raise FileError(mistakes)
    return ScheduleFile(tuple(schedules), tuple(mistakes))


def _read_top_level(location: FileLocation, value: Any) -> str:
    """The zone of the entries that name none; what is wrong around the entries is noted."""
    if not isinstance(value, dict):
        location.add_mistake(
            "the file is empty" if value is None else f"{quote(value)} is no schedule file", FILE_EXAMPLE
        )
        return DEFAULT_ZONE
    for key in value.keys() - TOP_KEYS:
        _add_misplaced_key(location, key, value[key])
    if value.keys() <= {"timezone"}:
        location.add_mistake("no schedules", FILE_EXAMPLE)
    return plain.read_zone(location.child("timezone"), value.get("timezone", DEFAULT_ZONE))


def _add_misplaced_key(location: FileLocation, key: str, value: Any) -> None:
    if isinstance(value, dict) and "task" in value:
        location.child(key).add_mistake("an entry beside schedules", "put it under schedules:", key=True)
    else:
        location.add_unknown("key", key, TOP_KEYS)


def _list_entries(location: FileLocation, value: Any) -> Iterator[tuple[str, Any, FileLocation]]:
    """Each entry's name, what it says, and where."""
    if not isinstance(value, dict) or "schedules" not in value:
        return
    entries_by_name, entries_location = value["schedules"], location.child("schedules", silent=True)
    if isinstance(entries_by_name, dict):
        yield from ((name, entry, entries_location.child(name)) for name, entry in entries_by_name.items())
    elif entries_by_name is None:
        entries_location.add_warning("schedules: no entries yet", f"add: {entries.ENTRY_EXAMPLE}")
    else:
        entries_location.add_mistake(
            f"schedules: {quote(entries_by_name)} is no mapping of names to entries", FILE_EXAMPLE
        )


def _add_cron_warnings(location: FileLocation, schedule: Schedule, now_ms: int | None) -> None:
    """Notes what a cron line does that may not be meant."""
    cron_line = schedule.timing
    if not isinstance(cron_line, Cron):
        return
    if warning := surprises.every_minute_warning(cron_line):
        location.add_warning(warning, f'"{surprises.once_per_hour(cron_line)}" does once')
    for warning in surprises.clock_change_warnings(cron_line, schedule.timezone, now_ms) if now_ms is not None else ():
        location.add_warning(warning)
