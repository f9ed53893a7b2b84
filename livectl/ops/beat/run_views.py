"""Shows runs: those ahead, those that are left out, and why there is one at an instant or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.models import After, Cron, JobState, Run
from livectl.ops.beat import views
from livectl.ops.jobs.history import LEFT_OUT, MISSED
from livectl.ops.schedules import days, due_times
from livectl.render import Column, View, sentence, table, with_lines
from livectl.units import MS_PER_SECOND, format_count, format_instant, format_precise_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from livectl.models import Schedule
    from livectl.ops.beat.views import RunHistory
    from livectl.ops.jobs.history import JobLogEntry, KeptRun


MAX_RUNS_COUNTED = 10_000  # of an entry that may have only so many
MAX_INSTANT = 10**15  # later than any run
LEFT_OUT_AHEAD_MS = 366 * 86_400 * MS_PER_SECOND  # in which is looked for what is left out where nothing ends it before
MS_PER_MINUTE = 60 * MS_PER_SECOND


def upcoming_runs(schedules: Iterable[Schedule], after_ms: int, history: RunHistory | None = None) -> Iterator[Run]:
    """The runs of all schedules that are switched on, in the order of time; usually without end.

    With the history, no more of an entry than its `count` still allows.
    """
    runs_by_schedule = (
        islice(_runs_after(schedule, after_ms), views.runs_left(schedule, history or views.RunHistory()))
        for schedule in schedules
        if schedule.enabled
    )
    return merge(*runs_by_schedule, key=_in_time)


def _in_time(run: Run) -> tuple[int, str]:
    return run.due, run.name


def _runs_after(schedule: Schedule, moment: int) -> Iterator[Run]:
    while (due := due_times.next_due(schedule, moment)) is not None:
        yield Run(schedule.name, due)
        moment = due


def _left_out_after(schedule: Schedule, moment: int, last: int) -> Iterator[Run]:
    while (planned := due_times.timing_after(schedule, moment)) is not None and planned <= last:
        if due_times.why_left_out(schedule, planned):
            yield Run(schedule.name, planned)
        moment = planned


def list_runs(
    schedules: Iterable[Schedule],
    after_ms: int,
    until_ms: int | None,
    history: RunHistory,
    limit: int,
    *,
    left_out: bool,
) -> list[Run]:
    """The first runs after an instant, up to another one; with those that are left out, if these are asked for."""
    schedules = list(schedules)
    until = MAX_INSTANT if until_ms is None else until_ms
    runs = list(islice(takewhile(lambda run: run.due <= until, upcoming_runs(schedules, after_ms, history)), limit))
    if not left_out:
        return runs
    # Of an entry that leaves nothing out, as of one whose runs are used up, the search would have no end.
    last = runs[-1].due if len(runs) == limit else until_ms or after_ms + LEFT_OUT_AHEAD_MS
    kinds = [runs, *(_left_out_after(schedule, after_ms, last) for schedule in schedules if schedule.enabled)]
    return list(islice(merge(*kinds, key=_in_time), limit))


def render_runs(next_runs: Sequence[Run], schedules: Mapping[str, Schedule], history: RunHistory, zone: str) -> View:
    """The runs, each with a note of what a change of the clock does to it."""
    data, rows = [], []
    for run in next_runs:
        schedule = schedules[run.name]
        note = _run_note(schedule, run.due, history)
        entry = views.entry_status(schedule, history, run.due)
        data.append({**views.entry_fields(entry), "note": note or None})
        rows.append(
            [
                f"{views.local_time(run.due, zone):%Y-%m-%d %H:%M:%S}",
                schedule.name,
                views.format_schedule(entry, zone),
                note,
            ]
        )
    columns = (Column(f"due, {zone}", "whole"), "name", Column("schedule", rank=2), Column("", "state", rank=1))
    run_rows = table(columns, rows, data, empty="Nothing ahead.")
    shown = {run.name for run in next_runs}
    ahead = [schedule for schedule in schedules.values() if schedule.enabled and schedule.name not in shown]
    later = [schedule.name for schedule in ahead if not isinstance(schedule.timing, After)]
    lines = [f"later: {', '.join(later)}"] if later and shown else []
    lines += [f"{schedule.name}: {_timing(schedule)}" for schedule in ahead if isinstance(schedule.timing, After)]
    return with_lines(run_rows, lines)


def _run_note(schedule: Schedule, due: int, history: RunHistory) -> str:
    """What is to be said of a run: that it is left out or paused, moved by its jitter, or by a change of the clock."""
    planned = due_times.timing_until(schedule, due) or due
    if planned == due and (reason := due_times.why_left_out(schedule, due)):
        return f"left out: {reason}"
    if schedule.name in history.pauses:
        return "paused"
    moved = f"moved by {format_precise_duration((due - planned) / MS_PER_SECOND)}" if planned != due else ""
    return ", ".join(filter(None, (moved, clock_change_note(schedule, planned))))


def clock_change_note(schedule: Schedule, due: int) -> str:
    """What a change of the clock does to the run at this instant; empty if it does nothing."""
    cron_line, second = schedule.timing, due // MS_PER_SECOND
    if not isinstance(cron_line, Cron):
        return ""
    period, *later_periods = islice(due_times.offset_periods_from(schedule.timezone, second, 2), 2)
    if second == period.start and (minute := due_times.skipped_minute(cron_line, period)) is not None:
        return f"{_format_clock_time(minute * due_times.SECONDS_PER_MINUTE)} does not exist that day"
    local_second = second + period.offset
    if local_second in period.repeated_seconds:
        return f"second of two {_format_clock_time(local_second)}"
    if later_periods and local_second in later_periods[0].repeated_seconds:
        return f"first of two {_format_clock_time(local_second)}"
    return ""


def _format_clock_time(local_second: int) -> str:
    return f"{datetime.fromtimestamp(local_second, UTC):%H:%M}"


class Question(msgspec.Struct, frozen=True):
    """The instants that are asked about, from `first` to before `end`: as exact as they were written."""

    first: int
    end: int

    @classmethod
    def parse(cls, text: str, zone: str) -> Question:
        """A date, or a time to the minute, to the second or beyond. Raises ValueError."""
        from livectl.ops.schedules.policies import parse_instant

        if len(text) == len("2026-12-24"):
            day = days.parse_range(text)[0]
            return cls(days.begins_at(day, zone), days.begins_at(day + timedelta(days=1), zone))
        first = parse_instant(text, zone)
        written = text[11:].removesuffix("Z").partition("+")[0].partition("-")[0]
        width = MS_PER_MINUTE if written.count(":") == 1 else 1 if "." in written else MS_PER_SECOND
        return cls(first, first + width)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an entry runs, ran or would run at an instant, and why."""

    name: str
    runs: bool
    reason: str
    due: int | None = None  # of the run, after its jitter
    planned: int | None = None  # before it
    more: int = 0  # other runs among the instants that are asked about
    job: str = ""
    state: JobState | None = None


