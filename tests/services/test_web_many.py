"""Of more streamers than the page holds it shows the first, and finds the others where somebody looks for them."""

from __future__ import annotations

import re
import time
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


def test_programs_get_all(visitor: FlaskClient) -> None:
    answer = visitor.get("/api/live?all=1").get_json()
    assert (answer["version"], len(answer["live"])) == (1, 31)
    live = visitor.get("/api/live?platform=huya").get_json()["live"]
    assert {row["id"] for row in live} == {"n21", "n25"}
    assert visitor.get("/api/live?q=nobody").get_json()["live"] == []


def test_the_metrics_of_many_are_those_of_few(store_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def counted() -> list[str]:
        text = page_client(store_url).get("/metrics").get_data(as_text=True)
        return [line for line in text.splitlines() if line.startswith("livectl_streamers")]

    few = counted()
    assert 'livectl_streamers_troubled{platform="demo",trouble="blocked"} 1.0' in few
    monkeypatch.setattr(streamer_list, "MANY", 10)
    assert counted() == few
