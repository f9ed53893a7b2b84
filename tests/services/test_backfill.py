"""Runs of the past, sent once each by commands that are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from livectl.errors import UsageError
from livectl.models import Interval, Schedule
from livectl.ops.beat import backfill, store_entries
from livectl.ops.beat.backfill import Backfill, BackfillStore, BackfillWindow
from livectl.ops.schedules import cron
from livectl.units import Rate
from tests.services.test_overlap_and_catchup import Killed
from tests.support.beats import FakeClock, World, utc
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAILY = Schedule(name="a", task="t.note", timing=cron.parse("0 9 * * *"), args=("a",))
YEAR = BackfillWindow(after=utc("2025-01-01"), until=utc("2025-12-31 23:59"), keyword="day")


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    world = World(tmp_path, store_url)
    yield world
    world.close()


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch, world: World) -> list[float]:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.clock.wait(seconds)

    monkeypatch.setattr("livectl.ops.beat.backfill.time.sleep", sleep)
    return slept


def make(world: World, window: BackfillWindow = YEAR, schedule: Schedule = DAILY, **options: Any) -> Backfill:
    return Backfill(world.app, BackfillStore(world.store, FakeClock(world.clock), "a"), schedule, window, **options)


def nothing(done: float, total: float) -> None:
    """Shows nothing."""


def dues(world: World) -> list[float]:
    return [message.message["headers"]["due"] for message in world.collect()]


def days_of_a_year() -> list[float]:
    first = datetime(2025, 1, 1, 9, tzinfo=UTC).timestamp()
    return [first + number * 86_400 for number in range(365)]


def test_each_run_of_a_year_has_its_due_instant_in_a_header_and_in_the_keyword(world: World) -> None:
    progress = make(world).send(nothing)
    assert (progress.status, progress.sent, progress.total) == ("done", 365, 365)
    sent = world.collect()
    assert [message.message["headers"]["due"] for message in sent] == days_of_a_year()
    assert sent[0].message["headers"]["kwargsrepr"] == "{'day': '2025-01-01T09:00:00Z'}"
    assert make(world).send(nothing).status == "sent before"
    assert world.collect() == []
    assert make(world).send(nothing, anew=True).status == "done"
    again = world.collect()
    assert len(again) == 365
    assert not {message.task_id for message in sent} & {message.task_id for message in again}


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("atomic", [True, False])
def test_a_year_killed_ten_times_is_sent_once_each(
    world: World, monkeypatch: pytest.MonkeyPatch, at: str, *, atomic: bool
) -> None:
    """Where broker and store are two servers, a run that is sent in the moment of the kill is repeated, with its id."""
    if not atomic:
        monkeypatch.setattr("livectl.ops.beat.publisher._is_same_server", lambda *_: False)
    monkeypatch.setattr(backfill, "BATCH_SIZE", 7)
    for number in range(1, 11):
        killed = make(world)
        fail_at(monkeypatch, killed, "commit" if atomic else "mark_done", number % 4 + 1, at)
        with suppress(Killed):
            killed.send(nothing)
    assert make(world).send(nothing).status == "done"
    sent = world.collect()
    counted = Counter(message.task_id for message in sent)
    assert sorted({message.message["headers"]["due"] for message in sent}) == days_of_a_year()
    assert len(counted) == 365
    assert len(sent) == (365 if atomic or at == "after" else 375)


def fail_at(monkeypatch: pytest.MonkeyPatch, killed: Backfill, call: str, number: int, at: str) -> None:
    real: Callable[..., Any] = getattr(killed._store, call)
    calls = iter(range(1, 1_000))

    def die(*arguments: Any) -> Any:
        if next(calls) != number:
            return real(*arguments)
        if at == "after":
            real(*arguments)
        raise Killed

    monkeypatch.setattr(killed._store, call, die)


def test_a_rate_is_kept_a_stop_is_heard_and_the_same_command_goes_on(world: World, sleeps: list[float]) -> None:
    window = BackfillWindow(after=utc("2025-01-01"), until=utc("2025-01-10"))

    def stop_after_three(done: float, _total: float) -> None:
        if done == 3:
            assert backfill.stop(world.store, "a") is not None

    progress = make(world, window, rate=Rate(10, 60)).send(stop_after_three)
    assert (progress.status, progress.sent, progress.total) == ("stopped", 3, 9)
    assert sum(sleeps) == 18
    assert make(world, window).send(nothing).sent == 9
    assert len(dues(world)) == 9
    assert backfill.stop(world.store, "a") is None


def test_another_window_and_another_command_are_not_mixed(world: World) -> None:
    first = make(world)
    first._store.begin(YEAR, 365, anew=False)
    busy = BackfillStore(world.store, FakeClock(world.clock), "a")
    assert busy.begin(YEAR, 365, anew=False)[0] == "busy"
    world.clock.wait(5)
    with pytest.raises(UsageError) as other:
        make(world, BackfillWindow(after=1, until=utc("1971-01-01"))).send(nothing)
    assert "a backfill of a from 2025-01-01T00:00:00" in other.value.message
    assert first._store.step()[0] == "ours"
    assert busy.begin(YEAR, 365, anew=False)[0] == "busy"
    world.clock.wait(5)
    assert busy.begin(YEAR, 365, anew=False)[0] == "ours"
    assert first._store.step()[0] == "lost"


def test_a_backfill_touches_nothing_of_the_beats(world: World) -> None:
    world.write(a={"every": "1m"})
    world.beat()
    before = len(world.run(120, step=10))
    minutes = Schedule(name="a", task="t.note", timing=Interval(60.0), args=("a",))
    now = world.clock.at
    make(world, BackfillWindow(after=now - 600_000, until=now), minutes).send(nothing)
    assert len(world.collect()) == 10
    assert len(world.run(120, step=10)) == before
    assert json.loads(json.dumps(sorted(world.store.hkeys("livectl:beat:last")))) == ["a"]


def test_a_command_that_is_killed_goes_on_and_sends_each_run_once(tmp_path: Path, store_url: str, world: World) -> None:
    """The entry is one that a program has added: no file has it."""
    (tmp_path / "schedules.yaml").write_text("schedules: {b: {task: livectl.ping, every: 1h}}")
    store_entries.add(world.store, "a", {"task": "livectl.ping", "every": "1h"})
    environ = {**os.environ, "LIVECTL_STORE": store_url, "LIVECTL_BROKER": store_url, "HOME": str(tmp_path)}
    words = ["schedules", "backfill", "a", "--from", "2026-01-01", "--to", "2026-01-03"]
    command = [sys.executable, "-m", "livectl", *words]
    key = backfill.BACKFILL_KEY + "a"
    with subprocess.Popen([*command, "--rate", "50/s"], cwd=tmp_path, env=environ) as running:
        wait_for(lambda: int(world.store.hget(key, "sent") or 0) >= 5)
        running.kill()
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "a: all 72 runs of that time are sent.\n")
    queue = [str(name) for name in world.store.keys("*") if world.store.type(name) == "list"]
    sent = [json.loads(str(raw))["headers"] for name in queue for raw in world.store.lrange(name, 0, -1)]
    assert len({headers["due"] for headers in sent}) == len(sent) == 72
