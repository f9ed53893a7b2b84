"""One check, whole: asked of a real server, read, and recorded in a real store."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, patch

import pytest
import redis

from livectl.live import polling
from livectl.live.checker import Checker, Sweeper
from livectl.live.store import Store
from livectl.models import State, Streamer
from livectl.settings import Network, Settings
from tests.support.fake_platforms import Fakes
from tests.support.servers import lasting_redis
from tests.support.waiting import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.live.network.fetcher import CheckReport

NOW = 1_790_000_600.0


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with Fakes() as server:
        yield server


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        yield Store(client)


def settings(fakes: Fakes) -> Settings:
    return Settings(home=Path("/nowhere"), folder=Path("/nowhere"), network=Network(connect_to=fakes.connect_to))


def test_what_was_claimed_is_asked_and_recorded(fakes: Fakes, store: Store) -> None:
    fakes.plan.show("douyu", "1", "live", title="Hello")
    fakes.plan.show("douyu", "2", "offline")
    store.set_followed([Streamer(platform="douyu", id=streamer_id) for streamer_id in ("1", "2")], NOW)
    Checker(settings(fakes), store).check("douyu", ["1", "2"], NOW)
    assert [(record.id, record.title) for record in store.live_streamers()] == [("1", "Hello")]
    assert [change.kind for change in store.changes()] == ["began"]
    assert fakes.requests_to("douyu") == 2


def test_a_look_answers_for_each_in_order_under_the_name_it_was_asked_by(fakes: Fakes, store: Store) -> None:
    fakes.plan.show("bilibili", "100", "live", alias="6")
    fakes.plan.show("bilibili", "200", "offline")
    checker = Checker(settings(fakes), store)
    names = ["200", "room:6", "room:7", "200"]
    seen = checker.check_now("bilibili", names, NOW)
    assert [(observation.id, observation.state) for observation in seen] == [
        ("200", State.OFFLINE),
        ("100", State.LIVE),
        ("room:7", State.NOT_FOUND),
        ("200", State.OFFLINE),
    ]
    asked = fakes.requests_to("bilibili")
    checker.check_now("bilibili", ["room:6"], NOW)
    assert fakes.requests_to("bilibili") == asked + 1  # the name was looked up once


def test_a_look_needs_no_store(fakes: Fakes) -> None:
    fakes.plan.show("douyu", "1", "live")
    (seen,) = Checker(settings(fakes), None).check_now("douyu", ["1"], NOW)
    assert seen.state is State.LIVE


@pytest.mark.parametrize(("trouble", "state"), [("blocked", State.BLOCKED), ("rate_limited", State.RATE_LIMITED)])
def test_a_site_that_wants_to_be_left_alone_is_left_alone_by_people_too(
    fakes: Fakes, store: Store, trouble: str, state: State
) -> None:
    fakes.plan.show("twitch", "1", "live")
    fakes.plan.trouble["twitch"] = trouble  # type: ignore[assignment]
    store.set_followed([Streamer(platform="twitch", id="1")], NOW)
    checker = Checker(settings(fakes), store)
    checker.check("twitch", ["1"], NOW)
    asked = fakes.requests_to("twitch")
    (seen,) = checker.check_now("twitch", ["1"], NOW + 1)
    assert (seen.state, seen.problem.startswith("not asked: ")) == (state, True)
    assert fakes.requests_to("twitch") == asked


def test_who_asks_for_many_waits_for_the_budget(fakes: Fakes, store: Store) -> None:
    checker = Checker(settings(fakes), store)
    rate = 30 / 60  # Bilibili's, in requests of 30 streamers a second
    assert checker.reserve("bilibili", 30, NOW) == 0
    waits = [checker.reserve("bilibili", 150, NOW) for _ in range(3)]
    assert waits[0] == 0  # a little ahead of the budget keeps nobody waiting
    assert waits[1:] == [pytest.approx((1 + 2 * 5 - 5) / rate), pytest.approx((1 + 3 * 5 - 5) / rate)]


def test_a_sweep_claims_each_once_and_a_lost_job_is_due_again(
    fakes: Fakes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set_followed([Streamer(platform="demo", id=str(number)) for number in range(700)], NOW)
    sweeper = Sweeper(settings(fakes), store)

    def claim(at: float) -> list[str]:
        return [streamer_id for batches in sweeper.claim(NOW + at) for batch in batches for streamer_id in batch.ids]

    claimed = claim(0)
    assert len(claimed) == len(set(claimed)) == 700
    assert claim(24) == []
    monkeypatch.setattr(store, "record", Mock(side_effect=KeyboardInterrupt))  # a worker dies that has begun to ask
    with pytest.raises(KeyboardInterrupt):
        sweeper.checker.check("demo", ["7"], NOW + 10)
    assert sorted(claim(26)) == sorted({*claimed} - {"7"})
    assert "7" not in claim(10 + 59)
    assert "7" in claim(10 + 61)


def test_many_habits_are_learned_in_one_go_and_as_many_as_there_is_time_for(fakes: Fakes, store: Store) -> None:
    now = time.time()
    store.set_followed([Streamer(platform="demo", id=str(number)) for number in range(450)], now)
    sweeper = Sweeper(settings(fakes), store)
    assert sweeper.learn_habits(now) == polling.MAX_LEARNED
    assert sweeper.learn_for(0.0, now) == 0
    times = iter([False, True])
    assert polling.learn_habits(store, now, 10_000, lambda: next(times)) == polling.LEARNED_AT_ONCE
    assert sweeper.learn_for(HANG_SECONDS, now) == 450 - polling.MAX_LEARNED - polling.LEARNED_AT_ONCE


def test_pruning_lets_habits_be_learned_anew(fakes: Fakes, store: Store) -> None:
    now = time.time()
    store.set_followed([Streamer(platform="demo", id="ada")], now)
    sweeper = Sweeper(settings(fakes), store)
    assert sweeper.learn_habits(now) == 1
    assert sweeper.learn_habits(now) == 0
    assert sweeper.prune(now) == 0
    assert sweeper.learn_habits(now) == 1


def test_what_was_answered_while_the_store_was_away_is_recorded_when_it_is_back(fakes: Fakes, tmp_path: Path) -> None:
    fakes.plan.show("douyu", "1", "live")
    with lasting_redis(tmp_path) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        store = Store(client)
        store.set_followed([Streamer(platform="douyu", id="1")], NOW)
        checker = Checker(settings(fakes), store, away_seconds=HANG_SECONDS)
        back, ask = threading.Thread(target=server.start), checker.fetcher.check

        def ask_and_kill(*asked: Any) -> CheckReport:
            report = ask(*asked)
            server.kill()
            back.start()
            return report

        with patch.object(checker.fetcher, "check", ask_and_kill):
            checker.check("douyu", ["1"], NOW)
        back.join()
        assert [record.id for record in store.live_streamers()] == ["1"]
        assert [change.kind for change in store.changes()] == ["began"]
    assert fakes.requests_to("douyu") == 1
