"""Who is claimed: budgets, batches, leases, circuits, waits; how soon each is asked again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import redis

from livectl.live import store_claims
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer
from tests.support import cells

START = 1_800_000_000.0
LEASE = 60.0
LIMITS = PollingLimits(platform="demo", batch=10, rate=1.0, keys="mine", mode="uniform")


@pytest.fixture
def store(client: redis.Redis) -> Store:
    made = Store(client)
    made.prepare()
    return made


def follow(store: Store, count: int) -> list[str]:
    names = [f"n{number:05}" for number in range(count)]
    store.set_followed([Streamer(platform="demo", id=name) for name in names], START)
    return names


def claimed(store: Store, after: float = 0.0, limits: PollingLimits = LIMITS) -> list[str]:
    return [streamer_id for _, ids in store.claim([limits], START + after, LEASE) for streamer_id in ids]


def record(
    store: Store, names: list[str], state: str, after: float, limits: PollingLimits = LIMITS, **more: Any
) -> None:
    store.record(
        limits, [Observation(platform="demo", id=name, state=State(state), at=START + after, **more) for name in names]
    )


def test_the_budget_is_what_is_claimed_at_most(store: Store) -> None:
    follow(store, 1000)
    assert len(claimed(store)) == 100  # ten seconds of one request a second, ten streamers each
    assert claimed(store) == []
    assert len(claimed(store, 2.0)) == 20


def test_the_most_overdue_come_first(store: Store) -> None:
    names = follow(store, 30)
    claimed(store)
    record(store, names[:10], "offline", 20)
    record(store, names[10:20], "offline", 10)
    record(store, names[20:], "offline", 30)
    slow = msgspec.structs.replace(LIMITS, rate=0.1)
    assert sorted(claimed(store, 100, slow)) == names[10:20]


def test_a_batch_is_filled_with_the_next_due(store: Store) -> None:
    names = follow(store, 12)
    claimed(store)
    record(store, names[:1], "offline", 0)
    record(store, names[1:], "offline", 10)
    assert len(claimed(store, 16)) == 10  # one is due, nine ride along


def test_two_workers_claim_each_streamer_once(store: Store, store_url: str) -> None:
    follow(store, 100)

    def claim(_: int) -> list[str]:
        with redis.Redis.from_url(store_url, decode_responses=True) as own:
            return claimed(Store(own))

    with ThreadPoolExecutor(8) as workers:
        taken = [name for ids in workers.map(claim, range(8)) for name in ids]
    assert len(taken) == len(set(taken)) == 100


def test_sweeps_at_once_claim_others_each_and_pay_for_these_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One looks who is due; before it takes them, another has taken all that one sweep may take of a platform."""
    names, wide = follow(store, 7_000), msgspec.structs.replace(LIMITS, rate=10_000.0)
    share_out, other = store_claims._share_out, list[str]()

    def share_and_be_overtaken(*args: Any) -> None:
        share_out(*args)
        monkeypatch.undo()
        other.extend(claimed(store, limits=wide))

    monkeypatch.setattr(store_claims, "_share_out", share_and_be_overtaken)
    taken = [claimed(store, limits=wide), other]
    assert all(taken), "who comes second finds others"
    taken.append(claimed(store, limits=wide))
    assert sorted(each for some in taken for each in some) == names
    requests = sum(-(-len(some) // wide.batch) for some in taken)
    assert store.spend(wide, 0, START) == wide.rate * 10 - requests


def test_what_is_claimed_and_not_recorded_is_due_again(store: Store) -> None:
    names = follow(store, 5)
    assert claimed(store) == names
    assert claimed(store, LEASE - 1) == []
    assert sorted(claimed(store, LEASE)) == names


def test_who_is_being_asked_is_due_later_and_nobody_else(store: Store) -> None:
    names = follow(store, 5)
    claimed(store)
    record(store, names[:1], "offline", 0)
    store.extend_claims("demo", names[:3], START + 2 * LEASE)
    due = set(claimed(store, LEASE))
    assert (due >= set(names[3:]), due & set(names[1:3])) == (True, set())
    assert set(claimed(store, 2 * LEASE)) >= set(names[1:3])


def test_ids_of_any_spelling_are_claimed_and_kept_for_longer(store: Store) -> None:
    names = ['"', "\\", "a/b", "{}", "7", "名字", "é"]
    store.set_followed([Streamer(platform="demo", id=name) for name in names], START)
    assert sorted(claimed(store)) == sorted(names)
    store.extend_claims("demo", names, START + 2 * LEASE)
    store.extend_claims("demo", [], START + 3 * LEASE)
    assert claimed(store, LEASE) == []
    assert sorted(claimed(store, 2 * LEASE)) == sorted(names)


def test_requests_beyond_the_claim_are_paid_for(store: Store) -> None:
    follow(store, 1000)
    assert len(claimed(store)) == 100
    store.record(LIMITS, [Observation(platform="demo", id="n00000", state=State.OFFLINE, at=START)], extra_requests=5)
    assert claimed(store, 5.0) == []
    assert len(claimed(store, 7.0)) == 20


BLOCKS = [(0, 300), (300, 600), (900, 1200), (2100, 1800), (3900, 1800)]


def test_blocks_open_the_circuit_for_longer_and_longer(store: Store) -> None:
    names = follow(store, 1000)
    for after, pause in BLOCKS:
        assert claimed(store, after), after
        record(store, names[:10], "blocked", after)
        record(store, names[10:20], "blocked", after)  # asked before the first refusal was known
        assert claimed(store, after + pause - 1) == []


def test_one_probe_closes_a_half_open_circuit(store: Store) -> None:
    names = follow(store, 1000)
    claimed(store)
    record(store, names[:10], "blocked", 0)
    assert len(claimed(store, 300)) == 10
    assert claimed(store, 301) == []
    record(store, names[:10], "offline", 302)
    assert store.health(START)[0].step == 0
    assert len(claimed(store, 303)) > 10


def test_a_lost_probe_is_sent_again(store: Store) -> None:
    follow(store, 100)
    record(store, ["n00000"], "blocked", 0)
    assert len(claimed(store, 300)) == 10
    assert len(claimed(store, 360)) == 10


def test_a_platform_that_does_not_answer_is_asked_one_request_at_a_time(store: Store) -> None:
    """Each that hangs keeps a job from others for as long."""
    follow(store, 1000)
    record(store, claimed(store), "network", 5)
    lost = claimed(store, 10)
    assert len(lost) == 100, "perhaps it was one answer that was lost"
    record(store, lost, "network", 14)
    probe = claimed(store, 16)
    assert len(probe) == 10
    assert claimed(store, 40) == claimed(store, 70) == [], "it has not come back"
    record(store, lost, "network", 15)
    assert claimed(store, 70) == [], "what was asked before it says nothing of it"
    record(store, probe, "network", 71)
    probe = claimed(store, 72)
    assert len(probe) == 10, "another, as soon as that is known"
    record(store, probe, "offline", 73)
    assert len(claimed(store, 82)) == 100, "it answers again"


def test_a_wait_is_honoured_by_everybody(store: Store) -> None:
    follow(store, 100)
    record(store, ["n00000"], "rate_limited", 0, retry_at=START + 120)
    assert claimed(store, 119) == []
    assert claimed(store, 120)


def test_a_refusal_that_names_no_time_is_a_minute(store: Store) -> None:
    follow(store, 100)
    record(store, ["n00000"], "rate_limited", 0)
    assert (claimed(store, 59), bool(claimed(store, 60))) == ([], True)


def test_refused_keys_are_not_used_again_until_they_change(store: Store) -> None:
    follow(store, 100)
    record(store, ["n00000"], "auth", 0)
    assert claimed(store, 10 * 86_400) == []
    assert store.health(START)[0].auth_since == START
    assert claimed(store, 10 * 86_400, msgspec.structs.replace(LIMITS, keys="mended"))
    assert store.health(START)[0].auth_since is None


def test_a_parser_is_broken_when_most_of_twenty_answers_are_unknown(store: Store) -> None:
    names = follow(store, 40)
    record(store, names[:10], "parse_error", 0)
    assert store.health(START)[0].parser_broken is None
    record(store, names[10:19], "offline", 1)
    record(store, names[19:21], "parse_error", 2)
    assert store.health(START)[0].parser_broken == START + 2
    record(store, names[:20], "offline", 3)
    health = store.health(START)[0]
    assert (health.parser_broken, health.answers) == (None, {"parse_error": 12, "offline": 29})


def due(client: redis.Redis, name: str) -> float:
    return round(cells.due(client, "demo", name) - START, 3)


INTERVALS = {
    "what fits the budget is asked as fast as allowed": (100, {}, 15.0),
    "alike: streamers by what the budget bears": (1000, {}, 100.0),
    "a lean budget stretches it for all": (2000, {"rate": 0.1}, 2000.0),
}


@pytest.mark.parametrize("case", INTERVALS)
def test_intervals(store: Store, client: redis.Redis, case: str) -> None:
    count, wish, interval = INTERVALS[case]
    follow(store, count)
    limits = msgspec.structs.replace(LIMITS, **wish)
    store.record(limits, [Observation(platform="demo", id="n00000", state=State.OFFLINE, at=START)])
    assert due(client, "n00000") == interval


@pytest.mark.parametrize(("live", "interval"), [(100, 60.0), (200, 100.0), (900, 120.0)])
def test_who_is_live_is_asked_every_minute_or_two(
    store: Store, client: redis.Redis, live: int, interval: float
) -> None:
    names = follow(store, 1000)
    record(store, names[:live], "live", 0)
    record(store, names[:1], "live", 1)
    assert due(client, names[0]) == 1 + interval


def test_an_end_is_looked_at_again_in_two_minutes(store: Store, client: redis.Redis) -> None:
    names = follow(store, 10)
    record(store, names, "live", 0)
    record(store, names[:1], "offline", 60)
    assert due(client, names[0]) == 180


def test_a_learned_hour_is_asked_more_often_and_the_others_less(store: Store, client: redis.Redis) -> None:
    names = follow(store, 1000)
    learned = msgspec.structs.replace(LIMITS, mode="learned")
    hour = int(START // 3600) % 168
    store.save_poll_weights("demo", dict.fromkeys(names[1:], "0" * 168))
    store.save_poll_weights("demo", {names[0]: "0" * hour + "~" + "0" * (167 - hour)})
    seen = [Observation(platform="demo", id=name, state=State.OFFLINE, at=START) for name in names[:2]]
    store.record(learned, seen)
    assert due(client, names[0]) == 15.0
    assert 200 < due(client, names[1]) <= 1000 / 3


def test_unlearning_leaves_no_trace_in_the_sums(store: Store, client: redis.Redis) -> None:
    names = follow(store, 3)
    store.save_poll_weights("demo", dict.fromkeys(names, "A" * 168))
    store.set_followed([], START)
    for key in cells.keys(client, "pulls", "demo"):
        sums = msgspec.json.decode(str(client.get(key) or "[0]"), type=list[float])
        assert max(map(abs, sums)) < 1e-9
    assert cells.fields(client, "pull", "demo") == {}


@pytest.mark.parametrize(
    ("then", "now", "seconds"),
    [
        ({"fastest": 600.0}, {"fastest": 60.0}, 60),
        ({"rate": 0.001}, {"rate": 1.0}, 15),
        ({"mode": "learned", "fastest": 500.0}, {"fastest": 500.0, "slowest": 500.0}, 500),
        ({"fastest": 60.0}, {"fastest": 600.0}, 60),
    ],
    ids=["polling", "budget", "slowest", "slower"],
)
def test_new_settings_count_for_those_who_wait_already(
    store: Store, then: dict[str, Any], now: dict[str, Any], seconds: int
) -> None:
    before, after = (msgspec.structs.replace(LIMITS, **change) for change in (then, now))
    names = follow(store, 1)
    assert claimed(store, limits=before) == names
    record(store, names, "offline", 0, limits=before)
    assert claimed(store, 1, after) == []
    assert claimed(store, seconds + 1, after) == names
