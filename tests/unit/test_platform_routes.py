"""Which address is asked when: a second before a parse error, many at once, a name where its state is told, too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from livectl.live import platforms
from livectl.live.platforms.base import CheckContext
from livectl.models import Observation, Request, Response, State
from tests.support.check_driver import drive, plan_responder
from tests.support.sites.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

NOW = 1_790_003_600.0
CLIENT = {"client_id": "id", "client_secret": "secret"}
EVERY_KEY = CLIENT | {"api_key": "key"}
CHANNEL = "UC" + "a" * 22
OTHER = "UC" + "b" * 22


class Site:
    """Answers by the first part of an address that is known, else by a plan; and counts."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.plan = Plan()
        self.log: list[Request] = []
        self.cache: dict[str, str] = {}
        self._planned = plan_responder(self.plan)

    def respond(self, request: Request) -> Response:
        self.log.append(request)
        answer = next((answer for part, answer in self.answers.items() if part in request.url), None)
        if answer is None:
            return self._planned(request)
        if isinstance(answer, Response):
            return answer
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return Response(status=200, url=request.url, body=text.encode())

    def drive(self, steps: Generator[Any, Any, Any]) -> Any:
        self.log.clear()
        return drive(steps, self.respond, self.cache)

    def check(
        self, platform: str, ids: Sequence[str], keys: Any = None, now: float = NOW, *, with_avatars: bool = False
    ) -> list[Observation]:
        context = CheckContext(now, keys or {}, with_avatars)
        return self.drive(platforms.get(platform).check(ids, context))  # type: ignore[no-any-return]

    def observe_names(self, platform: str, names: Sequence[str], keys: Any = None) -> dict[str, Observation]:
        lookup = platforms.get(platform).names
        assert lookup is not None
        assert lookup.observe is not None
        return self.drive(lookup.observe(names, CheckContext(NOW, keys or {})))  # type: ignore[no-any-return]

    def asked(self, part: str) -> int:
        return sum(part in request.url for request in self.log)


def states(observations: Sequence[Observation]) -> list[State]:
    return [observation.state for observation in observations]


# Bilibili


@pytest.mark.parametrize(
    "first",
    [
        {"code": -352, "message": "-352", "data": {"v_voucher": "x"}},
        {"code": 0, "data": {"2001": {"surprise": 1}}},
        {"code": 0, "data": "garbage"},
        "<html>maintenance</html>",
    ],
)
def test_bilibili_is_asked_by_its_second_address(first: Any) -> None:
    site = Site(by_uids=first)
    site.plan.show("bilibili", "2001", "live", alias="6")
    (seen,) = site.check("bilibili", ["2001"])
    assert (seen.state, seen.session, seen.started_at, seen.viewers) == (State.LIVE, "1790000000", 1_790_000_000, 7)
    assert len(site.log) == 2


def test_bilibili_is_left_alone_after_a_refusal_of_this_client() -> None:
    site = Site(by_uids=Response(status=412, body=b'{"code":-412}'))
    site.plan.show("bilibili", "2001", "live")
    assert (states(site.check("bilibili", ["2001"])), len(site.log)) == ([State.BLOCKED], 1)


def test_a_room_of_somebody_else_says_nothing_at_the_second_address_either() -> None:
    row = {"uid": 7, "room_id": 1, "live_status": 1, "live_time": "2026-09-21 22:13:20"}
    info = {"code": 0, "data": {"by_uids": {"2001": row}, "by_room_ids": {}}}
    site = Site(by_uids={"code": 0, "data": "garbage"}, getRoomBaseInfo=info)
    assert states(site.check("bilibili", ["2001"])) == [State.PARSE_ERROR]


