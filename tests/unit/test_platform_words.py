"""Whose word is believed: the platform's own, for the id that was asked, and nothing that stands beside an error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from livectl.live import platforms
from livectl.live.platforms.base import CheckContext
from livectl.models import Request, Response, State
from tests.support.check_driver import drive, plan_responder
from tests.support.sites.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.models import Observation

NOW = 1_790_003_600.0
CLIENT = {"client_id": "id", "client_secret": "secret"}
CHANNEL = "UC" + "a" * 22
OTHER = "UC" + "b" * 22


def check(platform: str, streamer_id: str, respond: Callable[[Request], Response], keys: Any = None) -> Observation:
    (observation,) = drive(platforms.get(platform).check([streamer_id], CheckContext(NOW, keys or {})), respond)
    return observation


def answers(**bodies: Any) -> Callable[[Request], Response]:
    """Responds by the first part of an address that is known; the rest is down."""

    def respond(request: Request) -> Response:
        body = next((body for part, body in bodies.items() if part in request.url), None)
        if body is None:
            return Response(status=503, url=request.url)
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        return Response(status=200, url=request.url, body=text.encode())

    return respond


ERRORS = [{"message": "service timeout"}]
NO_STREAM = {"id": "1", "login": "ada", "displayName": "Ada", "stream": None}


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({"data": {"user": NO_STREAM}}, State.OFFLINE),
        ({"data": {"user": None}}, State.NOT_FOUND),
        ({"errors": ERRORS, "data": {"user": NO_STREAM}}, State.NETWORK),
        ({"errors": ERRORS, "data": {"user": None}}, State.NETWORK),
        ({"errors": ERRORS, "data": None}, State.NETWORK),
        ({"errors": ERRORS}, State.NETWORK),
        ({"errors": [{"message": "failed integrity check"}], "data": {"user": None}}, State.BLOCKED),
        ({"data": {"user": NO_STREAM | {"login": "grace"}}}, State.PARSE_ERROR),
    ],
)
def test_a_null_beside_an_error_of_twitch_says_nothing(row: Any, state: State) -> None:
    assert check("twitch", "ada", answers(gql=[row])).state is state


def test_helix_leaves_nobody_offline_beside_a_row_that_was_not_asked_for() -> None:
    stranger = {"id": "9", "user_id": "7", "user_login": "x", "type": "live", "started_at": "2026-09-21T14:13:20Z"}
    respond = answers(token={"access_token": "t", "expires_in": 5000}, streams={"data": [stranger]}, users={"data": []})
    assert check("twitch", "1001", respond, CLIENT).state is State.PARSE_ERROR


@pytest.mark.parametrize(
    ("platform", "streamer_id", "part", "body"),
    [
        ("douyu", "9999", "betard", {"room": {"room_id": 1, "show_status": 2, "videoLoop": 0, "show_time": 1}}),
        (
            "huya",
            "660000",
            "cache",
            {
                "status": 200,
                "data": {"liveStatus": "OFF", "realLiveStatus": "OFF", "profileInfo": {"profileRoom": 1}},
            },
        ),
        ("soop", "somebody", "player_live", {"CHANNEL": {"RESULT": 0, "BJID": "other"}}),
        (
            "tiktok",
            "some.body",
            "api-live",
            {"statusCode": 0, "data": {"user": {"roomId": "", "uniqueId": "other"}}},
        ),
        (
            "bilibili",
            "2001",
            "by_uids",
            {"code": 0, "data": {"2001": {"uid": 7, "live_status": 0, "live_time": 0}}},
        ),
    ],
)
def test_an_answer_about_somebody_else_is_none(platform: str, streamer_id: str, part: str, body: Any) -> None:
    observation = check(platform, streamer_id, answers(**{part: body}))
    assert observation.state is State.PARSE_ERROR
    assert "somebody else" in observation.problem


def douyin_page(info: Any) -> str:
    state = json.dumps({"state": {"roomStore": {"roomInfo": info}}}, separators=(",", ":"))
    return f"<script>self.__pace_f.push([1,{json.dumps(state)}])</script>"


LIVE_ROOM = {"status": 2, "id_str": "77", "title": "A title", "owner": {"web_rid": "123", "nickname": "Ada"}}


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({"room": LIVE_ROOM}, State.LIVE),
        ({"room": LIVE_ROOM, "anchor": None}, State.LIVE),
        ({"room": {"status": 2}}, State.LIVE),
        ({"room": LIVE_ROOM | {"status": 4}}, State.OFFLINE),
        ({"room": None, "anchor": {"nickname": "Ada"}}, State.OFFLINE),
        ({"room": None, "anchor": None}, State.NOT_FOUND),
        ({"anchor": {"nickname": "Ada"}}, State.PARSE_ERROR),
        ({}, State.PARSE_ERROR),
    ],
)
def test_the_page_of_douyin_is_read_without_anchor(info: Any, state: State) -> None:
    def respond(request: Request) -> Response:
        if request.url.endswith("/"):
            return Response(status=200, url=request.url, body=b"x", headers={"set-cookie": "ttwid=1"})
        empty = {"status_code": 0, "data": {"data": []}}
        body = json.dumps(empty) if "enter" in request.url else douyin_page(info)
        return Response(status=200, url=request.url, body=body.encode())

    observation = check("douyin", "123", respond)
    assert observation.state is state
    if info.get("room") == LIVE_ROOM:
        assert (observation.name, observation.session) == ("Ada", "77")


@pytest.mark.parametrize("code", [0, 10001, 4001038, 30003])
def test_an_ended_room_of_douyin_is_offline_whatever_its_status_code(code: int) -> None:
    body = {"status_code": code, "data": {"prompts": "直播已结束"}}
    respond = answers(enter=body)
    assert check("douyin", "123", respond, {"cookie": "ttwid=mine"}).state is State.OFFLINE


def test_douyin_is_asked_once_more_when_a_kept_cookie_is_refused() -> None:
    plan, log = Plan(), list[Request]()
    plan.show("douyin", "1", "live")
    planned = plan_responder(plan, log)

    def respond(request: Request) -> Response:
        return Response(status=200) if "ttwid=old" in request.headers.get("Cookie", "") else planned(request)

    generator = platforms.get("douyin").check(["1"], CheckContext(NOW, {}))
    (observation,) = drive(generator, respond, {"ttwid": "old"})
    assert observation.state is State.LIVE
    assert len(log) == 2, "a new cookie, and the question again"


def test_pages_of_huya_are_read_through_their_entities() -> None:
    room = '{"state":"ON","profileRoom":660000,"introduction":"A title","startTime":1790000000}'
    page = f"<script>var TT_ROOM_DATA = {room};</script>".replace('"', "&quot;")
    respond = answers(**{"www.huya.com": page, "cache": {"status": 200, "data": {"odd": 1}}})
    observation = check("huya", "660000", respond)
    assert (observation.state, observation.title, observation.session) == (State.LIVE, "A title", "1790000000")
    assert drive(platforms.get("huya").resolve("ada", CheckContext(NOW, {})), respond) == "660000"  # type: ignore[misc]


def test_a_room_of_huya_under_correction_is_banned() -> None:
    body = {"status": 422, "message": "该主播正在整改中"}
    assert check("huya", "660000", answers(cache=body)).state is State.BANNED


@pytest.mark.parametrize(
    ("open_live", "state"), [(True, State.LIVE), (False, State.OFFLINE), (None, State.PARSE_ERROR)]
)
def test_chzzk_is_asked_by_its_second_route(open_live: Any, state: State) -> None:
    streamer_id = "0123456789abcdef" * 2
    channel = {"content": {"channelId": streamer_id, "channelName": "Ada", "openLive": open_live}}
    respond = answers(**{"live-status": {"code": 200, "content": {"odd": 1}}, "/service/": channel})
    assert check("chzzk", streamer_id, respond).state is state


def test_soop_is_asked_at_the_station_when_the_player_answers_oddly() -> None:
    station = {"station": {"user_nick": "Ada"}, "broad": {"broad_no": 5, "broad_title": "A title"}}
    observation = check("soop", "ada", answers(player_live={"CHANNEL": {"RESULT": 99}}, station=station))
    assert (observation.state, observation.session) == (State.LIVE, "5")


def test_tiktok_is_believed_when_room_and_user_agree() -> None:
    body = {"statusCode": 0, "data": {"user": {"roomId": "5", "status": 2}, "liveRoom": {"status": 4}}}
    assert check("tiktok", "ada", answers(**{"api-live": body})).state is State.PARSE_ERROR


@pytest.mark.parametrize("name", ["@ada", "c/Ada", "user/ada", "video:abcdefghijk"])
@pytest.mark.parametrize(
    "mark",
    [
        '<script>{"externalId": "CHANNEL"}</script>',
        '<meta itemprop="identifier" content="CHANNEL">',
        '<script>{"videoDetails" : {"videoId":"abcdefghijk","channelId" :  "CHANNEL"}}</script>',
    ],
)
def test_youtube_names_are_resolved_by_whichever_mark_is_there(name: str, mark: str) -> None:
    page = f'<html>{mark.replace("CHANNEL", CHANNEL)}<a>"channelId":"{OTHER}"</a></html>'
    resolve = platforms.get("youtube").resolve
    assert resolve is not None
    assert drive(resolve(name, CheckContext(NOW, {})), answers(youtube=page)) == CHANNEL


def test_a_youtube_page_of_another_channel_says_nothing() -> None:
    details = f'"videoDetails":{{"videoId":"abcdefghijk","channelId":"{OTHER}","isLive":true}}'
    page = f'<link rel="canonical" href="https://www.youtube.com/watch?v=abcdefghijk"><script>{details}</script>'
    assert check("youtube", CHANNEL, answers(**{"/live": page})).state is State.PARSE_ERROR


def test_the_logins_of_twitch_are_resolved_a_hundred_at_once() -> None:
    plan, log = Plan(), list[Request]()
    for number in range(130):
        plan.show("twitch", str(number), "live", alias=f"name{number}")
    twitch = platforms.get("twitch")
    assert twitch.names is not None
    respond, cache = plan_responder(plan, log), dict[str, str]()
    names = [f"name{number}" for number in range(130)]
    answers_by_name: dict[str, Any] = {}
    for batch in (names[:100], [*names[100:], "nobody"]):
        answers_by_name |= drive(twitch.names.resolve(batch, CheckContext(NOW, CLIENT)), respond, cache)
    assert [answers_by_name[name] for name in names] == [str(number) for number in range(130)]
    assert "knows no channel" in str(answers_by_name["nobody"])
    assert len(log) == 3, "a token, and two calls; one a name before"


@pytest.mark.parametrize(("names", "requests"), [(20, 2), (19, 3)])
def test_the_slugs_of_kick_are_resolved_many_at_once(names: int, requests: int) -> None:
    plan, log = Plan(), list[Request]()
    for number in range(names):
        plan.show("kick", str(number + 1), "live", alias=f"name{number}")
    kick = platforms.get("kick")
    assert kick.names is not None
    slugs = [f"@name{number}" for number in range(20)]
    answers_by_name = drive(kick.names.resolve(slugs, CheckContext(NOW, CLIENT)), plan_responder(plan, log))
    assert [answers_by_name[slug] for slug in slugs[:names]] == [str(number + 1) for number in range(names)]
    assert len(log) == requests, "a token, one call, and one for who is left out"