def explain(
    schedule: Schedule, question: Question, history: RunHistory, now: int, find_run: Callable[[str, int], KeptRun]
) -> Explanation:
    """Answers from the schedule, the time, and what the store has of the entry; `find_run` reads a run by its name and
    due instant."""
    if isinstance(schedule.timing, After):
        return _explain_after(schedule, question, history, now)
    due = due_times.next_due(schedule, question.first - 1)
    if due is None or due >= question.end:
        return _explain_none(schedule, question)
    planned = due_times.timing_until(schedule, due)
    refusal = _find_refusal(schedule, due, history, now)
    if due > now:
        reason = refusal or "it is due then"
    else:
        refusal, reason = _explain_past(schedule, due, history, find_run)
    more = 0 if refusal else sum(1 for _ in islice(_dues_between(schedule, due, question.end), MAX_RUNS_COUNTED))
    explanation = Explanation(name=schedule.name, runs=not refusal, reason=reason, due=due, planned=planned, more=more)
    last_run = history.last_runs.get(schedule.name)
    if last_run and last_run.due == due:
        explanation = msgspec.structs.replace(explanation, state=history.job_states.get(schedule.name))
    return explanation


def _explain_after(schedule: Schedule, question: Question, history: RunHistory, now: int) -> Explanation:
    """Of an entry that has no time of its own, only its last run is known, and what keeps it from running."""
    last_run = history.last_runs.get(schedule.name)
    if last_run and question.first <= last_run.due < question.end:
        state = history.job_states.get(schedule.name)
        reason = f"it was sent, {_timing(schedule)}{f', and {state}' if state else ''}"
        return Explanation(name=schedule.name, runs=True, reason=reason, due=last_run.due, state=state)
    refusal = _find_refusal(schedule, question.first, history, now) or due_times.why_left_out(schedule, question.first)
    reason = refusal or f"it has no time of its own: it runs {_timing(schedule)}, whenever a run of that has ended so"
    return Explanation(name=schedule.name, runs=False, reason=reason)


