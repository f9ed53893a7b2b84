"""Of more streamers than the page holds it shows the first, and finds the others where somebody looks for them."""

from __future__ import annotations

import re
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
import redis

from livectl.models import State, Streamer, UnresolvedFollow
from livectl.web import data, streamer_list
from livectl.web.cache import RecentEdits
from livectl.web.selection import SORTS, StreamerFilter
from livectl.web.streamer_list import find_streamers, read_streamers
from tests.support.web_pages import go_live, go_offline, make_streamer, observe, page_client, prepared_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

    from livectl.live.store import Store
    from livectl.web.streamer_list import StreamerList

NAMES = [f"n{number:02}" for number in range(30)]
TITLED = {"n03": 'a "quoted" / title', "n04": "日本語 ÜBER \\ all", "n05": "Speedrun"}
FILTERS = [
    StreamerFilter(),
    StreamerFilter(platform="demo"),
    StreamerFilter(platform="nowhere"),
    StreamerFilter(state="live"),
    StreamerFilter(state="offline"),
    StreamerFilter(state="offline", platform="huya"),
    StreamerFilter(state="trouble"),
    StreamerFilter(state="trouble", platform="demo"),
    StreamerFilter(tag="one"),
    StreamerFilter(tag='t"wo'),
    *(StreamerFilter(text=text) for text in ("N1", 'quoted" /', "über \\", "日本", "speedRUN", "nobody", "no")),
    StreamerFilter(text="n", state="live", tag="one"),
]


@pytest.fixture
def store(store_url: str) -> Store:
    """Thirty in all states: 7 live on two platforms, one who is followed while their line cannot be read, a line."""
    made = prepared_store(store_url)
    tags = dict.fromkeys(NAMES[::3], ("one",)) | {"n07": ('t"wo',)}
    people = [make_streamer(name, "huya" if name > "n19" else "demo", tags=tags.get(name, ())) for name in NAMES]
    lines = [
        UnresolvedFollow(streamer=Streamer(platform="demo", id=name), state=State.NOT_FOUND, problem="no such name")
        for name in ("nosuch", "n02")
    ]
    made.set_followed(people, time.time() - 1000, lines)
    for number in (0, 3, 4, 5, 11):
        go_live(made, NAMES[number], 500 - number, title=TITLED.get(NAMES[number], "Title"), viewers=number * 7 % 11)
    for number in (21, 25):
        go_live(made, NAMES[number], number, "huya")
    go_offline(made, "n05", 10)
    observe(made, "n08", State.REPLAY, 9)
    observe(made, "n09", State.BLOCKED, 9, problem="captcha")
    observe(made, "n11", State.NETWORK, 9)
    observe(made, "n22", State.OFFLINE, 9, "huya")
    return made