def test_rooms_of_bilibili_are_resolved_and_asked_in_one() -> None:
    site = Site()
    site.plan.show("bilibili", "2001", "live", alias="6")
    site.plan.show("bilibili", "2002", "offline", alias="7")
    seen = site.observe_names("bilibili", ["room:6", "room:20020", "room:9"])  # by its short number, by its long one
    assert {name: (each.id, each.state) for name, each in seen.items()} == {"room:6": ("2001", State.LIVE)}
    site.plan.show("bilibili", "2002", "offline", alias="20020")
    seen = site.observe_names("bilibili", ["room:20020"])
    assert seen["room:20020"].id == "2002"


# Kick


def kick_site(live: int, offline: int, **answers: Any) -> tuple[Site, list[str]]:
    site = Site(**answers)
    ids = [str(1_000 + number) for number in range(live + offline)]
    for number, streamer_id in enumerate(ids):
        site.plan.show("kick", streamer_id, "live" if number < live else "offline")
    return site, ids


def test_kicks_list_is_asked_about_a_hundred() -> None:
    site, ids = kick_site(40, 60)
    assert states(site.check("kick", ids, CLIENT)) == [State.LIVE] * 40 + [State.OFFLINE] * 60
    assert (site.asked("livestreams"), site.asked("/channels")) == (1, 3), "the list, and who is not in it"
    observations = site.check("kick", ids, CLIENT)
    assert states(observations) == [State.LIVE] * 40 + [State.OFFLINE] * 60
    assert len(site.log) == 1
    assert (observations[0].session, observations[0].viewers, observations[0].title) == ("1790000000", 7, "A title")


def test_who_goes_live_is_in_kicks_list_and_who_ends_is_confirmed_alone() -> None:
    site, ids = kick_site(10, 20)
    site.check("kick", ids, CLIENT)
    site.plan.show("kick", ids[0], "offline")
    site.plan.show("kick", ids[-1], "live")
    observations = site.check("kick", ids, CLIENT)
    assert (observations[0].state, observations[-1].state) == (State.OFFLINE, State.LIVE)
    assert [request.url.count("user_id=") for request in site.log] == [30, 1], "the list, and one channel alone"
    site.plan.show("kick", ids[-1], "offline")
    assert site.check("kick", ids, CLIENT)[-1].state is State.OFFLINE
    assert site.asked("/channels") == 1, "an older word of the channel does not count after it was live"


@pytest.mark.parametrize(
    ("platform", "keys", "address"),
    [("twitch", CLIENT, "/users?"), ("kick", CLIENT, "/users?"), ("youtube", {"api_key": "k"}, "/channels?")],
)
def test_avatars_are_asked_for_once_a_day(platform: str, keys: dict[str, str], address: str) -> None:
    site, ids = Site(), [f"UC{number:022}" if platform == "youtube" else str(1_000 + number) for number in range(3)]
    for streamer_id in ids[:2]:
        site.plan.show(platform, streamer_id, "live")
    asked = []
    for _ in range(2):
        avatars = [each.avatar for each in site.check(platform, ids, keys, with_avatars=True)]
        assert avatars == [*(f"https://static.example/faces/{streamer_id}.png" for streamer_id in ids[:2]), ""]
        asked.append(site.asked(address))
    assert asked == [1, 0]


@pytest.mark.parametrize("platform", ["twitch", "youtube"])
def test_without_a_key_avatars_come_along(platform: str) -> None:
    site, streamer_id = Site(), f"UC{7:022}" if platform == "youtube" else "1007"
    site.plan.show(platform, streamer_id, "live")
    (observation,) = site.check(platform, [streamer_id])
    assert observation.avatar == f"https://static.example/faces/{streamer_id}.png"


def test_avatars_that_cannot_be_had_spoil_no_check() -> None:
    site = Site(**{"/users?": Response(status=500)})
    site.plan.show("twitch", "1000", "live")
    for asked in (1, 0):
        (observation,) = site.check("twitch", ["1000"], CLIENT, with_avatars=True)
        assert (observation.state, observation.avatar, site.asked("/users?")) == (State.LIVE, "", asked)


