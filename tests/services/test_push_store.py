"""Who is not asked because their platform tells of them by itself, and how that ends by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from livectl.live.push.push_store import COVER_BATCH, PushStore
from livectl.models import Observation, PollingLimits, State, Streamer
from tests.support import cells

if TYPE_CHECKING:
    import redis

    from livectl.live.store import Store

START = 1_800_000_000.0
LIMITS = PollingLimits(platform="demo", batch=1, rate=100.0, mode="uniform", fastest=15.0, slowest=900.0)
RENEWED_EVERY, AHEAD = 5.0, 10.0


@pytest.fixture
def push_store(client: redis.Redis) -> PushStore:
    return PushStore(client)


def follow(store: Store, count: int) -> list[str]:
    names = [f"n{number:05}" for number in range(count)]
    store.set_followed([Streamer(platform="demo", id=name) for name in names], START)
    return names


def ask(store: Store, now: float, state: State = State.OFFLINE) -> list[str]:
    """One sweep: who is due is asked, and answers."""
    asked = [name for _, names in store.claim([LIMITS], now, 60.0) for name in names]
    store.record(LIMITS, [Observation(platform="demo", id=name, state=state, at=now + 0.1) for name in asked])
    return asked


def asked_between(
    store: Store, push_store: PushStore | None, start: float, end: float, since: float = START
) -> list[str]:
    asked = []
    for step in range(int(start), int(end), 5):
        if push_store:
            push_store.put_off(LIMITS, step, AHEAD, since)
        asked += ask(store, step)
    return asked


def test_who_is_told_of_is_asked_once_in_the_longest_interval(store: Store, push_store: PushStore) -> None:
    names = follow(store, 20)
    push_store.set_covered("demo", names[:10], START)
    asked = asked_between(store, push_store, START, START + 1800)
    assert {names.index(name) < 10 for name in asked} == {True, False}
    counts = [asked.count(name) for name in names]
    assert max(counts[:10]) <= 3
    assert min(counts[10:]) >= 90  # the others as ever: every fifteen seconds, a sweep late at most


def test_without_a_renewal_everybody_is_asked_within_one_interval(store: Store, push_store: PushStore) -> None:
    names = follow(store, 20)
    push_store.set_covered("demo", names, START)
    asked_between(store, push_store, START, START + 300)
    asked = asked_between(store, None, START + 300, START + 300 + 15)
    assert set(asked) == set(names)


def test_who_has_not_been_read_since_it_is_told_of_them_is_asked(store: Store, push_store: PushStore) -> None:
    names = follow(store, 20)
    asked_between(store, None, START, START + 60)
    push_store.set_covered("demo", names, START + 60)
    assert set(asked_between(store, push_store, START + 60, START + 80)) == set(names)
    assert asked_between(store, push_store, START + 80, START + 300) == []


def test_after_a_break_everybody_is_asked_once(store: Store, push_store: PushStore) -> None:
    names = follow(store, 20)
    push_store.set_covered("demo", names, START)
    asked_between(store, push_store, START, START + 300)
    asked = asked_between(store, push_store, START + 300, START + 330, since=START + 300)
    assert sorted(asked) == names


def test_who_is_live_is_asked_as_ever(store: Store, push_store: PushStore) -> None:
    push_store.set_covered("demo", follow(store, 3), START)
    ask(store, START, State.LIVE)
    asked = [
        ask(store, step, State.LIVE)
        for step in range(int(START) + 5, int(START) + 400, 5)
        if push_store.put_off(LIMITS, step, AHEAD, START) == 0
    ]
    assert sum(map(len, asked)) >= 3 * 5


def test_all_of_many_are_put_off(store: Store, push_store: PushStore) -> None:
    names = follow(store, 3 * COVER_BATCH)
    push_store.set_covered("demo", names[2 * COVER_BATCH :], START)
    wide = msgspec.structs.replace(LIMITS, rate=1000.0)
    store.claim([wide], START, 60.0)
    store.record(wide, [Observation(platform="demo", id=name, state=State.OFFLINE, at=START + 1) for name in names])
    spread = {name: START + 10 + number / 1000 for number, name in enumerate(names)}
    cells.set_due(store._client, "demo", spread)
    assert push_store.put_off(wide, START + 5, AHEAD, START) == COVER_BATCH


def test_one_holds_a_lease_until_it_lets_go(push_store: PushStore) -> None:
    assert push_store.hold("push/twitch", "one", 60)
    assert push_store.hold("push/twitch", "one", 60)
    assert not push_store.hold("push/twitch", "another", 60)
    push_store.release("push/twitch", "another")
    assert not push_store.hold("push/twitch", "another", 60)
    push_store.release("push/twitch", "one")
    assert push_store.hold("push/twitch", "another", 60)


def test_how_it_fares_is_kept(push_store: PushStore) -> None:
    push_store.note("twitch", until=START + 10, covered=5)
    push_store.note_problem("twitch", "no conduit is free", "Delete one.", START)
    push_store.note_problem("twitch", "no conduit is free", "Delete one.", START + 5)
    push_store.count("twitch", "told")
    health = push_store.health("twitch")
    assert (health.covered, health.told, health.problem_at, health.is_heard(START)) == (5, 1, START, True)
    push_store.note_problem("twitch", "", "", START)
    assert push_store.health("twitch").problem == ""


def test_the_weights_of_the_follow_list_are_read(store: Store, push_store: PushStore) -> None:
    store.set_followed([Streamer(platform="demo", id="a", weight=5.0), Streamer(platform="demo", id="b")], START)
    store.save_poll_weights("demo", {"a": "z" * 168})
    assert sorted(push_store.followed("demo")) == [("a", 5.0, "z" * 168), ("b", 1.0, "")]


def test_a_message_is_known_once_it_is_noted(push_store: PushStore) -> None:
    assert not push_store.was_seen("kick", "m-1")
    push_store.note_seen("kick", "m-1", 60)
    assert push_store.was_seen("kick", "m-1")
    assert not push_store.was_seen("kick", "m-2")
