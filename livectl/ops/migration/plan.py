"""The plan of a migration: every file as it would be, why, and what is left for a person."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import Mistake
from livectl.ops.migration import convention, project
from livectl.ops.migration.places import CONF, FLASK_CELERY
from livectl.ops.migration.rename import Change, Renaming, rename

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.ops.migration.convention import Convention
    from livectl.ops.migration.places import Reading
    from livectl.ops.migration.project import Project
    from livectl.ops.migration.source import Source


class File(Struct, frozen=True):
    """One file before and after."""

    source: Source
    after: bytes


class Plan(Struct, kw_only=True):
    files: list[File]
    changes: list[Change]
    left: list[Change]  # for a person: removed, doubtful, not Python
    refused: list[Mistake]
    outside: list[Mistake]  # files that would have to change with these; without them nothing may be written
    convention: Convention
    renaming: Renaming
    readings: list[Reading]
    own: set[str]  # the files given
    count: int  # of Python files looked at

    @property
    def has_work(self) -> bool:
        return bool(self.files)


def make(paths: list[Path], namespace: str | None = None, *, given: bool = False) -> Plan:
    """What would change under the paths; reads files, runs nothing, writes nothing."""
    paths = [path.resolve() for path in paths]
    found = project.find(paths)
    readings = project.readings(found, named={path for path in paths if path.is_file()})
    decided = convention.decide(readings, namespace, given=given)
    renamed = rename(readings, decided)
    by_path = {str(reading.source.path): reading for reading in readings}
    own = {str(path) for path in found.given}
    concerned = _concerned(renamed, own, decided)
    files = [_file(by_path[path].source, renamed, found) for path in sorted(concerned)]
    return Plan(
        files=[file for file in files if file is not None and file.after != file.source.data],
        changes=sorted((change for change in renamed.changes if change.file in concerned), key=_place),
        left=sorted([*(c for c in renamed.left if c.file in own), *_mentions(found, readings)], key=_place),
        refused=[
            *found.refused,
            *(mistake for mistake in decided.refused if mistake.file in own or not mistake.file.startswith("/")),
            *(mistake for mistake in renamed.refused if mistake.file in own),
        ],
        outside=_outside(renamed, concerned - own),
        convention=decided,
        renaming=renamed,
        readings=readings,
        own=own,
        count=len(found.given),
    )


def _file(source: Source, renamed: Renaming, found: Project) -> File | None:
    """The file with its edits; none of them if it would not be the Python it was."""
    after = source.edited(renamed.edits[str(source.path)])
    if not _parses(after) and _parses(source.data):
        found.refused.append(Mistake(str(source.path), 1, 1, "would not be Python afterwards", "please report this"))
        return None
    return File(source, after)


def _parses(data: bytes) -> bool:
    try:
        ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _concerned(renamed: Renaming, own: set[str], decided: Convention) -> set[str]:
    """Files that change: of the ones given, and of those around them the ones that share settings with these."""
    mine = own & renamed.edits.keys()
    touched = {place for path in mine for place in renamed.places[path]} - {CONF, FLASK_CELERY}
    families = {decided.families.get(place, place) for place in touched}
    return mine | {
        path
        for path, places in renamed.places.items()
        if any(decided.families.get(place, place) in families for place in places - {CONF, FLASK_CELERY})
    }


def _outside(renamed: Renaming, outside: set[str]) -> list[Mistake]:
    """Files that would have to change as well, but are not among the paths given."""
    first = {change.file: change for change in reversed(renamed.changes) if change.file in outside}
    return [
        Mistake(path, change.line, 1, f"uses {change.old} as well, and is not among the paths given", "give its folder")
        for path, change in sorted(first.items())
    ]


def _mentions(found: Project, readings: list[Reading]) -> list[Change]:
    readers: dict[str, str] = {}
    for reading in readings:
        for name, line in reading.strings:
            readers.setdefault(name, f"{reading.source.path}:{line}")
    return [
        Change(
            file=str(path),
            line=line,
            old=name,
            new=None,
            why=f"not Python, left; still read by {readers[name]}" if name in readers else "not Python, left",
        )
        for path, line, name in project.mentions(found.texts)
    ]


def _place(change: Change) -> tuple[str, int]:
    return change.file, change.line