def test_a_broadcast_of_kick_that_ended_is_confirmed_once() -> None:
    site, ids = kick_site(4, 0)
    site.check("kick", ids, CLIENT)
    site.plan.show("kick", ids[0], "offline")
    requests = []
    for _ in range(2):
        assert site.check("kick", ids, CLIENT)[0].state is State.OFFLINE
        requests.append(len(site.log))
    assert requests == [2, 1]


def test_who_is_missing_in_kicks_list_is_not_offline_for_that() -> None:
    site, ids = kick_site(30, 0)
    site.plan.show("kick", ids[3], "skipped")
    assert set(states(site.check("kick", ids, CLIENT))) == {State.LIVE}
    assert site.asked("/channels") == 1


STRANGER = {"broadcaster_user": {"id": 7}, "channel": {"slug": "x"}, "started_at": "2026-09-21T14:13:20Z"}


@pytest.mark.parametrize("rows", [[STRANGER], [{"broadcaster_user": {"id": 1_000}}], [{"surprise": 1}]])
def test_kicks_list_with_a_strange_row_leaves_nobody_offline(rows: Any) -> None:
    site, ids = kick_site(0, 30)
    site.check("kick", ids, CLIENT)
    site.answers["livestreams"] = {"data": rows, "message": "OK"}
    assert set(states(site.check("kick", ids, CLIENT))) == {State.OFFLINE}
    assert site.asked("/channels") == 2, "so the channels were asked"


@pytest.mark.parametrize(
    ("answer", "channels"),
    [
        (Response(status=404, body=b"gone"), 2),
        (Response(status=400, body=b'{"message":"Invalid request"}'), 2),
        (Response(status=500, body=b"{}"), 2),
        ({"surprise": 1}, 2),
        (Response(status=429, body=b"{}"), 0),
        (Response(status=403, body=b"{}"), 0),
        (Response(status=0, error="timed out"), 0),
        ({"data": [], "message": "internal error"}, 0),
    ],
)
def test_kicks_channels_are_asked_where_its_list_cannot_be_read(answer: Any, channels: int) -> None:
    site, ids = kick_site(30, 0, livestreams=answer)
    told = states(site.check("kick", ids, CLIENT))
    assert site.asked("/channels") == channels
    assert set(told) == {State.LIVE} if channels else State.LIVE not in told and State.OFFLINE not in told


@pytest.mark.parametrize("message", ["internal error", "Unauthorized"])
def test_no_row_beside_an_error_of_kick_is_nobody_not_found(message: str) -> None:
    site = Site(channels={"data": [], "message": message})
    assert states(site.check("kick", ["1001"], CLIENT)) == [State.NETWORK]


def test_one_bad_slug_of_kick_does_not_make_twenty_questions() -> None:
    site = Site()
    names = [f"@name{number}" for number in range(20)]
    for number in range(20):
        site.plan.show("kick", str(number + 1), "poison" if number == 7 else "live", alias=f"name{number}")
    seen = site.observe_names("kick", names, CLIENT)
    assert [seen[name].state for name in names].count(State.LIVE) == 19
    assert seen[names[7]].state is State.NOT_FOUND
    assert len(site.log) <= 1 + 1 + 2 * 5


@pytest.mark.parametrize(("platform", "count"), [("twitch", 250), ("kick", 250)])
def test_a_refused_token_is_renewed_once_for_all_who_were_asked_with_it(platform: str, count: int) -> None:
    site = Site()
    ids = [str(1_000 + number) for number in range(count)]
    for streamer_id in ids:
        site.plan.show(platform, streamer_id, "live")
    site.cache["token/id"] = "stale"
    respond = site.respond

    def respond_late(request: Request) -> Response:
        """Meanwhile another check has renewed the token."""
        response = respond(request)
        if response.status == 401:
            site.cache["token/id"] = "fake-token"
        return response

    batches = [ids[start : start + 100] for start in range(0, count, 100)]
    for batch in batches:
        check = platforms.get(platform).check(batch, CheckContext(NOW, CLIENT))
        assert states(drive(check, respond_late, site.cache)) == [State.LIVE] * len(batch)
    assert site.asked("/token") == 0
    assert len(site.log) == 1 + len(batches)


