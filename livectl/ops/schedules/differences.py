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
    from livectl.ops.beat.runs import Beat, Held

FIELDS = tuple(field.name for field in msgspec.structs.fields(Schedule) if field.name != "name")
WORDS = {"added": "only in the file", "removed": "only in the beat", "changed": "differs: "}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One entry that the file and a beat do not agree on."""

    beat: str
    file: str  # that the beat runs
    name: str
    change: Literal["added", "removed", "changed"]
    fields: tuple[str, ...] = ()


def find(store: Address, path: Path, schedules: Sequence[Schedule]) -> list[Difference]:
    """Of every beat that is at work; LivectlError when none is."""
    with connect.open_store(store) as client:
        beats, held = runs.seen(client), runs.held(client)
    known = [(beats[name], held[name]) for name in sorted(beats) if name in held]
    if not known:
        raise LivectlError("no beat is at work on this store", "Start one with `livectl beat`.")
    return [each for beat, holds in known for each in _of(beat, holds, path, schedules)]


def view(path: Path, found: Sequence[Difference]) -> View:
    rows = [(each.name, WORDS[each.change] + ", ".join(each.fields), each.beat) for each in found]
    return table(("name", "difference", "beat"), rows, found, empty=f"Every beat holds what {path.name} says.")


def _of(beat: Beat, held: Held, path: Path, schedules: Sequence[Schedule]) -> Iterator[Difference]:
    who = f"{beat.host}:{beat.pid}" if held.file == str(path) else f"{beat.host}:{beat.pid}, which runs {held.file}"
    ours = {each.name: each for each in schedules}
    theirs = {each.name: each for each in held.schedules}
    for name in sorted(ours.keys() | theirs.keys()):
        change, fields = _compare(ours.get(name), theirs.get(name))
        if change:
            yield Difference(beat=who, file=held.file, name=name, change=change, fields=fields)


def _compare(
    ours: Schedule | None, theirs: Schedule | None
) -> tuple[Literal["added", "removed", "changed"] | None, tuple[str, ...]]:
    if ours is None or theirs is None:
        return ("removed" if ours is None else "added"), ()
    fields = tuple(name for name in FIELDS if getattr(ours, name) != getattr(theirs, name))
    return ("changed" if fields else None), fields
