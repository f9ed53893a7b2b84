"""The plan of a migration: every file as it would be, why, and what is left for a person."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.atomic_write import write_file
from livectl.errors import EXIT_DONE, FileError, LivectlError, Mistake, SettingsError, UsageError
from livectl.ops.migration import convention, project, proof, report
from livectl.ops.migration.rename import RenameResult, SettingChange, rename
from livectl.ops.migration.report import MigrationOutcome
from livectl.ops.migration.scopes import CONF, FLASK_CELERY
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from livectl.ops.migration.convention import Convention
    from livectl.ops.migration.project import Project
    from livectl.ops.migration.scopes import FileScan
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


WRITE_BITS = 0o222
GIT_TIMEOUT_SECONDS = 10.0  # git answers in milliseconds; one that hangs is no reason to


def write_files(files: Iterable[PlannedFile]) -> list[Path]:
    """Puts every file in place; the backups made. A file that is read-only or changed meanwhile stops all of it."""
    files = list(files)
    mistakes = [mistake for file in files if (mistake := _write_problem(file)) is not None]
    if mistakes:
        raise FileError(mistakes, "Nothing was written.")
    backups = []
    for file in files:
        path = file.source.path
        if not is_committed(path):
            backups.append(back_up(path))
        write_file(path, file.after)
    return backups


def _write_problem(file: PlannedFile) -> Mistake | None:
    path = file.source.path
    if not path.stat().st_mode & WRITE_BITS or not os.access(path.parent, os.W_OK):
        return Mistake(str(path), 1, 1, "read-only", "make it writable, or leave it out")
    if path.read_bytes() != file.source.data:
        return Mistake(str(path), 1, 1, "changed while it was being read", "run again")
    return None


def back_up(path: Path) -> Path:
    """A copy beside the file, with the first number that is free: an earlier backup is never overwritten."""
    number = 1
    while True:
        backup = path.with_name(f"{path.name}.{number}.bak")
        try:
            handle = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, path.stat().st_mode & 0o777)
        except FileExistsError:
            number += 1
            continue
        with os.fdopen(handle, "wb") as stream:
            stream.write(path.read_bytes())
        shutil.copymode(path, backup)
        return backup


def is_committed(path: Path) -> bool:
    """Whether git has this very content: then git is the backup."""
    git = shutil.which("git")
    if git is None:
        return False
    try:
        listed = _run_git(git, path, "ls-files", "--error-unmatch")
        return listed.returncode == 0 and _run_git(git, path, "status", "--porcelain").stdout == b""
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run_git(git: str, path: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    argv = [git, "-C", str(path.parent), *arguments, "--", path.name]
    return subprocess.run(argv, capture_output=True, check=False, timeout=GIT_TIMEOUT_SECONDS)


NAMESPACE_PATTERN = re.compile(r"[A-Z][A-Z0-9_]*")


class MigrateOptions(Struct, frozen=True, kw_only=True):
    """What was asked for."""

    paths: list[Path]
    namespace: str | None = None
    check: bool = False
    write: bool = False
    prove: bool = False


def migrate(
    options: MigrateOptions, environ: Mapping[str, str], cwd: Path, *, app: str | None = None
) -> MigrationOutcome:
    namespace, given = _parse_namespace(options)
    plan = make_plan([_check_exists(cwd / path) for path in options.paths], namespace, given=given)
    app_given = app is not None and app != environ.get("LIVECTL_APP")  # -A was given, not merely set in the environment
    wanted_proof = options.prove or app_given
    proofs = proof.prove(plan, environ, cwd, app) if wanted_proof and plan.has_work else []
    outcome = MigrationOutcome(plan=plan, proofs=proofs, wanted_proof=wanted_proof, wanted_write=options.write)
    if options.write and plan.has_work and not outcome.is_blocked:
        outcome.backups = write_files(plan.files)
        outcome.written = True
    return outcome


def build_view(outcome: MigrationOutcome, cwd: Path) -> View:
    return View(report.build_rows(outcome, cwd), lambda: report.render(outcome, cwd))


def exit_code(outcome: MigrationOutcome, options: MigrateOptions) -> int:
    """3 when something was refused, 1 when there is work (--check) or the proof failed, 0 otherwise."""
    if outcome.plan.refused or outcome.plan.outside:
        return SettingsError.code
    if outcome.wanted_proof and not outcome.is_proven:
        return LivectlError.code
    return LivectlError.code if options.check and outcome.plan.has_work and not outcome.written else EXIT_DONE


def _check_exists(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    return path


def _parse_namespace(options: MigrateOptions) -> tuple[str | None, bool]:
    if options.namespace is None:
        return None, False
    if options.namespace == "none":
        return None, True
    if not NAMESPACE_PATTERN.fullmatch(options.namespace):
        hint = "Upper-case letters, digits and _: CELERY; or none."
        raise UsageError(f"--namespace {options.namespace!r} is no namespace", hint)
    return options.namespace.rstrip("_"), True
