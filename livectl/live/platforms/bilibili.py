"""Checks Bilibili (live.bilibili.com), 30 users at once.

A streamer is followed by uid. A room, by its long number or its short one, is resolved to its owner's uid once. Risk
control answers HTTP 412, or -412 and -352 in a body. Another address answers about users and rooms alike: it is asked
for rooms, and where the first one cannot be read or wants a check of the client.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.base import (
    CheckFailed,
    Listing,
    ListingPage,
    NameLookup,
    NotAStreamer,
    Platform,
    ask,
    failed_observation,
    follow_link,
    in_batches,
    next_page,
    read_rows,
    with_second_check,
)
from livectl.live.platforms.parsing import is_number, parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.errors import LivectlError
    from livectl.live.platforms.base import CheckContext, Effect, Observations, Resolve, ResolveNames
    from livectl.models import Response

NAME = "bilibili"
LIVE_HOSTS = {"live.bilibili.com", "m.live.bilibili.com"}
SITE_HOSTS = {"bilibili.com", "www.bilibili.com", "m.bilibili.com", "t.bilibili.com"}
BATCH = 30  # uids a call; an answer to 60 left some out
API = "https://api.live.bilibili.com"
BASE_INFO_URL = f"{API}/xlive/web-room/v1/index/getRoomBaseInfo"
LIST_API = f"{API}/room/v3/area/getRoomList"
LIST_SIZE = 50
CHINESE_TIME = timezone(timedelta(hours=8))
NOT_LOCKED = {"", "0", "0000-00-00 00:00:00"}  # how Bilibili writes "not locked"
HINT = "Give the room, https://live.bilibili.com/NUMBER, or the user, https://space.bilibili.com/NUMBER"
STATUS_LIVE, STATUS_ROUND, STATUS_OFF = 1, 2, 0  # of live_status; a round plays recordings
ERROR_CODES = {
    -412: (State.BLOCKED, "risk control refused the request (-412)"),
    -352: (State.BLOCKED, "risk control wants a check of the client (-352)"),
    -799: (State.RATE_LIMITED, "asked too often (-799)"),
    -509: (State.RATE_LIMITED, "asked too often (-509)"),
    -101: (State.AUTH, "the cookie is not logged in (-101)"),
}


class BilibiliEnvelope(msgspec.Struct):
    code: int
    data: msgspec.Raw = msgspec.Raw(b"[]")
    message: str | None = ""


class BilibiliUser(msgspec.Struct):
    live_status: int
    live_time: int
    title: str | None = ""
    uname: str | None = ""
    area_v2_name: str | None = ""
    online: int | None = None
    cover_from_user: str | None = ""
    keyframe: str | None = ""
    face: Any = None
    room_id: int | None = 0
    short_id: int | None = 0
    uid: int | None = None
    lock_till: str | int | None = ""
    hidden_till: str | int | None = ""


class BilibiliRoom(msgspec.Struct):
    uid: int


class BilibiliBaseRoom(msgspec.Struct):
    """A row of the other address, which writes the time in words."""

    uid: int
    room_id: int
    live_status: int
    live_time: str
    short_id: int | None = 0
    title: str | None = ""
    uname: str | None = ""
    area_name: str | None = ""
    online: int | None = None
    cover: str | None = ""


class BilibiliBaseInfo(msgspec.Struct):
    by_uids: dict[str, msgspec.Raw] | list[None]
    by_room_ids: dict[str, msgspec.Raw] | list[None]


class BilibiliListRow(msgspec.Struct):
    uid: int
    roomid: int
    title: str | None = ""
    uname: str | None = ""
    online: int | None = None
    area_v2_name: str | None = ""
    user_cover: str | None = ""
    face: Any = None


class BilibiliList(msgspec.Struct, kw_only=True):
    rooms: list[msgspec.Raw] = msgspec.field(name="list")
    count: int


LIST = msgspec.json.Decoder(BilibiliList, strict=False)
LIST_ROW = msgspec.json.Decoder(BilibiliListRow, strict=False)
ENVELOPE = msgspec.json.Decoder(BilibiliEnvelope)
USERS = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[None])
USER = msgspec.json.Decoder(BilibiliUser, strict=False)
ROOM = msgspec.json.Decoder(BilibiliRoom, strict=False)
BASE_INFO = msgspec.json.Decoder(BilibiliBaseInfo)
BASE_ROOM = msgspec.json.Decoder(BilibiliBaseRoom, strict=False)


def address(text: str) -> str | None:
    """A uid; or `room:NUMBER` or a short link, which `resolve` leads to the uid."""
    page = parse_page_address(text)
    if page is None:
        return None
    match page.host, page.parts:
        case "bilibili", [streamer_id] if is_number(streamer_id.removeprefix("room:")):
            return streamer_id
        case ("bilibili", ["b23.tv", code]) | ("b23.tv", [code]) if code.isalnum() and not code.startswith(
            ("BV", "av")
        ):
            return f"b23.tv/{code}"
        case "space.bilibili.com", [uid, *_] if is_number(uid):
            return uid
        case "m.bilibili.com", ["space", uid, *_] if is_number(uid):
            return uid
        case host, parts if host in LIVE_HOSTS:
            return _room_id(parts, page.query, page.url)
    if page.host in {NAME, "b23.tv", "space.bilibili.com", *SITE_HOSTS}:
        raise NotAStreamer(f"no Bilibili room or user in {page.url}", HINT)
    return None


def _room_id(parts: Sequence[str], query: dict[str, str], page_url: str) -> str:
    number = next((part for part in parts if is_number(part)), query.get("room_id", query.get("roomid", "")))
    if not is_number(number):
        raise NotAStreamer(f"no Bilibili room in {page_url}", HINT)
    return f"room:{number}"


def url(streamer_id: str) -> str:
    if streamer_id.startswith("room:"):
        return f"https://live.bilibili.com/{streamer_id.removeprefix('room:')}"
    return f"https://space.bilibili.com/{streamer_id}" if is_number(streamer_id) else f"https://{streamer_id}"


def resolve(streamer_id: str, context: CheckContext) -> Resolve:
    if streamer_id.startswith("b23.tv/"):
        streamer_id = address((yield from follow_link(streamer_id, _headers(context)))) or ""
    if is_number(streamer_id):
        return streamer_id
    number = streamer_id.removeprefix("room:")
    if not is_number(number):
        raise NotAStreamer("the short link leads to no Bilibili room or user", HINT)
    response = yield from ask(Request(url=f"{API}/room/v1/Room/get_info?room_id={number}", headers=_headers(context)))
    envelope = _read_envelope(response, context)
    if envelope.code == 1:
        raise NotAStreamer(f"Bilibili has no room {number}")
    return str(parsing.decode_json(envelope.data, ROOM).uid)


def resolve_batch(names: Sequence[str], context: CheckContext) -> ResolveNames:
    """The uids of rooms, many in one call. It leaves out those whom the answer does not name."""
    try:
        rooms = yield from _find_rooms(names, context)
    except CheckFailed as failure:
        if failure.state is not State.PARSE_ERROR:
            raise
        return {}
    uids: dict[str, str | LivectlError] = {name: str(room.uid) for name, room in rooms.items()}
    return uids


def observe_names(names: Sequence[str], context: CheckContext) -> Observations:
    """The states of rooms, and whose they are."""
    rooms = yield from _find_rooms(names, context)
    return {name: _build_observation(str(room.uid), _to_user(room), context) for name, room in rooms.items()}


def _find_rooms(names: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, BilibiliBaseRoom]]:
    """The rooms by name. The answer has them by their long numbers, whichever was asked for."""
    numbers = [name.removeprefix("room:") for name in names]
    info = yield from _ask_base_info([("room_ids", number) for number in numbers], context)
    rooms: dict[str, BilibiliBaseRoom] = {}
    for row in info.by_room_ids.values() if isinstance(info.by_room_ids, dict) else ():
        room = parsing.decode_json(row, BASE_ROOM)
        rooms |= {f"room:{number}": room for number in (room.room_id, room.short_id) if number}
    return {name: rooms[name] for name in names if name in rooms}


def check_batch(ids: Sequence[str], context: CheckContext) -> Observations:
    query = urlencode([("uids[]", streamer_id) for streamer_id in ids])
    endpoint = f"{API}/room/v1/Room/get_status_info_by_uids"
    response = yield from ask(Request(url=f"{endpoint}?{query}", headers=_headers(context)))
    users = parsing.decode_json(_read_data(response, context), USERS)
    rows = users if isinstance(users, dict) else {}
    return {
        streamer_id: _read_user(streamer_id, rows[streamer_id], context) for streamer_id in ids if streamer_id in rows
    }


def list_page(cursor: str, context: CheckContext) -> Generator[Effect, Any, ListingPage]:
    """The rooms of all areas, by popularity. A row tells neither a round of recordings nor when it began."""
    number = int(cursor or 1)
    query = {"platform": "web", "parent_area_id": 0, "area_id": 0, "sort_type": "online", "page_size": LIST_SIZE}
    address = f"{LIST_API}?{urlencode(query)}&page={number}"
    response = yield from ask(Request(url=address, headers=_headers(context)))
    body = parsing.decode_json(_read_data(response, context), LIST)
    is_last = not body.rooms or number * LIST_SIZE >= body.count
    return ListingPage(read_rows(body.rooms, lambda row: [_read_row(row, context)]), next_page(cursor, is_last=is_last))


def _read_row(raw: msgspec.Raw, context: CheckContext) -> Observation:
    row = parsing.decode_json(raw, LIST_ROW)
    return Observation(
        platform=NAME,
        id=str(row.uid),
        state=State.LIVE,
        at=context.now,
        title=parsing.plain_text(row.title),
        category=parsing.plain_text(row.area_v2_name),
        name=parsing.plain_text(row.uname),
        url=url(f"room:{row.roomid}"),
        cover=parsing.image_url(row.user_cover),
        avatar=parsing.find_image_url(row.face),
        viewers=parsing.parse_count(row.online),
    )


def check_base_info(ids: Sequence[str], context: CheckContext) -> Observations:
    info = yield from _ask_base_info([("uids", streamer_id) for streamer_id in ids], context)
    rows = info.by_uids if isinstance(info.by_uids, dict) else {}
    users = {uid: _to_user(parsing.decode_json(row, BASE_ROOM)) for uid, row in rows.items() if uid in ids}
    return {uid: _build_observation(uid, user, context) for uid, user in users.items()}


def _ask_base_info(
    parameters: list[tuple[str, str]], context: CheckContext
) -> Generator[Effect, Any, BilibiliBaseInfo]:
    query = urlencode([("req_biz", "web_room_componet"), *parameters])  # spelt as the site spells it
    response = yield from ask(Request(url=f"{BASE_INFO_URL}?{query}", headers=_headers(context)))
    return parsing.decode_json(_read_data(response, context), BASE_INFO)


def _to_user(room: BilibiliBaseRoom) -> BilibiliUser:
    try:
        started = int(datetime.strptime(room.live_time, "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINESE_TIME).timestamp())
    except ValueError:
        started = 0  # 0000-00-00 00:00:00: not live
    return BilibiliUser(
        live_status=room.live_status,
        live_time=started,
        title=room.title,
        uname=room.uname,
        area_v2_name=room.area_name,
        online=room.online,
        cover_from_user=room.cover,
        room_id=room.room_id,
        short_id=room.short_id,
        uid=room.uid,
    )


def _read_data(response: Response, context: CheckContext) -> msgspec.Raw:
    envelope = _read_envelope(response, context)
    if envelope.code != 0:
        problem = f"code {envelope.code}: {parsing.plain_text(envelope.message)}"
        raise CheckFailed(State.PARSE_ERROR, problem, divisible=True)
    return envelope.data


def _read_envelope(response: Response, context: CheckContext) -> BilibiliEnvelope:
    if "x-bili-gaia-vvoucher" in response.headers:
        raise CheckFailed(*ERROR_CODES[-352])
    envelope = parsing.read_json(response, ENVELOPE, context.now)
    if envelope.code in ERROR_CODES:
        raise CheckFailed(*ERROR_CODES[envelope.code])
    return envelope


def _read_user(streamer_id: str, row: msgspec.Raw, context: CheckContext) -> Observation:
    try:
        return _build_observation(streamer_id, parsing.decode_json(row, USER), context)
    except CheckFailed as failure:
        return failed_observation(NAME, streamer_id, failure, context)


def _build_observation(streamer_id: str, user: BilibiliUser, context: CheckContext) -> Observation:
    if user.uid and user.uid != int(streamer_id):
        raise parsing.somebody_else("$.data{}.uid", user.uid)
    state = _state(user)
    started_at = parsing.valid_timestamp(user.live_time) if state is not State.OFFLINE else None
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=state,
        at=context.now,
        session=str(user.live_time) if started_at else "",
        title=parsing.plain_text(user.title),
        category=parsing.plain_text(user.area_v2_name),
        name=parsing.plain_text(user.uname),
        url=url(f"room:{user.short_id or user.room_id}" if user.room_id else streamer_id),
        cover=parsing.image_url(user.cover_from_user or user.keyframe),
        avatar=parsing.find_image_url(user.face),
        viewers=parsing.parse_count(user.online) if started_at else None,
        started_at=started_at,
    )


def _state(user: BilibiliUser) -> State:
    locked = {str(user.lock_till or ""), str(user.hidden_till or "")} - NOT_LOCKED
    if user.live_status == STATUS_OFF and locked:
        return State.BANNED
    states = {STATUS_LIVE: State.LIVE, STATUS_ROUND: State.REPLAY, STATUS_OFF: State.OFFLINE}
    if user.live_status not in states:
        raise parsing.unknown_value("$.data{}.live_status", user.live_status)
    return states[user.live_status]


def _headers(context: CheckContext) -> dict[str, str]:
    return parsing.browser_headers("https://live.bilibili.com/", context.keys.get("cookie"))


def _is_unread(observation: Observation) -> bool:
    """Whether the other address may know more. It is not asked after a refusal of this client at large (412)."""
    failure = observation.state, observation.problem
    return observation.state is State.PARSE_ERROR or failure == ERROR_CODES[-352]


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.live.bilibili.com", "b23.tv", "live.bilibili.com", "space.bilibili.com", "www.bilibili.com"}),
    batch=BATCH,
    budget="30/m",  # no refusal at a batch every two seconds; a refusal lasts half an hour
    key_names=("cookie",),
    address=address,
    url=url,
    listing=Listing(list_page, pages=300, hint=True),
    check=with_second_check(in_batches(NAME, BATCH, check_batch), in_batches(NAME, BATCH, check_base_info), _is_unread),
    resolve=resolve,
    names=NameLookup(BATCH, resolve_batch, lambda name: name.startswith("room:"), observe_names),
)
