"""What most tests of the live wing's store begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from livectl.live.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def client(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url, decode_responses=True) as opened:
        yield opened


@pytest.fixture
def store(client: redis.Redis) -> Store:
    return Store(client)
