"""The migration as a whole: plan, proof, writing, in this order, and what it came to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import EXIT_DONE, LivectlError, SettingsError, UsageError
from livectl.ops.migration import plan as plans
from livectl.ops.migration import proof, report, writing
from livectl.ops.migration.report import MigrationOutcome
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
    plan = plans.make_plan([_check_exists(cwd / path) for path in options.paths], namespace, given=given)
    app_given = app is not None and app != environ.get("LIVECTL_APP")  # -A was given, not merely set in the environment
    wanted_proof = options.prove or app_given
    proofs = proof.prove(plan, environ, cwd, app) if wanted_proof and plan.has_work else []
    outcome = MigrationOutcome(plan=plan, proofs=proofs, wanted_proof=wanted_proof, wanted_write=options.write)
    if options.write and plan.has_work and not outcome.is_blocked:
        outcome.backups = writing.write_files(plan.files)
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
