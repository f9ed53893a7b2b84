"""The differences between a schedule file and what the running beats hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from livectl import connect
from livectl.errors import LivectlError
from livectl.model import Schedule
from livectl.ops.beat import runs
from livectl.render import View, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from livectl.address import Address
    from livectl.ops.beat.runs import LoadedSchedule, RunningBeat

COMPARED_FIELDS = tuple(field.name for field in msgspec.structs.fields(Schedule) if field.name != "name")
CHANGE_TEXTS = {"added": "only in the file", "removed": "only in the beat", "changed": "differs: "}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One entry that the file and a beat do not agree on."""

    beat: str
    file: str  # that the beat runs
    name: str
    change: Literal["added", "removed", "changed"]
    fields: tuple[str, ...] = ()


def find_differences(store: Address, path: Path, schedules: Sequence[Schedule]) -> list[Difference]:
    """Of every beat that is at work; LivectlError when none is."""
    with connect.open_store(store) as client:
        beats, loaded_schedules = runs.read_running_beats(client), runs.read_loaded_schedules(client)
    pairs = [(beats[name], loaded_schedules[name]) for name in sorted(beats) if name in loaded_schedules]
    if not pairs:
        raise LivectlError("no beat is at work on this store", "Start one with `livectl beat`.")
    return [
        difference
        for beat, loaded_schedule in pairs
        for difference in _beat_differences(beat, loaded_schedule, path, schedules)
    ]


def render_differences(path: Path, differences: Sequence[Difference]) -> View:
    rows = [
        (difference.name, CHANGE_TEXTS[difference.change] + ", ".join(difference.fields), difference.beat)
        for difference in differences
    ]
    return table(("name", "difference", "beat"), rows, differences, empty=f"Every beat holds what {path.name} says.")


def _beat_differences(
    beat: RunningBeat, loaded_schedule: LoadedSchedule, path: Path, schedules: Sequence[Schedule]
) -> Iterator[Difference]:
    beat_name = (
        f"{beat.host}:{beat.pid}"
        if loaded_schedule.file == str(path)
        else f"{beat.host}:{beat.pid}, which runs {loaded_schedule.file}"
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
