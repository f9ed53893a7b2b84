"""Judges how the runs of an entry went, and when somebody has to be told: late, missed, failed, slow, recovered.

The jobs of a task are judged by what was counted of them, slice by slice of time: so many tell no more than one run.
Queues are judged by how long their jobs wait, or by how they grow.

Nothing here reads or tells anything: `watch.py` brings what is known, and keeps what was told.
"""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from livectl.models import Expectation, JobState
from livectl.ops.beat import reports
from livectl.ops.jobs.history import BAD_STATES, UNSENT_STATES
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from livectl.ops.beat.reports import Report
    from livectl.ops.cluster.queues import Queue
    from livectl.ops.jobs.history import JobLogEntry
    from livectl.ops.jobs.numbers import LongJob
    from livectl.task_settings import Expect

Trouble = Literal["", "missed", "late", "overrun", "failed", "slow"]

RUNS_READ = 30  # of an entry: the newer half is held against the older one
LEAST_RUNS_KNOWN = 5  # before the history of an entry says what is usual
START_WITHIN_S = 60.0
LEAST_END_WITHIN_S = 60.0
USUAL_FACTOR = 3.0  # of what was the most so far, before a run that goes on is told
LEAST_SLOWER_S = 10.0  # than usual: what takes a second more hurts nobody
LEAST_SLOWER_WHERE_SAID_S = 1.0  # the same where `slower_than` says how much: a millisecond may become three by chance
LEAST_SLOWER_ON_AVERAGE_S = 0.1
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FLAPPING_TROUBLES = 2  # within an hour
LEARNED_TROUBLES = frozenset({"late", "slow"})  # what stays so for hours is usual one day
SLICES_UNTIL_USUAL = 1_440
SLICE_MS = 60_000  # of time, in which the jobs of a task are well
SLICES_REMEMBERED = 10_080  # a week of them, in what is usual
GOOD_RUNS, GOOD_RUNS_WHEN_FLAPPING = 1, 3  # before an entry has recovered


class WatchState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was told of an entry, or of something else that is watched."""

    trouble: str = ""  # what is wrong, and was told
    due: int = 0  # the due instant of the run that it is about
    failures: int = 0  # runs in a row that failed
    began: tuple[int, ...] = ()  # when the troubles of the last day began
    failed_at: int = 0  # when a failure was told last
    told: tuple[str, ...] = ()  # the troubles that were told since all was well


class TaskCounts(NamedTuple):
    """What was counted of the jobs of a task so far, or within a time."""

    started: int = 0
    ended: int = 0
    failed: int = 0
    late: int = 0  # began later than expected
    overlong: int = 0  # ended later than expected
    waits: int = 0
    wait_ms: int = 0
    rans: int = 0
    ran_ms: int = 0

    def since(self, before: TaskCounts) -> TaskCounts | None:
        """What came since; None where they were counted anew."""
        fresh = TaskCounts(*(now - then for now, then in zip(self, before, strict=True)))
        return fresh if min(fresh) >= 0 else None

    @property
    def wait_s(self) -> float:
        """On average."""
        return self.wait_ms / self.waits / MS_PER_SECOND if self.waits else 0.0

    @property
    def ran_s(self) -> float:
        return self.ran_ms / self.rans / MS_PER_SECOND if self.rans else 0.0


class TaskState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was told of a task, and what is known of it: the counts at the beginning of the slice of time that has not
    ended, and what was usual in those before."""

    since: int = 0  # when the slice began, in UTC milliseconds
    counts: TaskCounts = TaskCounts()
    trouble: str = ""  # what is wrong, and was told
    failures: int = 0  # since then
    began: tuple[int, ...] = ()  # when the troubles of the last day began
    failed_at: int = 0  # when a failure was told last
    told: tuple[str, ...] = ()  # the troubles that were told since all was well
    good: int = 0  # slices in a row in which all was well
    slices: int = 0  # of which the usual is made
    usual_wait_s: float = 0.0
    usual_ran_s: float = 0.0


