"""The real scheduler under a clock that the test moves."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from celery.schedules import crontab, schedule

from livectl import file_stamp, settings, settings_watch
from livectl.ops.beat import run_store
from livectl.ops.scheduler import Scheduler, store_address
from tests.support.beats import MINUTE, SECOND, World, count_due, entries, format_utc, make_app, server, utc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from livectl.ops.beat import publisher


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    world = World(tmp_path, store_url)
    yield world
    world.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def lines(log: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [record.getMessage() for record in log.records if part in record.getMessage()]


def times(world: World, entry: str) -> list[str]:
    return [format_utc(message.at) for message in world.sent if message.entry == entry]


# --- when


def test_an_entry_first_runs_at_its_next_due_instant_and_not_at_start(world: World) -> None:
    world.clock.at = utc("2026-06-01 08:58")
    world.write(daily={"cron": "0 9 * * *"})
    world.beat()
    assert world.run(60) == []
    assert entries(world.run(120)) == ["daily"]


def test_intervals_are_spread_by_name(world: World) -> None:
    world.write(**{f"e{n}": {"every": "60s"} for n in range(30)})
    world.beat()
    world.run(120)
    assert set(Counter(entries(world.sent)).values()) == {2}
    assert len({message.at for message in world.sent}) > 30


DAILY, HOURLY, QUARTERS, STEADY = "daily", "hourly", "quarters", "steady"


def clocks_of(zone: str) -> dict[str, dict[str, Any]]:
    return {
        f"{DAILY} {zone}": {"cron": "30 2 * * *", "timezone": zone},
        f"{HOURLY} {zone}": {"cron": "0 * * * *", "timezone": zone},
        f"{QUARTERS} {zone}": {"cron": "*/15 * * * *", "timezone": zone},
    }


@pytest.mark.parametrize(
    ("start", "zone", "daily"),
    [
        ("2026-03-29 00:00", "Europe/Paris", ["03-29 01:00"]),  # 02:30 does not exist: right after the gap
        ("2026-10-24 23:30", "Europe/Paris", ["10-25 00:30"]),  # 02:30 comes twice: the first one only
        ("2026-03-08 05:30", "America/New_York", ["03-08 07:00"]),
        ("2026-11-01 04:30", "America/New_York", ["11-01 07:30"]),  # 02:30 comes once: the repeated hour is that of 1
        ("2026-03-28 17:30", "Asia/Shanghai", ["03-28 18:30"]),
        ("2026-10-24 17:30", "Asia/Shanghai", ["10-24 18:30"]),
    ],
)
def test_no_run_is_lost_or_doubled_where_the_clock_is_changed(
    world: World, start: str, zone: str, daily: list[str]
) -> None:
    """Four hours around each change of 2026."""
    world.clock.at = utc(start) - 2 * SECOND
    world.write(**clocks_of(zone), **{STEADY: {"every": "5m"}})
    world.beat()
    world.run(4 * 3600, step=60)
    assert [time[:-3] for time in times(world, f"{DAILY} {zone}")] == daily
    assert len(times(world, f"{HOURLY} {zone}")) == 4
    assert len(times(world, f"{QUARTERS} {zone}")) == 16
    assert len(times(world, STEADY)) == 48
    assert len({message.task_id for message in world.sent}) == len(world.sent)


@pytest.mark.parametrize("jump", [3600, -3600, 86_400, -86_400])
def test_a_clock_that_is_set_costs_two_intervals_at_most(
    world: World, log: pytest.LogCaptureFixture, jump: int
) -> None:
    world.write(fast={"every": "10s"}, slow={"every": "5m"})
    world.beat()
    world.beat()
    world.run(600, step=5)
    before = Counter(entries(world.sent))
    world.clock.set_by(jump)
    world.run(600, step=5)
    after = Counter(entries(world.sent)) - before
    assert 58 <= after["fast"] <= 62
    assert 1 <= after["slow"] <= 3
    assert len(lines(log, f"clock was set by {jump:+}")) == 2, "each of the two beats logs it"


def test_a_clock_set_back_repeats_no_daily_run(world: World) -> None:
    world.clock.at = utc("2026-06-01 08:59")
    world.write(daily={"cron": "0 9 * * *"})
    world.beat()
    assert entries(world.run(120)) == ["daily"]
    world.clock.set_by(-3600)
    assert world.run(2 * 3600, step=15) == []


# --- once


def test_three_beats_send_what_one_would(world: World) -> None:
    world.write(**{f"e{n}": {"every": f"{1 + n % 5}s"} for n in range(50)})
    for _ in range(3):
        world.beat()
    start = world.clock.at
    world.run(30, step=0.25)
    assert Counter(entries(world.sent)) == {
        f"e{n}": count_due(world, f"e{n}", start, world.clock.at) for n in range(50)
    }
    assert len({message.task_id for message in world.sent}) == len(world.sent)


def test_restarts_neither_double_nor_lose_a_run(world: World) -> None:
    world.write(fast={"every": "2s"}, minutely={"every": "60s"}, daily={"cron": "0 12 * * *"})
    world.clock.at -= MINUTE
    start = world.clock.at
    for _ in range(20):
        beat = world.beat()
        world.run(5)
        world.drop(beat)
        world.clock.wait(1)
    names = ("fast", "minutely", "daily")
    assert Counter(entries(world.sent)) == {
        name: count_due(world, name, start, world.clock.at - SECOND) for name in names
    }
    assert len({message.task_id for message in world.sent}) == len(world.sent)


def test_a_run_claimed_by_a_beat_that_died_is_sent_by_another_within_five_seconds(world: World) -> None:
    world.write(hourly={"cron": "0 * * * *"})
    world.clock.at -= SECOND
    dying, living = world.beat(), world.beat()
    world.tick()
    world.clock.wait(1)
    dying._publisher = Holding(dying._publisher)
    assert world.tick() == []
    world.drop(dying)
    assert world.store.zcard(run_store.PENDING_KEY) == 1
    (sent,) = world.run(5)
    assert sent.at - utc("2026-06-01 12:00") <= 5 * SECOND
    assert world.store.zcard(run_store.PENDING_KEY) == 0
    assert living in world.beats


class Holding:
    """A publisher that keeps the jobs it is given, as in a beat that stops between claim and sending."""

    def __init__(self, real: publisher.Publisher | None) -> None:
        assert real
        self.real = real
        self.held: list[Any] = []
        self.connect, self.close = real.connect, real.close

    def send(self, jobs: Any) -> None:
        self.held.append(jobs)


def test_a_beat_that_slept_in_the_middle_of_a_tick_sends_nothing_late(
    world: World, log: pytest.LogCaptureFixture
) -> None:
    """SIGSTOP between claim and sending, SIGCONT a minute later."""
    world.write(**{f"e{n}": {"cron": "0 * * * *"} for n in range(100)})
    world.clock.at -= SECOND
    sleepy, awake = world.beat(), world.beat()
    world.tick()
    world.clock.wait(1)
    sleepy._publisher = holding = Holding(sleepy._publisher)
    assert world.tick(sleepy) == []
    for _ in range(60):
        world.clock.wait(1)
        world.tick(awake)
    assert len(world.sent) == 100
    holding.real.send(holding.held[0])
    assert world.collect() == []
    assert len(lines(log, "another beat has taken this run over")) == 100
    assert len({message.task_id for message in world.sent}) == 100


# --- missed


def stopped_for(world: World, seconds: float) -> None:
    """All beats are gone for so long, then one comes back."""
    world.run(1)
    for beat in world.beats.copy():
        world.drop(beat)
    world.clock.wait(seconds)
    world.beat()


def test_after_a_long_stop_each_entry_runs_once_or_not_at_all(world: World) -> None:
    world.write(
        once={"every": "30s"},
        skipped={"cron": "1 12 * * *", "catchup": "skip"},
        caught={"cron": "1 12 * * *"},
        early={"cron": "1 12 * * *", "deadline": "5m"},
        inside={"cron": "9 12 * * *", "deadline": "5m"},
    )
    world.beat()
    stopped_for(world, 600)
    assert sorted(entries(world.tick())) == ["caught", "inside", "once"]
    assert set(entries(world.run(29))) <= {"once"}


def test_a_short_pause_loses_no_run(world: World) -> None:
    world.write(fast={"every": "1s"})
    world.beat()
    stopped_for(world, 5)
    world.tick()
    assert len(world.sent) in {5, 6, 7}
    assert len({message.task_id for message in world.sent}) == len(world.sent)


def test_a_restart_during_a_long_first_interval_catches_up(world: World) -> None:
    world.write(daily={"cron": "5 12 * * *"})
    world.beat()
    stopped_for(world, 600)
    assert entries(world.tick()) == ["daily"]


def test_a_disabled_entry_never_fires_and_catches_up_once_when_it_is_enabled(world: World) -> None:
    world.write(minutely={"every": "60s"})
    world.beat()
    world.run(60)
    world.sent.clear()
    world.write(minutely={"every": "60s", "enabled": False})
    assert world.run(600, step=5) == []
    world.write(minutely={"every": "60s"})
    assert entries(world.run(2)) == ["minutely"]


def test_a_changed_timing_counts_from_the_change(world: World) -> None:
    """Nine o'clock is over when the entry is moved to it: that is no run missed."""
    world.clock.at = utc("2026-06-01 07:59:30")
    world.write(daily={"cron": "0 8 * * *"})
    world.beat()
    assert entries(world.run(60)) == ["daily"]
    world.clock.at = utc("2026-06-01 10:00")
    world.clock.passed += 2 * 3600
    world.write(daily={"cron": "0 9 * * *"})
    assert world.run(60) == []


