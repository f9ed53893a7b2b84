"""Checks Douyu (douyu.com), one room at a time.

A room that loops recordings has the `show_status` of a live one; only `videoLoop` tells them apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.base import (
    CheckFailed,
    Listing,
    ListingPage,
    NotAStreamer,
    Platform,
    ask,
    next_page,
    one_by_one,
    read_rows,
)
from livectl.live.platforms.parsing import is_number, parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.platforms.base import CheckContext, Effect, Resolve
    from livectl.models import Response

NAME = "douyu"
HOSTS = {NAME, "douyu.com", "www.douyu.com", "m.douyu.com"}
HINT = "Give the room: https://www.douyu.com/NUMBER"
NON_ROOM_PATHS = {
    "directory",
    "video",
    "show",
    "author",
    "g",
    "member",
    "search",
    "t",
    "cms",
    "client",
    "topic",
    "beta",
}
MAX_LIST_PAGES = 1_000  # where the list does not say how many it has
LIST_API = "https://www.douyu.com/gapi/rkc/directory/mixListV1/0_0"
STATUS_LIVE, STATUS_CLOSED = 1, 2  # of show_status
# What a page without a room says.
NO_ROOM_TEXTS = ("没有开放", "房间不存在")
BANNED_TEXT = "您观看的房间已被关闭"


class DouyuHeat(msgspec.Struct):
    hot: str | int | None = None


class DouyuCategory(msgspec.Struct):
    name: str | None = ""


class DouyuRoom(msgspec.Struct):
    show_status: int
    video_loop: int = msgspec.field(name="videoLoop")
    show_time: int
    room_id: int | None = None
    room_name: str | None = ""
    second_lvl_name: str | None = ""
    child_cate: DouyuCategory | list[None] | None = None
    nickname: str | None = ""
    owner_name: str | None = ""
    room_pic: str | None = ""
    avatar: Any = None
    room_biz_all: DouyuHeat | list[None] | None = None


class DouyuResponse(msgspec.Struct):
    room: DouyuRoom


class DouyuListRow(msgspec.Struct):
    rid: int
    rn: str | None = ""
    nn: str | None = ""
    ol: str | int | None = None
    c2name: str | None = ""
    rs16: str | None = ""


class DouyuListData(msgspec.Struct):
    rl: list[msgspec.Raw]
    pgcnt: int | None = None


class DouyuList(msgspec.Struct):
    code: int
    data: DouyuListData | list[None] | None = None
    msg: str | None = ""


LIST = msgspec.json.Decoder(DouyuList, strict=False)
LIST_ROW = msgspec.json.Decoder(DouyuListRow, strict=False)
BODY = msgspec.json.Decoder(DouyuResponse, strict=False)


def address(text: str) -> str | None:
    """A room's number, or its alias of letters, which `resolve` leads to the number."""
    page = parse_page_address(text)
    if page is None or page.host not in HOSTS:
        return None
    rid = page.query.get("rid", "")
    match page.parts:
        case ["topic", _] if is_number(rid):
            return rid
        case ["beta" | "room", number, *_] if is_number(number):
            return number
        case [room] if re.fullmatch(r"\w{1,40}", room, re.ASCII) and room.lower() not in NON_ROOM_PATHS:
            return room
    raise NotAStreamer(f"no Douyu room in {page.url}", HINT)


def url(streamer_id: str) -> str:
    return f"https://www.douyu.com/{streamer_id}"


def resolve(streamer_id: str, context: CheckContext) -> Resolve:
    if is_number(streamer_id):
        return streamer_id
    response = yield from ask(Request(url=f"https://m.douyu.com/{streamer_id}", headers=parsing.browser_headers()))
    if response.status == 404:
        raise NotAStreamer(f"Douyu knows no room {streamer_id!r}", HINT)
    text = parsing.read_body(response, context.now).decode(errors="replace")
    match = re.search(r'"roomInfo":.{0,2000}?"rid":\s*"?(\d+)', text, re.DOTALL)
    if match is None and any(phrase in text for phrase in NO_ROOM_TEXTS):
        raise NotAStreamer(f"Douyu knows no room {streamer_id!r}", HINT)
    if match is None:
        raise CheckFailed(State.PARSE_ERROR, f"no room number in the page of {streamer_id} - at `roomInfo.rid`")
    return match[1]


