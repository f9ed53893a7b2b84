"""Everybody comes in the order that the store keeps, from any place on, whatever cells they lie in."""

from __future__ import annotations

from itertools import chain
from random import Random
from typing import TYPE_CHECKING

import pytest

from livectl.errors import UsageError
from livectl.live import store_order
from livectl.live.store_order import OrderPlace
from livectl.models import Observation, PollingLimits, State, Streamer, UnresolvedFollow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.live.store import Store
    from livectl.models import StreamerRecord

START = 1_790_000_000.0
PLATFORMS = ("bilibili", "demo", "douyu")
NAMES = [f"{word}{number}" for word in ("n", "Ä", "~", "N_") for number in range(15)]
LIVE, WAS_LIVE, READ = 12, 30, 45  # of the names of each platform: the others were never read


def look(store: Store, platform: str, name: str, state: State, at: float, started_at: float | None = None) -> None:
    limits = PollingLimits(platform=platform, batch=100, rate=100.0)
    session = f"{name}-1" if state is State.LIVE else ""
    store.record(
        limits,
        [Observation(platform=platform, id=name, state=state, at=at, session=session, started_at=started_at)],
    )


@pytest.fixture
def crowd(store: Store) -> Store:
    """Many of the same start, of the same end, and who were not read, on three platforms; and lines for nobody."""
    store.prepare(8)
    lines = [
        UnresolvedFollow(streamer=Streamer(platform="demo", id=f"no{number}"), state=State.NOT_FOUND, problem="no")
        for number in range(5)
    ]
    people = [Streamer(platform=platform, id=name) for platform in PLATFORMS for name in NAMES]
    store.set_followed(people, START, lines)
    random = Random(5)
    for platform in PLATFORMS:
        names = random.sample(NAMES, len(NAMES))
        for at, name in enumerate(names[:READ]):
            began = START + 10 * (at % 4)
            if at < WAS_LIVE:
                look(store, platform, name, State.LIVE, START + 100, began)
            if at >= LIVE:
                look(store, platform, name, State.OFFLINE, START + 5000 + at % 3)
                look(store, platform, name, State.OFFLINE, START + 9000)
    return store


def pages(store: Store, size: int, platform: str = "", *, live_only: bool = False) -> Iterator[list[StreamerRecord]]:
    place: OrderPlace | None = OrderPlace()
    while place:
        page = store.page_after(OrderPlace.parse(str(place)), size, platform, live_only=live_only)
        assert len(page.streamers) <= size or page.streamers[0].unresolved
        yield page.streamers
        place = page.next


def order(record: StreamerRecord) -> tuple[bool, bool, bool, float]:
    """What of the order is promised: who has the same may come in any."""
    is_live = record.state is State.LIVE
    last_at = record.started_at if is_live else record.ended_at
    return not is_live, record.unresolved, record.state is None, -(last_at or 0.0)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("least_asked", [1, 16])
def test_everybody_comes_once_and_in_order(
    crowd: Store, monkeypatch: pytest.MonkeyPatch, size: int, least_asked: int
) -> None:
    monkeypatch.setattr(store_order, "LEAST_ASKED", least_asked)
    found = list(chain.from_iterable(pages(crowd, size)))
    assert [order(record) for record in found] == sorted(order(record) for record in found)
    assert sorted(record.key for record in found) == sorted(record.key for record in crowd.all_streamers())
    assert len(found) == len(PLATFORMS) * len(NAMES) + 5


@pytest.mark.parametrize("size", [2, 1000])
def test_some_come_alone(crowd: Store, size: int) -> None:
    everyone = crowd.all_streamers()
    live = list(chain.from_iterable(pages(crowd, size, live_only=True)))
    assert sorted(record.key for record in live) == sorted(
        record.key for record in everyone if record.state is State.LIVE
    )
    assert len(live) == LIVE * len(PLATFORMS)
    here = list(chain.from_iterable(pages(crowd, size, "demo")))
    assert sorted(record.key for record in here) == sorted(
        record.key for record in everyone if record.platform == "demo"
    )


def test_a_reader_goes_on_where_somebody_has_gone(crowd: Store) -> None:
    """The place at which a page ended stays one when the last of it is there no longer."""
    first = crowd.page_after(OrderPlace(), 10)
    last = first.streamers[-1]
    assert first.next
    before = crowd.page_after(first.next, 1000, live_only=True).streamers
    for ago in (100, 200):
        look(crowd, *last.key, State.OFFLINE, START + 20_000 + ago)
    assert crowd.page_after(first.next, 1000, live_only=True).streamers == before


def test_nobody_is_a_page_as_well(store: Store) -> None:
    store.prepare()
    assert list(pages(store, 10)) == [[], []]
    assert list(pages(store, 10, "demo", live_only=True)) == [[]]


@pytest.mark.parametrize(
    "text", ["x", "!", "=", "WzEsIDIsIDMsIDRd", str(OrderPlace("live", "x")), str(OrderPlace("lines", "-1"))]
)
def test_what_no_page_named_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no page ended there"):
        OrderPlace.parse(text)
