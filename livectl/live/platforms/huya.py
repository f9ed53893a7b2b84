"""Checks Huya (huya.com), one room at a time.

A room that shows recordings says so in its status, or only at an end of its title.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

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
    next_page,
    one_by_one,
    read_rows,
    resolve_each,
    with_second_route,
)
from livectl.live.platforms.parsing import is_number, parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import CheckContext, Effect, Observations, Resolve

NAME = "huya"
HOSTS = {NAME, "huya.com", "www.huya.com", "m.huya.com"}
HINT = "Give the room: https://www.huya.com/NUMBER"
NON_ROOM_PATHS = {"g", "l", "video", "play", "m", "search", "myfollow", "download", "p", "cache.php"}
API = "https://mp.huya.com/cache.php?m=Live&do=profileRoom&showSecret=1"
LIST_API = "https://www.huya.com/cache.php?m=LiveList&do=getLiveListByPage&tagAll=0"
MAX_PAGE_BYTES = 1_000_000  # pages run to 200 KB
REPLAY_WORDS = ("回放", "重播")  # recording, rerun: at either end of a title
NO_STREAMER_TEXT = "找不到这个主播"
BANNED_TEXT = "正在整改"  # closed for breaking the rules, in a page or a message
NO_ROOM_PATTERN = re.compile("不存在|找不到|not (exist|found)", re.IGNORECASE)  # in a message


class HuyaLive(msgspec.Struct, rename="camel"):
    introduction: str | None = ""
    game_full_name: str | None = ""
    start_time: int | None = None
    user_count: int | None = None
    total_count: int | None = None
    screenshot: str | None = ""


class HuyaProfile(msgspec.Struct, rename="camel"):
    nick: str | None = ""
    profile_room: int | None = None
    avatar180: Any = None
    avatar: Any = None  # as the page calls it


class HuyaRoom(msgspec.Struct, rename="camel"):
    live_status: str
    real_live_status: str
    live_data: HuyaLive | list[None] | None = None
    profile_info: HuyaProfile | list[None] | None = None


class HuyaPageRoom(msgspec.Struct, rename="camel"):
    """What a room's page says of it, where the API's answer cannot be read."""

    state: str
    profile_room: int
    introduction: str | None = ""
    game_full_name: str | None = ""
    start_time: int | None = None
    total_count: int | None = None
    screenshot: str | None = ""


class HuyaEnvelope(msgspec.Struct):
    status: int
    message: str | None = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class HuyaListRow(msgspec.Struct, rename="camel"):
    profile_room: int
    nick: str | None = ""
    introduction: str | None = ""
    game_full_name: str | None = ""
    total_count: int | None = None
    screenshot: str | None = ""
    avatar180: Any = None


class HuyaList(msgspec.Struct, rename="camel"):
    datas: list[msgspec.Raw]
    total_page: int


LIST = msgspec.json.Decoder(HuyaList, strict=False)
LIST_ROW = msgspec.json.Decoder(HuyaListRow, strict=False)
ENVELOPE = msgspec.json.Decoder(HuyaEnvelope, strict=False)
ROOM = msgspec.json.Decoder(HuyaRoom, strict=False)


def address(text: str) -> str | None:
    """A room's number, or its alias, which `resolve` leads to the number."""
    page = parse_page_address(text)
    if page is None or page.host not in HOSTS:
        return None
    match page.parts:
        case [room] if re.fullmatch(r"[\w-]{1,60}", room, re.ASCII) and room.lower() not in NON_ROOM_PATHS:
            return room
    raise NotAStreamer(f"no Huya room in {page.url}", HINT)


def url(streamer_id: str) -> str:
    return f"https://www.huya.com/{streamer_id}"


def resolve(streamer_id: str, context: CheckContext) -> Resolve:
    if is_number(streamer_id):
        return streamer_id
    return _room_number(streamer_id, (yield from _read_page(streamer_id, context)))


def observe_names(names: Sequence[str], context: CheckContext) -> Observations:
    """The states of aliases: the page that has a room's number also says what it shows."""
    observations: dict[str, Observation] = {}
    for name in names:
        text = yield from _read_page(name, context)
        try:
            number = _room_number(name, text)
        except NotAStreamer:
            observations[name] = Observation(platform=NAME, id=name, state=State.NOT_FOUND, at=context.now)
            continue
        try:
            observations[name] = _read_room(number, text, context)
        except CheckFailed:
            observations[name] = yield from check_streamer(number, context)
    return observations


def _room_number(alias: str, text: str) -> str:
    if NO_STREAMER_TEXT in text:
        raise NotAStreamer(f"Huya knows no streamer {alias!r}", HINT)
    match = re.search(r'TT_ROOM_DATA\s*=.{0,4000}?"profileRoom":\s*"?(\d+)', text, re.DOTALL)
    if match is None:
        raise CheckFailed(State.PARSE_ERROR, f"no room number in the page of {alias} - at `TT_ROOM_DATA.profileRoom`")
    return match[1]


def _read_page(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, str]:
    """The text of a room's page. Its scripts carry HTML entities where other sites' do not."""
    request = Request(url=url(streamer_id), headers=parsing.browser_headers(), limit=MAX_PAGE_BYTES)
    return html.unescape(parsing.read_body((yield from ask(request)), context.now).decode(errors="replace"))


