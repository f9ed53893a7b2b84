"""What tests of the page need: streamers in a store, and the page as a visitor meets it."""

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

TOKEN = "a-token-that-nobody-guesses"
NASTY = "<script>alert('x')</script> \"quoted\" & </title>"


def store_of(url: str) -> Store:
    store = Store(redis.Redis.from_url(url, decode_responses=True))
    store.prepare()
    return store


def visitor(url: str, **more: Any) -> FlaskClient:
    app = Flask("tests")
    app.register_blueprint(blueprint(url, **more))
    return app.test_client()


def terms(platform: str) -> PollingLimits:
    return PollingLimits(platform=platform, batch=10, rate=10.0)


def follow(store: Store, *streamers: Streamer) -> None:
    store.set_followed(streamers, time.time() - 1000)


def someone(name: str, platform: str = "demo", **more: Any) -> Streamer:
    return Streamer(platform=platform, id=name, url=f"https://example.com/{name}", **more)


def say(store: Store, who: str, state: State, ago: float = 0, platform: str = "demo", **more: Any) -> None:
    """What a platform said of somebody so many seconds ago."""
    seen = Observation(platform=platform, id=who, state=state, at=time.time() - ago, **more)
    store.record(terms(platform), [seen])


def go_live(store: Store, who: str, ago: float = 0, platform: str = "demo", **more: Any) -> None:
    said = {"title": f"{who} streams", "name": who.title(), "started_at": time.time() - ago, "viewers": 12}
    say(store, who, State.LIVE, ago, platform, **(said | more))


def leave(store: Store, name: str, ago: float = 0, platform: str = "demo") -> None:
    """An end is believed at the second look."""
    say(store, name, State.OFFLINE, ago + 200, platform)
    say(store, name, State.OFFLINE, ago, platform)