# Twitch


def test_twitch_is_asked_by_graphql_where_helix_cannot_be_read() -> None:
    site = Site(streams={"data": "garbage"})
    site.plan.show("twitch", "1001", "live")
    site.plan.show("twitch", "1002", "offline")
    assert states(site.check("twitch", ["1001", "1002"], CLIENT)) == [State.LIVE, State.OFFLINE]
    assert site.asked("/gql") == 1


@pytest.mark.parametrize("error", [{"error": "Internal Server Error"}, {"message": "timed out", "status": 500}])
def test_no_stream_beside_an_error_of_helix_is_nobody_offline(error: Any) -> None:
    for answers in ({"streams": {"data": []} | error}, {"streams": {"data": []}, "helix/users": {"data": []} | error}):
        assert states(Site(**answers).check("twitch", ["1001"], CLIENT)) == [State.NETWORK]


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"error": "Unauthorized", "status": 401, "message": "The OAuth token is invalid"}, State.BLOCKED),
        ({"error": "Service Unavailable", "status": 503, "message": ""}, State.NETWORK),
        ({"error": "Internal Server Error", "message": ""}, State.NETWORK),
        ({"error": None, "message": "service timeout"}, State.NETWORK),
        ({"error": "Too Many Requests", "status": 429}, State.RATE_LIMITED),
        ({"errors": [{"message": "server error"}], "data": None}, State.NETWORK),
        ({"errors": [{"message": "failed integrity check"}]}, State.BLOCKED),
        ({"data": {}}, State.PARSE_ERROR),
    ],
)
def test_an_error_of_graphql_in_place_of_all_rows_is_named(body: Any, state: State) -> None:
    (seen,) = Site(gql=body).check("twitch", ["ada"])
    assert seen.state is state
    assert seen.problem


# TikTok


def tiktok_site(live: int) -> tuple[Site, list[str]]:
    site = Site()
    ids = [f"name{number}" for number in range(live)]
    for number, streamer_id in enumerate(ids):
        site.plan.show("tiktok", streamer_id, "live", started=1_790_000_000 + number)
        site.check("tiktok", [streamer_id])
    return site, ids


def recheck(site: Site, ids: Sequence[str], now: float = NOW + 60) -> dict[str, Observation]:
    platform = platforms.get("tiktok")
    assert platform.recheck is not None
    return site.drive(platform.recheck(ids, CheckContext(now, {})))  # type: ignore[no-any-return]


def test_tiktok_tells_of_all_known_rooms_in_one_answer() -> None:
    site, ids = tiktok_site(60)
    seen = recheck(site, [*ids, "somebody else"])
    assert list(seen) == ids
    assert {each.state for each in seen.values()} == {State.LIVE}
    assert (seen["name5"].session, seen["name5"].title, seen["name5"].at) == ("1790000005", "A title", NOW + 60)
    assert len(site.log) == 2, "fifty rooms in each"


def test_a_room_of_tiktok_that_is_not_on_air_says_nothing_of_its_streamer() -> None:
    site, ids = tiktok_site(3)
    site.plan.show("tiktok", ids[1], "live", started=1_790_009_999)  # in another room by now
    assert list(recheck(site, ids)) == [ids[0], ids[2]]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [{"alive": True, "room_id": 7}, {"alive": True}], "status_code": 0},
        {"data": [], "status_code": 0},
        {"data": None, "message": "error"},
        "<html>captcha</html>",
        Response(status=503),
    ],
)
def test_rooms_of_tiktok_that_are_not_named_are_asked_about_in_full(answer: Any) -> None:
    site, ids = tiktok_site(3)
    site.answers["check_alive"] = answer
    assert recheck(site, ids) == {}


def test_rooms_of_tiktok_are_asked_about_in_full_again_after_a_while() -> None:
    site, ids = tiktok_site(3)
    assert recheck(site, ids, NOW + 301) == {}
    assert not site.log
    site.answers["check_alive"] = Response(status=403)
    assert recheck(site, ids) == {}
    assert recheck(site, ids) == {}
    assert not site.log, "it refused"