@pytest.fixture
def client(store: Store, store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        yield client


@pytest.mark.parametrize("sort", SORTS)
def test_whoever_looks_among_many_finds_the_same(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    whole = read_streamers(client, time.time())
    monkeypatch.setattr(streamer_list, "MANY", 10)
    for streamer_filter in FILTERS:
        fitting = streamer_filter.apply(whole)
        found = find_streamers(client, whole, streamer_filter, sort, RecentEdits())
        shown = [[record.key for record in records] for records in (found.live, found.others)]
        expected = [[record.key for record in records] for records in (fitting.live, fitting.others)]
        assert shown == expected, streamer_filter
        monkeypatch.setattr(streamer_list, "SHOWN", 2)
        monkeypatch.setattr(streamer_list, "HELD", 3)
        first = find_streamers(client, whole, streamer_filter, sort, RecentEdits())
        assert (first.live_count, first.count) == (found.live_count, found.count), streamer_filter
        assert (len(first.live), len(first.others)) == (min(2, len(found.live)), min(2, len(found.others)))
        monkeypatch.setattr(streamer_list, "SHOWN", 500)
        monkeypatch.setattr(streamer_list, "HELD", 2000)


@pytest.fixture
def visitor(store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setattr(streamer_list, "MANY", 10)
    monkeypatch.setattr(streamer_list, "SHOWN", 4)
    return page_client(store_url)


def page(visitor: FlaskClient, address: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", visitor.get(address).get_data(as_text=True)))


def test_the_page_shows_the_first_and_says_how_many_there_are(visitor: FlaskClient) -> None:
    text = page(visitor, "/")
    assert "6 live of 31 followed" in text
    assert "23 more are not shown. Search and filters look among all." in text
    assert visitor.get("/").get_data(as_text=True).count('class="card ') == 4
    assert ("N11" in text, "n17" in text) == (True, False)


def test_the_search_looks_among_all(visitor: FlaskClient) -> None:
    assert "N00 streams" not in page(visitor, "/")
    assert "a &#34;quoted&#34; / title" in page(visitor, "/?q=quoted")
    assert "nosuch" in page(visitor, "/?state=trouble")
    assert "more are not shown" not in page(visitor, "/?q=n03")
    assert visitor.get("/streamers/demo/n17").status_code == 200


def test_one_search_at_a_time(visitor: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile: list[int] = []

    def find(*args: Any) -> StreamerList:
        meanwhile.append(visitor.get("/?q=other").status_code)
        meanwhile.append(visitor.get("/").status_code)
        return find_streamers(*args)

    monkeypatch.setattr(data, "MAX_LOOK_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("livectl.web.data.find_streamers", find)
    assert visitor.get("/?q=n03").status_code == 200
    assert meanwhile == [429, 200]


def in_pages(visitor: FlaskClient, query: str) -> Iterator[list[str]]:
    """The ids of each page, until there is no next one."""
    after = ""
    while True:
        answer = visitor.get(f"/api/live?{query}&after={after}").get_json()
        assert answer["version"] == 1
        yield [row["id"] for row in answer["live"]]
        if (after := answer["next"]) is None:
            return


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_programs_get_all_in_pages(visitor: FlaskClient, limit: int) -> None:
    pages = list(in_pages(visitor, f"all=1&limit={limit}"))
    assert all(len(page) <= limit for page in pages)
    assert sorted(chain.from_iterable(pages)) == sorted([*NAMES, "nosuch"])
    live = list(chain.from_iterable(in_pages(visitor, f"limit={limit}")))
    assert live[-1] == "n00"
    assert sorted(live) == ["n00", "n03", "n04", "n11", "n21", "n25"]


def test_pages_pass_over_who_does_not_fit(visitor: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_LOOKS_A_PAGE", 2)

    def found(query: str) -> list[str]:
        return sorted(chain.from_iterable(in_pages(visitor, query)))

    assert found("platform=huya") == ["n21", "n25"]
    assert found("q=nobody") == []
    assert found("all=1&tag=one&limit=3") == NAMES[::3]
    assert found("all=1&state=live&limit=2&q=n0") == ["n00", "n03", "n04"]


@pytest.mark.parametrize("query", ["after=nonsense", "limit=0", "limit=1001", "limit=x", "limit=-1"])
def test_a_page_that_is_none_is_refused(visitor: FlaskClient, query: str) -> None:
    answer = visitor.get(f"/api/live?{query}")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, 2)


def test_of_few_there_are_pages_for_who_asks(store_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamer_list, "MANY", 1000)
    few = page_client(store_url)
    whole = few.get("/api/live?all=1").get_json()
    assert (len(whole["live"]), "next" in whole) == (31, False)
    first = few.get("/api/live?all=1&limit=7").get_json()
    assert [row["id"] for row in first["live"]] == [row["id"] for row in whole["live"]][:7]


def test_the_metrics_of_many_are_those_of_few(store_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def counted() -> list[str]:
        text = page_client(store_url).get("/metrics").get_data(as_text=True)
        return [line for line in text.splitlines() if line.startswith("livectl_streamers")]

    few = counted()
    assert 'livectl_streamers_troubled{platform="demo",trouble="blocked"} 1.0' in few
    monkeypatch.setattr(streamer_list, "MANY", 10)
    assert counted() == few
