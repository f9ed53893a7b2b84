"""Puts streamers into a store, and gives tests of the page a client for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import redis
from flask import Flask

from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer
from livectl.web import blueprint

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from livectl.web.images import ImageCache

TOKEN = "a-token-that-nobody-guesses"
NASTY = "<script>alert('x')</script> \"quoted\" & </title>"


def prepared_store(url: str) -> Store:
    store = Store(redis.Redis.from_url(url, decode_responses=True))
    store.prepare()
    return store


def page_client(url: str, *, image_cache: ImageCache | None = None, **options: Any) -> FlaskClient:
    """A visitor of the page; it asks for images with this cache, or else for none."""
    app = Flask("tests")
    app.register_blueprint(blueprint(url, images=image_cache or False, **options))
    return app.test_client()


def limits(platform: str) -> PollingLimits:
    return PollingLimits(platform=platform, batch=10, rate=10.0)


def follow(store: Store, *streamers: Streamer) -> None:
    store.set_followed(streamers, time.time() - 1000)


def make_streamer(name: str, platform: str = "demo", **fields: Any) -> Streamer:
    return Streamer(platform=platform, id=name, url=f"https://example.com/{name}", **fields)


def observe(store: Store, id_: str, state: State, ago: float = 0, platform: str = "demo", **fields: Any) -> None:
    """Records what a platform said of a streamer so many seconds ago."""
    observation = Observation(platform=platform, id=id_, state=state, at=time.time() - ago, **fields)
    store.record(limits(platform), [observation])


def go_live(store: Store, id_: str, ago: float = 0, platform: str = "demo", **fields: Any) -> None:
    usual = {
        "title": f"{id_} streams",
        "name": id_.title(),
        "started_at": time.time() - ago,
        "viewers": 12,
    }
    observe(store, id_, State.LIVE, ago, platform, **(usual | fields))


def go_offline(store: Store, id_: str, ago: float = 0, platform: str = "demo") -> None:
    """Twice: the store believes an end at the second look."""
    observe(store, id_, State.OFFLINE, ago + 200, platform)
    observe(store, id_, State.OFFLINE, ago, platform)
