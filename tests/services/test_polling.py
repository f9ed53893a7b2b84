"""Whom to ask: terms from the settings, claims over platforms, habits learned from sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from livectl.live import platforms, polling
from livectl.live.store import Store
from livectl.models import Observation, State, Streamer
from livectl.settings import PlatformSettings, Polling, Secret, Settings
from livectl.units import parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

START = 1_800_000_000.0
SETTINGS = Settings(home=Path("/nowhere"), folder=Path("/nowhere"))
DEMO = platforms.get("demo")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        made = Store(client)
        made.prepare()
        yield made


def with_access(**access: Any) -> Settings:
    return msgspec.structs.replace(SETTINGS, platforms={"twitch": PlatformSettings(**access)})


def test_a_platform_says_what_it_bears() -> None:
    terms = polling.polling_limits(SETTINGS, DEMO)
    assert (terms.platform, terms.batch) == ("demo", DEMO.batch)
    assert terms.rate == parse_rate(DEMO.budget).per_second


def test_the_settings_say_otherwise() -> None:
    slow = msgspec.structs.replace(SETTINGS, polling=Polling(mode="uniform"))
    assert polling.polling_limits(slow, DEMO).mode == "uniform"
    budget = with_access(budget=parse_rate("30/m"))
    assert polling.polling_limits(budget, platforms.get("twitch")).rate == 0.5


def test_keys_change_the_way_of_asking_and_the_fingerprint() -> None:
    twitch = platforms.get("twitch")
    without = polling.polling_limits(SETTINGS, twitch)
    keyed = polling.polling_limits(with_access(client_id=Secret("abc"), client_secret=Secret("xyzzy")), twitch)
    other = polling.polling_limits(with_access(client_id=Secret("abc"), client_secret=Secret("plugh")), twitch)
    assert keyed.batch > without.batch
    assert len({without.keys, keyed.keys, other.keys}) == 3
    assert "xyzzy" not in repr(keyed)


def test_every_platform_followed_is_claimed_from(store: Store) -> None:
    store.set_followed(
        [Streamer(platform="demo", id="ada"), Streamer(platform="twitch", id="bob"), Streamer(platform="gone", id="x")],
        START,
    )
    assert sorted(polling.claim(store, SETTINGS, START, 60)) == [("demo", ["ada"]), ("twitch", ["bob"])]


def test_habits_are_learned_once_after_a_session_began(store: Store) -> None:
    terms = polling.polling_limits(SETTINGS, DEMO)
    store.set_followed([Streamer(platform="demo", id="ada"), Streamer(platform="demo", id="bob", weight=4)], START)
    assert polling.learn_habits(store, START) == 2
    assert polling.learn_habits(store, START) == 0
    for week in range(8):
        at = START + week * polling.WEEK_SECONDS
        for after, state in ((0, State.OFFLINE), (100, State.LIVE), (5000, State.OFFLINE), (5200, State.OFFLINE)):
            store.record(terms, [Observation(platform="demo", id="ada", state=state, at=at + after)])
    later = START + 9 * polling.WEEK_SECONDS - 3600
    assert polling.learn_habits(store, later) == 1
    client = store._client
    pulls = client.hgetall("livectl:pull:demo")
    hour = polling.hour_of_week(START)
    assert pulls["ada"][hour] == max(pulls["ada"])
    assert pulls["ada"][hour] > pulls["ada"][(hour + 84) % 168]
    assert len(set(pulls["bob"])) == 1
    store.mark_unlearned()
    assert polling.learn_habits(store, later) == 2
