"""The policies of entries, under two real beats and a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from livectl.ops.beat import pauses, run_store
from tests.support.beats import SECOND, World, entries, format_utc, utc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    world = World(tmp_path, store_url)
    yield world
    world.close()


def two_beats(world: World) -> None:
    world.beat()
    world.beat()


def times(world: World, entry: str) -> list[str]:
    return [format_utc(message.at) for message in world.sent if message.entry == entry]


def test_an_entry_runs_so_often_and_no_more_whoever_claims_and_dies(world: World) -> None:
    world.write(five={"cron": "* * * * *", "count": 5}, other={"cron": "* * * * *"})
    two_beats(world)
    for number in range(12):
        world.run(60, step=5)
        if number % 3 == 1:
            world.drop(world.beats[0])
            world.beat()
    assert Counter(entries(world.sent)) == {"five": 5, "other": 12}
    world.write(five={"cron": "* * * * *", "count": 7}, other={"cron": "* * * * *"})
    world.run(300, step=5)
    assert Counter(entries(world.sent))["five"] == 7, "a higher count goes on"


def test_a_run_that_is_claimed_and_not_sent_does_not_count(world: World) -> None:
    world.app.conf.task_ignore_result = False
    world.write(two={"cron": "* * * * *", "count": 2, "overlap": "skip"})
    two_beats(world)
    world.run(240, step=5)
    assert len(entries(world.sent)) == 1, "the job before never ends"
    assert world.store.hget(run_store.COUNTS_KEY, "two") == "1"


def test_one_instant_is_sent_once_though_beats_come_and_go(world: World) -> None:
    world.write(once={"at": "2026-06-01T12:05:00Z"})
    two_beats(world)
    world.run(240)
    assert world.sent == []
    world.drop(world.beats[0])
    world.run(120)
    world.beat()
    world.run(120)
    assert times(world, "once") == ["06-01 12:05:00"]


def test_an_instant_that_passed_while_no_beat_was_there_is_caught_up_with_unless_it_is_skipped(world: World) -> None:
    at = {"at": "2026-06-01T12:05:00Z"}
    world.write(caught=at, skipped={**at, "catchup": "skip"})
    world.beat()
    world.run(5)
    world.drop(world.beats[0])
    world.clock.wait(600)
    world.write(caught=at, skipped={**at, "catchup": "skip"}, late=at)
    two_beats(world)
    world.run(60)
    assert entries(world.sent) == ["caught"], "an entry that is new does not know of it"


def test_bounds_jitter_and_excluded_days_are_the_same_for_every_beat(world: World) -> None:
    line = {"cron": "0 * * * *"}
    world.write(
        bound={**line, "start": "2026-06-01T14:00", "end": "2026-06-01T16:00"},
        moved={**line, "jitter": "10m"},
        days={**line, "except": ["tue", "2026-06-05"]},
    )
    two_beats(world)
    world.run(2 * 86_400, step=120)
    counts = Counter(entries(world.sent))
    assert times(world, "bound") == ["06-01 14:00:00", "06-01 15:00:00", "06-01 16:00:00"]
    assert counts["moved"] == 48
    assert len({time[-5:] for time in times(world, "moved")}) == 5, "as far as a tick of two minutes shows"
    assert {time[:5] for time in times(world, "days")} == {"06-01", "06-03"}


def test_a_calendar_that_changes_is_read_again_and_one_that_is_wrong_is_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    calendar = world.folder / "days.txt"
    calendar.write_text("2026-06-02\n")
    world.file.write_text(
        '{"calendars": {"c": "days.txt"}, "schedules": {"a": {"task": "t.note", "args": ["a"], "cron": "0 * * * *", '
        '"except": "c"}}}'
    )
    two_beats(world)
    world.run(3_700, step=20)
    assert len(world.sent) == 1
    calendar.write_text("2026-06-01\n2026-06-02 and a word\n")
    world.run(3_700, step=20)
    assert len(world.sent) == 1
    calendar.write_text("2026-06-31\n")
    world.run(60, step=20)
    assert 'days.txt:1: "2026-06-31" is no date' in caplog.text
    calendar.write_text("2026-06-03\n")
    world.run(3_700, step=20)
    assert len(world.sent) == 2


def test_a_group_is_paused_and_resumed_in_one_step(world: World) -> None:
    world.write(a={"every": "10s", "group": "g"}, b={"every": "10s", "group": "g"}, c={"every": "10s"})
    two_beats(world)
    world.run(30)
    assert pauses.pause_all(world.store, ["a", "b"], "moving") == 2
    assert set(entries(world.run(30))) == {"c"}
    assert pauses.resume_all(world.store, ["a", "b"], str(world.clock.at)) == 2
    assert set(entries(world.run(30))) == {"a", "b", "c"}
    assert utc("2026-06-01 12:00") + 90 * SECOND == world.clock.at
