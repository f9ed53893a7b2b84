"""The examination: every check on the facts, and what people and programs see of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.doctor.checks import ALL
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from livectl.doctor.facts import Facts
    from livectl.model import Finding

ORDER = {"bad": 0, "warn": 1, "ok": 2}
LABELS = {"bad": "bad ", "warn": "warn", "ok": "ok  "}


def examine(facts: Facts, *, ignore: Collection[str] = (), all_of_it: bool = False) -> list[Finding]:
    """The worst first; what is well only when all is wanted."""
    found = [finding for check in ALL for finding in check(facts)]
    wanted = [one for one in found if one.id not in ignore and (all_of_it or one.level != "ok")]
    return sorted(wanted, key=lambda one: ORDER[one.level])


def view(findings: Sequence[Finding]) -> View:
    return View([_row(one) for one in findings], lambda: _text(findings))


def settings(facts: Facts) -> View:
    """Every Celery setting that is not a default: its value and where it comes from."""
    from livectl.ops.jobs.redaction import redact
    from livectl.render import table

    rows = [
        {"setting": key, "value": _plain(redact({key: facts.value(key)})[key]), "origin": origin}
        for key, origin in sorted(facts.conf.origins.items())
    ]
    shown = [(row["setting"], row["value"], row["origin"]) for row in rows]
    return table(("setting", "value", "origin"), shown, rows, empty="Every setting is Celery's default.")


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "level": finding.level,
        "title": finding.title,
        "evidence": finding.evidence,
        "cure": finding.cure,
        "link": finding.link,
    }


def _text(findings: Sequence[Finding]) -> str:
    return "\n".join(_block(one) for one in findings) if findings else "Nothing is wrong."


def _block(one: Finding) -> str:
    lines = [f"{LABELS[one.level]}  {one.title}  [{one.id}]"]
    lines += [f"      {line}" for line in one.evidence.splitlines()]
    cure = [f"      -> {one.cure}"] if one.cure else []
    link = [f"      {one.link}"] if one.level != "ok" else []
    return "\n".join([*lines, *cure, *link])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
