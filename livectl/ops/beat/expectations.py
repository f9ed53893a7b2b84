"""Judges how the runs of an entry went, and when somebody has to be told: late, missed, failed, slow, recovered.

Nothing here reads or tells anything: `watch.py` brings what is known, and keeps what was told.
"""

from __future__ import annotations

from itertools import takewhile
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from livectl.models import Expectation, JobState
from livectl.ops.beat import check_ins
from livectl.ops.jobs.history import BAD_STATES, UNSENT_STATES
from livectl.units import MS_PER_SECOND, format_count, format_duration, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.ops.jobs.history import JobLogEntry

Trouble = Literal["", "missed", "late", "overrun", "failed", "slow"]

RUNS_READ = 30  # of an entry: the newer half is held against the older one
LEAST_RUNS_KNOWN = 5  # before the history of an entry says what is usual
START_WITHIN_S = 60.0
LEAST_END_WITHIN_S = 60.0
USUAL_FACTOR = 3.0  # of what was the most so far, before a run that goes on is told
LEAST_SLOWER_S = 10.0  # than usual: what takes a second more hurts nobody
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FLAPPING_TROUBLES = 2  # within an hour
GOOD_RUNS, GOOD_RUNS_WHEN_FLAPPING = 1, 3  # before an entry has recovered