def test_no_such_user_is_overruled_by_a_room_on_air() -> None:
    site, ids = tiktok_site(1)
    site.answers["api-live"] = {"statusCode": 19881007, "message": "user_not_found", "data": None}
    (seen,) = site.check("tiktok", ids)
    assert (seen.state, seen.session) == (State.LIVE, "1790000000")
    site.answers["check_alive"] = {"data": [{"alive": False, "room_id_str": "1790000000"}]}
    assert states(site.check("tiktok", ids)) == [State.UNKNOWN]
    assert states(site.check("tiktok", ["nobody"])) == [State.UNKNOWN]
    assert len(site.log) == 1


@pytest.mark.parametrize("kind", ["live", "offline"])
def test_the_page_of_tiktok_is_read_where_its_api_cannot_be(kind: Any) -> None:
    site = Site(**{"api-live": {"statusCode": 0, "data": {"odd": 1}}})
    site.plan.show("tiktok", "ada", kind)
    assert states(site.check("tiktok", ["ada"])) == [State(kind)]
    assert states(site.check("tiktok", ["nobody"])) == [State.PARSE_ERROR]


# SOOP


def moving_soop(target: str, log: list[Request]) -> Callable[[Request], Response]:
    plan = Plan()
    plan.show("soop", "ada", "live")
    planned = plan_responder(plan, log)

    def respond(request: Request) -> Response:
        if "live.sooplive.com" not in request.url:
            return planned(request)
        log.append(request)
        assert not request.follow, "a browser would drop the form"
        return Response(status=301, url=request.url, headers={"location": target})

    return respond


def test_soop_may_send_from_one_of_its_domains_to_another() -> None:
    log: list[Request] = []
    respond = moving_soop("https://live.sooplive.co.kr/afreeca/player_live_api.php?bjid=ada", log)
    (seen,) = drive(platforms.get("soop").check(["ada"], CheckContext(NOW, {})), respond)
    assert seen.state is State.LIVE
    assert [(request.method, b"bid=ada" in request.body) for request in log] == [("POST", True)] * 2


@pytest.mark.parametrize("target", ["https://elsewhere.example/", "https://live.sooplive.com.evil.example/", ""])
def test_soop_may_send_nowhere_else(target: str) -> None:
    log: list[Request] = []
    (seen,) = drive(platforms.get("soop").check(["ada"], CheckContext(NOW, {})), moving_soop(target, log))
    assert seen.state is State.BLOCKED
    assert not any("elsewhere" in request.url or "evil" in request.url for request in log)


@pytest.mark.parametrize(
    ("fields", "category"),
    [({"CATEGORY_TAGS": ["Talk"], "CATE": "00810000"}, "Talk"), ({"CATE": "00810000"}, "00810000"), ({}, "")],
)
def test_soop_tells_its_category(fields: Any, category: str) -> None:
    channel = {"RESULT": 1, "BNO": "5", "TITLE": "A title", "BTIME": 5}
    (seen,) = Site(player_live={"CHANNEL": channel | fields}).check("soop", ["ada"])
    assert seen.category == category


def test_the_station_of_soop_tells_viewers_category_and_password() -> None:
    broad = {
        "broad_no": 5,
        "broad_title": "A title",
        "current_sum_viewer": 12,
        "broad_cate_no": 810,
        "is_password": True,
    }
    site = Site(player_live={"CHANNEL": {"RESULT": 99}}, station={"station": {"user_id": "ada"}, "broad": broad})
    (seen,) = site.check("soop", ["ada"])
    assert (seen.state, seen.viewers, seen.category, seen.session) == (State.RESTRICTED, 12, "", "5")
    site.answers["player_live"] = {"CHANNEL": {"RESULT": -6}}
    assert site.check("soop", ["ada"])[0].category == "810", "the player tells nothing of it"


