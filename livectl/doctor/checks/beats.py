"""Beats: missing, late, or with a plain one beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Finding
from livectl.ops.cluster.health import MAX_LAG
from livectl.ops.jobs.redaction import redact_text
from livectl.ops.launch import SCHEDULER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts, Process


def missing(facts: Facts) -> Iterator[Finding]:
    """Where one of ours has been at work before: a plain one that nobody told us of leaves no trace."""
    if (
        facts.schedule
        and facts.beats.ran
        and not facts.beats.names
        and not any(_is_beat(one) for one in facts.processes)
    ):
        yield Finding(
            id="beat-missing",
            level="warn",
            title="No beat is at work, though there was one",
            evidence=f"{len(facts.schedule)} entries are scheduled, and no beat has looked in for a minute",
            cure="livectl beat; any number of them may run.",
        )


def late(facts: Facts) -> Iterator[Finding]:
    age = facts.beats.oldest
    evidence = ""
    if age is not None and age > MAX_LAG:
        evidence = f"{', '.join(facts.beats.names)} looked in {age:.0f} s ago for the last time"
    elif facts.beats.unsent and facts.beats.names:
        evidence = f"a run of {facts.beats.unsent} was claimed and not sent"
    if evidence:
        yield Finding(
            id="beat-late",
            level="bad",
            title="Beat is late",
            evidence=evidence,
            cure="Look at its log; another beat beside it takes over at once.",
        )


def beside(facts: Facts) -> Iterator[Finding]:
    plain = [one for one in facts.processes if _is_beat(one) and not _is_ours(one, facts)]
    if plain and facts.beats.names:
        yield Finding(
            id="beat-beside",
            level="bad",
            title="A plain beat runs beside livectl's: what both have is sent twice",
            evidence=f"pid {plain[0].pid}: {redact_text(plain[0].line)}; ours: {', '.join(facts.beats.names)}",
            cure=f"Stop it, or start it with -S {SCHEDULER}: claimed runs are sent once, however many beats there are.",
        )


def _is_beat(process: Process) -> bool:
    return "beat" in process.words or "-B" in process.words or "--beat" in process.words


def _is_ours(process: Process, facts: Facts) -> bool:
    named = any(option in word for word in process.words for option in ("--scheduler", "-S"))
    return SCHEDULER in process.line or (not named and facts.value("beat_scheduler") == SCHEDULER)


ALL = (missing, late, beside)
