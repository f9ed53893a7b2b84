"""Beats: missing, late, or with a plain one beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Finding
from livectl.ops.cluster.health import MAX_BEAT_LAG_S
from livectl.ops.jobs.redaction import redact_text
from livectl.ops.launch import SCHEDULER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import AppProcess, Facts


def check_beat_missing(facts: Facts) -> Iterator[Finding]:
    """Where one of ours has been at work before: a plain one that nobody told us of leaves no trace."""
    if (
        facts.schedule
        and facts.beats.has_run
        and not facts.beats.names
        and not any(_is_beat(process) for process in facts.processes)
    ):
        yield Finding(
            id="beat-missing",
            level="warn",
            title="No beat is at work, though there was one",
            evidence=f"{len(facts.schedule)} entries are scheduled, and no beat has looked in for a minute",
            cure="livectl beat; any number of them may run.",
        )


def check_beat_late(facts: Facts) -> Iterator[Finding]:
    age = facts.beats.heartbeat_age
    evidence = ""
    if age is not None and age > MAX_BEAT_LAG_S:
        evidence = f"{', '.join(facts.beats.names)} looked in {age:.0f} s ago for the last time"
    elif facts.beats.unsent_run and facts.beats.names:
        evidence = f"a run of {facts.beats.unsent_run} was claimed and not sent"
    if evidence:
        yield Finding(
            id="beat-late",
            level="bad",
            title="Beat is late",
            evidence=evidence,
            cure="Look at its log; another beat beside it takes over at once.",
        )


def check_plain_beat(facts: Facts) -> Iterator[Finding]:
    plain_beats = [process for process in facts.processes if _is_beat(process) and not _is_livectl_beat(process, facts)]
    if plain_beats and facts.beats.names:
        yield Finding(
            id="beat-beside",
            level="bad",
            title="A plain beat runs beside livectl's: what both have is sent twice",
            evidence=f"pid {plain_beats[0].pid}: {redact_text(plain_beats[0].command_line)}; ours: {', '.join(facts.beats.names)}",
            cure=f"Stop it, or start it with -S {SCHEDULER}: claimed runs are sent once, however many beats there are.",
        )


def _is_beat(process: AppProcess) -> bool:
    return "beat" in process.arguments or "-B" in process.arguments or "--beat" in process.arguments


def _is_livectl_beat(process: AppProcess, facts: Facts) -> bool:
    names_scheduler = any(option in argument for argument in process.arguments for option in ("--scheduler", "-S"))
    return SCHEDULER in process.command_line or (not names_scheduler and facts.setting("beat_scheduler") == SCHEDULER)


BEAT_CHECKS = (check_beat_missing, check_beat_late, check_plain_beat)