def test_soop_is_asked_at_the_station_where_the_player_contradicts_itself() -> None:
    site = Site(player_live={"CHANNEL": {"RESULT": 0, "TITLE": "A title", "BTIME": 60, "BNO": "5"}})
    site.plan.show("soop", "ada", "live")
    assert states(site.check("soop", ["ada"])) == [State.LIVE]


def test_a_station_api_that_is_gone_makes_nobody_unknown() -> None:
    gone = Response(status=404, body=b"<html>Not Found</html>")
    assert states(Site(player_live={"CHANNEL": {"RESULT": 0}}, station=gone).check("soop", ["ada"])) == [State.OFFLINE]
    site = Site(**{"live-status": gone, "/service/": gone})
    assert states(site.check("chzzk", ["0123456789abcdef" * 2])) == [State.PARSE_ERROR]
    assert states(Site(**{"/channels?slug": gone}).check("kick", ["@ada"], CLIENT)) == [State.PARSE_ERROR]


# Douyin


@pytest.mark.parametrize("code", [0, 30003, 4001038])
@pytest.mark.parametrize(("status", "state"), [(2, State.LIVE), (4, State.OFFLINE)])
def test_the_status_of_a_room_of_douyin_counts_whatever_the_status_code(code: int, status: int, state: State) -> None:
    body = {"status_code": code, "data": {"data": [{"status": status, "id_str": "77"}], "prompts": "直播已结束"}}
    assert states(Site(enter=body).check("douyin", ["123"], {"cookie": "ttwid=mine"})) == [state]


@pytest.mark.parametrize("data", [{"prompts": "直播已结束~"}, {"prompts": "直播已结束", "user": {"nickname": "Ada"}}])
def test_an_ended_room_of_douyin_says_so_in_its_prompt(data: Any) -> None:
    site = Site(enter={"status_code": 30003, "data": data})
    assert states(site.check("douyin", ["123"], {"cookie": "ttwid=mine"})) == [State.OFFLINE]


def test_a_room_of_douyin_that_is_left_out_is_looked_for_in_the_page() -> None:
    body = {"status_code": 0, "data": {"user": {"nickname": "Ada"}}}
    info = json.dumps({"roomInfo": {"room": {"status": 2, "id_str": "77"}, "anchor": {"nickname": "Ada"}}})
    page = f"<script>self.__pace_f.push([1,{json.dumps(info.replace(': ', ':'))}])</script>"
    site = Site(enter=body, **{"live.douyin.com/123": page})
    assert states(site.check("douyin", ["123"], {"cookie": "ttwid=mine"})) == [State.LIVE]
    site = Site(enter={"status_code": 30003}, **{"live.douyin.com/123": page})
    assert states(site.check("douyin", ["123"], {"cookie": "ttwid=mine"})) == [State.LIVE]


@pytest.mark.parametrize("room", [{}, {"status": 4}, {"status": 2, "id_str": "77"}])
def test_a_shared_room_of_douyin_tells_its_owners_state_while_it_is_on_air(room: Any) -> None:
    site = Site(reflow={"status_code": 0, "data": {"room": room | {"owner": {"web_rid": "123"}}}})
    site.plan.show("douyin", "123", "live")  # in another room by now
    seen = site.observe_names("douyin", ["reflow/9"], {"cookie": "ttwid=mine"})["reflow/9"]
    assert (seen.id, seen.state) == ("123", State.LIVE)
    assert (seen.session, len(site.log)) == (("77", 1) if room.get("status") == 2 else ("1790000000", 2))


# YouTube


def youtube_page(canonical: str = "undefined", primary: Any = None, details: Any = None) -> str:
    data = json.dumps({"x": {"videoPrimaryInfoRenderer": primary} if primary else {}, "y": {"videoId": "sidebar0001"}})
    player = f'var ytInitialPlayerResponse = {{"videoDetails":{json.dumps(details)}}};' if details else ""
    link = f'<link rel="canonical" href="{canonical}">'
    return f"<head>{link}</head><script>{player}</script><script>var ytInitialData = {data};</script>"


