"""Results: whether there is a backend, under its right name, and whether they go away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

# Whoever sets one of these wants results.
RESULT_OPTIONS = (
    "result_expires",
    "result_extended",
    "result_serializer",
    "result_backend_transport_options",
    "result_backend_always_retry",
    "result_persistent",
    "task_track_started",
)


def check_misnamed_backend(facts: Facts) -> Iterator[Finding]:
    from livectl.ops.migration.names import GUESSES, classify

    if _has_backend(facts) or not facts.conf.values:
        return
    for setting in facts.conf.written:
        classification = classify(setting.name, setting.namespace)
        if classification and classification.key == "result_backend" and not classification.was_read:
            yield _misnamed_backend(setting.name, f"{setting.name} in {setting.location}", classification.new[0])
            return
    for name, key in GUESSES.items():
        if key == "result_backend" and facts.environ.get(name):
            yield _misnamed_backend(name, f"{name} in the environment", "CELERY_RESULT_BACKEND")
            return


def check_missing_backend(facts: Facts) -> Iterator[Finding]:
    if _has_backend(facts) or not facts.conf.values or any(check_misnamed_backend(facts)):
        return
    result_options = [key for key in RESULT_OPTIONS if key in facts.conf.origins]
    skipping_entries = [entry.name for entry in facts.schedule if entry.overlap == "skip"]
    evidence = (
        f"set: {', '.join(result_options)}"
        if result_options
        else f"overlap: skip in {', '.join(skipping_entries)}"
        if skipping_entries
        else ""
    )
    if evidence:
        yield Finding(
            id="results-missing",
            level="warn",
            title="Results are wanted, and there is no place for them",
            evidence=f"result_backend is not set; {evidence}",
            cure="Set result_backend, or take those settings out.",
        )


def check_endless_results(facts: Facts) -> Iterator[Finding]:
    if not _has_backend(facts):
        return
    never = "result_expires" in facts.conf.values and not facts.setting("result_expires")
    if never or facts.endless:
        result_text = (
            f"{len(facts.endless)} of the results looked at have no expiry: {facts.endless[0]}" if facts.endless else ""
        )
        setting_text = f"result_expires is {facts.setting('result_expires')!r}" if never else ""
        yield Finding(
            id="results-endless",
            level="warn",
            title="Results are kept for ever",
            evidence="; ".join(filter(None, (setting_text, result_text))),
            cure="Set result_expires to as long as anybody asks for results: 3600.",
        )


def _misnamed_backend(name: str, evidence: str, right_name: str) -> Finding:
    return Finding(
        id="results-misnamed",
        level="bad",
        title="Results go nowhere: the backend is set under a name that Celery does not read",
        evidence=f"{evidence}; result_backend is not set",
        cure=f"Write {right_name} instead of {name}.",
    )


def _has_backend(facts: Facts) -> bool:
    return str(facts.setting("result_backend") or "disabled").removesuffix("://") != "disabled"


RESULT_CHECKS = (check_misnamed_backend, check_missing_backend, check_endless_results)
