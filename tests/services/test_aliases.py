"""Names are led to ids once, within the budget, and remembered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from livectl.live import platforms
from livectl.live.follows import sync
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.live.platforms.base import CheckFailed, Platform, ask
from livectl.live.store import Store
from livectl.models import Request, State, Streamer
from livectl.settings import PlatformSettings, Settings
from livectl.units import parse_rate
from tests.support.http_site import Site, serving

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from livectl.live.platforms.base import CheckContext

NOW = 1_800_000_000.0
SETTINGS = Settings(home=Path("/nowhere"), folder=Path("/nowhere"))


def resolve(one: str, means: CheckContext) -> Generator[Any, Any, str]:
    if one.isdigit():
        return one
    yield from ask(Request(url=f"https://site.test/json?name={one}"))
    if one == "nobody":
        raise CheckFailed(State.NOT_FOUND, "no such streamer")
    return str(len(one))


MADE = Platform(
    name="made",
    hosts=frozenset({"site.test"}),
    batch=1,
    budget="600/m",
    address=lambda text: text,
    url=lambda one: one,
    check=lambda ids, means: None,  # type: ignore[arg-type, return-value]
    resolve=resolve,
)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(platforms, "get", lambda name: MADE)
    with serving() as server:
        yield server


@pytest.fixture
def settled(site: Site, store_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        store = Store(client)
        fetcher = Fetcher(Routes({"site.test": f"http://127.0.0.1:{site.server_port}"}), store)

        def settle(*names: str, settings: Settings = SETTINGS, after: float = 0.0) -> sync.ResolvedFollows:
            people = [Streamer(platform="made", id=name, name=name) for name in names]
            return sync.resolve_streamers(people, store, fetcher, settings, NOW + after)

        yield settle
        fetcher.close()


def test_a_name_is_looked_up_once(settled: Any, site: Site) -> None:
    for _ in range(2):
        assert [one.id for one in settled("abc", "42").streamers] == ["3", "42"]
    assert site.hits == ["/json?name=abc"]


def test_two_names_of_one_are_one(settled: Any) -> None:
    found = settled("abc", "xyz", "3")
    assert [(one.id, one.name) for one in found.streamers] == [("3", "abc")]


def test_who_leads_nowhere_is_told_and_asked_again(settled: Any, site: Site) -> None:
    for times in (1, 2):
        found = settled("nobody", "42")
        assert [one.id for one in found.streamers] == ["42"]
        assert [(one.id, why) for one, why in found.problems] == [("nobody", "no such streamer")]
        assert len(site.hits) == times


def test_no_more_is_asked_than_the_budget_bears(settled: Any, site: Site) -> None:
    lean = Settings(
        home=Path("/nowhere"), folder=Path("/nowhere"), platforms={"made": PlatformSettings(budget=parse_rate("12/m"))}
    )
    names = [letter * 5 for letter in "abcdef"]
    found = settled(*names, settings=lean)
    assert len(site.hits) == 2
    assert {why for _, why in found.problems} == {"not looked up yet"}
    settled(*names, settings=lean, after=5.0)
    assert len(site.hits) == 3
