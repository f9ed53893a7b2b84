"""The plan of a migration: every file as it would be, why, and what is left for a person."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import Mistake
from livectl.ops.migration import convention, project
from livectl.ops.migration.file_scan import CONF, FLASK_CELERY
from livectl.ops.migration.rename import RenameResult, SettingChange, rename

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.ops.migration.convention import Convention
    from livectl.ops.migration.file_scan import FileScan
    from livectl.ops.migration.project import Project
    from livectl.ops.migration.source import SourceFile


class PlannedFile(Struct, frozen=True):
    """One file before and after."""

    source: SourceFile
    after: bytes


class MigrationPlan(Struct, kw_only=True):
    files: list[PlannedFile]
    changes: list[SettingChange]
    left: list[SettingChange]  # for a person: removed, doubtful, not Python
    refused: list[Mistake]
    outside: list[Mistake]  # files that would have to change with these; without them nothing may be written
    convention: Convention
    renaming: RenameResult
    scans: list[FileScan]
    own_paths: set[str]  # the files given
    file_count: int  # of Python files looked at

    @property
    def has_work(self) -> bool:
        return bool(self.files)


def make_plan(paths: list[Path], namespace: str | None = None, *, given: bool = False) -> MigrationPlan:
    """What would change under the paths; reads files, runs nothing, writes nothing."""
    paths = [path.resolve() for path in paths]
    project_files = project.find_project(paths)
    scans = project.scan_files(project_files, explicit={path for path in paths if path.is_file()})
    project_convention = convention.decide(scans, namespace, given=given)
    rename_result = rename(scans, project_convention)
    by_path = {str(scan.source.path): scan for scan in scans}
    own_paths = {str(path) for path in project_files.given}
    affected = _affected_files(rename_result, own_paths, project_convention)
    files = [_edit_file(by_path[path].source, rename_result, project_files) for path in sorted(affected)]
    return MigrationPlan(
        files=[file for file in files if file is not None and file.after != file.source.data],
        changes=sorted((change for change in rename_result.changes if change.file in affected), key=_location),
        left=sorted(
            [*(c for c in rename_result.left if c.file in own_paths), *_mention_changes(project_files, scans)],
            key=_location,
        ),
        refused=[
            *project_files.refused,
            *(
                mistake
                for mistake in project_convention.refused
                if mistake.file in own_paths or not mistake.file.startswith("/")
            ),
            *(mistake for mistake in rename_result.refused if mistake.file in own_paths),
        ],
        outside=_outside_mistakes(rename_result, affected - own_paths),
        convention=project_convention,
        renaming=rename_result,
        scans=scans,
        own_paths=own_paths,
        file_count=len(project_files.given),
    )


def _edit_file(source: SourceFile, rename_result: RenameResult, project_files: Project) -> PlannedFile | None:
    """The file with its edits; none of them if it would not be the Python it was."""
    after = source.apply_edits(rename_result.edits[str(source.path)])
    if not _parses(after) and _parses(source.data):
        project_files.refused.append(
            Mistake(str(source.path), 1, 1, "would not be Python afterwards", "please report this")
        )
        return None
    return PlannedFile(source, after)


def _parses(data: bytes) -> bool:
    try:
        ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _affected_files(rename_result: RenameResult, own_paths: set[str], project_convention: Convention) -> set[str]:
    """Files that change: of the ones given, and of those around them the ones that share settings with these."""
    own_changed = own_paths & rename_result.edits.keys()
    touched = {holder for path in own_changed for holder in rename_result.holders[path]} - {CONF, FLASK_CELERY}
    families = {project_convention.families.get(holder, holder) for holder in touched}
    return own_changed | {
        path
        for path, holders in rename_result.holders.items()
        if any(project_convention.families.get(holder, holder) in families for holder in holders - {CONF, FLASK_CELERY})
    }


def _outside_mistakes(rename_result: RenameResult, outside: set[str]) -> list[Mistake]:
    """Files that would have to change as well, but are not among the paths given."""
    first_changes = {change.file: change for change in reversed(rename_result.changes) if change.file in outside}
    return [
        Mistake(path, change.line, 1, f"uses {change.old} as well, and is not among the paths given", "give its folder")
        for path, change in sorted(first_changes.items())
    ]


def _mention_changes(project_files: Project, scans: list[FileScan]) -> list[SettingChange]:
    readers: dict[str, str] = {}
    for scan in scans:
        for name, line in scan.strings:
            readers.setdefault(name, f"{scan.source.path}:{line}")
    return [
        SettingChange(
            file=str(path),
            line=line,
            old=name,
            new=None,
            why=f"not Python, left; still read by {readers[name]}" if name in readers else "not Python, left",
        )
        for path, line, name in project.find_mentions(project_files.texts)
    ]


def _location(change: SettingChange) -> tuple[str, int]:
    return change.file, change.line