# --- the file


def test_a_changed_file_is_swapped_in_and_the_difference_logged(world: World, log: pytest.LogCaptureFixture) -> None:
    world.write(kept={"every": "5s"}, moved={"every": "5s"}, gone={"every": "5s"})
    world.beat()
    world.run(10)
    world.write(kept={"every": "5s"}, moved={"every": "6s"}, come={"every": "5s"})
    world.run(2)
    world.sent.clear()
    world.run(30)
    assert Counter(entries(world.sent)) == {"kept": 6, "moved": 5, "come": 6}
    assert lines(log, "read again") == [f"{world.file} read again: added come; changed moved; removed gone"]


def test_another_file_counts_once_the_settings_name_it(
    world: World, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    monkeypatch.setenv("LIVECTL_STORE", world.store_url)
    monkeypatch.setattr(settings_watch, "LOOK_INTERVAL_S", 0)
    monkeypatch.setattr(file_stamp, "MIN_FILE_AGE_S", 0)
    world.write(here={"every": "5s"})
    world.beat(settings=None)
    world.run(5)
    world.file.rename(world.folder / "other.yaml")
    world.write(there={"every": "5s"})
    (world.folder / "livectl.yaml").write_text("schedules: other.yaml\n")
    world.run(2)
    world.sent.clear()
    world.run(20)
    assert {*entries(world.sent)} == {"here"}
    assert len(lines(log, "livectl.yaml read again: changed schedules")) == 1


@pytest.mark.parametrize("text", ["", "schedules: {a: {task: t.note}}", "schedules: [", "\0"])
def test_a_file_that_cannot_be_used_leaves_the_schedule_as_it_was(
    world: World, log: pytest.LogCaptureFixture, text: str
) -> None:
    world.write(steady={"every": "5s"})
    world.beat()
    world.run(5)
    world.file.write_text(text)
    world.run(30)
    assert len(world.sent) == 7
    assert len(lines(log, "cannot be used")) == 1, "once a change"
    world.write(other={"every": "5s"})
    world.run(2)
    assert entries(world.run(5)) == ["other"]


def test_a_file_that_is_gone_leaves_the_schedule_as_it_was(world: World, log: pytest.LogCaptureFixture) -> None:
    world.write(steady={"every": "5s"})
    world.beat()
    world.run(5)
    world.file.unlink()
    world.run(30)
    assert len(world.sent) == 7
    assert len(lines(log, "cannot be used")) == 1


def test_a_schedule_with_mistakes_ends_beat_at_its_start(world: World, log: pytest.LogCaptureFixture) -> None:
    world.file.write_text("schedules: {a: {task: t.note, every: 0s}, b: {tsk: x}}")
    with pytest.raises(SystemExit) as ended:
        world.beat()
    assert ended.value.code == 3
    (line,) = lines(log, "schedules.yaml:1:")
    assert "0s" in line
    assert "tsk" in line


def test_the_file_may_be_named_as_celery_names_its_shelve(world: World, tmp_path: Path) -> None:
    path = tmp_path / "other.yml"
    path.write_text("schedules: {other: {task: t.note, every: 5s, args: [other]}}")
    world.beat(schedule_filename=str(path))
    assert set(entries(world.run(10))) == {"other"}


def test_what_validate_refuses_is_left_out_said_once_and_comes_back(
    world: World, log: pytest.LogCaptureFixture
) -> None:

    def strict(x: int) -> int:
        return x

    def lenient(*args: str) -> tuple[str, ...]:
        return args

    world.app.task(name="t.strict")(strict)
    (world.folder / "livectl.yaml").write_text("tasks: {t.strict: {rate: 9/s, per: kwargs.customer}}")
    world.write(
        elsewhere={"task": "other.app", "every": "5s"},
        nobodys={"task": "t.strict", "args": [1], "every": "5s"},
        surplus={"task": "t.strict", "args": [1, 2], "every": "5s"},
        fine={"every": "5s"},
    )
    world.beat()
    assert {*entries(world.run(10))} == {"fine"}
    assert log.text.count('has no task "other.app"') == 1
    assert log.text.count("Entry 'surplus' is left out") == 1
    assert log.text.count("Entry 'nobodys' is left out until this is mended: the job has no kwargs.customer, ") == 1
    world.app.task(name="other.app")(lenient)
    assert {*entries(world.run(10))} == {"fine", "elsewhere"}


def test_the_apps_own_entries_are_held_to_the_same(world: World, log: pytest.LogCaptureFixture) -> None:
    world.app.conf.beat_schedule = {"gone": {"task": "t.gone", "schedule": 5}}
    world.write(fine={"every": "5s"})
    world.beat()
    assert {*entries(world.run(10))} == {"fine"}
    assert "Entry 'gone' is left out" in log.text


# --- the app's own


def test_the_beat_schedule_of_the_app_is_run_too(world: World) -> None:
    world.app.conf.beat_schedule = {
        "seconds": {"task": "t.note", "schedule": 5.0, "args": ["seconds"]},
        "line": {"task": "t.note", "schedule": crontab(minute="*/5"), "args": ("line",)},
        "on the clock": {"task": "t.note", "schedule": schedule(60, relative=True), "args": ("on the clock",)},
    }
    world.write(mine={"every": "60s"})
    world.clock.at += 7 * SECOND
    world.beat()
    world.beat()
    world.run(300)
    assert Counter(entries(world.sent)) == {"seconds": 60, "line": 1, "on the clock": 5, "mine": 5}
    assert {at[-2:] for at in times(world, "on the clock")} == {"00"}


def test_without_a_file_the_beat_schedule_of_the_app_is_enough(world: World, log: pytest.LogCaptureFixture) -> None:
    world.app.conf.beat_schedule = {"seconds": {"task": "t.note", "schedule": 5.0, "args": ["seconds"]}}
    world.beat()
    assert entries(world.run(5)) == ["seconds"]
    assert lines(log, "There is no")


def test_the_same_name_in_file_and_app_is_a_mistake(world: World, log: pytest.LogCaptureFixture) -> None:
    world.app.conf.beat_schedule = {"twice": {"task": "t.note", "schedule": 5.0}}
    world.write(twice={"every": "6s"})
    with pytest.raises(SystemExit) as ended:
        world.beat()
    assert ended.value.code == 3
    assert lines(log, "schedules.yaml:1:16: twice is in the app's beat_schedule too")


def test_the_same_entry_in_file_and_app_is_sent_once(world: World) -> None:
    world.app.conf.beat_schedule = {"twice": {"task": "t.note", "schedule": 5.0, "args": ["twice"]}}
    world.write(twice={"every": "5s", "args": ["twice"]})
    world.beat()
    assert entries(world.run(5)) == ["twice"]


def test_results_that_do_not_expire_are_cleaned_up(tmp_path: Path, store_url: str) -> None:
    world = World(tmp_path, store_url, at="2026-06-01 03:59:30")
    world.app = make_app(store_url)
    world.app.conf.result_backend = "cache+memory://"
    world.app.conf.result_expires = 3600
    world.app.backend.supports_autoexpire = False
    world.write(mine={"every": "1h"})
    world.beat()
    tasks = [message.message["headers"]["task"] for message in world.run(60)]
    assert "celery.backend_cleanup" in tasks
    world.close()


# --- faults


@pytest.mark.parametrize(
    "bad",
    [
        {"task": "t.note", "schedule": 5.0, "args": [object()]},
        {"task": "t.note", "schedule": 5.0, "options": {"queue": "q", "serializer": "none such"}},
        {"task": "t.note", "schedule": "5"},
        {"task": "t.note", "schedule": 0},
        {"schedule": 5.0},
        {"task": "t.note", "schedule": 5.0, "unknown": 1},
        {"task": "t.note", "schedule": 5.0, "args": "hi"},
    ],
)
def test_a_bad_entry_is_named_and_stops_no_other(world: World, log: pytest.LogCaptureFixture, bad: Any) -> None:
    world.app.conf.beat_schedule = {"bad": bad}
    world.write(good={"every": "5s"})
    world.beat()
    world.run(10)
    assert Counter(entries(world.sent)) == {"good": 2}
    assert any("'bad'" in line for line in lines(log, "ntry"))
    assert world.store.zcard(run_store.PENDING_KEY) == 0


def test_a_signal_amid_a_tick_ends_the_beat_though_its_exception_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's handler closes the scheduler and raises SystemExit, in whose place a `finally` of a client may raise."""
    beat = world.beat()
    world.tick()
    seen: list[bool] = []

    def interrupted(*_: Any) -> None:
        beat.close()
        seen.append(bool(world.heartbeats()))
        raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(beat, "_run_tick", interrupted)
    with pytest.raises(SystemExit):
        beat.tick()
    beat.close()
    assert (seen, world.heartbeats()) == ([True], {}), "it is closed when the tick is over, and not before"


class Breaking(schedule):  # type: ignore[misc]
    """A schedule that needs something which is not always there."""

    broken = False

    def is_due(self, last_run_at: datetime) -> Any:
        if self.broken:
            raise RuntimeError("no answer")
        return super().is_due(last_run_at)


def test_a_schedule_that_breaks_stops_no_other_and_is_mended(world: World, log: pytest.LogCaptureFixture) -> None:
    breaking = Breaking(5)
    world.app.conf.beat_schedule = {"bad": {"task": "t.note", "schedule": breaking, "args": ["bad"]}}
    world.write(good={"every": "5s"})
    world.beat()
    world.run(60)
    breaking.broken = True
    world.run(60)
    assert Counter(entries(world.sent)) == {"good": 24, "bad": 13}, "the run that was due already is sent"
    assert lines(log, "Entry 'bad' is left out")
    breaking.broken = False
    world.run(120)
    assert Counter(entries(world.sent))["bad"] > 24


def test_a_store_with_rubbish_in_it_is_used_all_the_same(world: World) -> None:
    for key in (run_store.LAST_RUN_KEY, run_store.SINCE_KEY, run_store.TIMING_KEY, run_store.RUNNING_KEY):
        world.store.hset(key, "good", "rubbish")
    world.store.hset(run_store.HEARTBEATS_KEY, "beat", "rubbish")
    world.store.set(run_store.NAMESPACE_KEY, "rubbish")
    world.write(good={"every": "5s"})
    world.beat()
    world.run(10)
    assert entries(world.sent) == ["good", "good"]


def test_store_and_broker_away_and_back(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with server() as own:
        world = World(tmp_path, own.url)
        world.write(fast={"every": "1s"}, slow={"cron": "3 12 * * *"}, skips={"cron": "3 12 * * *", "catchup": "skip"})
        world.beat()
        world.run(60)
        before = Counter(entries(world.sent))
        own.stop()
        for _ in range(300):
            world.clock.wait(1)
            assert world.beats[0].tick() == 1.0
        own.start()
        world.tick()
        assert Counter(entries(world.sent)) - before == {"fast": 1, "slow": 1}
        world.run(10)
        assert Counter(entries(world.sent))["fast"] - before["fast"] == 11
        assert len(lines(log, "is away")) == 1
        assert len(lines(log, "are back")) == 1
        world.close()


def test_beat_starts_without_store_and_broker(tmp_path: Path) -> None:
    with server() as own:
        own.stop()
        world = World(tmp_path, own.url)
        world.write(fast={"every": "1s"})
        beat = world.beat()
        assert beat.tick() == 1.0
        own.start()
        assert len(world.run(5)) == 5
        world.close()


def test_a_broker_of_its_own_away_and_back(tmp_path: Path, store_url: str, log: pytest.LogCaptureFixture) -> None:
    with server() as own:
        world = World(tmp_path, store_url, broker_url=own.url)
        world.write(fast={"every": "1s"}, slow={"cron": "3 12 * * *"})
        world.beat()
        world.beat()
        world.run(60)
        assert Counter(entries(world.sent)) == {"fast": 60}
        own.stop()
        for _ in range(30):
            world.clock.wait(10)
            for beat in world.beats:
                assert beat.tick() == 1.0
        own.start()
        world.run(10)
        assert Counter(entries(world.sent))["fast"] in {70, 71, 72}
        assert Counter(entries(world.sent))["slow"] == 1
        assert len({message.task_id for message in world.sent}) == len(world.sent)
        assert len(lines(log, "is away")) == 2
        assert len(lines(log, "are back")) == 2
        world.close()


# --- overlap


def finish(world: World, task_id: str) -> None:
    meta: dict[str, Any] = {
        "status": "SUCCESS",
        "result": "done",
        "traceback": None,
        "children": [],
        "task_id": task_id,
    }
    world.store.set(f"celery-task-meta-{task_id}", json.dumps(meta))


def test_an_entry_that_must_not_overlap_waits_for_its_job(world: World) -> None:
    world.write(slow={"every": "10s", "overlap": "skip"}, free={"every": "10s"})
    world.beat()
    world.beat()
    world.run(60)
    assert Counter(entries(world.sent)) == {"slow": 1, "free": 6}
    (job,) = [message for message in world.sent if message.entry == "slow"]
    assert job.message["headers"]["ignore_result"] is False
    finish(world, job.task_id)
    world.run(20)
    assert Counter(entries(world.sent)) == {"slow": 2, "free": 8}


def test_a_job_that_is_never_heard_of_again_counts_as_lost(world: World, log: pytest.LogCaptureFixture) -> None:
    options = {"expires": 60, "time_limit": 60}
    world.write(slow={"every": "10s", "overlap": "skip", "options": options})
    world.beat()
    world.run(110)
    assert len(world.sent) == 1
    world.run(30)
    assert len(world.sent) == 2
    assert lines(log, "counts as lost")


def test_without_a_result_backend_jobs_may_overlap_and_that_is_logged(
    world: World, log: pytest.LogCaptureFixture
) -> None:
    world.app = make_app(world.store_url)
    world.app.conf.result_backend = None
    world.write(slow={"every": "10s", "overlap": "skip"})
    world.beat()
    world.run(30)
    assert len(world.sent) == 3
    assert lines(log, "overlap: skip needs a result backend")


# --- what others see of it


def test_last_runs_and_beats_can_be_seen(world: World) -> None:
    world.write(hourly={"cron": "0 * * * *"}, never={"cron": "0 0 1 1 *"})
    world.clock.at -= SECOND
    beat = world.beat()
    world.run(2)
    assert {name: format_utc(run.due) for name, run in run_store.read_last_runs(world.store).items()} == {
        "hourly": "06-01 12:00:00"
    }
    (heartbeat,) = world.heartbeats().values()
    assert (heartbeat.entries, heartbeat.at) == (2, world.clock.at)
    world.beats.remove(beat)
    beat.close()
    assert world.heartbeats() == {}


def test_a_beat_that_hangs_is_forgotten_after_a_minute(world: World) -> None:
    world.write(hourly={"cron": "0 * * * *"})
    hung, alive = world.beat(), world.beat()
    world.tick()
    assert len(world.heartbeats()) == 2
    for _ in range(62):
        world.clock.wait(1)
        world.tick(alive)
    assert len(world.heartbeats()) == 1
    assert hung in world.beats


def test_ticks_come_at_due_instants_and_each_second(world: World) -> None:
    world.clock.at = utc("2026-06-01 11:59:59") + 400
    world.write(hourly={"cron": "0 * * * *"})
    beat = world.beat()
    assert beat.tick() == pytest.approx(0.6)
    world.clock.wait(0.6)
    assert beat.tick() <= 1.0
    assert entries(world.collect()) == ["hourly"]


def test_the_store_is_the_redis_broker_of_the_app_unless_one_is_set(tmp_path: Path, store_url: str) -> None:
    unset = settings.load({"HOME": str(tmp_path)}, tmp_path)
    assert store_address(unset, make_app(store_url)).redis_url == store_url
    elsewhere = settings.load({"HOME": str(tmp_path), "LIVECTL_STORE": "redis://h:1/2"}, tmp_path)
    assert store_address(elsewhere, make_app(store_url)).redis_url == "redis://h:1/2"


@pytest.mark.parametrize("broker", ["amqp://u:secret@h//", "sqs://", "memory://", "sentinel://:secret@h:1"])
def test_a_broker_that_keeps_messages_only_needs_a_store_beside_it(
    tmp_path: Path, log: pytest.LogCaptureFixture, broker: str
) -> None:
    app = make_app(broker)
    with pytest.raises(SystemExit) as ended:
        Scheduler(app, settings=settings.load({"HOME": str(tmp_path)}, tmp_path))
    assert ended.value.code == 3
    (line,) = lines(log, "Set `store:`")
    assert "secret" not in line


def test_the_banner_needs_no_settings(store_url: str) -> None:
    assert "schedules" in Scheduler(make_app(store_url), lazy=True).info
