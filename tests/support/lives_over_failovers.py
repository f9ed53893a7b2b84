"""Plays many go-lives while servers of the store are lost, and counts what a target was told.

The sites are played in this process. What asks, records and tells is what workers do, each with a client of its own.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from livectl import alert_sending, redis_client
from livectl.address import Address
from livectl.errors import LivectlError
from livectl.live.cells import COMMON, platform_place
from livectl.live.checker import Sweeper
from livectl.live.network.fetcher import CheckReport
from livectl.live.store import Store
from livectl.models import Observation, State, Streamer
from livectl.settings import PlatformSettings, Polling, Settings
from livectl.units import parse_rate
from tests.support.alerts import hook
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.live.alerts.delivery import AlertDispatcher
    from livectl.live.platforms.base import CheckContext, Platform
    from tests.support.alerts import Receiver

PLATFORMS = ("bilibili", "huya", "soop")  # which need no key
TARGET = "phone"
FASTEST_S, SLOWEST_S = 0.5, 1.0
PAUSE_S = 0.02  # of a worker between two of its jobs
# Of a cluster of three each node has one; that of the first has most: the one outbox, a platform, the target.
PLACES = (COMMON, *map(platform_place, PLATFORMS[1:]))


class PlayedSites:
    """Says of everybody whether they are live, in place of the sites."""

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.asked = 0

    def check(self, platform: Platform, ids: Sequence[str], context: CheckContext, _exit: str = "") -> CheckReport:
        self.asked += len(ids)
        return CheckReport([self._observe(platform.name, each, context.now) for each in ids], len(ids))

    def _observe(self, platform: str, streamer_id: str, now: float) -> Observation:
        if streamer_id not in self.live:
            return Observation(platform=platform, id=streamer_id, state=State.OFFLINE, at=now)
        return Observation(platform=platform, id=streamer_id, state=State.LIVE, at=now, session=f"{streamer_id}s")


class LivesOverFailovers:
    """The world: who is followed, the workers, the receiver of the alerts."""

    def __init__(self, store_url: str, receiver: Receiver, count: int) -> None:
        self._receiver, self._sites = receiver, PlayedSites()
        self._address = Address.parse_store(store_url)
        access = PlatformSettings(budget=parse_rate("1000000/m"))
        self._settings = Settings(
            home=Path(),
            folder=Path(),
            alerts={TARGET: hook(receiver)},
            platforms=dict.fromkeys(PLATFORMS, access),
            polling=Polling(mode="uniform", fastest=FASTEST_S, slowest=SLOWEST_S),
        )
        names = itertools.cycle(PLATFORMS)
        self._waiting = [Streamer(platform=next(names), id=str(100_000 + number)) for number in range(count)]
        with self._client() as client:
            store = Store(client)
            store.prepare()
            store.set_followed(self._waiting, time.time())

    @property
    def asked(self) -> int:
        """How many answers there were so far."""
        return self._sites.asked

    def _client(self) -> Any:
        return redis_client.store_client(self._address)

    @contextmanager
    def running(self, workers: int) -> Iterator[None]:
        """So many who check, and as many who deliver."""
        over = threading.Event()
        works = [work for _ in range(workers) for work in (self._sweep, self._deliver)]
        threads = [threading.Thread(target=work, args=(over,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            # Whoever is live when they are seen first has been so before, and nobody is told of that.
            wait_for(self._are_all_known, what="a first look at everybody")
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _are_all_known(self) -> bool:
        with self._client() as client:
            return all(record.seen for record in Store(client).all_streamers())

    def _sweep(self, over: threading.Event) -> None:
        with self._client() as client:
            sweeper = Sweeper(self._settings, Store(client))
            sweeper.checker.fetcher = self._sites  # type: ignore[assignment]
            while not over.wait(PAUSE_S):
                with suppress(LivectlError, RedisError):  # as a job that fails: the next one tries again
                    for batch in itertools.chain.from_iterable(sweeper.claim(time.time())):
                        sweeper.checker.check(batch.platform, batch.ids, time.time())

    def _deliver(self, over: threading.Event) -> None:
        with self._client() as client:
            dispatcher = self._dispatcher(client)
            while not over.wait(PAUSE_S):
                with suppress(LivectlError, RedisError):
                    dispatcher.deliver()

    def _dispatcher(self, client: Any) -> AlertDispatcher:
        return alert_sending.build_dispatcher(self._settings, Store(client), client, lambda: False)

    def go_live(self, count: int, a_second: float) -> None:
        """The next ones begin, one by one."""
        for streamer in self._waiting[:count]:
            self._sites.live.add(streamer.id)
            time.sleep(1 / a_second)
        del self._waiting[:count]

    def told(self) -> Counter[str]:
        """How often the target was told of each."""
        return Counter(change["id"] for payload in list(self._receiver.taken) for change in payload["changes"])

    def wait_until_all_are_told(self) -> None:
        wait_for(lambda: self._sites.live <= self.told().keys(), what="all alerts")

    def deliver_once_more(self) -> None:
        """What is not noted as told would be told again."""
        with self._client() as client:
            self._dispatcher(client).deliver()

    @property
    def lost(self) -> set[str]:
        return self._sites.live - self.told().keys()

    @property
    def doubled(self) -> dict[str, int]:
        return {name: times for name, times in self.told().items() if times > 1}

    @property
    def invented(self) -> set[str]:
        return self.told().keys() - self._sites.live
