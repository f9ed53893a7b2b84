"""How the page finds its store, and finds it again after it was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from livectl.address import Address
from livectl.errors import ServerError
from livectl.models import State
from livectl.ops.deployment import Deployment
from livectl.ops.protocol.keys import layout_from_settings
from livectl.web.data import StoreReader
from livectl.web.streamer_list import read_streamers
from tests.support.web_pages import follow, go_live, make_streamer, observe, prepared_store

if TYPE_CHECKING:
    from redis import Redis


class Finder:
    """Finds the same deployment each time, and counts how often it was asked to."""

    def __init__(self, url: str) -> None:
        address = Address.parse(url)
        self.deployment = Deployment(broker=address, results=address, store=address, layout=layout_from_settings({}))
        self.calls = 0

    def find(self) -> Deployment:
        self.calls += 1
        return self.deployment


class FailingQuery:
    """Fails so many times, and then succeeds."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error = failures, error

    def __call__(self, *_: Any) -> str:
        if self.failures:
            self.failures -= 1
            raise self.error
        return "result"


def read_key(client: Redis) -> Any:
    return client.get("key")


def test_one_connection_serves_all_readings(store_url: str) -> None:
    finder = Finder(store_url)
    reader = StoreReader(finder.find)
    assert [reader.read(read_key), reader.read(read_key)] == [None, None]
    assert reader.read_deployment(lambda deployment, store: (deployment, store)) == (
        finder.deployment,
        finder.deployment.store,
    )
    assert finder.calls == 1


def test_a_connection_that_died_is_opened_again_once(store_url: str) -> None:
    finder = Finder(store_url)
    reader = StoreReader(finder.find)
    assert reader.read(FailingQuery(1, RedisConnectionError())) == "result"
    assert finder.calls == 2
    with pytest.raises(ServerError, match="does not answer"):
        reader.read(FailingQuery(2, RedisConnectionError()))


def test_after_a_failure_the_deployment_is_found_again(store_url: str) -> None:
    finder = Finder(store_url)
    reader = StoreReader(finder.find)
    query = FailingQuery(1, ServerError("away"))
    with pytest.raises(ServerError, match="away"):
        reader.read_deployment(query)
    assert reader.read_deployment(query) == "result"
    assert finder.calls == 2


def test_another_look_at_who_is_not_live_is_no_news(store_url: str) -> None:
    store = prepared_store(store_url)
    follow(store, *(make_streamer(name) for name in ("ada", "bob", "eve")))
    go_live(store, "ada", 50, session="one", viewers=5)
    digests = set()
    for names in (("bob", "eve"), ("eve", "bob")):
        for name in names:
            observe(store, name, State.OFFLINE)
        go_live(store, "ada", 50, session="one", viewers=6, started_at=1_000.0)
        with redis.Redis.from_url(store_url, decode_responses=True) as client:
            streamers = read_streamers(client, 2_000.0)
        digests.add(streamers.news_digest)
        assert [record.id for record in streamers.others] == ["bob", "eve"]
    assert len(digests) == 1
