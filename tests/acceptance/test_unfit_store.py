"""A store in which livectl's own workers and beats could do nothing, or lose what they do: none of them starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from livectl.live.cells import KEYS_VERSION, MIGRATING_KEY, VERSION_KEY
from livectl.live.store import Store
from tests.support.processes import livectl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.acceptance


@pytest.fixture
def client(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        Store(client).prepare()
        yield client
        client.config_set("maxmemory-policy", "noeviction")


def change_shards(client: redis.Redis) -> str:
    client.set("livectl:{-}:shards", "4")
    return "The store keeps each platform in 4 shards, and polling.shards is 16."


def begin_a_move(client: redis.Redis) -> str:
    client.hset(MIGRATING_KEY, "to", "7")
    return "The store is half brought over to 7 shards."


def be_newer(client: redis.Redis) -> str:
    client.set(VERSION_KEY, KEYS_VERSION + 1)
    return "The store was written by a newer livectl"


def throw_away(client: redis.Redis) -> str:
    client.config_set("maxmemory-policy", "volatile-lru")
    return "throws keys away when it is full: its maxmemory-policy is volatile-lru."


@pytest.mark.parametrize(
    ("words", "spoil"),
    [
        ("worker", change_shards),
        ("worker --detach", begin_a_move),
        ("beat", begin_a_move),
        ("up", be_newer),
        ("up --detach", throw_away),
        ("push", throw_away),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_nothing_starts_on_it(client: redis.Redis, store_url: str, tmp_path: Path, words: str, spoil: object) -> None:
    assert callable(spoil)
    problem = spoil(client)
    (tmp_path / "livectl.yaml").write_text("polling: {shards: 16}\npush: [twitch]\n")
    environ = {"LIVECTL_BROKER": store_url, "LIVECTL_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    with livectl(*words.split(), cwd=tmp_path, environ=environ) as running:
        assert running.wait() == 4
    assert problem in running.text
