"""Runs are claimed in the store, by several beats at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import redis

from livectl.models import Run
from livectl.ops.beat import run_store
from livectl.ops.beat.run_store import Claim, DueRun, LatestJob, PreparedRun, RunStore, StoreClock
from livectl.ops.protocol.capturing_channel import RedisCommand
from tests.support.beats import FakeClock, Time

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = 1_780_315_200_000
PERIOD = 60_000
HEARTBEAT = {"host": "h", "pid": 1, "entries": 2}


@pytest.fixture
def store(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def time() -> Time:
    return Time(NOON)


@pytest.fixture
def runs(store: redis.Redis, time: Time) -> RunStore:
    return RunStore(store, FakeClock(time))


def due_run(due: int, name: str = "e", period: int = PERIOD) -> DueRun:
    return DueRun(Run(name, due), period)


def prepared(claim: Claim, text: str = "m", key: str = "queue") -> PreparedRun:
    return PreparedRun(claim, (RedisCommand("LPUSH", key, text),))


# --- who may


@pytest.mark.parametrize(
    ("last", "due", "claimed"),
    [
        (None, NOON, True),
        (NOON - PERIOD, NOON, True),
        (NOON, NOON, False),
        (NOON + 1, NOON, False),
        (NOON + PERIOD, NOON, False),  # claimed ahead, by no more than one period
        (NOON + PERIOD + 1, NOON, True),  # from before the clock was set back
        (None, NOON + 1_000, True),
        (None, NOON + 1_001, False),  # not due for long: a beat whose idea of the time is wrong
    ],
)
def test_a_run_is_claimed_when_it_comes_after_the_last_one(
    runs: RunStore, store: redis.Redis, last: int | None, due: int, claimed: bool
) -> None:
    if last:
        store.hset(run_store.LAST_RUN_KEY, "e", str(last))
    assert bool(runs.claim([due_run(due)])) is claimed


def test_ten_beats_claim_a_thousand_runs_once_each(store: redis.Redis) -> None:
    due = [due_run(NOON + number, f"e{number % 100}", 1) for number in range(1_000)]
    clock = StoreClock()

    def claim_all(_: int) -> list[Claim]:
        own_runs = RunStore(store, clock)
        return [claim for first in range(0, 1_000, 50) for claim in own_runs.claim(due[first : first + 50])]

    with ThreadPoolExecutor(10) as beats:
        claimed = [claim.run for claims in beats.map(claim_all, range(10)) for claim in claims]
    assert len(claimed) == 1_000
    assert set(claimed) == {due_run.run for due_run in due}


def test_a_name_may_have_any_characters(runs: RunStore, time: Time) -> None:
    name = "täglich um 9 · {a: b}\n' \" \\"
    (claim,) = runs.claim([due_run(NOON, name)])
    time.wait(4)
    assert runs.record_heartbeat("beat", HEARTBEAT) == [claim]


# --- from when on


def test_a_new_entry_counts_from_its_registration_on(runs: RunStore, time: Time) -> None:
    assert runs.register({"e": "t"}, {}) == {"e": NOON}
    time.wait(60)
    assert runs.register({"e": "t"}, {}) == {"e": NOON}


def test_an_entry_counts_from_its_last_run_on(runs: RunStore, time: Time) -> None:
    runs.register({"e": "t"}, {})
    time.wait(60)
    runs.claim([due_run(time.at)])
    assert runs.register({"e": "t"}, {}) == {"e": NOON + PERIOD}


def test_another_timing_counts_from_the_change_on(runs: RunStore, time: Time) -> None:
    runs.register({"e": "t"}, {})
    time.wait(60)
    assert runs.register({"e": "other"}, {}) == {"e": NOON + PERIOD}


def test_what_a_beat_knows_stands_in_for_a_store_that_forgot(runs: RunStore) -> None:
    assert runs.register({"e": "t", "f": "t"}, {"e": NOON - 1_000}) == {"e": NOON - 1_000, "f": NOON}


def test_entries_that_no_beat_has_are_forgotten_after_a_month(runs: RunStore, store: redis.Redis, time: Time) -> None:
    runs.register({"old": "t", "kept": "t"}, {})
    runs.claim([due_run(NOON, "old"), due_run(NOON, "kept")])
    time.wait(31 * 86_400)
    runs.register({"kept": "t"}, {})
    assert list(run_store.read_last_runs(store)) == ["kept"]
    assert store.zrange(run_store.NAMES_KEY, 0, -1) == ["kept"]
    assert store.hkeys(run_store.SINCE_KEY) == store.hkeys(run_store.TIMING_KEY) == ["kept"]


def test_ten_thousand_entries_are_registered_in_several_calls(runs: RunStore) -> None:
    assert len(runs.register({f"e{number}": "t" for number in range(10_000)}, {})) == 10_000


# --- sent, or left behind


def test_a_claim_is_sent_and_settled_in_one_step(runs: RunStore, store: redis.Redis) -> None:
    claims = runs.claim([due_run(NOON, "a"), due_run(NOON, "b")])
    assert runs.commit([prepared(claim, claim.run.name) for claim in claims], 0) == ["sent", "sent"]
    assert store.lrange("queue", 0, -1) == ["b", "a"]
    assert store.zcard(run_store.PENDING_KEY) == 0


def test_a_claim_is_sent_once_though_it_is_sent_twice(runs: RunStore, store: redis.Redis) -> None:
    """As when the reply to the first was lost on the way."""
    (claim,) = runs.claim([due_run(NOON)])
    assert runs.commit([prepared(claim)], 0) == ["sent"]
    assert runs.commit([prepared(claim)], 0) == ["taken"]
    assert store.llen("queue") == 1


def test_messages_go_into_the_brokers_database(runs: RunStore, store: redis.Redis, store_url: str) -> None:
    (claim,) = runs.claim([due_run(NOON)])
    assert runs.commit([prepared(claim)], 5) == ["sent"]
    assert store.llen("queue") == 0
    with redis.Redis.from_url(store_url.replace("db=0", "db=5")) as broker:
        assert broker.llen("queue") == 1
    assert store.zcard(run_store.PENDING_KEY) == 0


def test_a_message_that_is_refused_stays_claimed_and_holds_up_no_other(runs: RunStore, store: redis.Redis) -> None:
    store.set("no list", "x")
    claims = runs.claim([due_run(NOON, "a"), due_run(NOON, "b")])
    first, second = runs.commit([prepared(claims[0], key="no list"), prepared(claims[1])], 0)
    assert "WRONGTYPE" in first
    assert second == "sent"
    assert store.zrange(run_store.PENDING_KEY, 0, -1) == [f"{NOON} a"]


def test_a_stale_claim_is_taken_over_by_one_beat_only(store: redis.Redis, time: Time) -> None:
    dead, first, second = (RunStore(store, FakeClock(time)) for _ in range(3))
    (claim,) = dead.claim([due_run(NOON)])
    time.wait(3.4)
    assert first.record_heartbeat("first", HEARTBEAT) == []
    time.wait(0.2)
    stale = first.record_heartbeat("first", HEARTBEAT), second.record_heartbeat("second", HEARTBEAT)
    assert stale == ([claim], [claim])
    (new_claim,) = first.take_over(stale[0])
    assert second.take_over(stale[1]) == []
    assert dead.commit([prepared(claim, "late")], 0) == ["taken"]
    assert first.commit([prepared(new_claim, "in time")], 0) == ["sent"]
    assert store.lrange("queue", 0, -1) == ["in time"]


def test_a_claim_is_left_alone_by_its_claimer_before_another_may_take_it(runs: RunStore, time: Time) -> None:
    (claim,) = runs.claim([due_run(NOON)])
    assert runs.is_fresh(claim)
    time.wait(2.6)
    assert not runs.is_fresh(claim)
    assert runs.record_heartbeat("beat", HEARTBEAT) == []


def test_a_claim_that_is_given_back_may_be_taken_at_once(runs: RunStore) -> None:
    runs.give_back(runs.claim([due_run(NOON)]))
    stale = runs.record_heartbeat("beat", HEARTBEAT)
    assert [claim.run for claim in runs.take_over(stale)] == [Run("e", NOON)]
    assert runs.record_heartbeat("beat", HEARTBEAT) == []


def test_a_claim_from_before_the_clock_was_set_back_is_stale(runs: RunStore, time: Time) -> None:
    runs.claim([due_run(NOON)])
    time.set_by(-3600)
    assert len(runs.take_over(runs.record_heartbeat("beat", HEARTBEAT))) == 1


def test_what_is_done_is_taken_by_nobody(runs: RunStore, time: Time) -> None:
    runs.mark_done(runs.claim([due_run(NOON)]))
    time.wait(10)
    assert runs.record_heartbeat("beat", HEARTBEAT) == []


# --- ids, jobs


def test_beats_of_one_store_make_the_same_task_ids_and_those_of_another_make_others(store: redis.Redis) -> None:
    run, other_run = Run("e", NOON), Run("e", NOON + 1)
    first, second = RunStore(store, StoreClock()), RunStore(store, StoreClock())
    assert first.task_id(run) == second.task_id(run) != first.task_id(other_run)
    store.flushdb()
    assert RunStore(store, StoreClock()).task_id(run) != first.task_id(run)


def test_only_one_beat_begins_the_next_job_of_an_entry(store: redis.Redis, time: Time) -> None:
    first, second = RunStore(store, FakeClock(time)), RunStore(store, FakeClock(time))
    assert first.read_latest_job("e") is None
    assert first.record_latest_job("e", None, "first")
    assert not second.record_latest_job("e", None, "second")
    assert second.read_latest_job("e") == LatestJob("first", NOON)
    assert second.record_latest_job("e", LatestJob("first", NOON), "second")


# --- the time


def test_the_time_is_that_of_the_store(store: redis.Redis) -> None:
    clock = StoreClock()
    RunStore(store, clock).record_heartbeat("beat", HEARTBEAT)
    seconds, micros = store.time()
    assert abs(clock.now() - (seconds * 1_000 + micros // 1_000)) < 500


@pytest.mark.parametrize(
    ("seconds", "store_ms", "jump_ms"),
    [
        (0.0, 10_000, 0),
        (0.0, 11_900, 0),
        (0.0, 12_100, 2_100),
        (0.0, 7_900, -2_100),
        (8.0, 10_000, 0),  # read at once, and the reply was 8 s on its way
        (8.0, 18_000, 0),  # read at last
        (0.0, 3_610_000, 3_600_000),
        (0.0, -3_590_000, -3_600_000),
    ],
)
def test_a_clock_that_was_set_is_no_slow_reply(seconds: float, store_ms: int, jump_ms: int) -> None:
    time = Time(0)
    clock = FakeClock(time)
    clock.sync(0, 0.0)
    time.wait(10)
    asked_at = clock.monotonic()
    time.wait(seconds)
    clock.sync(store_ms, asked_at)
    assert clock.take_jump() == jump_ms
    assert clock.take_jump() == 0
    assert clock.now() == store_ms
