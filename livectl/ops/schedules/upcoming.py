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

MS_PER_SECOND = 1_000  # milliseconds
SECONDS_PER_MINUTE = 60  # seconds


def upcoming_runs(schedules: Iterable[Schedule], after_ms: int) -> Iterator[Run]:
    """Without end, if there is anything that runs without end; those that are switched off are left out."""
    runs_by_schedule = (_runs_after(schedule, after_ms) for schedule in schedules if schedule.enabled)
    return merge(*runs_by_schedule, key=lambda run: (run.due, run.name))


def clock_change_note(schedule: Schedule, due: int) -> str:
    """What a change of the clock did to this run, if it did anything."""
    cron_line, moment = schedule.timing, due // MS_PER_SECOND
    if not isinstance(cron_line, Cron):
        return ""
    period, *later_periods = islice(zones.offset_periods_from(schedule.timezone, moment, 2), 2)
    if moment == period.start and (minute := timing.skipped_minute(cron_line, period)) is not None:
        return f"{_format_clock_time(minute * SECONDS_PER_MINUTE)} does not exist that day"
    if moment + period.offset in period.repeated_seconds:
        return f"second of two {_format_clock_time(moment + period.offset)}"
    if later_periods and moment + period.offset in later_periods[0].repeated_seconds:
        return f"first of two {_format_clock_time(moment + period.offset)}"
    return ""


def _runs_after(schedule: Schedule, moment: int) -> Iterator[Run]:
    while (due := timing.next_due(schedule, moment)) is not None:
        yield Run(schedule.name, due)
        moment = due


def _format_clock_time(local: int) -> str:
    return f"{datetime.fromtimestamp(local, UTC):%H:%M}"
