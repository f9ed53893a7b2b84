"""The runs ahead, of many schedules, in the order of time."""

from __future__ import annotations

from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING

from livectl.model import Cron, Run
from livectl.ops.reckoning import timing, zones

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livectl.model import Schedule

SECOND = 1_000  # milliseconds
MINUTE = 60  # seconds


def upcoming(schedules: Iterable[Schedule], after_ms: int) -> Iterator[Run]:
    """Without end, if there is anything that runs without end; those that are switched off are left out."""
    runs = (_runs(schedule, after_ms) for schedule in schedules if schedule.enabled)
    return merge(*runs, key=lambda run: (run.due, run.name))


def remark(schedule: Schedule, due: int) -> str:
    """What a change of the clock did to this run, if it did anything."""
    line, moment = schedule.timing, due // SECOND
    if not isinstance(line, Cron):
        return ""
    now, *later = islice(zones.onward(schedule.timezone, moment, 2), 2)
    if moment == now.start and (minute := timing.skipped(line, now)) is not None:
        return f"{_clock(minute * MINUTE)} does not exist that day"
    if moment + now.offset in now.repeated:
        return f"second of two {_clock(moment + now.offset)}"
    if later and moment + now.offset in later[0].repeated:
        return f"first of two {_clock(moment + now.offset)}"
    return ""


def _runs(schedule: Schedule, moment: int) -> Iterator[Run]:
    while (due := timing.next_due(schedule, moment)) is not None:
        yield Run(schedule.name, due)
        moment = due


def _clock(local: int) -> str:
    return f"{datetime.fromtimestamp(local, UTC):%H:%M}"
