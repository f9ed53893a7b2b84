"""Runs that follow the runs of another entry, and entries that pause themselves: under beats that are killed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from livectl.ops.beat import pauses
from tests.services.test_overlap_and_catchup import fresh_world, kill_in_a_tick
from tests.support.beats import World, end_job, entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

few = settings(max_examples=4, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
FOLLOWERS = {"good": "succeeded", "bad": "failed", "any": "ended"}
MINUTE = {"cron": "* * * * *"}


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    world = World(tmp_path, store_url)
    yield world
    world.close()


def followers() -> dict[str, dict[str, object]]:
    return {name: {"after": {"entry": "first", "when": when}} for name, when in FOLLOWERS.items()}


@few
@given(
    st.lists(st.sampled_from(["SUCCESS", "FAILURE", "REVOKED"]), min_size=1, max_size=6),
    st.sets(st.integers(0, 60), max_size=12),
    st.integers(1, 2),
)
def test_each_run_is_followed_once_as_it_ended_though_beats_are_killed(
    store_url: str, ends: list[str], kills: set[int], beats: int
) -> None:
    follow_and_look(store_url, ends, kills, beats)


@pytest.mark.soak
@settings(few, max_examples=200)
@given(
    st.lists(st.sampled_from(["SUCCESS", "FAILURE", "REVOKED"]), min_size=4, max_size=8),
    st.sets(st.integers(0, 100), min_size=20, max_size=60),
    st.integers(1, 2),
)
def test_thousands_of_kills_leave_each_run_followed_once(
    store_url: str, ends: list[str], kills: set[int], beats: int
) -> None:
    follow_and_look(store_url, ends, kills, beats)


def follow_and_look(store_url: str, ends: list[str], kills: set[int], beats: int) -> None:
    with fresh_world(store_url) as world:
        world.write(first={**MINUTE, "count": len(ends)}, **followers())
        for _ in range(beats):
            world.beat()
        left = list(ends)
        for number in range((len(ends) + 1) * 12):
            if number in kills:
                kill_in_a_tick(world, world.beats[0])
            for message in world.tick():
                if message.entry == "first":
                    end_job(world, message.task_id, left.pop(0))
            world.clock.wait(5)
        world.run(20, step=5)
        counts = Counter(ends)
        wanted = {"good": counts["SUCCESS"], "bad": counts["FAILURE"], "any": len(ends), "first": len(ends)}
        assert Counter(entries(world.sent)) == Counter(wanted)
        assert len({message.task_id for message in world.sent}) == len(world.sent)


def test_nothing_follows_while_a_job_runs_nor_a_paused_entry_nor_beyond_its_count_nor_on_a_day_that_is_left_out(
    world: World,
) -> None:
    after = {"after": "first"}
    world.write(
        first={**MINUTE, "count": 2},
        plain=after,
        paused=after,
        once={**after, "count": 1},
        monday={**after, "except": "mon"},
        third={"after": "plain"},
    )
    world.beat()
    pauses.pause(world.store, "paused", "")
    world.run(130, step=5)
    assert entries(world.sent) == ["first", "first"]
    for message in world.sent:
        end_job(world, message.task_id)
    assert sorted(entries(world.run(10, step=5))) == ["once", "plain", "plain"]
    for message in world.sent:
        end_job(world, message.task_id)
    assert entries(world.run(10, step=5)) == ["third", "third"]


def test_an_entry_pauses_itself_after_so_many_failures_in_a_row_and_counts_anew_once_it_is_resumed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(first={**MINUTE, "pause_on_failure": 3})
    world.beat()
    world.beat()
    states = iter(["FAILURE", "FAILURE", "SUCCESS", "FAILURE", "REVOKED", "FAILURE", "FAILURE", *["FAILURE"] * 9])

    def run(minutes: int) -> int:
        sent = []
        for number in range(minutes * 12):
            if number % 20 == 7:
                kill_in_a_tick(world, world.beats[0])
            sent += world.tick()
            for message in sent[-1:]:
                if not world.broker.exists(f"celery-task-meta-{message.task_id}"):
                    end_job(world, message.task_id, next(states))
            world.clock.wait(5)
        return len(sent)

    assert run(15) == 7
    assert pauses.read_pauses(world.store)["first"].reason == "3 failed in a row (pause_on_failure)"
    assert "paused, since 3 runs have failed in a row; `livectl schedules resume first`" in caplog.text
    pauses.resume(world.store, "first", str(world.clock.at))
    assert run(10) == 3


def test_where_nobody_tells_how_runs_end_that_is_said_and_nothing_follows(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livectl.ops.beat.overlap.has_shared_results", lambda app: False)
    options = {"expires": "1m", "time_limit": "1m"}
    world.write(first={**MINUTE, "pause_on_failure": 1, "options": options}, then={"after": "first"})
    world.beat()
    world.run(600, step=30)
    assert set(entries(world.sent)) == {"first"}
    assert len(world.sent) == 10
    assert caplog.text.count("How runs end is not known") == 1
