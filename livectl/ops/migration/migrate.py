"""Migrates old Celery settings to new ones: plans, proves, writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from livectl.atomic_write import write_file
from livectl.errors import EXIT_DONE, FileError, LivectlError, Mistake, SettingsError, UsageError
from livectl.ops.migration import proof, report
from livectl.ops.migration.plan import make_plan
from livectl.ops.migration.report import MigrationOutcome
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from livectl.ops.migration.plan import PlannedFile


NAMESPACE_PATTERN = re.compile(r"[A-Z][A-Z0-9_]*")
WRITE_BITS = 0o222
GIT_TIMEOUT_SECONDS = 10.0  # git answers in milliseconds


class MigrateOptions(Struct, frozen=True, kw_only=True):
    """The arguments of `livectl migrate`."""

    paths: list[Path]
    namespace: str | None = None
    check: bool = False
    write: bool = False
    prove: bool = False
    guesses: bool = False
    backup: bool = True


def migrate(
    options: MigrateOptions, environ: Mapping[str, str], cwd: Path, *, app: str | None = None
) -> MigrationOutcome:
    """Plans the migration; proves and writes it as the options say. `app` is the app given with -A."""
    namespace, given = _parse_namespace(options)
    paths = [_check_exists(cwd / path) for path in options.paths]
    plan = make_plan(paths, namespace, given=given, guesses=options.guesses)
    app_given = app is not None and app != environ.get("LIVECTL_APP")  # -A was given, not merely set in the environment
    wanted_proof = options.prove or app_given
    proofs = proof.prove(plan, environ, cwd, app) if wanted_proof and plan.has_work else []
    outcome = MigrationOutcome(plan=plan, proofs=proofs, wanted_proof=wanted_proof)
    if options.write and plan.has_work and not outcome.is_blocked:
        backups = write_files(plan.files, backup=options.backup)
        return structs.replace(outcome, written=True, backups=backups, backups_wanted=options.backup)
    return outcome


def build_view(outcome: MigrationOutcome, cwd: Path) -> View:
    return View(report.build_rows(outcome, cwd), lambda: report.render(outcome, cwd))


def exit_code(outcome: MigrationOutcome, options: MigrateOptions) -> int:
    """3 when something is refused, 1 when there is work (--check) or the proof fails, 0 otherwise."""
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
    """The namespace, and whether the user chose one; `none` is a choice too."""
    if options.namespace is None:
        return None, False
    if options.namespace == "none":
        return None, True
    if not NAMESPACE_PATTERN.fullmatch(options.namespace):
        hint = "Upper-case letters, digits and _: CELERY; or none."
        raise UsageError(f"--namespace {options.namespace!r} is no namespace", hint)
    return options.namespace.rstrip("_"), True


def write_files(files: list[PlannedFile], *, backup: bool = True) -> list[Path]:
    """Writes every file, or none when one is read-only or changed meanwhile; returns the backups."""
    mistakes = [mistake for file in files if (mistake := _write_problem(file)) is not None]
    if mistakes:
        raise FileError(mistakes, "Nothing was written.")
    backups = []
    for file in files:
        path = file.source.path
        if backup and not _is_committed(path):
            backups.append(_back_up(path))
        write_file(path, file.after)
    return backups


def _write_problem(file: PlannedFile) -> Mistake | None:
    path = file.source.path
    if not path.stat().st_mode & WRITE_BITS or not os.access(path.parent, os.W_OK):
        return Mistake(str(path), 1, 1, "read-only", "make it writable, or leave it out")
    if path.read_bytes() != file.source.data:
        return Mistake(str(path), 1, 1, "changed while it was being read", "run again")
    return None


def _back_up(path: Path) -> Path:
    """Copies the file beside itself under the first number that is free: no earlier backup is overwritten."""
    number = 1
    while True:
        backup = path.with_name(f"{path.name}.{number}.bak")
        try:
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, path.stat().st_mode & 0o777)
        except FileExistsError:
            number += 1
            continue
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(path.read_bytes())
        shutil.copymode(path, backup)
        return backup


def _is_committed(path: Path) -> bool:
    """Whether git has this content: then git is the backup."""
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
