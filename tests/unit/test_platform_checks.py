"""How a check asks: batches that split, rows asked again, tokens renewed, what is remembered between checks."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from livectl.live import platforms
from livectl.live.platforms import parsing
from livectl.live.platforms.base import CheckContext
from livectl.models import Observation, Request, Response, State
from tests.support.check_driver import drive, plan_responder
from tests.support.sites.plan import RETRY_SECONDS, Plan
from tests.support.sites.youtube import video

if TYPE_CHECKING:
    from collections.abc import Sequence

STARTED = 1_790_000_000
NOW = STARTED + 60.0
KEYED = {"client_id": "id", "client_secret": "secret", "api_key": "key"}
CHANNEL = "UC" + "a" * 22


class Asking:
    """Checks of one platform against a plan, with what they asked and what they remember."""

    def __init__(self, platform: str, keys: dict[str, str] | None = None) -> None:
        self.platform = platforms.get(platform)
        self.keys = KEYED if keys is None else keys
        self.plan = Plan()
        self.log: list[Request] = []
        self.memory: dict[str, str] = {}

    def check(self, ids: Sequence[str], now: float = NOW) -> dict[str, Observation]:
        self.log.clear()
        seen = drive(
            self.platform.check(ids, CheckContext(now, self.keys)), plan_responder(self.plan, self.log), self.memory
        )
        assert [observation.id for observation in seen] == list(ids)
        return {observation.id: observation for observation in seen}

    def one(self, one: str, now: float = NOW) -> State:
        return self.check([one], now)[one].state

    def many(self, count: int) -> list[str]:
        ids = [str(1_000 + number) for number in range(count)]
        for number, one in enumerate(ids):
            self.plan.show(self.platform.name, one, "live" if number % 2 else "offline")
        return ids

    def asked(self, part: str) -> int:
        return sum(part in request.url for request in self.log)


@pytest.mark.parametrize(
    ("platform", "keys", "count", "requests"),
    [("twitch", KEYED, 100, 2), ("twitch", {}, 100, 4), ("bilibili", {}, 90, 3), ("kick", KEYED, 40, 3)],
)
def test_many_are_asked_in_batches(platform: str, keys: dict[str, str], count: int, requests: int) -> None:
    asking = Asking(platform, keys)
    ids = asking.many(count)
    seen = asking.check(ids)
    assert len(asking.log) == requests, "with the token's"
    assert [seen[one].state for one in ids] == [State.OFFLINE, State.LIVE] * (count // 2)


@pytest.mark.parametrize(("platform", "count"), [("twitch", 100), ("bilibili", 30), ("kick", 20)])
def test_one_bad_id_spoils_nobody_else(platform: str, count: int) -> None:
    asking = Asking(platform)
    ids = asking.many(count)
    asking.plan.show(platform, ids[7], "poison")
    seen = asking.check(ids)
    assert seen.pop(ids[7]).state in {State.NETWORK, State.PARSE_ERROR}
    assert {observation.state for observation in seen.values()} == {State.LIVE, State.OFFLINE}
    assert len(asking.log) <= 1 + 2 * 7 + 2, "the whole, two a level; a token, and whether one left alone exists"


def test_a_site_that_is_down_is_not_asked_for_each() -> None:
    asking = Asking("twitch")
    ids = asking.many(100)
    for one in ids:
        asking.plan.show("twitch", one, "poison")
    assert {observation.state for observation in asking.check(ids).values()} == {State.NETWORK}
    assert asking.asked("/streams") == 7


@pytest.mark.parametrize("platform", ["bilibili", "kick"])
def test_a_missing_row_is_asked_again_alone(platform: str) -> None:
    asking = Asking(platform)
    ids = asking.many(10)
    asking.plan.show(platform, ids[3], "skipped")
    assert asking.check(ids)[ids[3]].state is State.LIVE


def test_a_row_missing_even_alone_is_unknown_and_left_alone_for_a_while() -> None:
    asking = Asking("bilibili")
    ids = [*asking.many(10), "4"]
    assert asking.check(ids)["4"].state is State.UNKNOWN
    assert len(asking.log) == 2
    assert asking.check(ids)["4"].state is State.UNKNOWN
    assert len(asking.log) == 1


def test_all_who_are_missing_get_their_turn_alone() -> None:
    asking = Asking("bilibili")
    ids = [*asking.many(10), *(str(number) for number in range(12))]
    assert [asking.check(ids)["3"].state and len(asking.log) for _ in range(4)] == [6, 6, 3, 1]


def test_an_answer_without_rows_does_not_make_thirty_questions() -> None:
    asking = Asking("bilibili")
    seen = asking.check([str(number) for number in range(30)])
    assert {observation.state for observation in seen.values()} == {State.UNKNOWN}
    assert len(asking.log) == 1 + 5


def test_absence_is_offline_on_helix_alone_and_nobody_is_told_from_somebody() -> None:
    asking = Asking("twitch")
    asking.plan.show("twitch", "1001", "offline")
    assert asking.check(["1001", "1002"])["1002"].state is State.OFFLINE
    assert asking.one("1001") is State.OFFLINE
    assert asking.one("1002") is State.NOT_FOUND


def test_helix_is_asked_for_as_many_as_it_may_answer() -> None:
    asking = Asking("twitch")
    asking.check(asking.many(100))
    query = parse_qsl(urlsplit(asking.log[-1].url).query)
    assert ("first", "100") in query
    assert sum(name == "user_id" for name, _ in query) == 100


def test_a_row_that_cannot_be_read_lets_nobody_be_offline() -> None:
    rows = {"data": [{"id": "1", "user_id": "1001", "type": "live"}]}

    def answer(request: Request) -> Response:
        granted = b'{"access_token":"t","expires_in":5000}'
        return Response(status=200, body=granted if "token" in request.url else msgspec.json.encode(rows))

    seen = drive(platforms.get("twitch").check(["1001", "1002"], CheckContext(NOW, KEYED)), answer)
    assert [observation.state for observation in seen] == [State.PARSE_ERROR] * 2


@pytest.mark.parametrize("platform", ["twitch", "kick"])
def test_a_token_is_kept_and_renewed_once_when_refused(platform: str) -> None:
    asking = Asking(platform)
    asking.plan.show(platform, "1001", "live")
    assert asking.one("1001") is State.LIVE
    assert asking.asked("token") == 1
    assert asking.one("1001") is State.LIVE
    assert asking.asked("token") == 0
    asking.memory["token/id"] = "stale"
    assert asking.one("1001") is State.LIVE
    assert asking.asked("token") == 1


@pytest.mark.parametrize("platform", ["twitch", "bilibili", "kick", "douyu", "tiktok"])
def test_a_limit_stops_the_check_and_says_until_when(platform: str) -> None:
    asking = Asking(platform)
    ids = asking.many(200)
    asking.plan.trouble[platform] = "rate_limited"
    seen = asking.check(ids)
    assert {observation.state for observation in seen.values()} == {State.RATE_LIMITED}
    assert {observation.retry_at for observation in seen.values()} == {
        None if platform == "bilibili" else NOW + RETRY_SECONDS
    }
    assert len(asking.log) == 1


def test_kick_is_asked_again_before_a_batch_ends_a_broadcast() -> None:
    asking = Asking("kick")
    ids = asking.many(4)
    assert asking.check(ids)[ids[1]].state is State.LIVE
    asking.plan.show("kick", ids[1], "offline")
    assert asking.check(ids)[ids[1]].state is State.OFFLINE
    assert [request.url.count("broadcaster_user_id=") for request in asking.log] == [4, 1]


def test_kick_ends_nothing_that_it_will_not_confirm() -> None:
    asking = Asking("kick")
    ids = asking.many(4)
    asking.check(ids)
    asking.plan.show("kick", ids[1], "offline")
    answer = plan_responder(asking.plan)

    def alone_down(request: Request) -> Response:
        return answer(request) if request.url.count("broadcaster_user_id=") != 1 else Response(status=503)

    seen = drive(asking.platform.check(ids, CheckContext(NOW, KEYED)), alone_down, asking.memory)
    assert [observation.state for observation in seen] == [State.OFFLINE, State.NETWORK, State.OFFLINE, State.LIVE]


def test_douyin_gets_a_visitors_cookie_once_and_a_new_one_after_a_refusal() -> None:
    asking = Asking("douyin")
    asking.plan.show("douyin", "1", "live")
    assert [asking.one("1"), len(asking.log)] == [State.LIVE, 2]
    assert [asking.one("1"), len(asking.log)] == [State.LIVE, 1]
    asking.plan.trouble["douyin"] = "empty"
    assert asking.one("1") is State.BLOCKED
    asking.plan.trouble.clear()
    assert [asking.one("1"), len(asking.log)] == [State.LIVE, 2]


def test_soop_offline_stands_though_the_station_is_silent() -> None:
    asking = Asking("soop")
    asking.plan.show("soop", "somebody", "offline")
    answer = plan_responder(asking.plan, asking.log)

    def without_station(request: Request) -> Response:
        said = answer(request)
        return Response(status=503) if "/station" in request.url else said

    for requests in (2, 1):
        asking.log.clear()
        check = asking.platform.check(["somebody"], CheckContext(NOW, {}))
        (seen,) = drive(check, without_station, asking.memory)
        assert (seen.state, len(asking.log)) == (State.OFFLINE, requests)


def test_a_users_own_cookie_is_used() -> None:
    asking = Asking("douyin", {"cookie": "ttwid=mine"})
    asking.plan.show("douyin", "1", "live")
    assert [asking.one("1"), len(asking.log)] == [State.LIVE, 1]
    assert asking.log[0].headers["Cookie"] == "ttwid=mine"


class TestYouTubeWithAKey:
    def test_what_ended_is_never_paid_for_again(self) -> None:
        asking = Asking("youtube")
        asking.plan.show("youtube", CHANNEL, "offline")
        assert asking.one(CHANNEL) is State.OFFLINE
        assert asking.asked("/videos?") == 1
        assert asking.one(CHANNEL) is State.OFFLINE
        assert asking.asked("/videos?") == 0

    def test_a_broadcast_begins_and_ends(self) -> None:
        asking = Asking("youtube")
        scene = asking.plan.show("youtube", CHANNEL, "live")
        seen = asking.check([CHANNEL])[CHANNEL]
        assert (seen.state, seen.session, seen.viewers) == (State.LIVE, video(CHANNEL, scene), 7)
        asking.plan.show("youtube", CHANNEL, "offline")
        assert asking.one(CHANNEL) is State.OFFLINE
        assert asking.asked("/videos?") == 1, "the one that ran is asked after, though the feed has lost it"

    def test_a_premiere_is_a_replay(self) -> None:
        asking = Asking("youtube")
        asking.plan.show("youtube", CHANNEL, "replay")
        assert asking.one(CHANNEL) is State.REPLAY

    def test_the_next_one_announced_does_not_hide_that_this_one_ended(self) -> None:
        asking = Asking("youtube")
        asking.plan.show("youtube", CHANNEL, "live")
        assert asking.one(CHANNEL) is State.LIVE
        asking.plan.show("youtube", CHANNEL, "upcoming", started=STARTED + 90_000)
        assert asking.one(CHANNEL) is State.OFFLINE
        del asking.memory[f"live/{CHANNEL}"]  # runs out by itself
        assert asking.one(CHANNEL) is State.UPCOMING

    def test_one_announced_is_asked_after_near_its_start(self) -> None:
        asking = Asking("youtube")
        asking.plan.show("youtube", CHANNEL, "upcoming", started=STARTED + 90_000)
        asked = []
        for now in (NOW, NOW + 60, NOW + 1_900, STARTED + 89_990):
            assert asking.one(CHANNEL, now) is State.UPCOMING
            asked.append(asking.asked("/videos?"))
        assert asked == [1, 0, 1, 1]

    def test_one_announced_long_ago_is_no_longer_shown_but_may_yet_begin(self) -> None:
        asking = Asking("youtube")
        asking.plan.show("youtube", CHANNEL, "upcoming")
        assert asking.one(CHANNEL, STARTED + 7_200) is State.OFFLINE
        asking.plan.show("youtube", CHANNEL, "live")
        assert asking.one(CHANNEL, STARTED + 7_300) is State.LIVE

    def test_a_feed_that_fails_is_made_up_for(self) -> None:
        asking = Asking("youtube")
        asking.plan.show("youtube", CHANNEL, "live")
        answer = plan_responder(asking.plan, asking.log)

        def without_feed(request: Request) -> Response:
            return Response(status=500) if "feeds" in request.url else answer(request)

        (seen,) = drive(asking.platform.check([CHANNEL], CheckContext(NOW, KEYED)), without_feed)
        assert seen.state is State.LIVE

    def test_a_spent_quota_lasts_until_midnight_in_california(self) -> None:
        asking = Asking("youtube")
        asking.plan.show("youtube", CHANNEL, "live")
        asking.plan.trouble["youtube"] = "rate_limited"
        seen = asking.check([CHANNEL])[CHANNEL]
        assert seen.state is State.RATE_LIMITED
        assert seen.retry_at == 1_790_060_400  # 2026-09-22T07:00Z


class TestYouTubeWithoutAKey:
    def test_the_page_is_left_alone_while_the_feed_is_the_same(self) -> None:
        asking = Asking("youtube", {})
        asking.plan.show("youtube", CHANNEL, "offline")
        assert [asking.one(CHANNEL), asking.asked("/live")] == [State.OFFLINE, 1]
        assert [asking.one(CHANNEL), asking.asked("/live")] == [State.OFFLINE, 0]
        asking.plan.show("youtube", CHANNEL, "live")
        assert [asking.one(CHANNEL), asking.asked("/live")] == [State.LIVE, 1]
        assert [asking.one(CHANNEL), asking.asked("/live")] == [State.LIVE, 1]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:15:20 GMT"}, 60.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "999999999"}, 86_400.0),
        ({"ratelimit-reset": str(int(NOW) + 45)}, 45.0),
        ({"x-ratelimit-reset": "45"}, 45.0),
        ({"ratelimit-reset": "1"}, 1.0),
        ({}, None),
    ],
)
def test_when_to_ask_again_is_read(headers: dict[str, str], seconds: float | None) -> None:
    retry_at = parsing.read_retry_at(Response(status=429, headers=headers), NOW)
    assert retry_at == (None if seconds is None else NOW + seconds)


@pytest.mark.parametrize(
    ("text", "read"),
    [("1.2万", 12_000), ("10万+", 100_000), ("1,234", 1_234), ("3k", 3_000), ("", None), ("many", None), (-1, None)],
)
def test_counts_are_read_as_sites_write_them(text: str | int, read: int | None) -> None:
    assert parsing.parse_count(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [("a &amp;amp; b&nbsp;", "a & b"), (" a\n\tb\x00 ", "a b"), (None, ""), ("x" * 999, "x" * 300)],
)
def test_texts_are_made_plain(text: str | None, read: str) -> None:
    assert parsing.plain_text(text) == read
