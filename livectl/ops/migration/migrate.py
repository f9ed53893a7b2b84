"""Migrates old Celery settings to new ones: plans, proves, writes, and reports what was done."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import textwrap
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from livectl.atomic_write import write_file
from livectl.errors import EXIT_DONE, MAX_MISTAKES_SHOWN, FileError, LivectlError, Mistake, SettingsError, UsageError
from livectl.ops.migration import proof
from livectl.ops.migration.file_scan import CONF, FLASK_CELERY
from livectl.ops.migration.names import RENAMED_WHY
from livectl.ops.migration.plan import make_plan
from livectl.ops.migration.rename import SettingChange
from livectl.render import View
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from livectl.ops.migration.file_scan import SettingsHolder
    from livectl.ops.migration.plan import MigrationPlan, PlannedFile
    from livectl.ops.migration.proof import Proof


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
    options: MigrateOptions, environ: Mapping[str, str], cwd: Path, *, app: str | None = None, app_given: bool = False
) -> MigrationOutcome:
    """Plans the migration; proves and writes it as the options say. `app` is the app given with -A."""
    namespace, given = _parse_namespace(options)
    paths = [_check_exists(cwd / path) for path in options.paths]
    plan = make_plan(paths, namespace, given=given, guesses=options.guesses)
    wanted_proof = options.prove or app_given
    proofs = proof.prove(plan, environ, cwd, app) if wanted_proof and plan.has_work else []
    outcome = MigrationOutcome(plan=plan, proofs=proofs, wanted_proof=wanted_proof)
    if options.write and plan.has_work and not outcome.is_blocked:
        backups = write_files(plan.files, backup=options.backup)
        return structs.replace(outcome, written=True, backups=backups, backups_wanted=options.backup)
    return outcome


def build_view(outcome: MigrationOutcome, cwd: Path) -> View:
    return View(build_rows(outcome, cwd), lambda: render(outcome, cwd))


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


WIDTH = 78
MAX_MENTIONS = 12
MAX_DIFFERENCES = 20


class MigrationOutcome(Struct, frozen=True, kw_only=True):
    """What one run of `livectl migrate` planned, proved and wrote."""

    plan: MigrationPlan
    proofs: list[Proof]
    wanted_proof: bool
    written: bool = False
    backups: list[Path] = []
    backups_wanted: bool = True

    @property
    def is_proven(self) -> bool:
        return all(proof.outcome == "equal" for proof in self.proofs) and bool(self.proofs or not self.plan.has_work)

    @property
    def is_blocked(self) -> bool:
        """Whether nothing may be written: not proven though a proof was asked for, or files missing."""
        return bool(self.plan.outside) or (self.wanted_proof and not self.is_proven)


def build_rows(outcome: MigrationOutcome, cwd: Path) -> list[dict[str, str | int | None]]:
    """One object for each change; `new` is null for what is left or refused."""
    plan = outcome.plan
    refused = [
        SettingChange(file=mistake.file, line=mistake.line, old="", new=None, why=mistake.text)
        for mistake in [*plan.refused, *plan.outside]
    ]
    return [_build_row(change, cwd) for change in [*plan.changes, *plan.left, *refused]]


def _build_row(change: SettingChange, cwd: Path) -> dict[str, str | int | None]:
    file, old, why = (_make_relative(text, cwd) for text in (change.file, change.old, change.why))
    return {"file": file, "line": change.line, "old": old, "new": change.new, "why": why}


def render(outcome: MigrationOutcome, cwd: Path) -> str:
    plan = outcome.plan
    parts = [
        _render_decisions(plan),
        _render_changes(plan.changes),
        _render_section("Left for you", plan.left),
        _render_refusals("Refused, and left as it is", plan.refused),
        _render_refusals("Must change as well", plan.outside),
        _render_correct_names(plan),
        *(_render_proof(proof) for proof in outcome.proofs),
        _render_next_steps(outcome),
    ]
    first, *rest = (_fold_text(_make_relative(part, cwd)) for part in parts if part)
    return "\n\n".join([first, *(_make_relative(_render_diff(file), cwd) for file in plan.files), *rest])


def _make_relative(text: str, cwd: Path) -> str:
    return text.replace(f"{cwd}/", "")


def _render_decisions(plan: MigrationPlan) -> str:
    """The naming style of each holder of settings, and why it is that one."""
    lines = [f"{format_count(plan.file_count, 'Python file')} looked at."]
    for holder, why in _settings_holders(plan):
        lines.append(f"  {holder}: {plan.convention.styles.get(holder, 'left alone')}")
        lines.append(f"      {why if why.startswith('part of') else f'because {why}'}")
    return "\n".join(lines)


def _settings_holders(plan: MigrationPlan) -> Iterator[tuple[SettingsHolder, str]]:
    """The holders of settings in the files given, and the frameworks that they are part of."""
    convention = plan.convention
    used = {use.holder for scan in plan.scans for use in scan.uses if use.form != "name"}
    own_holders = {holder for holder in convention.styles if holder.path in plan.own_paths and holder in used}
    families = {convention.family(holder) for holder in own_holders | plan.changed_holders} - {CONF, FLASK_CELERY}
    for holder in sorted(own_holders | families, key=lambda holder: (bool(holder.path), str(holder))):
        yield holder, convention.styles[holder].why
    yield from sorted((pair for pair in convention.untouched.items() if pair[0].path in plan.own_paths), key=str)


def _render_diff(file: PlannedFile) -> str:
    name = str(file.source.path)
    before, after = (data.decode(file.source.encoding).splitlines() for data in (file.source.data, file.after))
    return "\n".join(difflib.unified_diff(before, after, name, name, lineterm=""))


def _render_changes(changes: list[SettingChange]) -> str:
    if not changes:
        return ""
    count = (
        f"{format_count(len(changes), 'change')} in {format_count(len({change.file for change in changes}), 'file')}"
    )
    special = [change for change in changes if change.why != RENAMED_WHY]  # of the others the diff says enough
    lines = [f"{count}. More than a new name:" if special else f"{count}."]
    for change in special:
        replacement = f" -> {change.new}" if change.new else ": taken out"
        lines += [f"  {change.file}:{change.line} {change.old}{replacement}", f"      {change.why}"]
    return "\n".join(lines)


def _render_section(title: str, changes: list[SettingChange]) -> str:
    mentions = [change for change in changes if change.why.startswith("not Python")]
    lines = [f"{title}:"]
    for change in [change for change in changes if change not in mentions] + mentions[:MAX_MENTIONS]:
        lines += [f"  {change.file}:{change.line} {change.old}", f"      {change.why}"]
    if len(mentions) > MAX_MENTIONS:
        lines.append(f"  … and {len(mentions) - MAX_MENTIONS} more in files that are not Python")
    return "\n".join(lines) if changes else ""


def _render_refusals(title: str, mistakes: list[Mistake]) -> str:
    lines = [f"{title}:"]
    for mistake in mistakes[:MAX_MISTAKES_SHOWN]:
        lines.append(f"  {mistake.file}:{mistake.line}: {mistake.text}")
        lines += [f"      {mistake.hint}"] if mistake.hint else []
    if len(mistakes) > MAX_MISTAKES_SHOWN:
        lines.append(f"  and {len(mistakes) - MAX_MISTAKES_SHOWN:,} more like these")
    return "\n".join(lines) if mistakes else ""


def _render_correct_names(plan: MigrationPlan) -> str:
    names = sorted(plan.renaming.correct_names)
    if not names:
        return ""
    return (
        f"Right as they are: {', '.join(names)}. If Celery warns at start-up that they are deprecated, the "
        f"warning is wrong here, because it does not look at the namespace: behind CELERY_ these are the new names."
    )


def _render_proof(proof: Proof) -> str:
    if proof.outcome == "unknown":
        return (
            f"No proof for {proof.subject}, its code cannot be imported here: {proof.problem}\n"
            "What is certain without it: only the tokens shown above change, and each names the same setting as before."
        )
    lines = [f"  {proof.problem}"] if proof.problem else []
    for title, rows in (("differs", proof.different), ("is read from now on", proof.newly_read)):
        lines += [f"  {key} {title}: {before} -> {after}" for key, before, after in rows[:MAX_DIFFERENCES]]
    if proof.unstable:
        lines.append(f"  not compared, different at each start: {', '.join(proof.unstable)}")
    equal = proof.compared - len(proof.different) - len(proof.newly_read)
    set_by = (
        f"{proof.non_default} of them not Celery's defaults."
        if proof.non_default
        else "but all are Celery's defaults: none is set."
    )
    head = f"Proof, {proof.subject}: {equal} of {proof.compared} settings compared are equal before and after, {set_by}"
    return "\n".join([head, *lines])


def _render_next_steps(outcome: MigrationOutcome) -> str:
    plan = outcome.plan
    if not plan.has_work:
        return "Nothing was changed." if plan.refused else "Nothing to do."
    if outcome.written:
        return _render_written(outcome)
    if outcome.is_blocked:
        return f"Nothing was written: {_blocking_reason(outcome)}."
    prove_lines = [
        "  --prove   imports the project in a process of its own, before and after,",
        "            and compares every setting of Celery",
    ]
    lines = ["Nothing was written. Next:", *([] if outcome.wanted_proof else prove_lines), "  --write   writes this"]
    return "\n".join(lines)


def _blocking_reason(outcome: MigrationOutcome) -> str:
    if outcome.plan.outside:
        return "give the files above as well"
    if any(proof.outcome == "different" for proof in outcome.proofs):
        return "Celery would be set differently"
    return "there is no proof; leave out --prove to do without"


def _render_written(outcome: MigrationOutcome) -> str:
    summary = f"Written: {format_count(len(outcome.plan.files), 'file')}."
    if outcome.backups:
        return f"{summary} The originals: {', '.join(map(str, outcome.backups))}."
    return f"{summary} No backups{': git has the originals' if outcome.backups_wanted else ', as you said'}."


def _fold_text(text: str) -> str:
    """Folds lines to the width; the rest of a folded line is indented by two more columns."""
    return "\n".join(folded for line in text.splitlines() for folded in _fold_line(line))


def _fold_line(line: str) -> list[str]:
    if len(line) <= WIDTH:
        return [line]
    start = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent="",
        subsequent_indent=f"{start}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