def _explain_none(schedule: Schedule, question: Question) -> Explanation:
    planned = due_times.timing_after(schedule, question.first - 1)
    if planned is None or planned >= question.end:
        return Explanation(name=schedule.name, runs=False, reason=f"{_timing(schedule)} does not fall then")
    reason = due_times.why_left_out(schedule, planned)
    if not reason:
        reason = f"its jitter moves that run to {format_instant(due_times.move(schedule, planned) / MS_PER_SECOND)}"
    return Explanation(name=schedule.name, runs=False, reason=reason, planned=planned)


def _find_refusal(schedule: Schedule, due: int, history: RunHistory, now: int) -> str:
    """Why a run that is due ahead is not sent as things stand; empty when it is."""
    if not schedule.enabled:
        return "the entry is switched off (enabled: false)"
    if pause := history.pauses.get(schedule.name):
        return f"the entry is paused{f': {pause.reason}' if pause.reason else ''}"
    if schedule.count is None:
        return ""
    left = schedule.count - history.counts.get(schedule.name, 0)
    if left <= 0:
        return f"the entry has had its {format_count(schedule.count, 'run')} (count)"
    ahead = sum(1 for _ in islice(_dues_between(schedule, now, due), left))
    return f"the entry will have had its {format_count(schedule.count, 'run')} by then (count)" if ahead >= left else ""


def _explain_past(
    schedule: Schedule, due: int, history: RunHistory, find_run: Callable[[str, int], KeptRun]
) -> tuple[str, str]:
    """Why a run that was due was not sent, empty if it was or may have been, and what is to be said of it."""
    if due in history.waiting.get(schedule.name, ()):
        return "waiting", "it waits for the running job of the entry"
    last_run = history.last_runs.get(schedule.name)
    if last_run and last_run.due == due:
        state = history.job_states.get(schedule.name)
        return "", f"it was sent{f', and {state}' if state else ''}"
    kept = find_run(schedule.name, due)
    if kept.run:
        return _explain_kept(kept.run)
    if last_run and last_run.due > due and not kept.has_older:
        return "", "it was due then; nothing is kept of a run so long ago"
    if reason := _find_refusal(schedule, due, history, due):
        return reason, f"not sent: {reason}"
    return "unsent", "not sent: no beat was at work then, or it had not had this entry yet"


def _explain_kept(run: JobLogEntry) -> tuple[str, str]:
    if run.outcome == MISSED:
        return MISSED, "not sent: it was missed, since no beat was at work in time"
    if run.outcome == LEFT_OUT:
        return LEFT_OUT, "not sent: the job before it still ran (overlap)"
    late = f", {format_precise_duration(max(0.0, run.late))} late" if run.late is not None else ""
    return "", f"it was sent{late}; its job: {run.outcome}{f', {run.error}' if run.error else ''}"


def _dues_between(schedule: Schedule, after: int, end: int) -> Iterator[int]:
    due = due_times.next_due(schedule, after)
    while due is not None and due < end:
        yield due
        due = due_times.next_due(schedule, due)


def _timing(schedule: Schedule) -> str:
    return due_times.format_timing(schedule.timing)


def render(explanation: Explanation, schedule: Schedule, question: Question, zone: str) -> View:
    """The answer in a sentence or two, and as one object."""

    def local(moment: int) -> str:
        return f"{views.local_time(moment, zone):%Y-%m-%d %H:%M:%S}".removesuffix(":00")

    answer = "yes" if explanation.runs else "no"
    lines = [f"{answer}: {schedule.name} at {local(explanation.due or question.first)}, {zone}: {explanation.reason}."]
    if explanation.due and explanation.planned and explanation.due != explanation.planned:
        moved = format_precise_duration((explanation.due - explanation.planned) / MS_PER_SECOND)
        lines.append(f"Its jitter moves it by {moved}, from {local(explanation.planned)}.")
    if explanation.more:
        lines.append(f"So are {format_count(explanation.more, 'run')} more.")
    if not explanation.runs:
        lines += _neighbours(schedule, question, local)
    data = {
        "name": schedule.name,
        "runs": explanation.runs,
        "reason": explanation.reason,
        "due": _format(explanation.due),
        "planned": _format(explanation.planned),
        "more": explanation.more,
        "state": str(explanation.state) if explanation.state else None,
    }
    return sentence("\n".join(lines), data)


def _neighbours(schedule: Schedule, question: Question, local: Any) -> list[str]:
    before = due_times.last_due(schedule, question.first - 1)
    after = due_times.next_due(schedule, question.end - 1)
    return [f"The run {word}: {local(due)}" for word, due in (("before", before), ("after", after)) if due is not None]


def _format(moment: int | None) -> str | None:
    if moment is None:
        return None
    return format_instant(moment / MS_PER_SECOND, "milliseconds" if moment % MS_PER_SECOND else "seconds")