class CountedTask(NamedTuple):
    """What is known of a task at one moment. Times are UTC milliseconds."""

    name: str
    expect: Expect
    now: int
    counts: TaskCounts
    longest_s: float = float("inf")  # that a job of it took so far, at most
    running: LongJob | None = None  # the oldest that runs
    read_error: Callable[[], str] = str  # why one failed last
    zone: str = "UTC"  # in which times are told


class EntryFacts(NamedTuple):
    """What is known of an entry at one moment. Times are UTC milliseconds."""

    name: str
    expect: Expectation
    now: int
    watched_since: int  # since when somebody has been looking, without a break
    owed: int | None  # the first due instant that has come and that no beat has claimed
    runs: Sequence[JobLogEntry]  # the newest first
    checks_in: bool = False  # it runs elsewhere, and says so itself
    zone: str = "UTC"  # in which times are told


def judge(facts: EntryFacts, state: WatchState) -> tuple[WatchState, Report | None]:
    """What is to be remembered of an entry from now on, and what is to be told."""
    trouble, due = _find_trouble(facts)
    began = tuple(at for at in state.began if facts.now - at < DAY_MS)
    failed_at = state.failed_at if facts.now - state.failed_at < DAY_MS else 0
    if trouble and (trouble == state.trouble or trouble in state.told):
        failures = _failures(facts.runs) if trouble == "failed" else state.failures
        due = max(due, state.due) if trouble == state.trouble else due
        return msgspec.structs.replace(state, trouble=trouble, due=due, failures=failures, began=began), None
    if trouble:
        report = _report(facts, trouble, due, is_again=trouble == "failed" and failed_at > 0)
        new = WatchState(
            trouble=trouble,
            due=due,
            failures=_failures(facts.runs),
            began=(*began, facts.now),
            failed_at=facts.now if trouble == "failed" else failed_at,
            told=(*state.told, trouble),
        )
        return new, report
    if not state.trouble:
        return WatchState(began=began, failed_at=failed_at), None
    flaps = sum(facts.now - at < HOUR_MS for at in began) >= FLAPPING_TROUBLES
    if _good_runs(facts.runs, state.due) < (GOOD_RUNS_WHEN_FLAPPING if flaps else GOOD_RUNS):
        return msgspec.structs.replace(state, began=began), None
    recovered = None if state.told == ("slow",) else reports.recovered(facts, state.failures)
    return WatchState(began=began, failed_at=failed_at), recovered


def _report(facts: EntryFacts, trouble: Trouble, due: int, *, is_again: bool) -> Report:
    run = next((run for run in facts.runs if due_ms(run) == due), None)
    told = reports.RunTrouble(
        trouble,
        due,
        run,
        start_within_s=start_limit(facts),
        end_within_s=end_limit(facts),
        usual_s=usual_run_s(ended_runs(facts.runs)),
        is_again=is_again,
    )
    return reports.of_run(facts, told)


def judge_task(facts: CountedTask, state: TaskState) -> tuple[TaskState, Report | None]:
    """What is to be remembered of a task from now on, and what is to be told."""
    fresh = facts.counts.since(state.counts) if state.since else None
    if fresh is None:
        return msgspec.structs.replace(state, since=facts.now, counts=facts.counts), None
    began = tuple(at for at in state.began if facts.now - at < DAY_MS)
    trouble = _find_task_trouble(facts, state, fresh)
    new = msgspec.structs.replace(state, since=facts.now, counts=facts.counts, began=began, good=0)
    if trouble:
        return _judge_task_trouble(facts, state, fresh, new, trouble)
    if facts.now - state.since < SLICE_MS or not fresh.ended:
        return state, None
    new = _learn(msgspec.structs.replace(new, good=state.good + 1), fresh)
    flaps = sum(facts.now - at < HOUR_MS for at in began) >= FLAPPING_TROUBLES
    if not state.trouble or new.good < (GOOD_RUNS_WHEN_FLAPPING if flaps else GOOD_RUNS):
        return new, None
    new = msgspec.structs.replace(new, trouble="", failures=0, told=())
    return new, reports.task_recovered(facts, state.failures)


