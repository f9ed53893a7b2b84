"""Who is being asked: claimed, and not recorded yet. They are due again by that alone; nobody else asks meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from livectl.live import store_moving
from livectl.live.push.push_store import PushStore
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer
from tests.support import cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

START = 1_800_000_000.25
LEASE = 60.0
LIMITS = PollingLimits(platform="demo", batch=10, rate=100.0, keys="mine", mode="uniform")
NAMES = [f"n{number:02}" for number in range(30)]


@pytest.fixture
def store(client: redis.Redis) -> Store:
    made = Store(client)
    made.prepare()
    follow(made, NAMES)
    return made


def follow(store: Store, names: Sequence[str]) -> None:
    store.set_followed([Streamer(platform="demo", id=name) for name in names], START)


def claim(store: Store, after: float, limits: PollingLimits = LIMITS) -> list[str]:
    return sorted(each for _, ids in store.claim([limits], START + after, LEASE) for each in ids)


def record(
    store: Store, names: Sequence[str], after: float, state: State = State.OFFLINE, limits: PollingLimits = LIMITS
) -> None:
    seen = [Observation(platform="demo", id=name, state=state, at=START + after) for name in names]
    store.record(limits, seen)


def asked(store: Store, after: float) -> int:
    return store.health(START + after)[0].claimed


def seen_at(store: Store, after: float) -> list[str]:
    return [record.id for record in store.find_streamers("demo", NAMES) if record.seen == START + after]


def test_who_is_not_recorded_is_due_again_by_that_alone(store: Store, client: redis.Redis) -> None:
    assert claim(store, 0) == NAMES
    record(store, NAMES[:10], 1)
    assert asked(store, 2) == 20
    lapses = {cells.due(client, "demo", name) for name in NAMES[10:]}
    assert LEASE <= min(lapses) - START <= max(lapses) - START < LEASE + 1
    assert set(claim(store, LEASE - 1)) <= set(NAMES[:10]), "those who were recorded are due as ever"
    assert asked(store, LEASE + 1) == asked(store, LEASE - 1) - 20
    assert set(claim(store, LEASE + 1)) >= set(NAMES[10:])


def test_how_many_wait_and_since_when_is_told_without_them(store: Store) -> None:
    claim(store, 0)
    health = store.health(START + 1)[0]
    assert (health.due, health.claimed, health.due_since) == (0, 30, None)
    assert store.pulse("0", 1, 1).next_due is None
    record(store, NAMES[:1], 1)
    health = store.health(START + 1)[0]
    assert (health.due, health.claimed, health.due_since) == (0, 29, START + 16)
    assert store.pulse("0", 1, 1).next_key == ("demo", NAMES[0])


def test_a_request_is_not_filled_up_with_them(store: Store) -> None:
    claim(store, 0)
    record(store, NAMES[:5], 1)
    record(store, NAMES[5:15], 11)
    assert claim(store, 17) == NAMES[:10], "five are due, five ride along; the first lapse comes later than those"
    record(store, NAMES[:1], 17)
    record(store, NAMES[1:2], 110)
    assert claim(store, 33) == [*NAMES[:2], *NAMES[10:15]], "who waits beyond the lapses rides along"


def test_two_sweeps_ask_others_each(store: Store) -> None:
    slow = msgspec.structs.replace(LIMITS, rate=1.0)
    taken = [claim(store, after, slow) for after in (0, 0.5, 1, 1.5)]
    assert sorted(each for some in taken for each in some) == NAMES


@pytest.mark.parametrize("is_known", [False, True])
def test_who_is_unfollowed_meanwhile_is_neither_recorded_nor_asked_again(
    store: Store, client: redis.Redis, *, is_known: bool
) -> None:
    if is_known:
        record(store, NAMES, 1)
    assert claim(store, 20) == NAMES
    follow(store, NAMES[2:])
    record(store, NAMES, 21)
    assert seen_at(store, 21) == NAMES[2:]
    assert cells.scores(client, "due", "demo").keys() == set(NAMES[2:])
    assert claim(store, 1000) == NAMES[2:]


def test_an_answer_at_the_time_that_somebody_is_due_anyhow_is_recorded(store: Store, client: redis.Redis) -> None:
    """Equal due times are no sign of who is followed."""
    record(store, NAMES, 1)
    cells.set_due(client, "demo", dict.fromkeys(NAMES, START + 36))
    follow(store, NAMES[1:])
    record(store, NAMES, 21)
    assert seen_at(store, 21) == NAMES[1:]
    assert cells.scores(client, "due", "demo") == dict.fromkeys(NAMES[1:], START + 36)


@pytest.mark.parametrize("source", ["hint", "push"])
def test_who_shows_them_meanwhile_has_nobody_ask_again(store: Store, client: redis.Redis, source: str) -> None:
    record(store, NAMES, 0)
    asking = claim(store, 500)
    before = cells.scores(client, "due", "demo")
    if source == "push":
        PushStore(client).make_due("demo", NAMES, START + 501)
    else:
        hint = msgspec.structs.replace(LIMITS, source="hint", listed=True)
        record(store, NAMES, 501, State.LIVE, hint)
    assert {name: cells.due(client, "demo", name) for name in asking} == {name: before[name] for name in asking}
    assert asked(store, 501) == len(asking)


def test_a_list_that_shows_them_live_meanwhile_is_recorded(store: Store, client: redis.Redis) -> None:
    claim(store, 0)
    shown = msgspec.structs.replace(LIMITS, source="list", listed=True, shown_for=500.0)
    record(store, NAMES[:1], 1, State.LIVE, shown)
    assert [record.id for record in store.live_streamers()] == NAMES[:1]
    assert (cells.due(client, "demo", NAMES[0]), asked(store, 1)) == (START + 501, 29)


def test_neither_new_settings_nor_push_change_when_their_claims_lapse(store: Store, client: redis.Redis) -> None:
    push = PushStore(client)
    push.set_covered("demo", NAMES, START)
    record(store, NAMES, 1)
    asking = claim(store, 20)
    record(store, asking[:10], 21)
    before = cells.scores(client, "due", "demo")

    def unchanged() -> list[str]:
        after = cells.scores(client, "due", "demo")
        return sorted(name for name in NAMES if after[name] == before[name])

    push.put_off(LIMITS, START + 22, 2 * LEASE, START)
    assert unchanged() == asking[10:]
    store.claim([msgspec.structs.replace(LIMITS, fastest=1.0, rate=1000.0)], START + 23, LEASE)
    assert unchanged() == asking[10:]


def test_whom_an_older_livectl_was_asking_is_due_when_that_lapses(store: Store, client: redis.Redis) -> None:
    place = store.cells.find("demo", "n00").place
    those = [name for name in NAMES if store.cells.find("demo", name).place == place]
    client.zadd(f"{place}claimed", dict.fromkeys(those, START + 30))
    client.zrem(f"{place}due", *those)
    assert store_moving.put_in_place(client, [store.cells.find("demo", "n00")], START) == 0
    claim(store, 0)
    assert not client.exists(f"{place}claimed")
    assert {name: cells.due(client, "demo", name) for name in those} == dict.fromkeys(those, START + 30)
    assert set(claim(store, 31)) >= set(those)


def test_they_are_asked_still_once_they_are_in_other_cells(store: Store, client: redis.Redis) -> None:
    claim(store, 0)
    store_moving.change_shards(client, 3, lambda _: None)
    moved = Store(client)
    assert claim(moved, LEASE - 1) == []
    record(moved, NAMES[:10], LEASE - 1)
    assert claim(moved, LEASE + 1) == NAMES[10:]
