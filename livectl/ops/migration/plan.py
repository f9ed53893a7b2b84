"""Plans a migration: every file as it would be, why it changes, what would be lost, and what is left for a person."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import FileError, Mistake
from livectl.ops.migration import convention, project
from livectl.ops.migration.file_scan import CONF, FLASK_CELERY, ModuleIndex
from livectl.ops.migration.find_settings import scan_file
from livectl.ops.migration.names import SPLIT_KEYS, classify, is_generic
from livectl.ops.migration.rename import RenameResult, SettingChange, rename
from livectl.ops.migration.source import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from livectl.ops.migration.convention import Convention, NamingStyle
    from livectl.ops.migration.file_scan import FileScan, SettingsHolder
    from livectl.ops.migration.project import Project
NAMESPACE_HINT = "say --namespace CELERY or --namespace none"
ADDRESS_PREFIX = "broker_"  # its parts become one address, which rename.py composes and the proof compares


class PlannedFile(Struct, frozen=True):
    """One file before and after."""

    source: SourceFile
    after: bytes

    @property
    def has_changes(self) -> bool:
        return self.after != self.source.data

    @property
    def is_broken(self) -> bool:
        """Whether the edits would turn valid Python into something else."""
        return not _parses(self.after) and _parses(self.source.data)


class MigrationPlan(Struct, frozen=True, kw_only=True):
    """Everything that a migration would do, and everything that it would not."""

    files: list[PlannedFile]
    changes: list[SettingChange]
    left: list[SettingChange]  # for a person: removed, doubtful, not Python
    refused: list[Mistake]
    outside: list[Mistake]  # files that would have to change with these; without them nothing may be written
    convention: Convention
    renaming: RenameResult
    scans: list[FileScan]
    own_paths: set[str]  # the files given
    file_count: int  # of Python files read

    @property
    def has_work(self) -> bool:
        return bool(self.files)

    @property
    def changed_holders(self) -> set[SettingsHolder]:
        """The holders of settings that the edits of the files given belong to."""
        return {holder for path in self.own_paths for holder in self.renaming.holders.get(path, ())}


def make_plan(
    paths: list[Path], namespace: str | None = None, *, given: bool = False, guesses: bool = False
) -> MigrationPlan:
    """Plans what changes under the paths; reads files, runs nothing, writes nothing.

    `given` says that the user chose the namespace (None: none); `guesses`, that names which Celery
    does not read are to be renamed to what they seem to mean.
    """
    paths = [path.resolve() for path in paths]
    project_files = project.find_project(paths)
    scans, unreadable = project.scan_files(project_files, explicit={path for path in paths if path.is_file()})
    project_convention = convention.decide(scans, namespace, given=given)
    rename_result = rename(scans, project_convention, guesses=guesses)
    own_paths = {str(path) for path in project_files.given}
    affected = _affected_files(rename_result, own_paths, project_convention)
    files = _edit_files(scans, rename_result, affected)
    losses = find_losses(
        scans, {str(file.source.path): file.after for file in files}, project_convention, rename_result, given=given
    )
    files = [] if losses else files  # half of a migration is worse than none
    affected = set() if losses else affected
    left = [change for change in rename_result.left if change.file in own_paths]
    return MigrationPlan(
        files=[file for file in files if file.has_changes and not file.is_broken],
        changes=sorted((change for change in rename_result.changes if change.file in affected), key=_location),
        left=sorted(
            [*left, *_opaque_notes(project_convention, own_paths), *_mention_changes(project_files, scans)],
            key=_location,
        ),
        refused=[
            *project_files.refused,
            *unreadable,
            *losses,
            *(_broken_mistake(file) for file in files if file.is_broken),
            *(mistake for mistake in project_convention.refused if _is_about(mistake, own_paths)),
            *(mistake for mistake in rename_result.refused if mistake.file in own_paths),
        ],
        outside=_outside_mistakes(rename_result, affected - own_paths),
        convention=project_convention,
        renaming=rename_result,
        scans=scans,
        own_paths=own_paths,
        file_count=len(project_files.given),
    )


def _edit_files(scans: list[FileScan], rename_result: RenameResult, affected: set[str]) -> list[PlannedFile]:
    sources = {str(scan.source.path): scan.source for scan in scans}
    return [
        PlannedFile(sources[path], sources[path].apply_edits(rename_result.edits[path])) for path in sorted(affected)
    ]


def _broken_mistake(file: PlannedFile) -> Mistake:
    return Mistake(str(file.source.path), 1, 1, "would not be Python afterwards", "please report this")


def _is_about(mistake: Mistake, own_paths: set[str]) -> bool:
    """Whether a mistake is in a file given, or in a framework's settings, which are in no file."""
    return mistake.file in own_paths or not mistake.file.startswith("/")


