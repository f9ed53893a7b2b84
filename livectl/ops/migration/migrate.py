"""The migration as a whole: plan, proof, writing, in this order, and what it came to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import EXIT_DONE, LivectlError, SettingsError, UsageError
from livectl.ops.migration import plan as plans
from livectl.ops.migration import proof, report, writing
from livectl.ops.migration.report import Outcome
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAMESPACE = re.compile(r"[A-Z][A-Z0-9_]*")


class Wish(Struct, frozen=True, kw_only=True):
    """What was asked for."""

    paths: list[Path]
    namespace: str | None = None
    check: bool = False
    write: bool = False
    prove: bool = False


def migrate(wish: Wish, environ: Mapping[str, str], cwd: Path, *, app: str | None = None) -> Outcome:
    namespace, given = _namespace(wish)
    plan = plans.make([_existing(cwd / path) for path in wish.paths], namespace, given=given)
    named = app is not None and app != environ.get("LIVECTL_APP")  # -A was given, not merely set in the environment
    wanted = wish.prove or named
    proofs = proof.prove(plan, environ, cwd, app) if wanted and plan.has_work else []
    outcome = Outcome(plan=plan, proofs=proofs, wanted_proof=wanted, wanted_write=wish.write)
    if wish.write and plan.has_work and not outcome.is_blocked:
        outcome.backups = writing.write(plan.files)
        outcome.written = True
    return outcome


def view(outcome: Outcome, cwd: Path) -> View:
    return View(report.data(outcome, cwd), lambda: report.text(outcome, cwd))


def exit_code(outcome: Outcome, wish: Wish) -> int:
    """3 when something was refused, 1 when there is work (--check) or the proof failed, 0 otherwise."""
    if outcome.plan.refused or outcome.plan.outside:
        return SettingsError.code
    if outcome.wanted_proof and not outcome.is_proven:
        return LivectlError.code
    return LivectlError.code if wish.check and outcome.plan.has_work and not outcome.written else EXIT_DONE


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    return path


def _namespace(wish: Wish) -> tuple[str | None, bool]:
    if wish.namespace is None:
        return None, False
    if wish.namespace == "none":
        return None, True
    if not NAMESPACE.fullmatch(wish.namespace):
        hint = "Upper-case letters, digits and _: CELERY; or none."
        raise UsageError(f"--namespace {wish.namespace!r} is no namespace", hint)
    return wish.namespace.rstrip("_"), True
