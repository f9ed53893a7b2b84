"""How checks ask: batches that split, rows asked again, tokens renewed, what is cached between checks."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from livectl.live import platforms
from livectl.live.platforms.base import CheckContext
from livectl.models import Observation, Request, Response, State
from tests.support.check_driver import drive, plan_responder
from tests.support.sites.plan import RETRY_SECONDS, Plan
from tests.support.sites.youtube import video

if TYPE_CHECKING:
    from collections.abc import Sequence

STARTED = 1_790_000_000
NOW = STARTED + 60.0
EVERY_KEY = {"client_id": "id", "client_secret": "secret", "api_key": "key"}
CHANNEL = "UC" + "a" * 22


class PlatformChecks:
    """Checks of one platform against a plan, with their requests and their cache."""

    def __init__(self, platform: str, keys: dict[str, str] | None = None) -> None:
        self.platform = platforms.get(platform)
        self.keys = EVERY_KEY if keys is None else keys
        self.plan = Plan()
        self.log: list[Request] = []
        self.cache: dict[str, str] = {}

    def check(self, ids: Sequence[str], now: float = NOW) -> dict[str, Observation]:
        self.log.clear()
        observations = drive(
            self.platform.check(ids, CheckContext(now, self.keys)), plan_responder(self.plan, self.log), self.cache
        )
        assert [observation.id for observation in observations] == list(ids)
        return {observation.id: observation for observation in observations}

    def state(self, streamer_id: str, now: float = NOW) -> State:
        return self.check([streamer_id], now)[streamer_id].state

    def show_many(self, count: int) -> list[str]:
        ids = [str(1_000 + number) for number in range(count)]
        for number, streamer_id in enumerate(ids):
            self.plan.show(self.platform.name, streamer_id, "live" if number % 2 else "offline")
        return ids

    def request_count(self, part: str) -> int:
        return sum(part in request.url for request in self.log)


@pytest.mark.parametrize(
    ("platform", "keys", "count", "requests"),
    [("twitch", EVERY_KEY, 100, 2), ("twitch", {}, 100, 4), ("bilibili", {}, 90, 3), ("kick", EVERY_KEY, 40, 3)],
)
def test_many_are_asked_in_batches(platform: str, keys: dict[str, str], count: int, requests: int) -> None:
    checks = PlatformChecks(platform, keys)
    ids = checks.show_many(count)
    observations = checks.check(ids)
    assert len(checks.log) == requests, "with the token's"
    assert [observations[streamer_id].state for streamer_id in ids] == [State.OFFLINE, State.LIVE] * (count // 2)


@pytest.mark.parametrize(("platform", "count"), [("twitch", 100), ("bilibili", 30), ("kick", 20)])
def test_one_bad_id_spoils_nobody_else(platform: str, count: int) -> None:
    checks = PlatformChecks(platform)
    ids = checks.show_many(count)
    checks.plan.show(platform, ids[7], "poison")
    observations = checks.check(ids)
    assert observations.pop(ids[7]).state in {State.NETWORK, State.PARSE_ERROR}
    assert {observation.state for observation in observations.values()} == {State.LIVE, State.OFFLINE}
    assert len(checks.log) <= 1 + 2 * 7 + 2, "the whole, two a level; a token, and whether one left alone exists"


def test_a_site_that_is_down_is_not_asked_for_each() -> None:
    checks = PlatformChecks("twitch")
    ids = checks.show_many(100)
    for streamer_id in ids:
        checks.plan.show("twitch", streamer_id, "poison")
    assert {observation.state for observation in checks.check(ids).values()} == {State.NETWORK}
    assert checks.request_count("/streams") == 7


@pytest.mark.parametrize("platform", ["bilibili", "kick"])
def test_a_missing_row_is_asked_again_alone(platform: str) -> None:
    checks = PlatformChecks(platform)
    ids = checks.show_many(10)
    checks.plan.show(platform, ids[3], "skipped")
    assert checks.check(ids)[ids[3]].state is State.LIVE


def test_a_row_missing_even_alone_is_unknown_and_left_alone_for_a_while() -> None:
    checks = PlatformChecks("bilibili")
    ids = [*checks.show_many(10), "4"]
    assert checks.check(ids)["4"].state is State.UNKNOWN
    assert len(checks.log) == 2
    assert checks.check(ids)["4"].state is State.UNKNOWN
    assert len(checks.log) == 1


def test_all_who_are_missing_get_their_turn_alone() -> None:
    checks = PlatformChecks("bilibili")
    ids = [*checks.show_many(10), *(str(number) for number in range(12))]
    assert [checks.check(ids)["3"].state and len(checks.log) for _ in range(4)] == [6, 6, 3, 1]


def test_an_answer_without_rows_does_not_make_thirty_questions() -> None:
    checks = PlatformChecks("bilibili")
    observations = checks.check([str(number) for number in range(30)])
    assert {observation.state for observation in observations.values()} == {State.UNKNOWN}
    assert len(checks.log) == 1 + 5


def test_absence_is_offline_on_helix_alone_and_nobody_is_told_from_somebody() -> None:
    checks = PlatformChecks("twitch")
    checks.plan.show("twitch", "1001", "offline")
    assert checks.check(["1001", "1002"])["1002"].state is State.OFFLINE
    assert checks.state("1001") is State.OFFLINE
    assert checks.state("1002") is State.NOT_FOUND


def test_helix_is_asked_for_as_many_as_it_may_answer() -> None:
    checks = PlatformChecks("twitch")
    checks.check(checks.show_many(100))
    query = parse_qsl(urlsplit(checks.log[-1].url).query)
    assert ("first", "100") in query
    assert sum(name == "user_id" for name, _ in query) == 100


def test_a_row_that_cannot_be_read_lets_nobody_be_offline() -> None:
    rows = {"data": [{"id": "1", "user_id": "1001", "type": "live"}]}

    def respond(request: Request) -> Response:
        token = b'{"access_token":"t","expires_in":5000}'
        return Response(status=200, body=token if "token" in request.url else msgspec.json.encode(rows))

    observations = drive(platforms.get("twitch").check(["1001", "1002"], CheckContext(NOW, EVERY_KEY)), respond)
    assert [observation.state for observation in observations] == [State.PARSE_ERROR] * 2


@pytest.mark.parametrize("platform", ["twitch", "kick"])
def test_a_token_is_kept_and_renewed_once_when_refused(platform: str) -> None:
    checks = PlatformChecks(platform)
    checks.plan.show(platform, "1001", "live")
    assert checks.state("1001") is State.LIVE
    assert checks.request_count("token") == 1
    assert checks.state("1001") is State.LIVE
    assert checks.request_count("token") == 0
    checks.cache["token/id"] = "stale"
    assert checks.state("1001") is State.LIVE
    assert checks.request_count("token") == 1


@pytest.mark.parametrize("platform", ["twitch", "bilibili", "kick", "douyu", "tiktok"])
def test_a_limit_stops_the_check_and_says_until_when(platform: str) -> None:
    checks = PlatformChecks(platform)
    ids = checks.show_many(200)
    checks.plan.trouble[platform] = "rate_limited"
    observations = checks.check(ids)
    assert {observation.state for observation in observations.values()} == {State.RATE_LIMITED}
    assert {observation.retry_at for observation in observations.values()} == {
        None if platform == "bilibili" else NOW + RETRY_SECONDS
    }
    assert len(checks.log) == 1


def test_kick_is_asked_again_before_a_batch_ends_a_broadcast() -> None:
    checks = PlatformChecks("kick")
    ids = checks.show_many(4)
    assert checks.check(ids)[ids[1]].state is State.LIVE
    checks.plan.show("kick", ids[1], "offline")
    assert checks.check(ids)[ids[1]].state is State.OFFLINE
    assert [request.url.count("broadcaster_user_id=") for request in checks.log] == [4, 1]


def test_kick_ends_nothing_that_it_will_not_confirm() -> None:
    checks = PlatformChecks("kick")
    ids = checks.show_many(4)
    checks.check(ids)
    checks.plan.show("kick", ids[1], "offline")
    respond_as_planned = plan_responder(checks.plan)

    def respond_to_several(request: Request) -> Response:
        return respond_as_planned(request) if request.url.count("broadcaster_user_id=") != 1 else Response(status=503)

    observations = drive(checks.platform.check(ids, CheckContext(NOW, EVERY_KEY)), respond_to_several, checks.cache)
    assert [observation.state for observation in observations] == [
        State.OFFLINE,
        State.NETWORK,
        State.OFFLINE,
        State.LIVE,
    ]


def test_douyin_gets_a_visitors_cookie_once_and_a_new_one_after_a_refusal() -> None:
    checks = PlatformChecks("douyin")
    checks.plan.show("douyin", "1", "live")
    assert [checks.state("1"), len(checks.log)] == [State.LIVE, 2]
    assert [checks.state("1"), len(checks.log)] == [State.LIVE, 1]
    checks.plan.trouble["douyin"] = "empty"
    assert checks.state("1") is State.BLOCKED
    checks.plan.trouble.clear()
    assert [checks.state("1"), len(checks.log)] == [State.LIVE, 2]


def test_soop_offline_stands_though_the_station_is_silent() -> None:
    checks = PlatformChecks("soop")
    checks.plan.show("soop", "somebody", "offline")
    respond_as_planned = plan_responder(checks.plan, checks.log)

    def without_station(request: Request) -> Response:
        response = respond_as_planned(request)
        return Response(status=503) if "/station" in request.url else response

    for requests in (2, 1):
        checks.log.clear()
        check = checks.platform.check(["somebody"], CheckContext(NOW, {}))
        (observation,) = drive(check, without_station, checks.cache)
        assert (observation.state, len(checks.log)) == (State.OFFLINE, requests)


def test_a_users_own_cookie_is_used() -> None:
    checks = PlatformChecks("douyin", {"cookie": "ttwid=mine"})
    checks.plan.show("douyin", "1", "live")
    assert [checks.state("1"), len(checks.log)] == [State.LIVE, 1]
    assert checks.log[0].headers["Cookie"] == "ttwid=mine"


class TestYouTubeWithAKey:
    def test_what_ended_is_never_paid_for_again(self) -> None:
        checks = PlatformChecks("youtube")
        checks.plan.show("youtube", CHANNEL, "offline")
        assert checks.state(CHANNEL) is State.OFFLINE
        assert checks.request_count("/videos?") == 1
        assert checks.state(CHANNEL) is State.OFFLINE
        assert checks.request_count("/videos?") == 0

    def test_a_broadcast_begins_and_ends(self) -> None:
        checks = PlatformChecks("youtube")
        scene = checks.plan.show("youtube", CHANNEL, "live")
        observation = checks.check([CHANNEL])[CHANNEL]
        assert observation.state is State.LIVE
        assert (observation.session, observation.viewers) == (video(CHANNEL, scene), 7)
        checks.plan.show("youtube", CHANNEL, "offline")
        assert checks.state(CHANNEL) is State.OFFLINE
        assert checks.request_count("/videos?") == 1, "the video that ran is asked about, though the feed has lost it"

    def test_a_premiere_is_a_replay(self) -> None:
        checks = PlatformChecks("youtube")
        checks.plan.show("youtube", CHANNEL, "replay")
        assert checks.state(CHANNEL) is State.REPLAY

    def test_the_next_one_announced_does_not_hide_that_this_one_ended(self) -> None:
        checks = PlatformChecks("youtube")
        checks.plan.show("youtube", CHANNEL, "live")
        assert checks.state(CHANNEL) is State.LIVE
        checks.plan.show("youtube", CHANNEL, "upcoming", started=STARTED + 90_000)
        assert checks.state(CHANNEL) is State.OFFLINE
        del checks.cache[f"live/{CHANNEL}"]  # runs out by itself
        assert checks.state(CHANNEL) is State.UPCOMING

    def test_one_announced_is_asked_after_near_its_start(self) -> None:
        checks = PlatformChecks("youtube")
        checks.plan.show("youtube", CHANNEL, "upcoming", started=STARTED + 90_000)
        request_counts = []
        for now in (NOW, NOW + 60, NOW + 1_900, STARTED + 89_990):
            assert checks.state(CHANNEL, now) is State.UPCOMING
            request_counts.append(checks.request_count("/videos?"))
        assert request_counts == [1, 0, 1, 1]

    def test_one_announced_long_ago_is_no_longer_shown_but_may_yet_begin(self) -> None:
        checks = PlatformChecks("youtube")
        checks.plan.show("youtube", CHANNEL, "upcoming")
        assert checks.state(CHANNEL, STARTED + 7_200) is State.OFFLINE
        checks.plan.show("youtube", CHANNEL, "live")
        assert checks.state(CHANNEL, STARTED + 7_300) is State.LIVE

    def test_a_feed_that_fails_is_made_up_for(self) -> None:
        checks = PlatformChecks("youtube")
        checks.plan.show("youtube", CHANNEL, "live")
        respond_as_planned = plan_responder(checks.plan, checks.log)

        def without_feed(request: Request) -> Response:
            return Response(status=500) if "feeds" in request.url else respond_as_planned(request)

        (observation,) = drive(checks.platform.check([CHANNEL], CheckContext(NOW, EVERY_KEY)), without_feed)
        assert observation.state is State.LIVE

    def test_a_spent_quota_lasts_until_midnight_in_california(self) -> None:
        checks = PlatformChecks("youtube")
        checks.plan.show("youtube", CHANNEL, "live")
        checks.plan.trouble["youtube"] = "rate_limited"
        observation = checks.check([CHANNEL])[CHANNEL]
        assert observation.state is State.RATE_LIMITED
        assert observation.retry_at == 1_790_060_400  # 2026-09-22T07:00Z


class TestYouTubeWithoutAKey:
    def test_the_page_is_left_alone_while_the_feed_is_the_same(self) -> None:
        checks = PlatformChecks("youtube", {})
        checks.plan.show("youtube", CHANNEL, "offline")
        assert [checks.state(CHANNEL), checks.request_count("/live")] == [State.OFFLINE, 1]
        assert [checks.state(CHANNEL), checks.request_count("/live")] == [State.OFFLINE, 0]
        checks.plan.show("youtube", CHANNEL, "live")
        assert [checks.state(CHANNEL), checks.request_count("/live")] == [State.LIVE, 1]
        assert [checks.state(CHANNEL), checks.request_count("/live")] == [State.LIVE, 1]
