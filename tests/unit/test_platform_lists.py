"""Pages of lists of everybody who is live: bodies in, rows and the next page out; and what a broken page says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from livectl.live import platforms
from livectl.live.platforms.base import CheckContext, CheckFailed
from livectl.models import Request, Response, State
from tests.support.check_driver import drive

if TYPE_CHECKING:
    from livectl.live.platforms.base import ListingPage

NOW = 1_790_003_600.0
CLIENT = {"client_id": "id", "client_secret": "secret"}
STARTED = "2026-09-21T14:13:20Z"  # 1790000000
KOREAN = "2026-09-21 23:13:20"
CHZZK_ID = "0123456789abcdef" * 2

TWITCH_ROW = {
    "id": "77", "user_id": "1001", "user_login": "Ada", "user_name": "Ada", "type": "live", "title": "Hello",
    "game_name": "Chess", "viewer_count": 12, "started_at": STARTED, "thumbnail_url": "",
}  # fmt: skip
KICK_ROW = {
    "broadcaster_user": {"id": 3001}, "channel": {"slug": "ada"}, "started_at": STARTED, "title": "Hello",
    "category": {"name": "Chess"}, "viewer_count": 12,
}  # fmt: skip
SOOP_ROW = {
    "user_id": "Somebody", "broad_no": "77", "user_nick": "Ada", "broad_title": "Hello", "current_view_cnt": "12",
    "broad_start": KOREAN, "category_tags": ["Chess"], "is_password": "N",
}  # fmt: skip
CHZZK_ROW = {
    "liveId": 77, "liveTitle": "Hello", "concurrentUserCount": 12, "openDate": KOREAN, "liveCategoryValue": "Chess",
}  # fmt: skip
CHZZK_CHANNEL = {"channelId": CHZZK_ID, "channelName": "Ada", "channelImageUrl": "https://i.example/a.png"}
HUYA_ROW = {
    "profileRoom": "660000", "nick": "Ada", "introduction": "Hello", "gameFullName": "Chess", "totalCount": "12",
    "screenshot": "", "avatar180": "https://i.example/a.png",
}  # fmt: skip
DOUYU_ROW = {"rid": 9999, "nn": "Ada", "rn": "Hello", "ol": 12, "c2name": "Chess", "rs16": ""}
BILIBILI_ROW = {
    "uid": 2001, "roomid": 6, "uname": "Ada", "title": "Hello", "online": 12, "area_v2_name": "Chess", "face": "",
}  # fmt: skip


def body(platform: str, rows: list[Any], *, more: bool = True, keyed: bool = True) -> Any:
    match platform:
        case "twitch":
            return {"data": rows, "pagination": {"cursor": "next"} if more else {}}
        case "kick":
            return {"data": rows, "message": "OK", "pagination": {"next_cursor": "next" if more else ""}}
        case "soop":
            return {"broad": rows, "cnt": len(rows), "total_cnt": "61" if more else len(rows)}
        case "chzzk":
            place = "next" if keyed else {"concurrentUserCount": 12, "liveId": 77}
            return {"code": 200, "message": None, "content": {"data": rows, "page": {"next": place if more else None}}}
        case "huya":
            return {"status": 200, "message": "", "data": {"datas": rows, "totalPage": 2 if more else 1}}
        case "douyu":
            return {"code": 0, "msg": "", "data": {"rl": rows, "pgcnt": 2 if more else 1}}
    return {"code": 0, "message": "", "data": {"list": rows, "count": 51 if more else len(rows)}}


ROWS: dict[str, tuple[Any, str, bool]] = {
    "twitch": (TWITCH_ROW, "1001", True),
    "kick": (KICK_ROW, "3001", True),
    "soop": (SOOP_ROW, "somebody", True),
    "chzzk": (CHZZK_ROW | CHZZK_CHANNEL, CHZZK_ID, True),
    "chzzk without a key": (CHZZK_ROW | {"channel": CHZZK_CHANNEL}, CHZZK_ID, True),
    "huya": (HUYA_ROW, "660000", False),
    "douyu": (DOUYU_ROW, "9999", False),
    "bilibili": (BILIBILI_ROW, "2001", False),
}


def read(
    case: str, answer: Any, status: int = 200, cursor: str = "", asked: list[Request] | None = None
) -> ListingPage:
    name, _, rest = case.partition(" ")
    listing = platforms.get(name).listing
    assert listing

    def respond(request: Request) -> Response:
        if "oauth" in request.url:
            return Response(status=200, body=b'{"access_token": "t", "expires_in": 5000}')
        if asked is not None:
            asked.append(request)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return Response(status=status, url=request.url, body=content)

    return drive(listing.page(cursor, CheckContext(NOW, {} if rest else CLIENT)), respond)


@pytest.mark.parametrize("case", ROWS)
def test_a_row_tells_who_is_live_and_with_what(case: str) -> None:
    row, streamer_id, tells_start = ROWS[case]
    platform = case.split()[0]
    page = read(case, body(platform, [row], keyed=case == platform))
    seen = page.rows[0]
    assert (seen.platform, seen.id, seen.state, seen.at) == (platform, streamer_id, State.LIVE, NOW)
    assert (seen.title, seen.category, seen.viewers) == ("Hello", "Chess", 12)
    assert seen.started_at == (1_790_000_000.0 if tells_start else None)
    assert bool(seen.session) is tells_start
    assert page.cursor


@pytest.mark.parametrize("case", ROWS)
def test_the_next_page_is_asked_for_until_there_is_none(case: str) -> None:
    row, _, _ = ROWS[case]
    platform = case.split()[0]
    first = read(case, body(platform, [row], keyed=case == platform))
    asked: list[Request] = []
    assert read(case, body(platform, [row], more=False), cursor=first.cursor, asked=asked).cursor == ""
    again = [request.url for request in asked]
    asked.clear()
    read(case, body(platform, [row]), asked=asked)
    assert again != [request.url for request in asked]
    assert read(case, body(platform, [])).rows == []
    assert read(case, body(platform, [])).cursor == "", "an empty page is the last one, whatever it promises"


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_cannot_be_read_is_left_out_and_a_page_of_them_is_no_page(case: str) -> None:
    row, streamer_id, _ = ROWS[case]
    platform = case.split()[0]
    mixed = read(case, body(platform, [{"what": 1}, row, row]))
    assert {seen.id for seen in mixed.rows} >= {streamer_id}
    broken: tuple[Any, ...] = (
        body(platform, [{"what": 1}, {}, row]),
        {"what": []},
        b"<html>captcha</html>",
        b"[1]",
        b"",
    )
    for garbage in broken:
        with pytest.raises(CheckFailed) as failure:
            read(case, garbage)
        assert failure.value.state in {State.PARSE_ERROR, State.BLOCKED}
    with pytest.raises(CheckFailed) as refused:
        read(case, b"slow down", status=429)
    assert refused.value.state is State.RATE_LIMITED


@pytest.mark.parametrize("case", ROWS)
def test_a_hostile_page_is_no_page(case: str) -> None:
    """Not one that is nested without end, nor one of a million rows that say nothing."""
    row, _, _ = ROWS[case]
    platform = case.split()[0]
    good = json.dumps(body(platform, [row], keyed=case == platform)).encode()
    nested = b"[" * 100_000
    hostile: tuple[Any, ...] = (
        nested,
        b'{"a":' * 100_000,
        good.replace(b'"Hello"', nested),
        good.replace(b"{", b'{"other": ' + nested + b"]" * 100_000 + b", ", 1),
        good.replace(b"Hello", b"\xff"),
        good[: len(good) // 2],
        body(platform, [{}] * 300_000),
        body(platform, [None] * 300_000),
    )
    for number, garbage in enumerate(hostile):
        with pytest.raises(CheckFailed) as failure:
            read(case, garbage)
        assert failure.value.state is State.PARSE_ERROR, number
        assert ("a page of 300,000 rows" in failure.value.message) is isinstance(garbage, dict)


def test_twitch_is_found_by_number_and_by_login() -> None:
    assert [seen.id for seen in read("twitch", body("twitch", [TWITCH_ROW])).rows] == ["1001", "ada"]
    assert read("twitch", body("twitch", [TWITCH_ROW | {"type": "rerun"}])).rows[0].state is State.REPLAY


def test_soop_says_what_is_closed_and_chzzk_is_asked_with_the_key_of_the_user() -> None:
    assert read("soop", body("soop", [SOOP_ROW | {"is_password": "Y"}])).rows[0].state is State.RESTRICTED
    asked: list[Request] = []
    read("chzzk", body("chzzk", []), asked=asked)
    read("chzzk without a key", body("chzzk", [], keyed=False), cursor="12-77", asked=asked)
    (open_api, public) = asked
    assert open_api.headers["Client-Secret"] == "secret"
    assert urlsplit(open_api.url).hostname == "openapi.chzzk.naver.com"
    assert parse_qs(urlsplit(public.url).query)["liveId"] == ["77"]


def test_a_list_without_start_is_a_hint() -> None:
    hints = {name for name in platforms.BUILT_IN if (listing := platforms.get(name).listing) and listing.hint}
    assert hints == {"huya", "douyu", "bilibili"}