def check_page(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    return _read_room(streamer_id, (yield from _read_page(streamer_id, context)), context)


def _read_room(streamer_id: str, text: str, context: CheckContext) -> Observation:
    if BANNED_TEXT in text:
        return Observation(platform=NAME, id=streamer_id, state=State.BANNED, at=context.now)
    if NO_STREAMER_TEXT in text:
        return Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=context.now)
    page = parsing.find_embedded_json(text, "TT_ROOM_DATA", HuyaPageRoom)
    if page is None:
        raise CheckFailed(State.PARSE_ERROR, "no room in the page - at `TT_ROOM_DATA`")
    live = HuyaLive(page.introduction, page.game_full_name, page.start_time, None, page.total_count, page.screenshot)
    status = "ON" if page.state == "REPLAY" else page.state
    profile = HuyaProfile(_find_nick(text), page.profile_room)
    return _build_observation(streamer_id, HuyaRoom(page.state, status, live, profile), context)


def _find_nick(text: str) -> str:
    try:
        profile = parsing.find_embedded_json(text, "TT_PROFILE_INFO", HuyaProfile)
    except CheckFailed:
        return ""
    return (profile and profile.nick) or ""


def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    headers = parsing.browser_headers(url(streamer_id))
    response = yield from ask(Request(url=f"{API}&roomid={streamer_id}", headers=headers))
    envelope = parsing.read_json(response, ENVELOPE, context.now)
    if envelope.status != 200 and BANNED_TEXT in (envelope.message or ""):
        return Observation(platform=NAME, id=streamer_id, state=State.BANNED, at=context.now)
    if envelope.status != 200 and NO_ROOM_PATTERN.search(envelope.message or ""):
        return Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=context.now)
    if envelope.status != 200:
        raise CheckFailed(State.PARSE_ERROR, f"status {envelope.status}: {parsing.plain_text(envelope.message)}")
    return _build_observation(streamer_id, parsing.decode_json(envelope.data, ROOM), context)


def list_page(cursor: str, context: CheckContext) -> Generator[Effect, Any, ListingPage]:
    """Everybody who is shown as live. A row tells neither a recording nor when it began."""
    headers = parsing.browser_headers("https://www.huya.com/l")
    response = yield from ask(Request(url=f"{LIST_API}&page={cursor or 1}", headers=headers))
    envelope = parsing.read_json(response, ENVELOPE, context.now)
    if envelope.status != 200:
        raise CheckFailed(State.PARSE_ERROR, f"status {envelope.status}: {parsing.plain_text(envelope.message)}")
    body = parsing.decode_json(envelope.data, LIST)
    is_last = not body.datas or int(cursor or 1) >= body.total_page
    return ListingPage(read_rows(body.datas, lambda row: [_read_row(row, context)]), next_page(cursor, is_last=is_last))


def _read_row(raw: msgspec.Raw, context: CheckContext) -> Observation:
    row = parsing.decode_json(raw, LIST_ROW)
    live = HuyaLive(row.introduction, row.game_full_name, None, None, row.total_count, row.screenshot)
    profile = HuyaProfile(row.nick, row.profile_room, row.avatar180)
    observation = _build_observation(str(row.profile_room), HuyaRoom("ON", "ON", live, profile), context)
    return msgspec.structs.replace(observation, viewers=parsing.parse_count(row.total_count))


def _build_observation(streamer_id: str, room: HuyaRoom, context: CheckContext) -> Observation:
    profile = room.profile_info if isinstance(room.profile_info, HuyaProfile) else HuyaProfile()
    if profile.profile_room and is_number(streamer_id) and profile.profile_room != int(streamer_id):
        raise parsing.somebody_else("$.data.profileInfo.profileRoom", profile.profile_room)
    live = room.live_data if isinstance(room.live_data, HuyaLive) else HuyaLive()
    state = _state(room, live)
    started_at = parsing.valid_timestamp(live.start_time) if state is not State.OFFLINE else None
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=state,
        at=context.now,
        session=str(live.start_time) if started_at else "",
        title=parsing.plain_text(live.introduction),
        category=parsing.plain_text(live.game_full_name),
        name=parsing.plain_text(profile.nick),
        url=url(streamer_id),
        cover=parsing.image_url(live.screenshot),
        avatar=parsing.find_image_url([profile.avatar180, profile.avatar]),
        viewers=parsing.parse_count(live.user_count or live.total_count) if started_at else None,
        started_at=started_at,
    )


def _state(room: HuyaRoom, live: HuyaLive) -> State:
    if room.live_status == "REPLAY":
        return State.REPLAY
    if room.live_status not in {"ON", "OFF"}:
        raise parsing.unknown_value("$.data.liveStatus", room.live_status)
    if room.real_live_status not in {"ON", "OFF"}:
        raise parsing.unknown_value("$.data.realLiveStatus", room.real_live_status)
    if "OFF" in {room.live_status, room.real_live_status}:
        return State.OFFLINE
    title = re.sub(r"\W", "", parsing.plain_text(live.introduction))
    is_replay = title.startswith(REPLAY_WORDS) or title.endswith(REPLAY_WORDS)
    return State.REPLAY if is_replay else State.LIVE


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"mp.huya.com", "www.huya.com", "m.huya.com"}),
    batch=1,
    budget="120/m",  # no limit is published
    address=address,
    url=url,
    listing=Listing(list_page, pages=80, hint=True),
    check=one_by_one(NAME, with_second_route(check_streamer, check_page)),
    resolve=resolve,
    names=NameLookup(1, resolve_each(resolve), observe=observe_names),
)