WATCHED = {"viewCount": {"videoViewCountRenderer": {"viewCount": {"simpleText": "1,234 watching now"}, "isLive": True}}}
ITS_VIDEO = {"updatedMetadataEndpoint": {"updatedMetadataEndpoint": {"videoId": "thisvideo01"}}}
SEEN = {"viewCount": {"videoViewCountRenderer": {"viewCount": {"simpleText": "1,234 views"}}}}


@pytest.mark.parametrize(
    ("page", "state"),
    [
        (youtube_page(primary=WATCHED | ITS_VIDEO), State.LIVE),
        (youtube_page(primary=WATCHED), State.PARSE_ERROR),  # of which video?
        (youtube_page(primary=SEEN | ITS_VIDEO), State.PARSE_ERROR),
        (youtube_page(), State.PARSE_ERROR),
        (youtube_page(primary=WATCHED, details={"videoId": "thisvideo01"}), State.PARSE_ERROR),  # live, or not?
        (youtube_page(f"https://www.youtube.com/channel/{CHANNEL}"), State.OFFLINE),
        (youtube_page(f"https://www.youtube.com/channel/{OTHER}"), State.PARSE_ERROR),
    ],
)
def test_a_page_of_youtube_without_details_is_read_by_its_primary_info(page: str, state: State) -> None:
    (seen,) = Site(**{"/live": page}).check("youtube", [CHANNEL])
    assert seen.state is state
    if state is State.LIVE:
        assert (seen.session, seen.viewers) == ("thisvideo01", 1_234)


def test_youtube_tells_viewers_and_category_without_a_key() -> None:
    site = Site()
    site.plan.show("youtube", CHANNEL, "live", viewers=12_345)
    (seen,) = site.check("youtube", [CHANNEL])
    assert (seen.viewers, seen.category) == (12_345, "Gaming")
    assert site.check("youtube", [CHANNEL], EVERY_KEY)[0].category == "Gaming", "with a key it is called the same"


@pytest.mark.parametrize(
    ("count", "viewers"),
    [
        ({"isLive": True, "originalViewCount": "1234"}, 1_234),
        ({"isLive": True, "viewCount": {"runs": [{"text": "7"}, {"text": " watching now"}]}}, 7),
        ({"isLive": True, "viewCount": {"simpleText": "soon"}}, None),
        ({"isLive": True}, None),
    ],
)
def test_viewers_are_read_in_whatever_shape_they_have(count: Any, viewers: int | None) -> None:
    primary = {"viewCount": {"videoViewCountRenderer": count}} | ITS_VIDEO
    (seen,) = Site(**{"/live": youtube_page(primary=primary)}).check("youtube", [CHANNEL])
    assert (seen.state, seen.viewers) == (State.LIVE, viewers)


def test_a_channel_that_is_live_needs_no_feed() -> None:
    site = Site()
    site.plan.show("youtube", CHANNEL, "live")
    assert (states(site.check("youtube", [CHANNEL])), len(site.log)) == ([State.LIVE], 2)
    assert (states(site.check("youtube", [CHANNEL])), len(site.log)) == ([State.LIVE], 1)


def test_a_handle_of_youtube_is_resolved_and_asked_by_one_page() -> None:
    site = Site()
    for kind in ("live", "offline"):
        site.plan.show("youtube", CHANNEL, kind, alias="@ada")
        seen = site.observe_names("youtube", ["@ada"])["@ada"]
        assert (seen.id, seen.state, len(site.log)) == (CHANNEL, State(kind), 1)
    assert site.observe_names("youtube", ["@nobody"])["@nobody"].state is State.NOT_FOUND


def test_a_page_of_youtube_that_names_nobody_leaves_the_handle_out() -> None:
    assert Site(**{"/live": youtube_page("https://www.youtube.com/@ada")}).observe_names("youtube", ["@ada"]) == {}


