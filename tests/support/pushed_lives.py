"""Plays many go-lives on Twitch and Kick: pushed, polled, listed, mixed, lost, late, twice, forged; counts what came.

Everything is in this process: the sites, the page that Kick sends to, a process of push, the sweeps, and the reading of
both lists of who is live, which shows whoever else has told of somebody before.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import redis

from livectl.live.checker import Sweeper
from livectl.live.listing import LEASE_SECONDS
from livectl.live.listing_plan import ListingState
from livectl.live.push.push_store import PushStore
from livectl.live.push.service import PushService
from livectl.live.store import Store
from livectl.models import Streamer
from livectl.secret import Secret
from livectl.settings import Network, PlatformSettings, Polling, Web
from livectl.units import parse_rate
from tests.support.fake_platforms import Fakes
from tests.support.managed_page import TOKENS, ManagedPage
from tests.support.played_eventsub import PlayedEventSub
from tests.support.played_webhooks import PUBLIC_URL, PlayedKick, signing_key
from tests.support.sites.plan import SiteResponse
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.live.listing import Lister
    from livectl.models import Change
    from livectl.settings import Settings
    from tests.support.sites.plan import SiteRequest

WAYS = ("pushed", "polled", "listed", "mixed", "lost", "late", "twice", "forged")
KEY = Secret("a key", lambda: "a key")
SWEEP_SECONDS = 0.5
LIST_SECONDS = 2.0  # between two readings of the lists
LIST_PATHS = ("/helix/streams", "/public/v2/livestreams")
TURN_SECONDS = 0.0005
FASTEST_S, SLOWEST_S = 2.0, 12.0


class Outcome(NamedTuple):
    """What came of the go-lives."""

    lives: int  # that there were
    forged: set[str]  # who did not, though somebody said so
    alerts: dict[str, int]  # streamer -> how often they went live, as the outbox has it
    delays: list[float]  # seconds from what was told at once to the outbox, in order
    polled_again_after: float  # seconds from the end of push until everybody was asked
    list_pages: int  # that were read

    @property
    def missing(self) -> int:
        return self.lives - len(self.alerts.keys() - self.forged)

    @property
    def believed(self) -> int:
        """How many of the forged were."""
        return len(self.alerts.keys() & self.forged)

    @property
    def doubled(self) -> int:
        return sum(count > 1 for count in self.alerts.values())

    def delay(self, share: float) -> float:
        return self.delays[min(len(self.delays) - 1, int(share * len(self.delays)))]


class PushedLives:
    """The world that they happen in."""

    def __init__(self, folder: Path, store_url: str, fakes: Fakes, eventsub: PlayedEventSub) -> None:
        self.client = redis.Redis.from_url(store_url, decode_responses=True)
        self.store, self.push_store = Store(self.client), PushStore(self.client)
        self.fakes, self.eventsub, self.kick = fakes, eventsub, PlayedKick(fakes.plan, limit=100_000)
        page = ManagedPage(folder, store_url, TOKENS)
        self.page = page.visitor()
        fakes.plan.played["live.example.org"] = self._respond
        page.settings = self.settings = self._settings(page.settings)
        self.sent: dict[str, float] = {}

    def _settings(self, settings: Settings) -> Settings:
        access = PlatformSettings(client_id=KEY, client_secret=KEY, budget=parse_rate("100000/m"))
        return msgspec.structs.replace(
            settings,
            push=("twitch", "kick"),
            platforms={"twitch": access, "kick": access},
            polling=Polling(mode="uniform", fastest=FASTEST_S, slowest=SLOWEST_S),
            network=Network(connect_to=self.fakes.connect_to, allow=("live.example.org",)),
            web=Web(public_url=PUBLIC_URL),
        )

    def _respond(self, request: SiteRequest) -> SiteResponse | None:
        answer = self.page.get(request.path, query_string=dict(request.query), base_url=PUBLIC_URL)
        return SiteResponse(answer.data, answer.status_code)

    def follow(self, count: int) -> list[tuple[str, str]]:
        pairs = [("twitch" if number % 2 else "kick", str(100_000 + number)) for number in range(count)]
        for platform, streamer_id in pairs:
            self.fakes.plan.show(platform, streamer_id, "offline")
        self.store.set_followed([Streamer(platform=platform, id=each) for platform, each in pairs], time.time())
        return pairs

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sweeps, as beat and worker do."""
        over, sweeper = threading.Event(), Sweeper(self.settings, self.store)

        def sweep() -> None:
            listed_at = 0.0
            while not over.wait(SWEEP_SECONDS):
                if time.monotonic() > listed_at + LIST_SECONDS:
                    self._read_lists(sweeper.lister)
                    listed_at = time.monotonic()
                for batches in sweeper.claim(time.time()):
                    for batch in batches:
                        sweeper.checker.check(batch.platform, batch.ids, time.time())

        thread = threading.Thread(target=sweep)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _read_lists(self, lister: Lister) -> None:
        """As where lists are the cheaper way, which they are not for so few who are followed."""
        now = time.time()
        self._note_lists(now)
        for job in lister.claim(now):
            lister.read(*job)
        self._note_lists(now)

    def _note_lists(self, now: float) -> None:
        """They are worth reading, and nobody is asked less often for that."""
        worth_it = msgspec.json.encode(ListingState(listed=True, planned_at=now)).decode()
        for platform in ("twitch", "kick"):
            if self.store.hold_listing(platform, "played", LEASE_SECONDS):
                self.store.save_listing(platform, "played", worth_it, {"listed_until": 0.0}, release=True)

    def list_pages(self) -> int:
        return sum(each.path in LIST_PATHS and not each.get("user_id") for each in self.fakes.log)

    @contextmanager
    def pushing(self) -> Iterator[None]:
        over = threading.Event()
        service = PushService(self.settings, self.client, lambda: None)
        thread = threading.Thread(target=service.run, args=(over.is_set,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def happen(self, way: str, platform: str, streamer_id: str) -> None:
        """One go-live, and what is told of it."""
        now = time.time()
        started = int(now)
        if way != "forged":
            self.fakes.plan.show(platform, streamer_id, "live", started=started)
        at = now - 300 if way == "late" else now
        if way in {"pushed", "mixed", "twice"}:
            self.sent[streamer_id] = now
        if way in {"pushed", "mixed", "late", "twice", "forged"}:
            for _ in range(2 if way == "twice" else 1):
                self._tell(way, platform, streamer_id, started, at)
        if way == "mixed":
            self.push_store.make_due(platform, [streamer_id], now)

    def _tell(self, way: str, platform: str, streamer_id: str, started: int, at: float) -> None:
        if platform == "kick":
            key = signing_key(1) if way == "forged" else None
            begun = started - 300 if way == "late" else started
            self.kick.status(streamer_id, begun, at=at if way == "forged" else time.time(), key=key).send(self.page)
        elif way == "forged":  # a message of a shape that is nobody's
            self.eventsub.send_raw(int(streamer_id) % 2, '{"metadata": {"message_type": "notification"}}')
        else:
            self.eventsub.go_live(streamer_id, started, at=at)

    def began(self) -> list[Change]:
        return [change for change in self.store.changes(limit=1_000_000) if change.kind == "began"]


@contextmanager
def taking_turns() -> Iterator[None]:
    """What would be processes of their own elsewhere are threads here: none of them waits long for another."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def play(folder: Path, store_url: str, count: int, a_second: float) -> Outcome:
    """So many go-lives, at this pace; then push ends, and everybody is to be asked again."""
    with Fakes() as fakes, PlayedEventSub(fakes.plan) as eventsub, taking_turns():
        world = PushedLives(folder, store_url, fakes, eventsub)
        pairs = world.follow(count)
        with world.running():
            with world.pushing():
                for share in (0.25, 0.5, 0.75, 1.0):  # subscriptions are made some at a time
                    wait_for(lambda share=share: _is_covered(world, share * len(pairs)), what="all to be covered")  # type: ignore[misc]
                ways = {each: WAYS[(number // 2) % len(WAYS)] for number, each in enumerate(pairs)}
                for pair, way in ways.items():
                    world.happen(way, *pair)
                    time.sleep(1 / a_second)
                lives = {streamer_id for (_, streamer_id), way in ways.items() if way != "forged"}
                wait_for(lambda: lives <= {change.id for change in world.began()}, what="all go-lives to be known")
            again = _time_until_all_are_asked(world, [pair for pair, way in ways.items() if way == "forged"])
        began = world.began()
    alerts: dict[str, int] = {}
    for change in began:
        alerts[change.id] = alerts.get(change.id, 0) + 1
    delays = sorted(_told_at(change) - world.sent[change.id] for change in began if change.id in world.sent)
    forged = {streamer_id for _, streamer_id in pairs} - lives
    return Outcome(len(lives), forged, alerts, delays, again, world.list_pages())


def _is_covered(world: PushedLives, count: float) -> bool:
    healths = [world.push_store.health(platform) for platform in ("twitch", "kick")]
    return all(health.is_heard(time.time()) for health in healths) and sum(each.covered for each in healths) >= count


def _time_until_all_are_asked(world: PushedLives, pairs: list[tuple[str, str]]) -> float:
    """Seconds from now until each of these, who are not live, was asked."""
    began = time.time()

    def all_asked() -> bool:
        records = (world.store.find_streamer(*pair) for pair in pairs)
        return all((record.seen or 0.0) > began for record in records)

    wait_for(all_asked, what="everybody to be asked again")
    return time.time() - began


def _told_at(change: Change) -> float:
    return int(change.number.partition("-")[0]) / 1000
