"""The report of a migration, for people and for programs."""

from __future__ import annotations

import difflib
import textwrap
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.ops.migration.places import CONF, FLASK_CELERY
from livectl.ops.migration.rename import Change

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        _changes(plan.changes),
        _section("Left for you", plan.left),
        _refusals("Refused, and left as it is", plan.refused),
        _refusals("Must change as well", plan.outside),
        _right(plan),
        *(_proof(proof) for proof in outcome.proofs),
        _next(outcome),
    ]
    first, *rest = (_folded(_shown(part, cwd)) for part in parts if part)
    return "\n\n".join([first, *(_shown(_diff(file), cwd) for file in plan.files), *rest])


def _shown(text: str, cwd: Path) -> str:
    return text.replace(f"{cwd}/", "")


def _decisions(plan: Plan) -> str:
    """Who reads what, and how that was found out."""
    lines = [f"{_count(plan.count, 'Python file')} looked at."]
    for place, why in _holders(plan):
        lines.append(f"  {place}: {plan.convention.styles.get(place, 'left alone')}")
        lines.append(f"      {why if why.startswith('part of') else f'because {why}'}")
    return "\n".join(lines)


def _holders(plan: Plan) -> Iterator[tuple[Place, str]]:
    """Of the files given: the places with settings, and the framework they are part of."""
    convention = plan.convention
    used = {use.place for reading in plan.readings for use in reading.uses if use.form != "name"}
    own = {place for place in convention.styles if place.path in plan.own and place in used}
    changed = {place for path in plan.own for place in plan.renaming.places.get(path, ())}
    families = {convention.families.get(place, place) for place in own | changed} - {CONF, FLASK_CELERY}
    for place in sorted(own | families, key=lambda place: (bool(place.path), str(place))):
        yield place, convention.styles[place].why
    yield from sorted((pair for pair in convention.untouched.items() if pair[0].path in plan.own), key=str)


def _diff(file: File) -> str:
    name = str(file.source.path)
    before, after = (data.decode(file.source.encoding).splitlines() for data in (file.source.data, file.after))
    return "\n".join(difflib.unified_diff(before, after, name, name, lineterm=""))


def _changes(changes: list[Change]) -> str:
    if not changes:
        return ""
    count = f"{_count(len(changes), 'change')} in {_count(len({change.file for change in changes}), 'file')}"
    special = [change for change in changes if change.why != USUAL_WHY]
    lines = [f"{count}. More than a new name:" if special else f"{count}."]
    for change in special:
        became = f" -> {change.new}" if change.new else ": taken out"
        lines += [f"  {change.file}:{change.line} {change.old}{became}", f"      {change.why}"]
    return "\n".join(lines)


def _section(title: str, changes: list[Change]) -> str:
    mentions = [change for change in changes if change.why.startswith("not Python")]
    lines = [f"{title}:"]
    for change in [change for change in changes if change not in mentions] + mentions[:MENTIONS_SHOWN]:
        lines += [f"  {change.file}:{change.line} {change.old}", f"      {change.why}"]
    if len(mentions) > MENTIONS_SHOWN:
        lines.append(f"  … and {len(mentions) - MENTIONS_SHOWN} more in files that are not Python")
    return "\n".join(lines) if changes else ""


def _refusals(title: str, mistakes: list[Mistake]) -> str:
    lines = [f"{title}:"]
    for mistake in mistakes:
        lines.append(f"  {mistake.file}:{mistake.line}: {mistake.text}")
        lines += [f"      {mistake.hint}"] if mistake.hint else []
    return "\n".join(lines) if mistakes else ""


def _right(plan: Plan) -> str:
    names = sorted(plan.renaming.right)
    if not names:
        return ""
    return (
        f"Right as they are: {', '.join(names)}. If Celery warns at start-up that they are deprecated, the "
        f"warning is wrong here, because it does not look at the namespace: behind CELERY_ these are the new names."
    )


def _proof(proof: Proof) -> str:
    if proof.outcome == "unknown":
        return (
            f"No proof for {proof.subject}, its code cannot be imported here: {proof.problem}\n"
            "What is certain without it: only the tokens shown above change, and each names the same setting as before."
        )
    lines = [f"  {proof.problem}"] if proof.problem else []
    for title, rows in (("differs", proof.different), ("is read from now on", proof.mended)):
        lines += [f"  {key} {title}: {before} -> {after}" for key, before, after in rows[:DIFFERENCES_SHOWN]]
    if proof.unsteady:
        lines.append(f"  not compared, different at each start: {', '.join(proof.unsteady)}")
    equal = proof.compared - len(proof.different) - len(proof.mended)
    set_by = (
        f"{proof.set} of them not Celery's defaults." if proof.set else "but all are Celery's defaults: none is set."
    )
    head = f"Proof, {proof.subject}: {equal} of {proof.compared} settings compared are equal before and after, {set_by}"
    return "\n".join([head, *lines])


def _next(outcome: Outcome) -> str:
    plan = outcome.plan
    if not plan.has_work:
        return "Nothing was changed." if plan.refused else "Nothing to do."
    if outcome.written:
        return _written(outcome)
    if outcome.is_blocked:
        return f"Nothing was written: {_hindrance(outcome)}."
    offer = [
        "  --prove   imports the project in a process of its own, before and after,",
        "            and compares every setting of Celery",
    ]
    lines = ["Nothing was written. Next:", *([] if outcome.wanted_proof else offer), "  --write   writes this"]
    return "\n".join(lines)


def _hindrance(outcome: Outcome) -> str:
    if outcome.plan.outside:
        return "give the files above as well"
    if any(proof.outcome == "different" for proof in outcome.proofs):
        return "Celery would be set differently"
    return "there is no proof; leave out --prove to do without"


def _written(outcome: Outcome) -> str:
    said = f"Written: {_count(len(outcome.plan.files), 'file')}."
    if outcome.backups:
        return f"{said} The originals: {', '.join(map(str, outcome.backups))}."
    return f"{said} No backups: git has the originals."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _folded(said: str) -> str:
    """Lines folded to the width, each going on two columns further in than it began."""
    return "\n".join(folded for line in said.splitlines() for folded in _fold(line))


def _fold(line: str) -> list[str]:
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
