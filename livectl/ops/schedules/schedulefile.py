"""schedules.yaml: what is sent when, read with every mistake at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import FileError, Mistake
from livectl.model import Cron, Schedule
from livectl.ops.schedules import binding, entries, plain, surprises
from livectl.ops.schedules.spot import Spot, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

UTC = "UTC"
TOP_KEYS = ("timezone", "schedules")
EXAMPLE = "schedules: {ping: {task: livectl.ping, every: 5s}}"


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

    notes: list[Mistake] = []
    document = yamlfile.load(path, name)
    spot = Spot(document, notes)
    zone = _top(spot, document.value)
    schedules = []
    for entry, value, here in _entries(spot, document.value):
        schedule = entries.read(here, entry, value, zone)
        if schedule:
            schedules.append(schedule)
            _warn(here.into(entries.timing_key(value)), schedule, now_ms)
        if tasks is not None:
            binding.check(here, value, tasks)
    notes.sort(key=lambda note: (note.line, note.column))
    if any(not note.warning for note in notes):
        raise FileError(notes)
    return ScheduleFile(tuple(schedules), tuple(notes))


def _top(spot: Spot, value: Any) -> str:
    """The zone of the entries that name none; what is wrong around the entries is noted."""
    if not isinstance(value, dict):
        spot.wrong("the file is empty" if value is None else f"{quoted(value)} is no schedule file", EXAMPLE)
        return UTC
    for key in value.keys() - TOP_KEYS:
        _misplaced(spot, key, value[key])
    if value.keys() <= {"timezone"}:
        spot.wrong("no schedules", EXAMPLE)
    return plain.zone(spot.into("timezone"), value.get("timezone", UTC))


def _misplaced(spot: Spot, key: str, value: Any) -> None:
    if isinstance(value, dict) and "task" in value:
        spot.into(key).wrong("an entry beside schedules", "put it under schedules:", key=True)
    else:
        spot.unknown("key", key, TOP_KEYS)


def _entries(spot: Spot, value: Any) -> Iterator[tuple[str, Any, Spot]]:
    """Each entry's name, what it says, and where."""
    if not isinstance(value, dict) or "schedules" not in value:
        return
    found, here = value["schedules"], spot.into("schedules", silent=True)
    if isinstance(found, dict):
        yield from ((name, each, here.into(name)) for name, each in found.items())
    elif found is None:
        here.warn("schedules: no entries yet", f"add: {entries.EXAMPLE}")
    else:
        here.wrong(f"schedules: {quoted(found)} is no mapping of names to entries", EXAMPLE)


def _warn(spot: Spot, schedule: Schedule, now_ms: int | None) -> None:
    """Notes what a cron line does that may not be meant."""
    line = schedule.timing
    if not isinstance(line, Cron):
        return
    if said := surprises.every_minute(line):
        spot.warn(said, f'"{surprises.once(line)}" does once')
    for said in surprises.clock_changes(line, schedule.timezone, now_ms) if now_ms is not None else ():
        spot.warn(said)
