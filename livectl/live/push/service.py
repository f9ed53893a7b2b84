"""Runs what lets platforms tell of go-lives: `livectl push`."""

from __future__ import annotations

import logging
import threading
import time
from secrets import token_hex
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from livectl.errors import LivectlError
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.live.polling import LimitsByPlatform
from livectl.live.push.inbox import Inbox
from livectl.live.push.push_store import PushStore
from livectl.live.push.twitch_push import TwitchPush
from livectl.live.push.webhook_push import KickPush, WebSubPush
from livectl.live.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from livectl.live.push.inbox import PushEvent
    from livectl.live.push.source import PushSource
    from livectl.settings import Settings

STEP_SECONDS = 1.0
RECEIVE_SECONDS = 0.5  # between two looks whether it is to end
GATHER_SECONDS = 0.05  # what is told together is recorded together
PAUSE_SECONDS = 1.0  # while the store is away
MAX_WAITING = 10_000  # events, while it is; polling finds what the oldest told

log = logging.getLogger(__name__)


class PushService:
    """All that one process does for push, under one set of settings."""

    def __init__(
        self, settings: Settings, client: Redis, on_changes: Callable[[], None], say: Callable[[str], None] = log.info
    ) -> None:
        self._say = say
        self._store, self._push_store = Store(client), PushStore(client)
        limits, routes = LimitsByPlatform(settings, self._store), Routes.from_settings(settings.network)
        self._fetcher = Fetcher(routes, self._store)
        self._inbox = Inbox(settings, self._store, self._push_store, limits, on_changes, self._fetcher)
        token = token_hex(8)
        shared = settings, self._store, self._push_store, limits
        self._twitch: TwitchPush | None = None
        self._sources: dict[str, PushSource] = {}
        if "twitch" in settings.push:
            self._twitch = TwitchPush(*shared, self._fetcher, routes, token)
            self._sources["twitch"] = self._twitch
        for name, kind in (("kick", KickPush), ("youtube", WebSubPush)):
            if name in settings.push:
                self._sources[name] = kind(*shared, self._fetcher, token)
        self._problems: dict[str, str] = {}
        self._stopping = threading.Event()

    def run(self, is_over: Callable[[], bool]) -> None:
        """Until it is over. A store that is away is waited for."""
        receiver = threading.Thread(target=self._receive_all, daemon=True, name="livectl-inbox")
        receiver.start()
        try:
            while not is_over():
                began = time.monotonic()
                try:
                    self.step(time.time())
                except (RedisError, LivectlError) as error:
                    self._tell("store", f"the store is away: {error}")
                else:
                    self._tell("store", "")
                self._stopping.wait(max(0.0, STEP_SECONDS - (time.monotonic() - began)))
        finally:
            self._stopping.set()
            receiver.join(2 * RECEIVE_SECONDS)
            self.close()

    def step(self, now: float) -> None:
        for platform, source in self._sources.items():
            problem, cure = "", ""
            try:
                source.step(now)
            except LivectlError as error:
                problem, cure = error.message, error.hint or ""
            if source.is_keeper or problem:
                self._push_store.note_problem(platform, problem, cure, now)
                self._tell(platform, problem, cure)

    def close(self) -> None:
        for source in self._sources.values():
            try:
                source.close()
            except RedisError as error:
                log.info("leases run out by themselves: %s", error)
        self._fetcher.close()

    def _receive_all(self) -> None:
        waiting: list[PushEvent] = []
        while self._twitch and not self._stopping.is_set():
            told = self._twitch.receive(RECEIVE_SECONDS)
            if told:
                time.sleep(GATHER_SECONDS)
                told += self._twitch.receive(0)
            waiting = (waiting + told)[-MAX_WAITING:]
            try:
                self._inbox.receive(waiting, time.time())
            except (RedisError, LivectlError) as error:
                log.warning("what was told waits for the store: %s", error)
                self._stopping.wait(PAUSE_SECONDS)
                continue
            except Exception:  # a bug costs these events, which polling finds, and nothing more
                log.exception("what was told cannot be recorded")
            waiting = []

    def _tell(self, about: str, problem: str, cure: str = "") -> None:
        """Says what is new, and what helps."""
        if problem != self._problems.get(about, ""):
            self._say(f"{about}: {problem or 'it works'}{f'. {cure}' if cure else ''}")
        self._problems[about] = problem
