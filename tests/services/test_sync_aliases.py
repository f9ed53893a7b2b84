"""Names are led to ids once, within the budget, and remembered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from livectl.live import platforms
from livectl.live.follows.sync import AliasResolver, ResolvedNames
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.live.platforms.base import CheckFailed, Platform, ask
from livectl.live.polling import LimitsByPlatform
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, Request, State, Streamer
from livectl.settings import PlatformSettings, Settings
from livectl.units import parse_rate
from tests.support.http_site import Site, serving

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from livectl.live.platforms.base import CheckContext

NOW = 1_800_000_000.0
SETTINGS = Settings(home=Path("/nowhere"), folder=Path("/nowhere"))


def resolve_name(name: str, context: CheckContext) -> Generator[Any, Any, str]:
    if name.isdigit():
        return name
    yield from ask(Request(url=f"https://site.test/json?name={name}"))
    if name == "nobody":
        raise CheckFailed(State.NOT_FOUND, "no such streamer")
    return str(len(name))


MADE = Platform(
    name="made",
    hosts=frozenset({"site.test"}),
    batch=1,
    budget="600/m",
    address=lambda text: text,
    url=lambda streamer_id: streamer_id,
    check=lambda ids, context: None,  # type: ignore[arg-type, return-value]
    resolve=resolve_name,
)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(platforms, "get", lambda name: MADE)
    with serving() as server:
        yield server


@pytest.fixture
def resolved(site: Site, store_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        store = Store(client)
        fetcher = Fetcher(Routes({"site.test": f"http://127.0.0.1:{site.server_port}"}), store)

        def resolve_names(*names: str, settings: Settings = SETTINGS, after: float = 0.0) -> ResolvedNames:
            streamers = [Streamer(platform="made", id=name, name=name) for name in names]
            resolver = AliasResolver(settings, store, fetcher, LimitsByPlatform(settings))
            return resolver.resolve(streamers, NOW + after, {})

        yield resolve_names
        fetcher.close()


def ids(names: ResolvedNames) -> dict[str, str]:
    return {name: streamer_id for (_, name), streamer_id in names.ids.items()}


def problems(names: ResolvedNames) -> list[tuple[str, State, str]]:
    return [(name, follow.state, follow.problem) for (_, name), follow in names.problems.items()]


def test_a_name_is_looked_up_once(resolved: Any, site: Site) -> None:
    for _ in range(2):
        assert ids(resolved("abc", "42")) == {"abc": "3", "42": "42"}
    assert site.hits == ["/json?name=abc"]


def test_who_leads_nowhere_is_told_and_asked_again(resolved: Any, site: Site) -> None:
    for times in (1, 2):
        names = resolved("nobody", "42")
        assert ids(names) == {"42": "42"}
        assert problems(names) == [("nobody", State.NOT_FOUND, "no such streamer")]
        assert len(site.hits) == times


def test_no_more_is_asked_than_the_budget_bears(resolved: Any, site: Site) -> None:
    lean = Settings(
        home=Path("/nowhere"), folder=Path("/nowhere"), platforms={"made": PlatformSettings(budget=parse_rate("12/m"))}
    )
    names = [letter * 5 for letter in "abcdef"]
    found = resolved(*names, settings=lean)
    assert len(site.hits) == 2
    assert {problem for _, _, problem in problems(found)} == {"not looked up yet"}
    resolved(*names, settings=lean, after=5.0)
    assert len(site.hits) == 3


def test_nobody_is_looked_up_while_the_platform_is_left_alone(resolved: Any, site: Site, store_url: str) -> None:
    limits = PollingLimits(platform="made", batch=1, rate=10.0)
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        store = Store(client)
        store.set_followed([Streamer(platform="made", id="1")], NOW)
        store.record(limits, [Observation(platform="made", id="1", state=State.BLOCKED, at=NOW)])
    names = resolved("abc", "42", after=10.0)
    assert (site.hits, ids(names)) == ([], {"42": "42"})
    assert problems(names) == [("abc", State.BLOCKED, "not looked up yet")]
    assert ids(resolved("abc", after=310.0)) == {"abc": "3"}
