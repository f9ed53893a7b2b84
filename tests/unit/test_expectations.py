"""What is told of the runs of an entry, on a played clock: each fault once, within its grace, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from livectl.models import Expectation, JobState
from livectl.ops.beat.expectations import (
    CountedTask,
    EntryFacts,
    QueueWaits,
    TaskCounts,
    TaskState,
    WatchState,
    judge,
    judge_task,
)
from livectl.ops.beat.reports import Report, RunTrouble, of_run
from livectl.ops.cluster.queues import Queue
from livectl.ops.jobs.history import DEAD, JobLogEntry
from livectl.ops.jobs.numbers import LongJob
from livectl.task_settings import Expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.beat.expectations import Trouble

START_MS = 1_800_000_000_000
START, SECOND = datetime(2026, 11, 28, 9, tzinfo=UTC), timedelta(seconds=1)


@dataclass
class World:
    """One entry that is due each minute, a beat that claims, a worker that runs; each may stop at any time."""

    every_s: int = 60
    takes_s: float = 5.0
    expect: Expectation = field(default_factory=Expectation)
    beats: bool = True
    works: bool = True
    fails: bool = False
    ends: bool = True
    at_s: float = 0.0
    look_s: float = 5.0
    watched_since_s: float = 0.0
    runs: list[dict[str, Any]] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)
    state: WatchState = field(default_factory=WatchState)
    claimed_s: float | None = None

    def play(self, seconds: float) -> World:
        """Goes on for so long, with a look every few seconds."""
        end = self.at_s + seconds
        while self.at_s < end:
            before, self.at_s = self.at_s, self.at_s + self.look_s
            due = self.at_s // self.every_s * self.every_s
            if self.beats and due > (self.claimed_s if self.claimed_s is not None else before - 1) and due > 0:
                self.claimed_s = due
                self.runs.insert(0, {"due": due, "sent": self.at_s})
            for run in self.runs[:40]:
                self._work(run)
            self._look(due)
        return self

    def _work(self, run: dict[str, Any]) -> None:
        if self.works and "started" not in run:
            run["started"] = self.at_s
        is_running = "started" in run and "finished" not in run
        if self.works and self.ends and is_running and self.at_s - run["started"] >= self.takes_s:
            run["finished"] = run["started"] + self.takes_s
            run["state"] = JobState.FAILED if self.fails else JobState.SUCCEEDED

    def _look(self, due: float) -> None:
        first = max(self.claimed_s or 0, self.watched_since_s) // self.every_s * self.every_s + self.every_s
        owed = first if first <= due else None
        facts = EntryFacts(
            name="nightly",
            expect=self.expect,
            now=START_MS + int(self.at_s * 1000),
            watched_since=START_MS + int(self.watched_since_s * 1000),
            owed=None if owed is None else START_MS + int(owed * 1000),
            runs=[_entry(run) for run in self.runs[:30]],
        )
        self.state, report = judge(facts, self.state)
        if report:
            self.told.append((self.at_s, report.kind))
            assert "nightly" in report.title

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind in self.told]


def _entry(run: dict[str, Any]) -> JobLogEntry:
    moments: dict[str, Any] = {
        name: datetime.fromtimestamp(START_MS / 1000 + run[name], UTC)
        for name in ("due", "sent", "started", "finished")
        if name in run
    }
    return JobLogEntry(id="x", state=run.get("state", ""), error="ValueError: no", **moments)


def no_beat(world: World) -> None:
    world.beats = False
    world.play(400)
    world.beats = True


def no_worker(world: World) -> None:
    world.works = False
    world.play(400)
    world.works = True


def stuck_worker(world: World) -> None:
    world.ends = False
    world.play(700)
    world.ends = True


def overrun(world: World) -> None:
    world.takes_s = 300
    world.play(60)
    world.takes_s = 5
    world.runs[0]["finished"] = world.runs[0].get("started", 0) + 1 if "started" in world.runs[0] else None
    world.play(200)


def failing(world: World) -> None:
    world.fails = True
    world.play(400)
    world.fails = False


# fault -> what is told of it, from its beginning until all has long been well again
FAULTS: dict[Callable[[World], None], list[str]] = {
    no_beat: ["missed", "recovered"],
    no_worker: ["late", "recovered"],
    stuck_worker: ["overrun", "recovered"],
    overrun: ["overrun", "recovered"],
    failing: ["failed", "recovered"],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_told_once_and_its_end_too(fault: Callable[[World], None]) -> None:
    world = World().play(1_000)
    assert world.told == []
    began = world.at_s
    fault(world)
    world.play(2_000)
    assert world.kinds == FAULTS[fault]
    first = world.told[0][0] - began
    assert first <= (700 if fault is stuck_worker else 200), first


def test_a_slow_run_is_told_once() -> None:
    world = World(every_s=600, takes_s=20, look_s=20).play(6_000)
    world.takes_s = 200
    world.play(600)
    world.takes_s = 20
    world.play(2_400)
    assert world.kinds in (["slow"], ["overrun", "recovered"], ["overrun", "slow", "recovered"])


def test_a_slow_drift_is_told_though_each_run_is_but_a_little_slower() -> None:
    world = World(every_s=600, takes_s=20, look_s=20)
    for _ in range(60):
        world.takes_s *= 1.08
        world.play(600)
    assert set(world.kinds) & {"slow", "overrun"}


def test_flapping_is_told_once_more_and_recovers_when_it_has_gone_well_for_a_while() -> None:
    world = World().play(600)
    for _ in range(10):
        world.fails = True
        world.play(60)
        world.fails = False
        world.play(60)
    world.play(1_200)
    assert world.kinds.count("failed") <= 2
    assert world.kinds[-1] == "recovered"
    assert len(world.kinds) <= 4


def test_a_clock_that_is_set_tells_nothing() -> None:
    world = World().play(600)
    world.at_s += 3_600
    world.watched_since_s = world.at_s  # the watch sees that it has not looked for long
    world.play(600)
    assert world.kinds == []


def test_a_deployment_tells_nothing() -> None:
    world = World().play(600)
    world.beats = world.works = False
    world.play(30)
    world.beats = world.works = True
    world.watched_since_s = world.at_s
    world.play(600)
    assert world.kinds == []


@pytest.mark.parametrize("away_s", [120, 3_600])
def test_a_store_that_was_away_tells_nothing_once_beat_has_sent_what_was_due(away_s: int) -> None:
    """Nobody can look meanwhile; after a while it counts as the beginning of another watch."""
    world = World().play(600)
    world.at_s += away_s
    world.watched_since_s = world.at_s if away_s > 300 else world.watched_since_s
    world.play(600)
    assert world.kinds == []


def test_a_new_entry_owes_no_run_of_before() -> None:
    assert World(watched_since_s=0).play(50).kinds == []


@pytest.mark.parametrize(
    ("expect", "change", "kind"),
    [
        (Expectation(start_within=20), {"works": False}, "late"),
        (Expectation(end_within=30), {"ends": False}, "overrun"),
        (Expectation(slower_than=2), {"takes_s": 15}, "slow"),
    ],
)
def test_an_entry_may_say_what_is_expected(expect: Expectation, change: dict[str, Any], kind: str) -> None:
    world = World(expect=expect).play(1_000)
    for name, value in change.items():
        setattr(world, name, value)
    world.play(110)
    assert world.kinds[0] == kind


WHEN = "2026-11-28 10:00:00 Europe/Paris"
RUN = JobLogEntry(
    id="j1", queue="mail", worker="w1@h", error="ValueError: no", started=START, finished=START + 9 * SECOND
)


@pytest.mark.parametrize(
    ("trouble", "run", "checks_in", "title", "details", "look"),
    [
        (
            "missed",
            None,
            False,
            "nightly was not sent",
            f"No beat sent the run of {WHEN}. Expected: within 1m.",
            "schedules explain nightly 2026-11-28T09:00:00Z",
        ),
        (
            "missed",
            None,
            True,
            "nightly has not checked in",
            f"It was expected at {WHEN}, or up to 1m later.",
            "runs check:nightly",
        ),
        (
            "late",
            RUN,
            False,
            "nightly has not begun",
            f"The run of {WHEN} was sent to the queue mail, and no worker has begun it. Expected: within 1m.",
            "status j1",
        ),
        (
            "overrun",
            RUN,
            False,
            "nightly has not ended",
            f"The run of {WHEN} has been running for 20 s on w1@h. Expected: at most 15s.",
            "status j1",
        ),
        ("failed", RUN, False, "nightly failed", f"The run of {WHEN} on w1@h: ValueError: no", "runs nightly"),
        (
            "slow",
            RUN,
            False,
            "nightly took 9.00 s",
            f"The run of {WHEN} on w1@h took 9.00 s. Usual: 3.00 s.",
            "runs nightly",
        ),
    ],
)
def test_a_report_says_which_run_why_what_was_expected_and_where_to_look(
    trouble: Trouble, run: JobLogEntry | None, checks_in: bool, title: str, details: str, look: str
) -> None:
    now = int((START.timestamp() + 20) * 1000)
    facts = EntryFacts("nightly", Expectation(), now, 0, None, (), checks_in=checks_in, zone="Europe/Paris")
    told = RunTrouble(trouble, int(START.timestamp() * 1000), run, 60.0, 15.0, 3.0, is_again=False)
    assert of_run(facts, told) == Report("nightly", trouble, title, details, look)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([(5, 2)] * 30, None),  # a backlog that stands, and is worked off
        ([(5, 0)] * 30, "waiting"),  # that nobody reads
        ([(5, 2), (0, 2)] * 15, ""),
        ([(10 * number, 2) for number in range(1, 31)], "waiting"),
        ([(300 - 10 * number, 2) for number in range(1, 30)], ""),
    ],
)
def test_a_queue_of_unknown_age_is_told_when_it_grows_or_nobody_reads_it(
    seen: list[tuple[int, int]], told: str | None
) -> None:
    waits = QueueWaits()
    found = [
        waits.find_trouble(Queue(name="mail", ready=ready, consumers=consumers), 600.0, at * 30_000, "")
        for at, (ready, consumers) in enumerate(seen)
    ]
    assert set(found[:20]) == {""}, "it is not known for long enough"
    assert found[-1] == told


def test_an_entry_may_fail_where_that_is_expected() -> None:
    world = World(expect=Expectation(succeed=False)).play(600)
    world.fails = True
    assert world.play(600).kinds == []


def test_a_dead_letter_is_a_failure() -> None:
    world = World().play(600)
    world.runs[0]["state"] = DEAD
    world._look(0)
    assert world.kinds == ["failed"]


def test_thirty_days_without_a_fault_tell_nothing() -> None:
    world = World(every_s=3_600, takes_s=40, look_s=300)
    for day in range(30):
        world.takes_s = 40 + day % 7  # as they do
        world.play(86_400)
    assert world.told == []


@dataclass
class Counter:
    """A task whose jobs are counted, so many between two looks; what is known of it may be set at any time."""

    expect: Expect = field(default_factory=Expect)
    jobs: int = 100  # between two looks
    fails: int = 0
    late: int = 0
    waits_s: float = 0.1
    takes_s: float = 2.0
    running_since_s: float | None = None
    at_s: float = 0.0
    counts: TaskCounts = field(default_factory=TaskCounts)
    state: TaskState = field(default_factory=TaskState)
    told: list[str] = field(default_factory=list)
    details: str = ""
    look_at: str = ""

    def play(self, seconds: float, **changes: Any) -> Counter:
        """Goes on for so long, with a look each ten seconds."""
        for name, value in changes.items():
            setattr(self, name, value)
        end = self.at_s + seconds
        while self.at_s < end:
            self.at_s += 10
            jobs, fails, late = self.jobs, self.fails, self.late
            took = (jobs, jobs, fails, late, 0, jobs, jobs * self.waits_s * 1000, jobs, jobs * self.takes_s * 1000)
            self.counts = TaskCounts(*(round(a + b) for a, b in zip(self.counts, took, strict=True)))
            self.look()
        return self

    def look(self) -> None:
        running = None
        if self.running_since_s is not None:
            running = LongJob(START_MS + int(self.running_since_s * 1000), "some-id")
        now = START_MS + int(self.at_s * 1000)
        facts = CountedTask("proj.mail", self.expect, now, self.counts, self.takes_s, running, lambda: "ValueError: no")
        self.state, report = judge_task(facts, self.state)
        if report:
            self.told.append(f"{report.kind}: {report.title}")
            self.details, self.look_at = report.details, report.look


def test_a_task_that_is_well_is_never_told() -> None:
    assert Counter().play(4 * 3_600).told == []
    assert Counter(jobs=0).play(3_600).told == []


def test_failed_jobs_of_a_task_are_told_once_with_the_reason_and_so_is_the_end() -> None:
    task = Counter().play(600).play(10, fails=3)
    assert task.told == ["failed: proj.mail failed"]
    assert "3 of 600 jobs since" in task.details
    assert task.details.endswith("ValueError: no")
    assert task.look_at == "results --task proj.mail --state failed"
    task.play(600)
    assert len(task.told) == 1, "others that fail are counted"
    task.play(120, fails=0)
    assert task.told[1:] == ["recovered: proj.mail is well again after 183 failed jobs"]
    assert task.play(600).told[2:] == []


def test_a_task_that_flaps_has_to_be_well_for_longer() -> None:
    task = Counter().play(600).play(10, fails=1).play(130, fails=0).play(10, fails=1)
    assert task.told[2:] == ["failed: proj.mail failed again"]
    task.play(150, fails=0)
    assert len(task.told) == 3
    assert task.play(120).told[3:] == ["recovered: proj.mail is well again after 1 failed job"]


@pytest.mark.parametrize(
    ("expect", "changes", "told", "words"),
    [
        (
            Expect(start_within=60),
            {"late": 2},
            "late: proj.mail began late",
            "2 jobs waited longer than expected; its jobs waited 0.10 s on average. Expected: at most 1m. queues",
        ),
        (Expect(), {"waits_s": 90}, "late: proj.mail began late", "Its jobs waited 1.5 min on average. queues"),
        (
            Expect(end_within=600),
            {"running_since_s": 30},
            "overrun: proj.mail has not ended",
            "The job some-id has been running for 10 min. Expected: at most 10m. status some-id",
        ),
        (Expect(), {"running_since_s": 590}, "overrun: proj.mail has not ended", "has been running for"),
        (Expect(), {"takes_s": 40}, "slow: proj.mail is slow", "Its jobs took 40 s on average. Usual: 2.0"),
        (Expect(slower_than=2), {"takes_s": 5}, "slow: proj.mail is slow", "s. results --task proj.mail"),
    ],
)
def test_what_is_expected_of_a_task_is_told_once(expect: Expect, changes: Any, told: str, words: str) -> None:
    task = Counter(expect).play(610)
    before = {name: getattr(task, name) for name in changes}
    task.play(150, **changes)
    assert task.told == [told]
    assert words in f"{task.details} {task.look_at}"
    assert task.play(200, **before).told[1:] == ["recovered: proj.mail is well again"]


def test_troubles_that_take_turns_are_told_once_each_until_all_is_well() -> None:
    task = Counter(Expect(start_within=60)).play(610)
    for _ in range(5):
        task.play(130, fails=3, late=0).play(130, fails=0, late=3)
    assert task.told == ["failed: proj.mail failed", "late: proj.mail began late"]
    assert task.play(300, late=0).told[2:] == ["recovered: proj.mail is well again after 156 failed jobs"]


def test_of_jobs_of_milliseconds_three_times_as_long_is_not_slow() -> None:
    assert Counter(Expect(slower_than=2), takes_s=0.005).play(610).play(300, takes_s=0.05).told == []
    world = World(expect=Expectation(slower_than=2), takes_s=0.01).play(1_000)
    world.takes_s = 0.4
    assert world.play(300).told == []


def test_of_a_task_nothing_is_usual_before_some_of_it_is_known() -> None:
    assert Counter().play(120).play(120, takes_s=500, running_since_s=0).told == []
    assert Counter(Expect(succeed=False)).play(300, fails=100).told == []


def test_counts_that_begin_anew_are_no_trouble() -> None:
    task = Counter(fails=0).play(300)
    task.counts = TaskCounts()
    assert task.play(300).told == []