class WatchState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was told of an entry, or of something else that is watched."""

    trouble: str = ""  # what is wrong, and was told
    due: int = 0  # the due instant of the run that it is about
    failures: int = 0  # runs in a row that failed
    began: tuple[int, ...] = ()  # when the troubles of the last day began


class Report(NamedTuple):
    """What is to be told: once, to everybody who wants to know of jobs."""

    name: str
    kind: str  # a trouble, or `recovered`
    title: str
    details: str


class EntryFacts(NamedTuple):
    """What is known of an entry at one moment. Times are UTC milliseconds."""

    name: str
    expect: Expectation
    now: int
    watched_since: int  # since when somebody has been looking, without a break
    owed: int | None  # the first due instant that has come and that no beat has claimed
    runs: Sequence[JobLogEntry]  # the newest first
    checks_in: bool = False  # it runs elsewhere, and says so itself


def judge(facts: EntryFacts, state: WatchState) -> tuple[WatchState, Report | None]:
    """What is to be remembered of an entry from now on, and what is to be told."""
    trouble, due = _find_trouble(facts)
    began = tuple(at for at in state.began if facts.now - at < DAY_MS)
    if trouble and trouble == state.trouble:
        failures = _failures(facts.runs) if trouble == "failed" else state.failures
        return WatchState(trouble=trouble, due=max(due, state.due), failures=failures, began=began), None
    if trouble:
        is_again = trouble == "failed" and bool(began)
        report = _trouble_report(facts, trouble, due, is_again=is_again)
        failures = _failures(facts.runs)
        return WatchState(trouble=trouble, due=due, failures=failures, began=(*began, facts.now)), report
    if not state.trouble:
        return WatchState(began=began), None
    flaps = sum(facts.now - at < HOUR_MS for at in began) >= FLAPPING_TROUBLES
    if _good_runs(facts.runs, state.due) < (GOOD_RUNS_WHEN_FLAPPING if flaps else GOOD_RUNS):
        return msgspec.structs.replace(state, began=began), None
    recovered = None if state.trouble == "slow" else _recovery_report(facts, state)
    return WatchState(began=began), recovered


def start_limit(facts: EntryFacts) -> float:
    """The seconds within which a run has to begin."""
    if facts.expect.start_within is not None:
        return facts.expect.start_within
    waits = [wait for run in facts.runs if (wait := _wait_s(run)) is not None]
    before = waits[1:] if len(waits) > LEAST_RUNS_KNOWN else []  # the last one does not count for itself
    return max([START_WITHIN_S, *(USUAL_FACTOR * wait for wait in before)])


def _find_trouble(facts: EntryFacts) -> tuple[Trouble, int]:
    """What is wrong now, the worst first, and the due instant of the run that shows it."""
    if _is_missed(facts):
        return "missed", facts.owed or 0
    sent = [run for run in facts.runs if run.state not in UNSENT_STATES and run.due]
    for run in takewhile(lambda run: not (run.started or run.state), sent):  # what is older was lost, or taken back
        if _is_late(run, facts):
            return "late", _due_ms(run)
    for run in sent:
        if run.state == "" and run.started and _running_s(run, facts.now) > _end_limit(facts, sent):
            return "overrun", _due_ms(run)
    ended = [run for run in sent if run.state and run.state != JobState.RETRYING]
    if ended and facts.expect.succeed and ended[0].state in BAD_STATES:
        return "failed", _due_ms(ended[0])
    if ended and _is_slow(ended, facts.expect):
        return "slow", _due_ms(ended[0])
    return "", 0


def _is_missed(facts: EntryFacts) -> bool:
    if facts.owed is None:
        return False
    return (facts.now - max(facts.owed, facts.watched_since)) / MS_PER_SECOND > start_limit(facts)


def _is_late(run: JobLogEntry, facts: EntryFacts) -> bool:
    """Whether a run that was sent has not begun in time: from its due instant, or from when it was sent if later."""
    if run.eta:
        return False
    asked = max(_due_ms(run), int(run.sent.timestamp() * MS_PER_SECOND) if run.sent else 0)
    return (facts.now - asked) / MS_PER_SECOND > start_limit(facts)


def _wait_s(run: JobLogEntry) -> float | None:
    if not (run.started and run.due):
        return None
    return (run.started - max(run.due, run.sent or run.due)).total_seconds()


def _running_s(run: JobLogEntry, now: int) -> float:
    return now / MS_PER_SECOND - run.started.timestamp() if run.started else 0.0


def _end_limit(facts: EntryFacts, sent: Sequence[JobLogEntry]) -> float:
    if facts.expect.end_within is not None:
        return facts.expect.end_within
    known = list(_run_times(sent))
    return max(LEAST_END_WITHIN_S, USUAL_FACTOR * max(known)) if len(known) >= LEAST_RUNS_KNOWN else float("inf")


def _run_times(runs: Sequence[JobLogEntry]) -> Iterator[float]:
    for run in runs:
        if run.state == JobState.SUCCEEDED and run.ran is not None:
            yield run.ran


def _is_slow(ended: Sequence[JobLogEntry], expect: Expectation) -> bool:
    """Whether the last run took far longer than those of before: the older half of what is known, so that a slow drift
    does not become what is usual."""
    last = ended[0]
    if last.state != JobState.SUCCEEDED or last.ran is None:
        return False
    known = list(_run_times(ended[1:]))
    older = known[len(known) // 2 :]
    if len(known) < LEAST_RUNS_KNOWN:
        return False
    usual = median(older)
    if expect.slower_than is not None:
        return last.ran > expect.slower_than * usual
    return last.ran > USUAL_FACTOR * usual and last.ran - usual > LEAST_SLOWER_S


def _good_runs(runs: Sequence[JobLogEntry], since: int) -> int:
    """How many runs in a row went well last, from that due instant on."""
    count = 0
    for run in runs:
        if run.state in BAD_STATES or _due_ms(run) < since:
            break
        count += run.state == JobState.SUCCEEDED
    return count


def _failures(runs: Sequence[JobLogEntry]) -> int:
    """How many runs in a row failed last."""
    count = 0
    for run in runs:
        if run.state == JobState.SUCCEEDED:
            break
        count += run.state in BAD_STATES
    return count


def _due_ms(run: JobLogEntry) -> int:
    return round(run.due.timestamp() * MS_PER_SECOND) if run.due else 0


def _trouble_report(facts: EntryFacts, trouble: Trouble, due: int, *, is_again: bool) -> Report:
    run = next((run for run in facts.runs if _due_ms(run) == due), None)
    when, why = format_instant(due / MS_PER_SECOND), run.error if run else ""
    running = format_duration(_running_s(run, facts.now)) if run else "long"
    titles = {
        "missed": f"{facts.name} was not sent",
        "late": f"{facts.name} has not begun",
        "overrun": f"{facts.name} has not ended",
        "failed": f"{facts.name} failed{' again' if is_again else ''}",
        "slow": f"{facts.name} took {format_duration(run.ran) if run and run.ran else 'long'}",
    }
    words = {
        "missed": f"No beat sent the run of {when}.",
        "late": f"The run of {when} was sent, and no worker has begun it.",
        "overrun": f"The run of {when} has been running for {running}.",
        "failed": f"The run of {when}: {why or 'no reason is known'}",
        "slow": f"The run of {when} took far longer than usual.",
    }
    if facts.checks_in:
        titles["missed"], words["missed"] = f"{facts.name} has not checked in", f"It was expected at {when}."
    return Report(facts.name, trouble, titles[trouble], f"{words[trouble]}\n{_look(facts)}")


def _look(facts: EntryFacts) -> str:
    """The command that shows more."""
    return f"livectl runs {check_ins.PREFIX if facts.checks_in else ''}{facts.name}"


def _recovery_report(facts: EntryFacts, state: WatchState) -> Report:
    failed = f" after {format_count(state.failures, 'failed run')}" if state.failures else ""
    return Report(facts.name, "recovered", f"{facts.name} is well again{failed}", _look(facts))