def _judge_task_trouble(
    facts: CountedTask, state: TaskState, fresh: TaskCounts, new: TaskState, trouble: Trouble
) -> tuple[TaskState, Report | None]:
    """Each trouble is told once, until all is well."""
    if trouble == state.trouble or trouble in state.told:
        if not fresh.ended or facts.now - state.since < SLICE_MS:
            return state, None
        if trouble in LEARNED_TROUBLES:
            new = _learn(new, fresh, SLICES_UNTIL_USUAL)
        return msgspec.structs.replace(new, trouble=trouble, failures=state.failures + fresh.failed), None
    is_again = trouble == "failed" and facts.now - state.failed_at < DAY_MS
    report = reports.of_task(facts, state, fresh, trouble, is_again=is_again)
    new = msgspec.structs.replace(
        new,
        trouble=trouble,
        failures=fresh.failed,
        began=(*new.began, facts.now),
        failed_at=facts.now if trouble == "failed" else state.failed_at,
        told=(*state.told, trouble),
    )
    return new, report


def _learn(state: TaskState, fresh: TaskCounts, least: int = 0) -> TaskState:
    """What is usual, after a slice of time; as if that were known by so many others at least."""
    slices = state.slices + 1
    weight = 1 / min(max(slices, least), SLICES_REMEMBERED)
    return msgspec.structs.replace(
        state,
        slices=slices,
        usual_wait_s=round(state.usual_wait_s + weight * (fresh.wait_s - state.usual_wait_s), 6),
        usual_ran_s=round(state.usual_ran_s + weight * (fresh.ran_s - state.usual_ran_s), 6),
    )


def _find_task_trouble(facts: CountedTask, state: TaskState, fresh: TaskCounts) -> Trouble:
    """What is wrong now, the worst first."""
    expect, is_known = facts.expect, state.slices >= LEAST_RUNS_KNOWN
    running_s = (facts.now - facts.running.started) / MS_PER_SECOND if facts.running else 0.0
    if running_s > _task_end_limit(facts, is_known=is_known):
        return "overrun"
    if expect.succeed and fresh.failed:
        return "failed"
    if fresh.overlong:
        return "overrun"
    usual_wait_s = state.usual_wait_s if is_known else 0.0
    is_late = expect.start_within is None and fresh.wait_s > max(START_WITHIN_S, USUAL_FACTOR * usual_wait_s)
    if fresh.late or is_late:
        return "late"
    if not is_known or not fresh.rans or facts.now - state.since < SLICE_MS:  # a few jobs may differ
        return ""
    if expect.slower_than is not None:
        is_slower = fresh.ran_s - state.usual_ran_s > LEAST_SLOWER_ON_AVERAGE_S
        return "slow" if is_slower and fresh.ran_s > expect.slower_than * state.usual_ran_s else ""
    is_slow = fresh.ran_s > USUAL_FACTOR * state.usual_ran_s and fresh.ran_s - state.usual_ran_s > LEAST_SLOWER_S
    return "slow" if is_slow else ""


def _task_end_limit(facts: CountedTask, *, is_known: bool) -> float:
    if facts.expect.end_within is not None:
        return facts.expect.end_within
    return max(LEAST_END_WITHIN_S, USUAL_FACTOR * facts.longest_s) if is_known else float("inf")


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
    sent = sent_runs(facts.runs)
    for run in takewhile(lambda run: not (run.started or run.state), sent):  # what is older was lost, or taken back
        if _is_late(run, facts):
            return "late", due_ms(run)
    for run in sent:
        if run.state == "" and run.started and running_s(run, facts.now) > end_limit(facts):
            return "overrun", due_ms(run)
    ended = ended_runs(facts.runs)
    if ended and facts.expect.succeed and ended[0].state in BAD_STATES:
        return "failed", due_ms(ended[0])
    if ended and _is_slow(ended, facts.expect):
        return "slow", due_ms(ended[0])
    return "", 0


def sent_runs(runs: Sequence[JobLogEntry]) -> list[JobLogEntry]:
    return [run for run in runs if run.state not in UNSENT_STATES and run.due]


def ended_runs(runs: Sequence[JobLogEntry]) -> list[JobLogEntry]:
    return [run for run in sent_runs(runs) if run.state and run.state != JobState.RETRYING]


