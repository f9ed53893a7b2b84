"""Streamers who go live, a receiver that counts its alerts, and a clock that only tests move."""

from __future__ import annotations

import select
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from livectl import alert_sending
from livectl.live.alerts import delivery, targets
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer
from livectl.secret import Secret
from livectl.settings import Settings, Target
from tests.support.waiting import LOOK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.live.alerts.message import Alert

ILL = {"ill": 500, "gone": 404}
LIMITS = PollingLimits(platform="demo", batch=5000, rate=1000.0, keys="mine")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NOON = time.time() // DAY * DAY - DAY / 2  # the one before last midnight: the store's own clock is later


class Receiver(ThreadingHTTPServer):
    """Counts what it takes; `mood` says how it answers each time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        self.taken: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.asked = 0
        self.asked_ids: list[str] = []
        self.refused_keys: list[str] = []
        self.body_of_now: dict[str, Any] = {}
        self.mood: Callable[[], str] = lambda: "take"
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting has hung up."""


class ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def _wait_until_given_up(self) -> None:
        """Until the other side has hung up: nothing else would be read here."""
        while not self.server.closing.is_set():
            if select.select([self.connection], [], [], LOOK_SECONDS)[0]:
                return

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.asked += 1
        server.body_of_now = payload = msgspec.json.decode(body)
        server.asked_ids += [change["id"] for change in payload.get("changes", ())[:1]]
        mood = server.mood()
        if mood in {"take", "take slowly"}:
            server.bodies.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.taken.append(payload)
        else:
            server.refused_keys.append(payload.get("key", ""))
        if mood == "take slowly":
            self._wait_until_given_up()
        status = {"take": 204, "take slowly": 200, "busy": 429, "moved": 302, "never": 422, **ILL}.get(mood, 503)
        self.send_response(status)
        if mood == "busy":
            self.send_header("Retry-After", "30")
        if mood == "moved":
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as server:
        yield server


@pytest.fixture
def client(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url, decode_responses=True) as opened:
        yield opened


class World:
    """Streamers who go live, the targets of their alerts, and a clock that only tests move."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.store = Store(client)
        self.store.prepare()
        self.now = NOON
        self.step: Callable[[str], None] = lambda name: None
        self.is_outdated: Callable[[], bool] = lambda: False
        self.dead_letters: list[tuple[str, str]] = []
        self.targets: dict[str, Target] = {}
        self.timezone = "UTC"

    def follow(self, *streamers: Streamer | str) -> None:
        followed = [Streamer(platform="demo", id=item) if isinstance(item, str) else item for item in streamers]
        self.store.set_followed(followed, self.now)
        self.see("offline", *(streamer.id for streamer in followed))

    def see(self, state: str, *names: str, **more: Any) -> None:
        self.now += 1
        observations = [
            Observation(platform="demo", id=name, state=State(state), at=self.now, **more) for name in names
        ]
        self.store.record(LIMITS, observations)

    def end(self, *names: str) -> None:
        self.see("offline", *names)
        self.now += 2 * MINUTE
        self.see("offline", *names)

    @property
    def settings(self) -> Settings:
        return Settings(home=Path(), folder=Path(), alerts=self.targets, timezone=self.timezone)

    @property
    def dispatcher(self) -> delivery.AlertDispatcher:
        settings = self.settings
        fetcher = Fetcher(Routes({}), self.store)
        hooks = delivery.DispatchHooks(
            lambda: self.now, self.keep_letter, lambda name: self.step(name), self.is_outdated
        )
        return delivery.AlertDispatcher(
            settings, self.store, self.client, targets.build_senders(settings, fetcher), hooks
        )

    def keep_letter(self, alert: Alert, reason: str, now: float) -> None:
        self.dead_letters.append((alert.title, reason))
        alert_sending.keep_dead_letter(self.client, alert, reason, now)

    def deliver(self, name: str = "hook") -> int:
        return self.dispatcher.deliver_to(name)


@pytest.fixture
def world(client: redis.Redis) -> World:
    return World(client)


def hook(receiver: Receiver, **more: Any) -> Target:
    return Target(webhook=Secret(receiver.url), allow_private=True, **more)


def titles(receiver: Receiver) -> list[str]:
    return [payload["title"] for payload in receiver.taken]
