"""Runs the checks over the facts, and shows their findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from livectl.doctor import checks_app, checks_servers, checks_streamers, checks_workers
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from livectl.doctor.facts import Facts
    from livectl.models import Finding

Check: TypeAlias = "Callable[[Facts], Iterator[Finding]]"

# The order of findings of one level.
CHECKS: tuple[Check, ...] = (
    checks_app.check_livectl_settings,
    checks_app.check_needs_restart,
    checks_app.check_app_loads,
    checks_app.check_timezone,
    checks_app.check_unread_settings,
    checks_app.check_misspelt_settings,
    checks_app.check_old_names,
    checks_app.check_removed_settings,
    checks_app.check_wrong_deprecation_warning,
    checks_app.check_environment_overrides,
    checks_servers.check_unreachable,
    checks_servers.check_reachable,
    checks_servers.check_eviction,
    checks_servers.check_persistence,
    checks_servers.check_disk_writes,
    checks_servers.check_redis_version,
    checks_servers.check_clock_skew,
    checks_servers.check_store_missing,
    checks_servers.check_pickle,
    checks_servers.check_refused_serializers,
    checks_servers.check_visibility_and_time_limit,
    checks_servers.check_visibility_and_eta,
    checks_servers.check_visibility_differs,
    checks_servers.check_early_ack,
    checks_servers.check_prefetch_hoarding,
    checks_servers.check_always_eager,
    checks_servers.check_soft_shutdown,
    checks_app.check_misnamed_backend,
    checks_app.check_missing_backend,
    checks_app.check_endless_results,
    checks_workers.check_schedule_file,
    checks_workers.check_broken_entries,
    checks_workers.check_unknown_tasks,
    checks_workers.check_arguments,
    checks_workers.check_unread_queues,
    checks_workers.check_shared_queues,
    checks_workers.check_refused_queues,
    checks_workers.check_dead_letters,
    checks_workers.check_worker_names,
    checks_workers.check_worker_versions,
    checks_workers.check_unpatched_pool,
    checks_workers.check_secrets_in_command_lines,
    checks_workers.check_beat_missing,
    checks_workers.check_beat_late,
    checks_workers.check_plain_beat,
    checks_app.check_flask_context,
    checks_app.check_django_setup,
    checks_streamers.check_missing_keys,
    checks_streamers.check_refused_keys,
    checks_streamers.check_unset_secrets,
    checks_streamers.check_blocked_platforms,
    checks_streamers.check_parsers,
    checks_streamers.check_failing_targets,
)

LEVEL_ORDER = {"bad": 0, "warn": 1, "ok": 2}
LEVEL_LABELS = {"bad": "bad ", "warn": "warn", "ok": "ok  "}


def run_checks(facts: Facts, *, ignore: Collection[str] = (), include_ok: bool = False) -> list[Finding]:
    """The findings, the worst first; `ignore` are ids to leave out."""
    findings = [finding for check in CHECKS for finding in check(facts)]
    selected = [finding for finding in findings if finding.id not in ignore and (include_ok or finding.level != "ok")]
    return sorted(selected, key=lambda finding: LEVEL_ORDER[finding.level])


def findings_view(findings: Sequence[Finding]) -> View:
    return View([_finding_json(finding) for finding in findings], lambda: _render_findings(findings))


def settings_view(facts: Facts) -> View:
    """Every Celery setting that is not a default: its value and where it comes from."""
    from livectl.redaction import redact
    from livectl.render import table

    rows = [
        {"setting": key, "value": _value_text(redact({key: facts.setting(key)})[key]), "origin": origin}
        for key, origin in sorted(facts.settings.origins.items())
    ]
    cells = [(row["setting"], row["value"], row["origin"]) for row in rows]
    return table(("setting", "value", "origin"), cells, rows, empty="Every setting is Celery's default.")


def _finding_json(finding: Finding) -> dict[str, Any]:
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


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
