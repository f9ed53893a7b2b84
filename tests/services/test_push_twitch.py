"""Twitch tells of go-lives over WebSockets, as one process of push and several see it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from livectl.address import Exit
from livectl.live.polling import LimitsByPlatform
from livectl.live.push import shards, twitch_push
from livectl.live.push.push_store import PushStore
from livectl.live.push.service import PushService
from livectl.models import Observation, State, Streamer
from livectl.secret import Secret
from livectl.settings import Network, PlatformSettings, Settings
from tests.support import cells
from tests.support.fake_platforms import Fakes
from tests.support.played_eventsub import PlayedEventSub
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from livectl.live.store import Store

STARTED = 1_790_000_000


@pytest.fixture
def push_store(client: redis.Redis) -> PushStore:
    return PushStore(client)


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with Fakes() as server:
        yield server


@pytest.fixture
def eventsub(fakes: Fakes) -> Iterator[PlayedEventSub]:
    with PlayedEventSub(fakes.plan, keepalive=1.0) as played:
        yield played


@pytest.fixture
def push(fakes: Fakes, client: redis.Redis) -> Iterator[Push]:
    with Push(fakes, client) as running:
        yield running


def key(text: str) -> Secret:
    return Secret(text, lambda: text)


def push_settings(fakes: Fakes, exits: dict[str, Exit] | None = None) -> Settings:
    return Settings(
        home=Path("/nowhere"),
        folder=Path("/nowhere"),
        push=("twitch",),
        platforms={"twitch": PlatformSettings(client_id=key("an-id"), client_secret=key("a-secret"))},
        network=Network(connect_to=fakes.connect_to, exits=exits or {}),
    )


class Push:
    """Processes of `livectl push`, each a thread here."""

    def __init__(self, fakes: Fakes, client: redis.Redis) -> None:
        self._fakes, self._client = fakes, client
        self._running = ExitStack()
        self.said: list[str] = []
        self.told = 0

    def start(self, **exits: Exit) -> threading.Event:
        """One more. Setting the event ends it."""
        over = threading.Event()
        service = PushService(push_settings(self._fakes, exits), self._client, self._note_told, self.said.append)
        thread = threading.Thread(target=service.run, args=(over.is_set,))
        thread.start()
        self._running.callback(thread.join)
        self._running.callback(over.set)
        return over

    def _note_told(self) -> None:
        self.told += 1

    def __enter__(self) -> Push:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def follow(store: Store, fakes: Fakes, count: int) -> list[str]:
    ids = [str(1000 + number) for number in range(count)]
    for streamer_id in ids:
        fakes.plan.show("twitch", streamer_id, "offline")
    store.set_followed([Streamer(platform="twitch", id=each) for each in ids], time.time())
    return ids


def began(store: Store) -> list[str]:
    return [change.id for change in store.changes() if change.kind == "began"]


def wait_until_covered(push_store: PushStore, count: int) -> None:
    wait_for(lambda: len(push_store.covered("twitch")) == count and push_store.health("twitch").is_heard(time.time()))


def test_what_mends_a_problem_is_said_beside_it(fakes: Fakes, client: redis.Redis) -> None:
    said: list[str] = []
    service = PushService(
        msgspec.structs.replace(push_settings(fakes), platforms={}), client, lambda: None, said.append
    )
    service.step(time.time())
    service.step(time.time())
    service.close()
    cure = "Set client_id and client_secret under platforms.twitch in livectl.yaml."
    assert said == [f"twitch: it tells only an application of yours. {cure}"]


def test_a_go_live_is_recorded_with_all_that_the_site_answers(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    (ada, *_) = follow(store, fakes, 3)
    push.start()
    wait_until_covered(push_store, 3)
    assert eventsub.enabled("stream.online") == eventsub.enabled("stream.offline") == {"1000", "1001", "1002"}
    fakes.plan.show("twitch", ada, "live", started=STARTED, title="Hello")
    eventsub.go_live(ada, STARTED, times=2)
    wait_for(lambda: began(store))
    record = store.find_streamer("twitch", ada)
    assert (record.title, record.session, record.started_at) == ("Hello", str(STARTED), STARTED)
    wait_for(lambda: push.told == 1)


def test_a_go_live_that_the_site_does_not_confirm_yet_is_recorded_as_it_was_told(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    (ada, *_) = follow(store, fakes, 1)
    push.start()
    wait_until_covered(push_store, 1)
    eventsub.go_live(ada, STARTED)
    wait_for(lambda: began(store))
    record = store.find_streamer("twitch", ada)
    assert (record.title, record.session, record.url) == ("", str(STARTED), f"https://www.twitch.tv/name{ada}")


def test_what_came_late_is_asked_and_not_believed(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push, client: redis.Redis
) -> None:
    ada, ben = follow(store, fakes, 2)
    cells.set_due(client, "twitch", dict.fromkeys([ada, ben], time.time() + 600))
    push.start()
    wait_until_covered(push_store, 2)
    eventsub.go_live(ada, STARTED, at=time.time() - 300)
    wait_for(lambda: cells.due(client, "twitch", ada) <= time.time())
    assert began(store) == []
    assert cells.due(client, "twitch", ben) > time.time() + 300


def test_a_connection_that_is_lost_falls_silent_or_moves_is_replaced(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    follow(store, fakes, 2)
    push.start()
    wait_until_covered(push_store, 2)
    before = dict(eventsub.shards)
    eventsub.drop(0)
    eventsub.silence(1)
    wait_for(lambda: all(eventsub.shards[shard] != session for shard, session in before.items()))
    session = eventsub.move(0)
    wait_for(lambda: eventsub.sessions[session].connection.request.path.startswith("/moved"))  # type: ignore[union-attr]
    for number, streamer_id in enumerate(("1000", "1001")):
        wait_for(lambda: eventsub.heard_shards() == 2)
        eventsub.go_live(streamer_id, STARTED + number)
    wait_for(lambda: sorted(began(store)) == ["1000", "1001"])
    assert eventsub.lost == 0


def test_a_process_that_ends_leaves_its_part_to_another_one(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    (ada,) = follow(store, fakes, 1)
    first = push.start()
    wait_until_covered(push_store, 1)
    push.start()
    before = dict(eventsub.shards)
    first.set()
    wait_for(lambda: all(eventsub.shards[shard] != session for shard, session in before.items()))
    assert len(eventsub.conduits) == 1
    wait_for(lambda: eventsub.heard_shards() == 2)
    eventsub.go_live(ada, STARTED)
    wait_for(lambda: began(store) == [ada])


def test_what_is_revoked_or_refused_is_polled(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    ada, _, cem = follow(store, fakes, 3)
    eventsub.unknown.add(cem)
    push.start()
    wait_until_covered(push_store, 2)
    eventsub.unknown.add(ada)
    eventsub.revoke("stream.online", ada)
    wait_for(lambda: push_store.covered("twitch") == {"1001"})


def test_a_conduit_that_somebody_deletes_is_made_anew(
    push: Push, store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(twitch_push, "CONDUIT_SECONDS", 1.0)
    ids = follow(store, fakes, 2)
    push.start()
    wait_until_covered(push_store, 2)
    eventsub.delete_conduits()
    wait_for(lambda: eventsub.enabled("stream.online") == set(ids), what="subscriptions at a new conduit")
    wait_for(lambda: eventsub.heard_shards() == twitch_push.SHARDS, what="its shards to be heard")
    fakes.plan.show("twitch", ids[0], "live", started=STARTED)
    eventsub.go_live(ids[0], STARTED)
    wait_for(lambda: began(store) == [ids[0]], what="the go-live")


def test_conduits_of_others_that_leave_no_room_are_said(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    follow(store, fakes, 1)
    eventsub.conduits |= {f"another-{number}": 1 for number in range(5)}
    push.start()
    problem = wait_for(lambda: push_store.health("twitch").problem)
    assert problem.startswith("Twitch allows the application no more conduits: it has 5 (another-0, ")
    assert push_store.covered("twitch") == set()


def test_an_exit_that_speaks_socks_needs_a_package_and_says_so(
    store: Store,
    push_store: PushStore,
    fakes: Fakes,
    eventsub: PlayedEventSub,
    push: Push,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "find_spec", lambda name: None)
    follow(store, fakes, 1)
    over = push.start(rented=Exit(proxy=key("socks5h://127.0.0.1:1")))
    problem = wait_for(lambda: push_store.health("twitch").problem)
    assert problem == "its WebSocket goes by a SOCKS proxy, by the package python-socks, which is not installed"
    assert push_store.health("twitch").cure.startswith("Install it: ")
    over.set()
    push.start(rented=Exit("127.0.0.2"))
    wait_until_covered(push_store, 1)


def test_as_many_are_told_of_as_the_limit_bears(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    ids = follow(store, fakes, 6)
    wanted = [Streamer(platform="twitch", id=each, weight=1.0 + number) for number, each in enumerate(ids)]
    store.set_followed(wanted, time.time())
    eventsub.max_cost = 4
    push.start()
    wait_until_covered(push_store, 4)
    assert eventsub.enabled("stream.online") == set(ids[2:])
    assert eventsub.enabled("stream.offline") == set()
    assert push_store.health("twitch").wanted == 6


def test_what_twitch_bears_less_of_than_it_says_is_counted_whole(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    """Whichever of the requests that go out at once it refuses."""
    follow(store, fakes, 6)
    eventsub.hard_limit = 4
    push.start()
    problem = wait_for(lambda: push_store.health("twitch").problem)
    assert problem.startswith("Twitch takes no more than 4 subscriptions now")
    wait_until_covered(push_store, 4)


def test_what_is_asked_for_push_leaves_by_one_exit_and_by_another_where_that_is_refused(
    store: Store, push_store: PushStore, fakes: Fakes, eventsub: PlayedEventSub, push: Push
) -> None:
    """The sockets as well; and of those who are told of, nobody is asked by the exit that is refused."""
    exits = {"home": Exit("127.0.0.2"), "office": Exit("127.0.0.3")}
    ids = follow(store, fakes, 6)
    over = push.start(**exits)
    wait_until_covered(push_store, 6)
    (first,) = {request.client for request in fakes.log} | eventsub.clients()
    limits = LimitsByPlatform(push_settings(fakes, exits), store)
    limits.note_exits(store, "twitch")
    ways = {exits[each.exit].address: each for each in limits.by_exits("twitch", time.time())}
    refused = Observation(platform="twitch", id="", state=State.BLOCKED, at=time.time())
    store.record(ways.pop(first), [refused])
    over.set()
    wait_for(lambda: not eventsub.clients())
    fakes.log.clear()
    push.start(**exits)
    wait_for(lambda: eventsub.clients() == set(ways) and eventsub.heard_shards() == twitch_push.SHARDS)
    assert {request.client for request in fakes.log} == set(ways)
    for each in ids:
        eventsub.go_live(each, STARTED)
    wait_for(lambda: len(began(store)) == len(ids))
    assert {request.client for request in fakes.log} == set(ways)