def test_the_page_of_youtube_is_read_where_the_data_api_cannot_be() -> None:
    site = Site(**{"/videos?": {"items": "garbage"}})
    site.plan.show("youtube", CHANNEL, "live")
    assert states(site.check("youtube", [CHANNEL], EVERY_KEY)) == [State.LIVE]


def video_item(channel: str) -> Any:
    snippet = {"liveBroadcastContent": "live", "channelId": channel, "title": "A title"}
    details = {"actualStartTime": "2026-09-21T14:13:20Z"}
    return {"id": "thisvideo01", "snippet": snippet, "liveStreamingDetails": details}


@pytest.mark.parametrize(("channel", "state"), [(CHANNEL, State.LIVE), (OTHER, State.PARSE_ERROR)])
def test_a_video_of_another_channel_says_nothing(channel: str, state: State) -> None:
    feed = "<feed><yt:videoId>thisvideo01</yt:videoId></feed>"
    site = Site(**{"feeds": feed, "/videos?": {"items": [video_item(channel)]}, "/live": Response(status=503)})
    assert states(site.check("youtube", [CHANNEL], EVERY_KEY)) == [state]


def test_a_feed_of_youtube_that_is_cut_off_does_not_say_that_nothing_runs() -> None:
    cut = '<?xml version="1.0"?><feed xmlns:yt="x"><title>' + "<a>" * 100_000
    listed = {"items": [{"contentDetails": {"videoId": "thisvideo01"}}]}
    site = Site(**{"feeds": cut, "/playlistItems": listed, "/videos?": {"items": [video_item(CHANNEL)]}})
    assert states(site.check("youtube", [CHANNEL], EVERY_KEY)) == [State.LIVE]


def test_a_broadcast_that_the_data_api_leaves_out_has_ended_once_it_says_so_again() -> None:
    site = Site()
    site.plan.show("youtube", CHANNEL, "live")
    site.check("youtube", [CHANNEL], EVERY_KEY)
    site.plan.scenes.clear()
    assert states(site.check("youtube", [CHANNEL], EVERY_KEY)) == [State.OFFLINE]
    assert site.asked("/videos?") == 2


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("video:thisvideo01", {"/videos?": {"items": [video_item(CHANNEL)]}}),
        ("user/ada", {"forUsername=ada": {"kind": "x", "items": [{"id": CHANNEL}]}}),
        ("@ada", {"forHandle": {"kind": "x", "items": [{"id": CHANNEL}]}}),
        ("video:thisvideo01", {"/videos?": {"odd": 1}, "/watch": f'"externalChannelId":"{CHANNEL}"'}),
        ("user/ada", {"forUsername=ada": {"odd": 1}, "/user/ada": f'"externalId":"{CHANNEL}"'}),
    ],
)
def test_names_of_youtube_are_looked_up_with_the_key_and_in_the_page_where_that_fails(name: str, answers: Any) -> None:
    resolve = platforms.get("youtube").resolve
    assert resolve is not None
    assert Site(**answers).drive(resolve(name, CheckContext(NOW, EVERY_KEY))) == CHANNEL


# Huya


@pytest.mark.parametrize("kind", ["live", "offline", "replay"])
def test_an_alias_of_huya_is_resolved_and_asked_by_one_page(kind: Any) -> None:
    site = Site()
    site.plan.show("huya", "660000", kind, alias="ada")
    seen = site.observe_names("huya", ["ada"])["ada"]
    assert (seen.id, seen.state, seen.name, len(site.log)) == ("660000", State(kind), "某某", 1)
    assert site.observe_names("huya", ["nobody"])["nobody"].state is State.NOT_FOUND


def test_a_page_of_huya_without_a_state_leads_to_the_room() -> None:
    site = Site(**{"www.huya.com": '<script>var TT_ROOM_DATA = {"profileRoom":660000};</script>'})
    site.plan.show("huya", "660000", "live")
    seen = site.observe_names("huya", ["ada"])["ada"]
    assert (seen.id, seen.state, len(site.log)) == ("660000", State.LIVE, 2)
