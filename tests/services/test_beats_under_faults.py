"""Two beats under faults of every kind, on a clock that the test moves: each run is sent once, whatever its policies.

The short form plays a few faults in each run; `make soak` plays 200 and prints their seed, which SEED sets.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from livectl.ops.beat import pauses
from livectl.ops.schedules import due_times, schedule_file
from tests.support.beats import SECOND, Server, World, end_job, server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from livectl.ops.scheduler import Scheduler

OVERLAPS = ("allow", "skip", "queue", "queue-all", "cancel")
CATCHUPS: tuple[dict[str, Any], ...] = ({"catchup": "once"}, {"catchup": "skip"}, {"catchup": "all", "window": "1d"})
JITTERS: tuple[dict[str, Any], ...] = ({}, {"jitter": "20s"})
FAILURES: tuple[dict[str, Any], ...] = ({}, {"pause_on_failure": 3})
STEP = 5.0
SETTLED_S = 300


class Killed(BaseException):
    """What ends a beat in the middle of a tick."""


class Play:
    """A world of entries with all policies, and what became of their jobs."""

    def __init__(self, folder: Path, own: Server, chance: random.Random) -> None:
        self.world = World(folder, own.url)
        self.chance = chance
        self.dues: dict[str, list[int]] = defaultdict(list)
        self.ids: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()  # jobs by entry
        self._running: list[tuple[str, str]] = []  # entries and ids of jobs
        self._failed: set[str] = set()  # entries whose last job failed
        self._own, self._is_away, self._changes = own, False, 0
        self.world.app.control.revoke = self._revoke
        self.write()
        self.begin = self.world.clock.at
        for _ in range(2):
            self.world.beat()

    def write(self) -> None:
        """The file as before, but for what no run depends on."""
        self._changes += 1
        entries: dict[str, dict[str, Any]] = {"other": {"every": "1h", "description": f"change {self._changes}"}}
        combinations = product(OVERLAPS, CATCHUPS, JITTERS, FAILURES)
        for number, (overlap, catchup, jitter, failure) in enumerate(combinations):
            entries[f"e{number}"] = {"every": "1m", "overlap": overlap, **catchup, **jitter, **failure}
            entries[f"f{number}"] = {"after": {"entry": f"e{number}", "when": "ended"}}
        self.entries = entries
        self.world.write(**entries)

    def step(self) -> None:
        """Jobs that were sent before end, and the beats tick."""
        if not self._is_away:
            for entry, job_id in self._running:
                fails = entry not in self._failed and self.chance.random() < 0.2
                self._end(entry, job_id, "FAILURE" if fails else "SUCCESS")
            self._running.clear()
        for beat in list(self.world.beats):
            beat.tick()
        self.collect()
        self.world.clock.wait(STEP)

    def collect(self) -> None:
        if self._is_away:
            return
        for sent in self.world.collect():
            self.ids[sent.task_id] += 1
            self.dues[sent.entry].append(round(sent.message["headers"]["due"] * SECOND))
            self._running.append((sent.entry, sent.task_id))

    def _end(self, entry: str, job_id: str, state: str) -> None:
        end_job(self.world, job_id, state)
        self.ended[entry] += 1
        (self._failed.add if state == "FAILURE" else self._failed.discard)(entry)

    def _revoke(self, job_id: str, **_: Any) -> None:
        self.collect()
        for entry, running in list(self._running):
            if running == job_id:
                self._running.remove((entry, running))
                self._end(entry, job_id, "REVOKED")

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.step()

    # --- faults

    def kill(self) -> None:
        """Inside a tick, between the claim of a run and its message; another one starts at once."""
        beat = self.chance.choice(self.world.beats)
        with suppress(Killed):
            self._in_next_send(beat, self._die)
        self.world.drop(beat)
        self.world.beat()

    def stop(self) -> None:
        """SIGSTOP inside a tick; the other one goes on for a while, and then this one wakes up."""
        beat = self.chance.choice(self.world.beats)
        seconds = self.chance.choice([10, 15, 60])  # another one takes what it claimed over

        def sleep() -> None:
            self.world.beats.remove(beat)
            self.run(seconds)
            self.world.beats.append(beat)

        self._in_next_send(beat, sleep)

    def _in_next_send(self, beat: Scheduler, happens: Callable[[], None]) -> None:
        """Lets this beat alone tick until it has something to send."""
        beat.tick()
        sender, sent = beat._publisher, []
        assert sender is not None
        real = sender.send

        def send(jobs: Any) -> None:
            sender.send = real  # type: ignore[method-assign]
            sent.append(jobs)
            happens()
            real(jobs)

        sender.send = send  # type: ignore[method-assign]
        while not sent:
            self.world.clock.wait(STEP)
            beat.tick()

    @staticmethod
    def _die() -> None:
        raise Killed

    def away(self) -> None:
        self.collect()
        self._is_away = True
        self._own.stop()
        self.run(self.chance.choice([5, 30, 120]))
        self._own.start()
        self._is_away = False

    def set_clock(self) -> None:
        """By less than the time between two runs: what is set back further repeats runs, as it should."""
        self.world.clock.set_by(self.chance.choice([-40, -10, 10, 40, 150]))

    def change_file(self) -> None:
        self.write()

    # --- what is held

    def check(self) -> None:
        assert [job_id for job_id, times in self.ids.items() if times > 1] == []
        assert pauses.read_pauses(self.world.store) == {}
        until = self.world.clock.at
        schedules = {each.name: each for each in schedule_file.load(self.world.file).schedules}
        for name, words in self.entries.items():
            dues = sorted(self.dues[name])
            assert len(set(dues)) == len(dues), f"{name} {words}: a run twice"
            if "after" in words:
                followed = words["after"]["entry"]
                assert abs(len(dues) - self.ended[followed]) <= 1, f"{name}: not one for each run of {followed}"
                continue
            expected = []
            due = due_times.next_due(schedules[name], self.begin)
            while due is not None and due <= until - SETTLED_S * SECOND / 2:
                expected.append(due)
                due = due_times.next_due(schedules[name], due)
            if not expected:
                continue
            assert {due for due in dues if due <= expected[-1]} <= {*expected}, f"{name} {words}: no run of its"
            if words.get("catchup") == "all" and words.get("overlap") in {"allow", "queue-all"}:
                assert {*expected} <= {*dues}, f"{name} {words}: lost runs"
            elif words.get("overlap") == "allow":
                assert expected[-1] in dues, f"{name} {words}: it has stopped"


FAULTS = (Play.kill, Play.stop, Play.away, Play.set_clock, Play.change_file)


def play(folder: Path, faults: int, seed: int) -> Play:
    with server() as own:
        played = Play(folder, own, random.Random(seed))
        try:
            played.run(70)
            for number in range(faults):
                FAULTS[number % len(FAULTS)](played)
                played.run(played.chance.choice([10, 30, 60]))
            played.run(SETTLED_S)
            played.check()
        finally:
            played.world.close()
    return played


def test_two_beats_send_each_run_once_under_every_policy_and_fault(tmp_path: Path) -> None:
    played = play(tmp_path, 10, seed=13)
    assert sum(map(len, played.dues.values())) > 500


@pytest.mark.soak
def test_two_beats_send_each_run_once_under_every_policy_and_200_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    with capsys.disabled():
        print(f"\n200 faults with SEED={seed}")
    played = play(tmp_path, 200, seed)
    with capsys.disabled():
        print(f"{sum(map(len, played.dues.values()))} runs of {len(played.entries)} entries, each once")