def _parses(data: bytes) -> bool:
    try:
        ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _affected_files(rename_result: RenameResult, own_paths: set[str], project_convention: Convention) -> set[str]:
    """The files given that change, and the files around them that share settings with these."""
    own_changed = own_paths & rename_result.edits.keys()
    touched = {holder for path in own_changed for holder in rename_result.holders[path]} - {CONF, FLASK_CELERY}
    families = {project_convention.family(holder) for holder in touched}
    return own_changed | {
        path
        for path, holders in rename_result.holders.items()
        if any(project_convention.family(holder) in families for holder in holders - {CONF, FLASK_CELERY})
    }


def _outside_mistakes(rename_result: RenameResult, outside: set[str]) -> list[Mistake]:
    """Files that have to change as well and are not among the paths given."""
    first_changes = {change.file: change for change in reversed(rename_result.changes) if change.file in outside}
    return [
        Mistake(path, change.line, 1, f"uses {change.old} as well, and is not among the paths given", "give its folder")
        for path, change in sorted(first_changes.items())
    ]


def _opaque_notes(project_convention: Convention, own_paths: set[str]) -> list[SettingChange]:
    """Calls that hand Celery something whose names cannot be seen."""
    why = "not followed from here: what is in it keeps its names; look there yourself"
    calls = [call for call in project_convention.opaque_calls if call.path in own_paths]
    return [SettingChange(file=call.path, line=call.line, old=call.text, new=None, why=why) for call in calls]


def _mention_changes(project_files: Project, scans: list[FileScan]) -> list[SettingChange]:
    """Old names in files that are not Python; each with a Python file that reads it, if one does."""
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


def find_losses(
    scans: Iterable[FileScan],
    after: dict[str, bytes],
    convention: Convention,
    renaming: RenameResult,
    *,
    given: bool = False,
) -> list[Mistake]:
    """The settings that a file would lose, with the line that decides and the option that settles it.

    With a namespace that the user has given, only what Django or Flask would drop: they show no lower-case name.
    """
    mistakes = []
    for scan in scans:
        data = after.get(str(scan.source.path))
        if data is not None and data != scan.source.data:
            mistakes += _compare_file(scan, data, convention, renaming, given=given)
    return mistakes


def _compare_file(
    scan: FileScan, data: bytes, convention: Convention, renaming: RenameResult, *, given: bool
) -> list[Mistake]:
    try:
        changed = scan_file(SourceFile(scan.source.path, data), ModuleIndex([scan.source.path]))
    except FileError as error:
        return error.mistakes
    mistakes = []
    for holder, style in convention.styles.items():
        if holder.path != str(scan.source.path):
            continue
        only_upper = holder in convention.upper_only
        if given and (not only_upper or style.namespace):
            continue
        old_namespace = None if style.reread else style.namespace
        before = _read_keys(scan, holder, old_namespace, only_upper=only_upper)
        kept = _read_keys(changed, holder, style.namespace, only_upper=only_upper)
        if style.namespace:  # a site's own S3_BUCKET stays what it is beside a namespace
            before = {key: pair for key, pair in before.items() if _is_ours(pair[0], style.namespace)}
        for key in sorted(before.keys() - kept.keys() - _restated(renaming)):
            name, line = before[key]
            mistakes.append(_loss(scan, holder, (name, line, key), convention, style))
    return mistakes


def _read_keys(
    scan: FileScan, holder: SettingsHolder, namespace: str | None, *, only_upper: bool
) -> dict[str, tuple[str, int]]:
    """The settings that Celery reads of a holder, each with its name there and its line."""
    keys = {}
    for use in scan.uses:
        is_seen = use.holder == holder and use.form in {"binding", "key", "keyword"}
        if not is_seen or (only_upper and not use.name.isupper()):
            continue
        classification = classify(use.name, namespace)
        if classification is None or not classification.was_read:
            continue
        for key in SPLIT_KEYS.get(classification.key, (classification.key,)):
            keys[key] = (use.name, use.line)
    return keys


def _is_ours(name: str, namespace: str) -> bool:
    return not is_generic(name) or name.startswith(f"{namespace}_")


def _restated(renaming: RenameResult) -> set[str]:
    parts = ("transport", "user", "password", "host", "port", "vhost")
    return {f"{ADDRESS_PREFIX}{part}" for part in parts} if renaming.broker_url_composed else set()


def _loss(
    scan: FileScan,
    holder: SettingsHolder,
    lost: tuple[str, int, str],
    convention: Convention,
    style: NamingStyle,
) -> Mistake:
    name, line, key = lost
    place = convention.upper_only.get(holder)
    reason = f"{place} shows upper-case names only" if place else "nothing would read its new name"
    text = f"{name} ({key}) would be lost: {reason}; lower case because of {style.why}"
    return Mistake(str(scan.source.path), line, 1, text, "say --namespace CELERY" if place else NAMESPACE_HINT)
