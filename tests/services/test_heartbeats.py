"""Heartbeats and unsent runs of beats are read from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from livectl import redis_client
from livectl.address import Address
from livectl.models import Interval, Run, Schedule
from livectl.ops.beat import heartbeats, run_store
from livectl.ops.beat.run_store import Claim, DueRun, LoadedSchedule, RunStore, StoreClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.ops.beat.heartbeats import BeatActivity

MINUTE_MS = 60_000


@pytest.fixture
def runs(store_url: str) -> Iterator[RunStore]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        runs = RunStore(client, StoreClock())
        runs.record_heartbeat("beat-1", {"host": "h", "pid": 7, "entries": 3})
        yield runs


def read_activity(store_url: str) -> BeatActivity:
    with redis_client.connect(Address.parse(store_url)) as connection:
        return heartbeats.read_activity(connection)


def claim_run(runs: RunStore, name: str, age_ms: int = 0) -> Claim:
    now = runs.clock.now()
    (claim,) = runs.claim([DueRun(Run(name, now), MINUTE_MS)])
    runs.store.zadd(run_store.PENDING_KEY, {claim.member: claim.at - age_ms})
    return Claim(claim.run, claim.at - age_ms)


def test_a_store_that_no_beat_has_used_is_empty(store_url: str) -> None:
    activity = read_activity(store_url)
    assert (activity.heartbeats, activity.oldest_claim, activity.unsent_claim, activity.has_run) == (
        {},
        None,
        None,
        False,
    )


def test_a_heartbeat_has_an_age_and_a_process(runs: RunStore, store_url: str) -> None:
    activity = read_activity(store_url)
    heartbeat = activity.heartbeats["beat-1"]
    assert (heartbeat.process, heartbeat.entries) == ("h:7", 3)
    assert 0 <= activity.age_s(heartbeat) < 60


def test_a_claim_is_unsent_once_it_is_late(runs: RunStore, store_url: str) -> None:
    fresh = claim_run(runs, "fresh")
    activity = read_activity(store_url)
    assert (activity.oldest_claim, activity.unsent_claim, activity.has_run) == (fresh, None, True)
    late = claim_run(runs, "late", MINUTE_MS)
    assert read_activity(store_url).unsent_claim == late


def test_a_run_that_was_given_back_hides_no_late_one(runs: RunStore, store_url: str) -> None:
    runs.give_back([claim_run(runs, "given back")])
    assert read_activity(store_url).oldest_claim is None
    late = claim_run(runs, "late", MINUTE_MS)
    assert read_activity(store_url).unsent_claim == late


def test_the_schedule_of_a_beat_is_read_as_it_was_saved(runs: RunStore, store_url: str) -> None:
    loaded = LoadedSchedule("/schedules.yaml", (Schedule(name="a", task="t", timing=Interval(5.0)),))
    runs.save_loaded_schedule("beat-1", loaded)
    with redis_client.connect(Address.parse(store_url)) as connection:
        assert heartbeats.read_loaded_schedules(connection) == {"beat-1": loaded}
