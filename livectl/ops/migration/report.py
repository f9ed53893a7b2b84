"""The report of a migration, for people and for programs."""

from __future__ import annotations

import difflib
import textwrap
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.ops.migration.places import CONF, FLASK_CELERY
from livectl.ops.migration.rename import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from livectl.errors import Mistake
    from livectl.ops.migration.places import Place
    from livectl.ops.migration.plan import File, Plan
    from livectl.ops.migration.proof import Proof

WIDTH = 78
USUAL_WHY = "old name, goes away in Celery 6.0"  # the diff says enough
MENTIONS_SHOWN = 12
DIFFERENCES_SHOWN = 20


class Outcome(Struct, kw_only=True):
    """What a call of migrate came to."""

    plan: Plan
    proofs: list[Proof]
    wanted_proof: bool
    wanted_write: bool
    written: bool = False
    backups: list[Path] = []

    @property
    def is_proven(self) -> bool:
        return all(proof.outcome == "equal" for proof in self.proofs) and bool(self.proofs or not self.plan.has_work)

    @property
    def is_blocked(self) -> bool:
        """Whether nothing may be written: not proven though a proof was asked for, or files missing."""
        return bool(self.plan.outside) or (self.wanted_proof and not self.is_proven)


def data(outcome: Outcome, cwd: Path) -> list[dict[str, str | int | None]]:
    """One object for each change; for what was left or refused `new` is null."""
    plan = outcome.plan
    refused = [
        Change(file=mistake.file, line=mistake.line, old="", new=None, why=mistake.text)
        for mistake in [*plan.refused, *plan.outside]
    ]
    return [_row(change, cwd) for change in [*plan.changes, *plan.left, *refused]]


def _row(change: Change, cwd: Path) -> dict[str, str | int | None]:
    file, old, why = (_shown(text, cwd) for text in (change.file, change.old, change.why))
    return {"file": file, "line": change.line, "old": old, "new": change.new, "why": why}


def text(outcome: Outcome, cwd: Path) -> str:
    plan = outcome.plan
    parts = [
        _decisions(plan),
        *(_diff(file) for file in plan.files),
        _changes(plan.changes),
        _section("Left for you", plan.left),
        _refusals("Refused, and left as it is", plan.refused),
        _refusals("Must change as well", plan.outside),
        _right(plan),
        *(_proof(proof) for proof in outcome.proofs),
        _next(outcome),
    ]
    return _shown("\n\n".join(part for part in parts if part), cwd)


def _shown(text: str, cwd: Path) -> str:
    return text.replace(f"{cwd}/", "")


def _decisions(plan: Plan) -> str:
    """Who reads what, and how that was found out."""
    files = f"{plan.count} Python file{'s' * (plan.count != 1)} looked at."
    holders = _holders(plan)
    lines = [files]
    for place, why in holders:
        style = plan.convention.styles.get(place)
        lines += _wrapped(f"{place}: {style or 'left alone'}", "  ")
        lines += _wrapped(f"because {why}" if not why.startswith("part of") else why, "      ")
    return "\n".join(lines)


def _holders(plan: Plan) -> Iterator[tuple[Place, str]]:
    styles = plan.convention.styles
    settings = {use.place for reading in plan.readings for use in reading.uses if use.form != "name"}
    for place in sorted(styles, key=lambda place: (bool(place.path), str(place))):
        if place not in {CONF, FLASK_CELERY} and (place in settings or not place.path):
            yield place, styles[place].why
    yield from sorted(plan.convention.untouched.items(), key=str)


def _diff(file: File) -> str:
    name = str(file.source.path)
    before, after = (data.decode(file.source.encoding).splitlines() for data in (file.source.data, file.after))
    return "\n".join(difflib.unified_diff(before, after, name, name, lineterm=""))


def _changes(changes: list[Change]) -> str:
    if not changes:
        return ""
    files = {change.file for change in changes}
    count = f"{len(changes)} change{'s' * (len(changes) != 1)} in {len(files)} file{'s' * (len(files) != 1)}"
    special = [change for change in changes if change.why != USUAL_WHY]
    lines = [f"{count}." if not special else f"{count}. More than a new name:"]
    for change in special:
        became = f" -> {change.new}" if change.new else ": taken out"
        lines += _wrapped(f"{change.file}:{change.line} {change.old}{became}", "  ") + _wrapped(change.why, "      ")
    return "\n".join(lines)


