"""What a list shows, recorded beside checks in a real store: nothing false, and at most later."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer
from tests.support import cells
from tests.support.played_list import Faults, PlayedSite
from tests.support.played_sweeps import Followed

if TYPE_CHECKING:
    import redis

START = 1_790_000_000.0
HOUR = 3600.0
CHECK = PollingLimits(platform="p", batch=1, rate=0.0005, mode="uniform")
LIST = msgspec.structs.replace(CHECK, source="list", listed=True, shown_for=500.0)
HINT = msgspec.structs.replace(LIST, source="hint")
ROUGH = Faults(holes=0.02, doubles=0.05, failures=0.01, cuts=0.001, failed_checks=0.02, late_rows=0.3)


@pytest.fixture
def store(client: redis.Redis) -> Store:
    made = Store(client)
    made.prepare()
    made.set_followed([Streamer(platform="p", id=name) for name in ("ada", "bob", "cy")], START)
    return made


def seen(name: str, state: State, at: float, session: str = "", started: float | None = None) -> Observation:
    return Observation(platform="p", id=name, state=state, at=at, session=session, started_at=started)


def due(client: redis.Redis, name: str) -> float:
    return cells.due(client, "p", name)


def live(store: Store) -> set[str]:
    return {record.id for record in store.live_streamers()}


def test_whoever_is_listed_is_live_and_asked_once_the_list_shows_them_no_more(
    client: redis.Redis, store: Store
) -> None:
    store.record(CHECK, [seen("ada", State.OFFLINE, START)])
    (change,) = store.record(LIST, [seen("ada", State.LIVE, START + HOUR, "1", START + HOUR - 30)])
    assert (change.kind, change.started_at) == ("began", START + HOUR - 30)
    assert due(client, "ada") == START + HOUR + 500
    assert store.record(LIST, [seen("ada", State.LIVE, START + HOUR + 60, "1", START + HOUR - 30)]) == []
    assert due(client, "ada") == START + HOUR + 560
    assert store.record(CHECK, [seen("ada", State.OFFLINE, START + HOUR + 600)]) == []
    assert live(store) == {"ada"}, "one look ends nothing"
    assert [each.kind for each in store.record(CHECK, [seen("ada", State.OFFLINE, START + HOUR + 720)])] == ["ended"]


def test_an_old_row_of_a_broadcast_that_has_ended_is_asked_about(client: redis.Redis, store: Store) -> None:
    store.record(CHECK, [seen("ada", State.LIVE, START, "1", START - 60)])
    for after in (HOUR, HOUR + 120):
        store.record(CHECK, [seen("ada", State.OFFLINE, START + after)])
    assert live(store) == set()
    at = START + HOUR + 200
    assert store.record(LIST, [seen("ada", State.LIVE, at, "1", START - 60)]) == []
    assert live(store) == set()
    assert due(client, "ada") == at
    later = at + 900
    assert [each.kind for each in store.record(LIST, [seen("ada", State.LIVE, later + 9, "2", later)])] == ["began"]


def test_a_hint_has_somebody_asked_and_does_not_stand_against_a_check(client: redis.Redis, store: Store) -> None:
    store.record(CHECK, [seen("ada", State.OFFLINE, START), seen("bob", State.REPLAY, START)])
    at = START + 100
    hints = [seen(name, State.LIVE, at) for name in ("ada", "bob")]
    assert store.record(HINT, hints) == []
    assert due(client, "ada") == at
    assert due(client, "bob") > at, "a recording was seen there a moment ago"
    store.record(CHECK, [seen("ada", State.LIVE, at + 5, "1", at)])
    store.record(HINT, [seen("ada", State.LIVE, at + 60)])
    assert due(client, "ada") > at + 60
    for minutes in range(2, 17):
        store.record(HINT, [seen("ada", State.LIVE, at + 60 * minutes)])
    assert due(client, "ada") <= at + 1000, "it is not enough for more than a quarter of an hour"
    store.record(CHECK, [seen("ada", State.OFFLINE, at + 2000)])
    store.record(HINT, [seen("ada", State.LIVE, at + 2060)])
    ended = store.record(CHECK, [seen("ada", State.OFFLINE, at + 2120)])
    assert [each.kind for each in ended] == ["ended"]


def test_whom_a_list_has_shown_is_asked_before_those_whom_it_would_show(client: redis.Redis, store: Store) -> None:
    names = ("ada", "bob", "cy")
    store.record(CHECK, [seen(name, State.OFFLINE, START) for name in names])
    cells.set_due(client, "p", dict.fromkeys(names, START + 50))
    store.record(HINT, [seen("cy", State.LIVE, START + 100)])
    listed = msgspec.structs.replace(CHECK, listed=True)
    client.hset("livectl:{p}:health", mapping={"tokens": 1, "refilled": START + 101})
    assert store.claim([listed], START + 101, 60) == [("p", ["cy"])]
    assert min(due(client, "ada"), due(client, "bob")) > START + 101, "nobody waits behind them"


def test_a_rough_site_leads_to_nothing_false(
    store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.flushdb()
    store.prepare()
    site = PlayedSite(4_000, 400, 100, ROUGH, Random(4), START, hours=0.5, budget="60/m")
    followed = Followed(site, store, range(0, 4_000, 10), monkeypatch)
    followed.sweep(300)
    asked = site.list_requests
    followed.sweep(300)
    told = followed.result
    assert told[1:] == (0, 0, 0)
    assert len(told.delays) > 5
    assert told.late(0.5) <= 31
    assert site.list_requests - asked <= 0.02 * 400 * 300 / 5