def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    headers = parsing.browser_headers(url(streamer_id))
    response = yield from ask(Request(url=f"https://www.douyu.com/betard/{streamer_id}", headers=headers))
    missing_state = _missing_room_state(response)
    if missing_state:
        return Observation(platform=NAME, id=streamer_id, state=missing_state, at=context.now)
    room = parsing.read_json(response, BODY, context.now).room
    if room.room_id and is_number(streamer_id) and room.room_id != int(streamer_id):
        raise parsing.somebody_else("$.room.room_id", room.room_id)
    state = _state(room)
    started_at = parsing.valid_timestamp(room.show_time) if state is not State.OFFLINE else None
    category = room.child_cate.name if isinstance(room.child_cate, DouyuCategory) else ""
    heat = room.room_biz_all.hot if isinstance(room.room_biz_all, DouyuHeat) else None
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=state,
        at=context.now,
        session=str(room.show_time) if started_at else "",
        title=parsing.plain_text(room.room_name),
        category=parsing.plain_text(room.second_lvl_name or category),
        name=parsing.plain_text(room.nickname or room.owner_name),
        url=url(streamer_id),
        cover=parsing.image_url(room.room_pic),
        avatar=parsing.find_image_url(room.avatar),
        viewers=parsing.parse_count(heat) if started_at else None,
        started_at=started_at,
    )


def list_page(cursor: str, context: CheckContext) -> Generator[Effect, Any, ListingPage]:
    """Everybody who is shown as live, by heat. A row tells neither a loop of recordings nor when it began."""
    headers = parsing.browser_headers("https://www.douyu.com/directory/all")
    response = yield from ask(Request(url=f"{LIST_API}/{cursor or 1}", headers=headers))
    body = parsing.read_json(response, LIST, context.now)
    if body.code != 0 or not isinstance(body.data, DouyuListData):
        raise CheckFailed(State.PARSE_ERROR, f"code {body.code}: {parsing.plain_text(body.msg)}")
    rows = body.data.rl
    is_last = not rows or int(cursor or 1) >= (body.data.pgcnt or MAX_LIST_PAGES)
    return ListingPage(read_rows(rows, lambda row: [_read_row(row, context)]), next_page(cursor, is_last=is_last))


def _read_row(raw: msgspec.Raw, context: CheckContext) -> Observation:
    row = parsing.decode_json(raw, LIST_ROW)
    return Observation(
        platform=NAME,
        id=str(row.rid),
        state=State.LIVE,
        at=context.now,
        title=parsing.plain_text(row.rn),
        category=parsing.plain_text(row.c2name),
        name=parsing.plain_text(row.nn),
        url=url(str(row.rid)),
        cover=parsing.image_url(row.rs16),
        viewers=parsing.parse_count(row.ol),
    )


def _state(room: DouyuRoom) -> State:
    if room.show_status == STATUS_CLOSED:
        return State.OFFLINE
    if room.show_status != STATUS_LIVE:
        raise parsing.unknown_value("$.room.show_status", room.show_status)
    if room.video_loop not in {0, 1}:
        raise parsing.unknown_value("$.room.videoLoop", room.video_loop)
    return State.REPLAY if room.video_loop else State.LIVE


def _missing_room_state(response: Response) -> State | None:
    """The state that a page in place of the room tells; None when the response is no such page."""
    if response.status not in {200, 404} or parsing.has_json(response):
        return None
    text = response.body.decode(errors="replace")
    if BANNED_TEXT in text:
        return State.BANNED
    return State.NOT_FOUND if any(phrase in text for phrase in NO_ROOM_TEXTS) else None


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"www.douyu.com", "m.douyu.com"}),
    batch=1,
    budget="120/m",  # no limit is published
    address=address,
    url=url,
    listing=Listing(list_page, pages=100, hint=True),
    check=one_by_one(NAME, check_streamer),
    resolve=resolve,
)