def _section(title: str, changes: list[Change]) -> str:
    lines: list[str] = []
    mentions = [change for change in changes if change.why.startswith("not Python")]
    shown = [change for change in changes if change not in mentions] + mentions[:MENTIONS_SHOWN]
    for change in shown:
        lines += _wrapped(f"{change.file}:{change.line} {change.old}", "  ") + _wrapped(change.why, "      ")
    if len(mentions) > MENTIONS_SHOWN:
        lines.append(f"  … and {len(mentions) - MENTIONS_SHOWN} more in files that are not Python")
    return "\n".join([f"{title}:", *lines]) if lines else ""


def _refusals(title: str, mistakes: list[Mistake]) -> str:
    lines: list[str] = []
    for mistake in mistakes:
        lines += _wrapped(f"{mistake.file}:{mistake.line}: {mistake.text}", "  ")
        lines += _wrapped(mistake.hint, "      ") if mistake.hint else []
    return "\n".join([f"{title}:", *lines]) if lines else ""


def _right(plan: Plan) -> str:
    names = sorted(plan.renaming.right)
    if not names:
        return ""
    said = (
        f"Right as they are: {', '.join(names)}. If Celery warns at start-up that they are deprecated, "
        f"the warning is wrong here, because it does not look at the namespace: behind CELERY_ these are the new names."
    )
    return "\n".join(_wrapped(said, ""))


def _proof(proof: Proof) -> str:
    if proof.outcome == "unknown":
        said = f"No proof for {proof.subject}, its code cannot be imported here: {proof.problem}"
        more = (
            "What is certain without it: only the tokens shown above change, and each names the same setting as before."
        )
        return "\n".join([*_wrapped(said, ""), *_wrapped(more, "")])
    lines = _wrapped(proof.problem, "  ") if proof.problem else []
    for title, rows in (("differs", proof.different), ("read from now on", proof.mended)):
        for key, before, after in rows[:DIFFERENCES_SHOWN]:
            lines += _wrapped(f"{key} {title}: {before} -> {after}", "  ")
    if proof.unsteady:
        lines += _wrapped(f"not compared, different at each start: {', '.join(proof.unsteady)}", "  ")
    equal = proof.compared - len(proof.different) - len(proof.mended)
    head = f"Proof, {proof.subject}: {equal} of {proof.compared} settings compared are equal before and after"
    head += (
        f", {proof.set} of them not Celery's defaults."
        if proof.set
        else ", but all are Celery's defaults: not set yet."
    )
    return "\n".join([*_wrapped(head, ""), *lines])


def _next(outcome: Outcome) -> str:
    plan = outcome.plan
    if not plan.has_work:
        return "Nothing to do." if not plan.refused else "Nothing was changed."
    if outcome.written:
        return "\n".join(_wrapped(_written(outcome), ""))
    if outcome.is_blocked:
        return f"Nothing was written: {_hindrance(outcome)}."
    offer = "" if outcome.wanted_proof else (
        "\n  --prove   imports the project in a process of its own, before and after,"
        "\n            and compares every setting of Celery"
    )  # fmt: skip
    return f"Nothing was written. Next:{offer}\n  --write   writes this"


def _hindrance(outcome: Outcome) -> str:
    if outcome.plan.outside:
        return "give the files above as well"
    if any(proof.outcome == "different" for proof in outcome.proofs):
        return "Celery would be set differently"
    return "there is no proof; leave out --prove to do without"


def _written(outcome: Outcome) -> str:
    count = len(outcome.plan.files)
    said = f"Written: {count} file{'s' * (count != 1)}."
    if outcome.backups:
        return f"{said} The originals: {', '.join(map(str, outcome.backups))}."
    return f"{said} No backups: git has the originals."


def _wrapped(said: str, indent: str) -> list[str]:
    lines: Iterable[str] = textwrap.wrap(
        said,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return list(lines)
