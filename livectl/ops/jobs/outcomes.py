"""Shows how runs of schedules ended: a row for each, or a sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from livectl.render import WIDE_SHOWS_ALL, Column, View, table
from livectl.units import format_precise_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.ops.jobs.history import JobLogEntry

RUN_COLUMNS = (
    Column("late", "number", rank=3),
    Column("ran", "number", rank=2),
    Column("outcome", "state"),
    Column("tries", "number", rank=5),
    Column("error", rank=4),
)
# The bar of the last runs of a schedule: what went well is low, what did not stands out.
OUTCOME_SIGNS = {
    "succeeded": ".",
    "failed": "F",
    "dead": "D",
    "missed": "M",
    "retrying": "r",
    "revoked": "-",
    "left out": "-",
    "running": ">",
    "taken": ">",
    "sent": ">",
}


def run_table(runs: Sequence[JobLogEntry], zone: str, name: str = "") -> View:
    """The runs of one schedule, or of all."""
    columns = (*((Column("name", rank=1),) if not name else ()), Column(f"due, {zone}", "whole"), *RUN_COLUMNS)
    rows = [
        (
            *((run.schedule,) if not name else ()),
            f"{run.due.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}" if run.due else "",
            "" if run.late is None else format_precise_duration(max(0.0, run.late)),
            "" if run.ran is None else format_precise_duration(max(0.0, run.ran)),
            run.outcome,
            str((run.retries or 0) + 1) if run.started else "",
            run.error,
        )
        for run in runs
    ]
    whose = f" of {name}" if name else ""
    empty = f"No runs{whose} yet: beat notes what it sends, and workers that livectl starts how it ends."
    empty += " `livectl schedules list` has the names of entries." if name else ""
    return table(columns, rows, [run_fields(run) for run in runs], empty=empty, if_cut=WIDE_SHOWS_ALL)


def run_fields(run: JobLogEntry) -> dict[str, Any]:
    """A run as `livectl runs --json` has it."""
    return {
        "name": run.schedule,
        "id": run.id,
        "task": run.task or None,
        "queue": run.queue or None,
        "worker": run.worker or None,
        "due": run.due,
        "sent": run.sent,
        "taken": run.taken,
        "started": run.started,
        "finished": run.finished,
        "late": run.late,
        "duration": run.ran,
        "outcome": run.outcome,
        "tries": (run.retries or 0) + 1 if run.started else 0,
        "error": run.error or None,
    }


def outcome_bar(outcomes: Sequence[str]) -> str:
    """A sign for each outcome, the newest last: none tells by its colour alone."""
    return "".join(OUTCOME_SIGNS.get(outcome, "?") for outcome in reversed(outcomes))
