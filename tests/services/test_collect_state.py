"""What doctor reads of streamers out of a real store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from livectl import settings
from livectl.address import Address
from livectl.doctor import collect_state
from livectl.live.store import Store
from livectl.models import Streamer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_platform_that_needs_a_key_and_has_none(store_url: str, tmp_path: Path) -> None:
    def platforms_without_key() -> tuple[str, ...]:
        loaded = settings.load({"HOME": str(tmp_path)}, tmp_path)
        return collect_state.read_platforms(Address.parse(store_url), loaded, 1.0).without_key

    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        Store(client).set_followed([Streamer(platform="kick", id="ada"), Streamer(platform="demo", id="ada")], 1.0)
    assert platforms_without_key() == ("kick",)
    (tmp_path / "livectl.yaml").write_text("platforms: {kick: {client_id: a, client_secret: b}}")
    assert platforms_without_key() == ()
