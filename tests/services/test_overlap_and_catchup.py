"""Runs that fall due while the job of their entry runs, and runs that were missed, against a naive oracle."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from livectl.models import Run
from livectl.ops.beat import pauses, run_store
from livectl.ops.jobs import history, job_log
from livectl.ops.jobs.history import JobHistory, JobNote
from livectl.ops.jobs.numbers import NUMBERS_KEY
from tests.support.beats import MINUTE, SECOND, World, end_job, entries, format_utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.ops.scheduler import Scheduler

STEP = 5
few = settings(max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    world = World(tmp_path, store_url)
    yield world
    world.close()


class Killed(BaseException):
    """What ends a beat in the middle of a tick."""


class Sending(NamedTuple):
    """When a run was sent, and when it was due: seconds from the beginning."""

    at: int
    due: int


class Jobs:
    """The jobs of one entry, each of which runs for a given time."""

    def __init__(self, world: World, lengths: list[int]) -> None:
        self.world = world
        self.lengths = lengths
        self.sent: list[Sending] = []
        self.revoked: list[str] = []
        self.most_at_once = 0
        self._ends: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        self._begin = world.clock.at
        world.app.control.revoke = self.revoke

    def revoke(self, job_id: str, **_: Any) -> None:
        self.revoked.append(job_id)
        self.end(job_id, "REVOKED")

    def end(self, job_id: str, state: str) -> None:
        if self._ends.pop(job_id, None) is not None:
            end_job(self.world, job_id, state)

    def step(self) -> None:
        """What ends, ends; then the beats tick, and what they send begins."""
        now = (self.world.clock.at - self._begin) // SECOND
        for job_id in [job_id for job_id, end in self._ends.items() if end <= now]:
            self.end(job_id, "SUCCESS")
        for message in self.world.tick():
            length = self.lengths[len(self.sent) % len(self.lengths)]
            self.sent.append(Sending(now, self._due_of(message.task_id)))
            self._ends[message.task_id] = now + length
            self.most_at_once = max(self.most_at_once, len(self._ends))
        self.world.clock.wait(STEP)

    def _due_of(self, task_id: str) -> int:
        store = self.world.beats[0]._run_store
        for minute in range(60):
            due = self._begin + minute * MINUTE
            self._ids.setdefault(store.task_id(Run("a", due)), due)
        return (self._ids[task_id] - self._begin) // SECOND


def expected(overlap: str, lengths: list[int], minutes: int) -> list[Sending]:
    """What is sent, found step by step: the oracle knows nothing of claims, stores and beats."""
    sent: list[Sending] = []
    waiting: list[int] = []
    busy_until = 0

    def send(now: int, due: int) -> None:
        nonlocal busy_until
        busy_until = now + lengths[len(sent) % len(lengths)]
        sent.append(Sending(now, due))

    for now in range(0, minutes * 60, STEP):
        if waiting and now >= busy_until:
            send(now, waiting.pop(0))
        if now % 60 == 0 and now > 0:
            if overlap in {"allow", "cancel"} or (now >= busy_until and not waiting):
                send(now, now)
            elif overlap == "queue-all" or (overlap == "queue" and not waiting):
                waiting.append(now)
    return sent


OVERLAPS = ["allow", "skip", "queue", "queue-all", "cancel"]
job_lengths = st.lists(st.sampled_from([5, 30, 55, 60, 90, 150, 200]), min_size=1, max_size=4)


@contextmanager
def fresh_world(store_url: str) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), store_url)
        world.store.flushdb()
        try:
            yield world
        finally:
            world.close()


@few
@given(st.sampled_from(OVERLAPS), job_lengths, st.integers(1, 3))
def test_runs_that_meet_a_running_job_are_sent_as_the_oracle_says(
    store_url: str, overlap: str, lengths: list[int], beats: int
) -> None:
    hold_to_the_oracle(store_url, overlap, lengths, beats)


@pytest.mark.soak
@settings(few, max_examples=1_000)
@given(st.sampled_from(OVERLAPS), job_lengths, st.integers(1, 3))
def test_a_thousand_histories_are_as_the_oracle_says(
    store_url: str, overlap: str, lengths: list[int], beats: int
) -> None:
    hold_to_the_oracle(store_url, overlap, lengths, beats)


def hold_to_the_oracle(store_url: str, overlap: str, lengths: list[int], beats: int) -> None:
    with fresh_world(store_url) as world:
        world.write(a={"cron": "* * * * *", "overlap": overlap})
        for _ in range(beats):
            world.beat()
        jobs = Jobs(world, lengths)
        for _ in range(9 * 60 // STEP):
            jobs.step()
        assert jobs.sent == expected(overlap, lengths, 9)
        assert jobs.most_at_once == 1 or overlap == "allow"


@few
@given(st.sampled_from(OVERLAPS[1:]), job_lengths, st.sets(st.integers(0, 107), max_size=12))
def test_beats_killed_in_the_middle_of_a_tick_let_no_two_jobs_run_at_once_and_send_none_twice(
    store_url: str, overlap: str, lengths: list[int], kills: set[int]
) -> None:
    kill_and_look(store_url, overlap, lengths, kills)


@pytest.mark.soak
@settings(few, max_examples=100)
@given(st.sampled_from(OVERLAPS[1:]), job_lengths, st.sets(st.integers(0, 107), min_size=20, max_size=60))
def test_thousands_of_kills_let_no_two_jobs_run_at_once_and_send_none_twice(
    store_url: str, overlap: str, lengths: list[int], kills: set[int]
) -> None:
    kill_and_look(store_url, overlap, lengths, kills)


def kill_and_look(store_url: str, overlap: str, lengths: list[int], kills: set[int]) -> None:
    with fresh_world(store_url) as world:
        world.write(a={"cron": "* * * * *", "overlap": overlap})
        world.beat()
        world.beat()
        jobs = Jobs(world, lengths)
        for number in range(9 * 60 // STEP):
            if number in kills:
                kill_in_a_tick(world, world.beats[0])
            jobs.step()
        dues = [sending.due for sending in jobs.sent]
        assert len(set(dues)) == len(dues)
        assert jobs.most_at_once <= 1
        if overlap == "queue-all":
            waiting = world.beats[0]._run_store.read_waiting("a")
            claims = world.store.zrange(run_store.PENDING_KEY, 0, -1)
            pending = [run_store.parse_claim(str(member), 0).run.due for member in claims]
            missing = {(due - jobs._begin) // SECOND for due in (*waiting, *pending)}
            assert set(dues) | missing == set(range(60, 9 * 60, 60))


def kill_in_a_tick(world: World, beat: Scheduler) -> None:
    """Lets a beat claim and note what it would send, and no more. Another one takes its place."""

    def die(*_: Any) -> None:
        raise Killed

    if beat._publisher is not None:
        beat._publisher.send = die  # type: ignore[method-assign, assignment]
    with suppress(Killed):
        beat.tick()
    world.drop(beat)
    world.beat()


# --- the end of a job


def test_without_results_the_job_log_of_livectls_workers_tells_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livectl.ops.beat.overlap.has_shared_results", lambda app: False)
    world.store.hset(job_log.ENDED_KEY, "t", 1)
    world.write(a={"cron": "* * * * *", "overlap": "queue"}, b={"cron": "* * * * *", "overlap": "skip"})
    world.beat()
    world.run(180, step=STEP)
    assert sorted(entries(world.sent)) == ["a", "b"]
    for message in world.sent:
        note = JobNote(facts={"state": "succeeded", "finished": 1})
        world.store.execute_command(*history.note_command({message.task_id: note}))  # type: ignore[no-untyped-call]
    assert entries(world.run(10, step=STEP)) == ["a"]
    assert entries(world.run(60, step=STEP)) == ["b"]


def test_a_job_of_which_nobody_tells_the_end_holds_up_its_entry_for_so_long_only(world: World) -> None:
    world.write(a={"cron": "*/10 * * * *", "overlap": "queue-all", "options": {"expires": "5m", "time_limit": "10m"}})
    world.beat()
    world.run(3_600, step=60)
    assert [format_utc(message.at)[-8:-3] for message in world.sent] == ["12:10", "12:26", "12:42", "12:58"]


def test_a_paused_entry_keeps_what_waits(world: World) -> None:
    world.write(a={"cron": "* * * * *", "overlap": "queue"})
    world.beat()
    world.run(125, step=STEP)
    pauses.pause(world.store, "a", "")
    end_job(world, world.sent[0].task_id)
    assert world.run(60, step=STEP) == []
    pauses.resume(world.store, "a", str(world.clock.at))
    assert len(world.run(5, step=STEP)) == 1


# --- what was missed


@few
@given(
    st.sampled_from(["once", "all"]), st.sampled_from([None, "3m", "10m", "1h"]), st.integers(0, 40), st.integers(1, 2)
)
def test_missed_runs_are_caught_up_with_as_the_oracle_says(
    store_url: str, catchup: str, window: str | None, away: int, beats: int
) -> None:
    if catchup == "all" and window is None:
        window = "1d"
    with fresh_world(store_url) as world:
        world.write(a={"cron": "*/2 * * * *", "catchup": catchup, **({"window": window} if window else {})})
        world.beat()
        world.run(5)
        for beat in list(world.beats):
            world.drop(beat)
        begin = world.clock.at
        world.clock.wait(away * 60 + 25)
        now = world.clock.at
        for _ in range(beats):
            world.beat()
        ids = [message.task_id for message in world.run(3)]
        missed = [due for due in range(begin - begin % MINUTE + MINUTE, now, MINUTE) if due // MINUTE % 2 == 0]
        length = {"3m": 3, "10m": 10, "1h": 60, "1d": 1440, None: 10**6}[window] * MINUTE
        missed = [due for due in missed if now - due <= length]
        wanted = missed if catchup == "all" else missed[-1:]
        assert ids == [world.beats[0]._run_store.task_id(Run("a", due)) for due in wanted]


def test_more_missed_runs_than_one_tick_sends_are_sent_by_several_beats_once_each(world: World) -> None:
    world.write(a={"every": "1s", "catchup": "all", "window": "20m"})
    world.beat()
    world.run(5)
    world.drop(world.beats[0])
    world.clock.wait(3_600)
    world.beat()
    world.beat()
    ids = [message.task_id for message in world.run(10)]
    assert len(ids) == len(set(ids))
    assert 1_200 <= len(ids) <= 1_212


# --- the history of runs


def test_sent_and_missed_runs_are_in_the_history_once_whatever_beats_there_are(world: World) -> None:
    world.write(a={"cron": "* * * * *", "catchup": "skip"})
    beat = world.beat()
    world.run(120, step=STEP)
    world.drop(beat)
    world.clock.wait(300)
    world.beat()
    world.beat()
    world.run(30, step=STEP)
    outcomes = [run.outcome for run in JobHistory.of_client(world.store).runs("a")]
    assert (outcomes.count("sent"), outcomes.count("missed")) == (len(world.sent), 4)
    counted = {str(key): int(value) for key, value in world.store.hgetall(NUMBERS_KEY).items()}
    assert sum(value for key, value in counted.items() if key.endswith("missed")) == 4


def test_runs_of_a_paused_entry_were_not_missed(world: World) -> None:
    world.write(a={"cron": "* * * * *"})
    beat = world.beat()
    world.run(90, step=STEP)
    pauses.pause(world.store, "a", "")
    world.drop(beat)
    world.clock.wait(300)
    world.beat()
    world.run(30, step=STEP)
    assert {run.outcome for run in JobHistory.of_client(world.store).runs("a")} == {"sent"}
