"""The checks: each from facts to findings, none of them asking anything itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.doctor import checks_app, checks_servers, checks_streamers, checks_workers
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.doctor.facts import Facts
    from livectl.models import Finding

    Check = Callable[[Facts], Iterator[Finding]]
    from collections.abc import Collection, Sequence


CHECKS: tuple[Check, ...] = (
    *checks_app.SETTINGS_CHECKS,
    *checks_servers.SERVER_CHECKS,
    *checks_servers.DELIVERY_CHECKS,
    *checks_app.RESULT_CHECKS,
    *checks_workers.WORK_CHECKS,
    *checks_workers.WORKER_CHECKS,
    *checks_workers.BEAT_CHECKS,
    *checks_app.FRAMEWORK_CHECKS,
    *checks_streamers.STREAMER_CHECKS,
)


LEVEL_ORDER = {"bad": 0, "warn": 1, "ok": 2}
LEVEL_LABELS = {"bad": "bad ", "warn": "warn", "ok": "ok  "}


def run_checks(facts: Facts, *, ignore: Collection[str] = (), include_ok: bool = False) -> list[Finding]:
    """The worst first; what is well only when all is wanted."""
    findings = [finding for check in CHECKS for finding in check(facts)]
    selected = [item for item in findings if item.id not in ignore and (include_ok or item.level != "ok")]
    return sorted(selected, key=lambda item: LEVEL_ORDER[item.level])


def findings_view(findings: Sequence[Finding]) -> View:
    return View([_finding_row(finding) for finding in findings], lambda: _render_findings(findings))


def settings_view(facts: Facts) -> View:
    """Every Celery setting that is not a default: its value and where it comes from."""
    from livectl.redaction import redact
    from livectl.render import table

    rows = [
        {"setting": key, "value": _plain_value(redact({key: facts.setting(key)})[key]), "origin": origin}
        for key, origin in sorted(facts.conf.origins.items())
    ]
    cells = [(row["setting"], row["value"], row["origin"]) for row in rows]
    return table(("setting", "value", "origin"), cells, rows, empty="Every setting is Celery's default.")


def _finding_row(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "level": finding.level,
        "title": finding.title,
        "evidence": finding.evidence,
        "cure": finding.cure,
        "link": finding.link,
    }


def _render_findings(findings: Sequence[Finding]) -> str:
    return "\n".join(_render_finding(finding) for finding in findings) if findings else "Nothing is wrong."


def _render_finding(finding: Finding) -> str:
    lines = [f"{LEVEL_LABELS[finding.level]}  {finding.title}  [{finding.id}]"]
    lines += [f"      {line}" for line in finding.evidence.splitlines()]
    cure = [f"      -> {finding.cure}"] if finding.cure else []
    link = [f"      {finding.link}"] if finding.level != "ok" else []
    return "\n".join([*lines, *cure, *link])


def _plain_value(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
