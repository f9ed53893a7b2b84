"""Compares the schedule file with what each running beat has loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError
from livectl.models import Schedule
from livectl.ops.beat import heartbeats
from livectl.render import Column, View, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from livectl.address import Address
    from livectl.ops.beat.heartbeats import Heartbeat
    from livectl.ops.beat.run_store import LoadedSchedule

COMPARED_FIELDS = tuple(field.name for field in msgspec.structs.fields(Schedule) if field.name != "name")
CHANGE_TEXTS = {"added": "only in the file", "removed": "only in the beat", "changed": "differs: "}


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
    columns = ("name", "difference", Column("beat", rank=1))
    return table(columns, rows, differences, empty=f"Every beat holds what {path.name} says.")
