"""Whom to ask: limits from the settings, claims over platforms, habits learned from sessions."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from livectl.live import platforms, polling
from livectl.live.store import Store
from livectl.live.store_records import DIGITS
from livectl.models import Observation, PollingLimits, State, Streamer
from livectl.secret import Secret
from livectl.settings import PlatformSettings, Polling, Settings
from livectl.units import parse_rate
from tests.support import cells
from tests.support.polling_model import next_due

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
    limits = polling.polling_limits(SETTINGS, DEMO)
    assert (limits.platform, limits.batch) == ("demo", DEMO.batch)
    assert limits.rate == parse_rate(DEMO.budget).per_second


def test_due_times_reckon_with_all_the_requests_that_a_check_takes() -> None:
    keyed = msgspec.structs.replace(SETTINGS, platforms={"youtube": PlatformSettings(api_key=Secret("abc"))})
    limits = polling.polling_limits(keyed, platforms.get("youtube"))
    assert (limits.batch, limits.capacity) == (10, limits.rate / 10), "it reads ten feeds"


@pytest.mark.parametrize(("followed", "interval"), [(200, 300.0), (1_000, 6_000.0)])
def test_due_times_reckon_with_what_confirms_who_is_not_live(store: Store, followed: int, interval: float) -> None:
    """Of 3 requests in 300 s, 200 streamers take 2, and a tenth of 10; of 60 in 6,000 s, 1,000 take 10, and 50."""
    streamers = [Streamer(platform="p", id=str(number)) for number in range(followed)]
    store.set_followed(streamers, START)
    limits = PollingLimits(
        platform="p", batch=100, rate=0.01, mode="uniform", offline_batch=20, offline_seconds=3_000.0
    )
    store.record(limits, [Observation(platform="p", id=each.id, state=State.OFFLINE, at=START) for each in streamers])
    assert cells.due(store._client, "p", "3") == pytest.approx(START + interval)


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
    limits = polling.LimitsByPlatform(SETTINGS)
    assert sorted(polling.claim(store, limits, START, 60)) == [("demo", ["ada"]), ("twitch", ["bob"])]


def test_limits_are_computed_once() -> None:
    limits = polling.LimitsByPlatform(SETTINGS)
    assert limits["demo"] is limits["demo"]
    assert limits["demo"] == polling.polling_limits(SETTINGS, DEMO)


def test_jobs_carry_whole_requests_and_no_more_than_they_can_do() -> None:
    ids = [str(number) for number in range(5_000)]
    limits = polling.LimitsByPlatform(SETTINGS)
    alone, together = (polling.split_into_batches(limits[name], ids) for name in ("douyu", "bilibili"))
    assert [len(batch.ids) for batch in alone] == [polling.MAX_JOB_REQUESTS] * 10
    assert {len(batch.ids) % 30 for batch in together[:-1]} == {0}
    assert max(len(batch.ids) for batch in together) <= polling.MAX_JOB_STREAMERS
    assert [streamer_id for batch in together for streamer_id in batch.ids] == ids
    assert [len(batch.ids) for batch in polling.split_into_batches(limits["bilibili"], ids[:100], 2)] == [60, 40]


def test_habits_are_learned_once_after_a_session_began(store: Store) -> None:
    limits = polling.polling_limits(SETTINGS, DEMO)
    store.set_followed([Streamer(platform="demo", id="ada"), Streamer(platform="demo", id="bob", weight=4)], START)
    assert polling.learn_habits(store, START) == 2
    assert polling.learn_habits(store, START) == 0
    for week in range(8):
        at = START + week * polling.WEEK_SECONDS
        for after, state in ((0, State.OFFLINE), (100, State.LIVE), (5000, State.OFFLINE), (5200, State.OFFLINE)):
            store.record(limits, [Observation(platform="demo", id="ada", state=state, at=at + after)])
    later = START + 9 * polling.WEEK_SECONDS - 3600
    assert polling.learn_habits(store, later) == 1
    client = store._client
    pulls = cells.fields(client, "pull", "demo")
    hour = polling.hour_of_week(START)
    assert pulls["ada"][hour] == max(pulls["ada"])
    assert pulls["ada"][hour] > pulls["ada"][(hour + 84) % 168]
    assert len(set(pulls["bob"])) == 1
    store.mark_unlearned()
    assert polling.learn_habits(store, later) == 2


@pytest.mark.parametrize("seed", range(20))
def test_the_store_computes_due_times_as_the_model_does(store: Store, seed: int) -> None:
    dice = Random(seed)
    names = [f"n{number}" for number in range(30)]
    packed = {name: "".join(dice.choices(DIGITS, k=polling.WEEK_HOURS)) for name in names}
    limits = PollingLimits(
        platform="demo",
        batch=1,
        rate=10 ** dice.uniform(-2, 0),
        fastest=dice.choice((15.0, 60.0)),
        slowest=dice.choice((300.0, 900.0, 7200.0)),
    )
    at = START + dice.uniform(0, polling.WEEK_SECONDS)
    store.set_followed([Streamer(platform="demo", id=name) for name in names], at)
    store.save_poll_weights("demo", packed)
    store.record(limits, [Observation(platform="demo", id=names[0], state=State.OFFLINE, at=at)])
    weights = {name: [_unpacked(digit) for digit in text] for name, text in packed.items()}
    expected = next_due(at, weights, names[0], limits.rate, limits.fastest, limits.slowest)
    assert cells.due(store._client, "demo", names[0]) == pytest.approx(expected, abs=0.01)


def _unpacked(digit: str) -> float:
    return polling.LOWEST_WEIGHT * math.exp(polling.WEIGHT_LOG_STEP * DIGITS.index(digit))