def _is_missed(facts: EntryFacts) -> bool:
    if facts.owed is None:
        return False
    return (facts.now - max(facts.owed, facts.watched_since)) / MS_PER_SECOND > start_limit(facts)


def _is_late(run: JobLogEntry, facts: EntryFacts) -> bool:
    """Whether a run that was sent has not begun in time: from its due instant, or from when it was sent if later."""
    if run.eta:
        return False
    asked = max(due_ms(run), int(run.sent.timestamp() * MS_PER_SECOND) if run.sent else 0)
    return (facts.now - asked) / MS_PER_SECOND > start_limit(facts)


def _wait_s(run: JobLogEntry) -> float | None:
    if not (run.started and run.due):
        return None
    return (run.started - max(run.due, run.sent or run.due)).total_seconds()


def running_s(run: JobLogEntry, now: int) -> float:
    return now / MS_PER_SECOND - run.started.timestamp() if run.started else 0.0


def end_limit(facts: EntryFacts) -> float:
    """The seconds within which a run has to end."""
    if facts.expect.end_within is not None:
        return facts.expect.end_within
    known = list(_run_times(sent_runs(facts.runs)))
    return max(LEAST_END_WITHIN_S, USUAL_FACTOR * max(known)) if len(known) >= LEAST_RUNS_KNOWN else float("inf")


def _run_times(runs: Sequence[JobLogEntry]) -> Iterator[float]:
    for run in runs:
        if run.state == JobState.SUCCEEDED and run.ran is not None:
            yield run.ran


def _is_slow(ended: Sequence[JobLogEntry], expect: Expectation) -> bool:
    last, usual = ended[0], usual_run_s(ended)
    if last.state != JobState.SUCCEEDED or last.ran is None or usual is None:
        return False
    if expect.slower_than is not None:
        return last.ran > expect.slower_than * usual and last.ran - usual > LEAST_SLOWER_WHERE_SAID_S
    return last.ran > USUAL_FACTOR * usual and last.ran - usual > LEAST_SLOWER_S


def usual_run_s(ended: Sequence[JobLogEntry]) -> float | None:
    """What runs before the last one took: the older half of what is known, so that a slow drift does not become what
    is usual."""
    known = list(_run_times(ended[1:]))
    return median(known[len(known) // 2 :]) if len(known) >= LEAST_RUNS_KNOWN else None


def _good_runs(runs: Sequence[JobLogEntry], since: int) -> int:
    """How many runs in a row went well last, from that due instant on."""
    count = 0
    for run in runs:
        if run.state in BAD_STATES or due_ms(run) < since:
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


def due_ms(run: JobLogEntry) -> int:
    return round(run.due.timestamp() * MS_PER_SECOND) if run.due else 0


class _Look(NamedTuple):
    at: int
    ready: int
    is_read: bool


class QueueWaits:
    """Finds the queues in which jobs wait for too long; where nobody tells their age, those that grow or that nobody
    reads."""

    def __init__(self) -> None:
        self._looks: dict[str, deque[_Look]] = {}

    def find_trouble(self, queue: Queue, limit_s: float, now: int, told: str) -> str | None:
        """`waiting`, empty where all is well, and None where what was said last still counts."""
        if not queue.ready:
            self._looks.pop(queue.name, None)
            return ""
        if queue.oldest is not None:
            return "waiting" if queue.oldest > limit_s else "" if queue.oldest < limit_s / 2 else None
        looks = self._looks.setdefault(queue.name, deque())
        looks.append(_Look(now, queue.ready, is_read=bool(queue.consumers)))
        since = now - int(limit_s * MS_PER_SECOND)
        while len(looks) > 1 and looks[1].at <= since:
            looks.popleft()
        if looks[0].at > since:  # not known for so long
            return None if told else ""
        middle = now - int(limit_s * MS_PER_SECOND / 2)
        before = max(look.ready for look in looks if look.at <= middle)
        after = min(look.ready for look in looks if look.at > middle)
        if after > before or not any(look.is_read for look in looks):
            return "waiting"
        return "" if after < before / 2 else None
