"""Results: whether there is a backend, under its right name, and whether they go away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

# Whoever sets one of these wants results.
WANTED = (
    "result_expires",
    "result_extended",
    "result_serializer",
    "result_backend_transport_options",
    "result_backend_always_retry",
    "result_persistent",
    "task_track_started",
)


def misnamed(facts: Facts) -> Iterator[Finding]:
    from livectl.ops.migration.names import GUESSES, judged

    if _has_backend(facts) or not facts.conf.values:
        return
    for one in facts.conf.written:
        verdict = judged(one.name, one.namespace)
        if verdict and verdict.key == "result_backend" and not verdict.was_read:
            yield _misnamed(one.name, f"{one.name} in {one.where}", verdict.new[0])
            return
    for name, key in GUESSES.items():
        if key == "result_backend" and facts.environ.get(name):
            yield _misnamed(name, f"{name} in the environment", "CELERY_RESULT_BACKEND")
            return


def missing(facts: Facts) -> Iterator[Finding]:
    if _has_backend(facts) or not facts.conf.values or any(misnamed(facts)):
        return
    wanted = [key for key in WANTED if key in facts.conf.origins]
    skips = [each.name for each in facts.schedule if each.overlap == "skip"]
    evidence = f"set: {', '.join(wanted)}" if wanted else f"overlap: skip in {', '.join(skips)}" if skips else ""
    if evidence:
        yield Finding(
            id="results-missing",
            level="warn",
            title="Results are wanted, and there is no place for them",
            evidence=f"result_backend is not set; {evidence}",
            cure="Set result_backend, or take those settings out.",
        )


def endless(facts: Facts) -> Iterator[Finding]:
    if not _has_backend(facts):
        return
    never = "result_expires" in facts.conf.values and not facts.value("result_expires")
    if never or facts.endless:
        kept = (
            f"{len(facts.endless)} of the results looked at have no expiry: {facts.endless[0]}" if facts.endless else ""
        )
        said = f"result_expires is {facts.value('result_expires')!r}" if never else ""
        yield Finding(
            id="results-endless",
            level="warn",
            title="Results are kept for ever",
            evidence="; ".join(filter(None, (said, kept))),
            cure="Set result_expires to as long as anybody asks for results: 3600.",
        )


def _misnamed(name: str, evidence: str, right: str) -> Finding:
    return Finding(
        id="results-misnamed",
        level="bad",
        title="Results go nowhere: the backend is set under a name that Celery does not read",
        evidence=f"{evidence}; result_backend is not set",
        cure=f"Write {right} instead of {name}.",
    )


def _has_backend(facts: Facts) -> bool:
    return str(facts.value("result_backend") or "disabled").removesuffix("://") != "disabled"


ALL = (misnamed, missing, endless)
