"""Kick and YouTube tell of go-lives at the page's public address; whoever else sends there, changes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import redis

from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.live.polling import LimitsByPlatform
from livectl.live.push.conduit import PushProblem
from livectl.live.push.push_store import PushStore
from livectl.live.push.webhook_push import KickPush, WebSubPush
from livectl.live.store import Store
from livectl.models import Observation, State, Streamer
from livectl.secret import Secret
from livectl.settings import Network, PlatformSettings, Web
from tests.support import cells
from tests.support.fake_platforms import Fakes
from tests.support.managed_page import TOKENS, ManagedPage
from tests.support.played_webhooks import PUBLIC_URL, PlayedHub, PlayedKick, signing_key
from tests.support.sites.plan import SiteResponse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask.testing import FlaskClient

    from tests.support.sites.plan import SiteRequest

ADA, BEN = "4001", "4002"
CHANNEL = "UCabcdefghijklmnopqrstuv"


class World:
    """A page at its public address, what sends there, and what asks for that."""

    def __init__(self, page: ManagedPage, fakes: Fakes, client: redis.Redis) -> None:
        self.client, self.page = client, page.visitor()
        self.store, self.push_store = Store(client), PushStore(client)
        self.kick, self.hub = PlayedKick(fakes.plan), PlayedHub(fakes.plan)
        fakes.plan.played["live.example.org"] = self._respond
        page.settings = self.settings = msgspec.structs.replace(
            page.settings,
            push=("kick", "youtube"),
            platforms={"kick": PlatformSettings(client_id=key("an-id"), client_secret=key("a-secret"))},
            network=Network(connect_to=fakes.connect_to, allow=("live.example.org",)),
            web=Web(public_url=PUBLIC_URL),
        )
        shared = self.settings, self.store, self.push_store, LimitsByPlatform(self.settings)
        fetcher = Fetcher(Routes.from_settings(self.settings.network), self.store)
        self.kick_push, self.websub_push = KickPush(*shared, fetcher, "me"), WebSubPush(*shared, fetcher, "me")
        self.leads_here = True

    def follow(self, platform: str, *ids: str) -> None:
        self.store.set_followed([Streamer(platform=platform, id=each) for each in ids], time.time())

    def began(self) -> list[str]:
        return [change.id for change in self.store.changes() if change.kind == "began"]

    def due(self, platform: str, streamer_id: str) -> float:
        return cells.due(self.client, platform, streamer_id)

    def _respond(self, request: SiteRequest) -> SiteResponse | None:
        if not self.leads_here:
            return SiteResponse(b"another page")
        answer = self.page.get(request.path, query_string=dict(request.query), base_url=PUBLIC_URL)
        return SiteResponse(answer.data, answer.status_code)


def key(text: str) -> Secret:
    return Secret(text, lambda: text)


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    with Fakes() as fakes, redis.Redis.from_url(store_url, decode_responses=True) as client:
        yield World(ManagedPage(tmp_path, store_url, TOKENS), fakes, client)


@pytest.fixture
def kick(world: World) -> World:
    """With Kick told of two streamers."""
    world.follow("kick", ADA, BEN)
    for seconds in (0, 60):
        world.kick_push.step(time.time() + seconds)
    assert world.push_store.covered("kick") == {ADA, BEN}
    return world


def test_kick_tells_once_of_each_session(kick: World) -> None:
    now = int(time.time())
    message = kick.kick.status(ADA, now - 2, at=now)
    assert [message.send(kick.page), message.send(kick.page)] == [200, 200]
    assert kick.kick.status(ADA, now - 2, at=now).send(kick.page) == 200  # once more, under another id
    assert kick.began() == [ADA]
    record = kick.store.find_streamer("kick", ADA)
    assert (record.title, record.url, record.session) == ("Hello", f"https://kick.com/name{ADA}", str(now - 2))
    assert kick.push_store.health("kick").told == 1


def test_kick_is_believed_where_an_answer_lagged_behind(kick: World) -> None:
    started = int(time.time()) - 5
    offline = Observation(platform="kick", id=ADA, state=State.OFFLINE, at=started + 1.5)
    kick.store.record(LimitsByPlatform(kick.settings)["kick"], [offline])
    assert kick.kick.status(ADA, started, at=started + 3).send(kick.page) == 200
    assert kick.began() == [ADA]


def test_what_kick_did_not_sign_or_somebody_replays_changes_nothing(kick: World) -> None:
    now = int(time.time())
    stranger = signing_key(1)
    good = kick.kick.status(ADA, now - 2, at=now)
    changed = kick.kick.status(ADA, now - 2, at=now)
    changed.body = changed.body.replace(ADA.encode(), BEN.encode())
    unsigned = kick.kick.status(ADA, now - 2, at=now)
    del unsigned.headers["Kick-Event-Signature"]
    moved = kick.kick.status(ADA, now - 2, at=now - 400)
    moved.headers["Kick-Event-Message-Timestamp"] = good.headers["Kick-Event-Message-Timestamp"]
    forged = [kick.kick.status(ADA, now - 2, at=now, key=stranger), changed, unsigned, moved]
    replayed = kick.kick.status(ADA, now - 400, at=now - 400)
    assert [message.send(kick.page) for message in (*forged, replayed)] == [401] * 5
    assert kick.began() == []
    assert kick.push_store.health("kick").refused == 5


def test_what_kick_tells_late_is_asked(kick: World) -> None:
    now = int(time.time())
    cells.set_due(kick.client, "kick", {ADA: now + 600, BEN: now + 600})
    assert kick.kick.status(ADA, now - 200, at=now).send(kick.page) == 200
    assert kick.began() == []
    assert kick.due("kick", ADA) <= time.time() < kick.due("kick", BEN)


def test_of_whom_kick_should_tell_is_kept_equal_to_the_follow_list(kick: World) -> None:
    kick.follow("kick", BEN, "4003")
    for seconds in (120, 180):
        kick.kick_push.step(time.time() + seconds)
    assert sorted(kick.kick.subscriptions.values()) == [4002, 4003]


def test_another_key_of_kick_is_read_after_a_while(kick: World) -> None:
    now = int(time.time())
    kick.kick.key = signing_key(1)
    assert kick.kick.status(ADA, now - 2, at=now).send(kick.page) == 401
    kick.kick_push.step(time.time() + 600)
    assert kick.kick.status(ADA, now - 2, at=now).send(kick.page) == 200
    assert kick.began() == [ADA]


def test_an_address_that_leads_elsewhere_covers_nobody(world: World) -> None:
    world.leads_here = False
    world.follow("kick", ADA)
    with pytest.raises(PushProblem, match=r"web.public_url does not lead to this page: another page"):
        world.kick_push.step(time.time())
    assert not world.push_store.health("kick").is_heard(time.time())


@pytest.mark.parametrize("late", [int(ADA), int(BEN)])
def test_no_more_are_told_of_than_kick_allows(world: World, late: int) -> None:
    """Whichever of the requests that go out at once it gets first."""
    world.kick.limit = 1
    world.kick.late = {late}
    world.follow("kick", ADA, BEN)
    with pytest.raises(PushProblem, match="Kick takes no more than 1 subscriptions now"):
        world.kick_push.step(time.time())
    world.kick_push.step(time.time() + 60)
    assert len(world.push_store.covered("kick")) == 1


def test_the_hub_is_answered_where_we_asked_it_and_nowhere_else(world: World) -> None:
    world.follow("youtube", CHANNEL)
    world.websub_push.step(time.time())
    assert world.hub.ask_back(world.page) == [200]
    assert world.push_store.websub_leases()[CHANNEL] > time.time() + 400_000
    assert world.hub.ask_back(world.page, hub_topic="https://example.org/feed") == [1404]
    assert world.hub.ask_back(world.page, hub_mode="unsubscribe") == [1404]
    query = {"hub.mode": "subscribe", "hub.topic": world.hub.asked[0]["hub.topic"], "hub.challenge": "x"}
    path = f"/pushed/youtube/{CHANNEL}/{'0' * 32}"
    assert world.page.get(path, query_string=query, base_url=PUBLIC_URL).status_code == 404


def test_a_channel_that_the_hub_names_is_asked_at_once(world: World) -> None:
    now = time.time()
    world.follow("youtube", CHANNEL)
    world.websub_push.step(now)
    world.hub.ask_back(world.page)
    cells.set_due(world.client, "youtube", {CHANNEL: now + 600})
    assert world.hub.tell(world.page, CHANNEL, secret="a guess") == 202
    assert world.due("youtube", CHANNEL) == pytest.approx(now + 600)
    assert world.hub.tell(world.page, CHANNEL) == 202
    assert world.due("youtube", CHANNEL) <= time.time()


def test_leases_of_the_hub_are_renewed_and_given_up(world: World) -> None:
    now = time.time()
    world.follow("youtube", CHANNEL)
    world.websub_push.step(now)
    world.hub.ask_back(world.page)
    world.websub_push.step(now + 86_400)
    assert len(world.hub.asked) == 1
    world.websub_push.step(now + 4.5 * 86_400)
    assert [form["hub.mode"] for form in world.hub.asked] == ["subscribe"] * 2
    world.follow("youtube")
    world.follow("demo", "ada")
    world.websub_push.step(now + 4.6 * 86_400)
    assert world.hub.asked[-1]["hub.mode"] == "unsubscribe"
    assert world.push_store.websub_leases() == {}


def test_a_hub_that_is_down_is_said_and_tried_again(world: World) -> None:
    world.follow("youtube", CHANNEL)
    world.hub.is_down = True
    with pytest.raises(PushProblem, match="YouTube's hub takes no subscription: HTTP 503"):
        world.websub_push.step(time.time())
    world.hub.is_down = False
    world.websub_push.step(time.time() + 700)
    assert world.hub.ask_back(world.page) == [200]


@pytest.mark.parametrize("path", ["/pushed/kick", f"/pushed/youtube/{CHANNEL}/key"])
def test_a_platform_that_push_does_not_name_is_not_answered(tmp_path: Path, store_url: str, path: str) -> None:
    page: FlaskClient = ManagedPage(tmp_path, store_url, TOKENS).visitor()
    assert page.post(path, data=b"{}", base_url=PUBLIC_URL).status_code == 404
    assert page.get("/pushed/probe?nonce=x", base_url=PUBLIC_URL).status_code == 404
