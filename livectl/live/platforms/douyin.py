"""Checks Douyin (live.douyin.com), one room at a time, with a visitor's cookie that the site hands to everybody.

A streamer is followed by web_rid, which stays with the account; room ids change with every broadcast. An empty answer
means that the site refuses this client. Nothing is signed and no captcha is solved.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.base import (
    CheckFailed,
    NameLookup,
    NotAStreamer,
    Platform,
    ask,
    cache_get,
    cache_set,
    follow_link,
    one_by_one,
    resolve_each,
    with_second_route,
)
from livectl.live.platforms.parsing import is_number, parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import CheckContext, Effect, Observations, Resolve

NAME = "douyin"
SITE_HOSTS = {"douyin.com", "www.douyin.com", "m.douyin.com", "iesdouyin.com", "www.iesdouyin.com"}
HINT = "Open the live room in a browser and give its address: https://live.douyin.com/NUMBER"
LIVE_SITE = "https://live.douyin.com"
ENTER_API = f"{LIVE_SITE}/webcast/room/web/enter/"
REFLOW_API = "https://webcast.amemv.com/webcast/room/reflow/info/"
COOKIE_CACHE_SECONDS = 3 * 86_400.0  # a visitor's cookie goes on working for days
ENTER_QUERY = {
    "aid": "6383",
    "app_name": "douyin_web",
    "live_id": "1",
    "device_platform": "web",
    "language": "zh-CN",
    "browser_language": "zh-CN",
    "browser_platform": "Linux x86_64",
    "browser_name": "Firefox",
    "browser_version": "140.0",
}
ROOM_LIVE, ROOM_ENDED = 2, 4  # of status
TROUBLE_CODE, REFUSED_CODE = 10001, 10011  # of status_code
RESTRICTED_PROMPT = "你不在主播设置的可见范围内"
ENDED_PROMPT = "直播已结束"


class DouyinPictures(msgspec.Struct):
    url_list: list[str] = []


class DouyinViewCount(msgspec.Struct):
    display_value: int | None = None


class DouyinOwner(msgspec.Struct):
    web_rid: str | None = ""
    nickname: str | None = ""
    avatar_thumb: Any = None


class DouyinRoom(msgspec.Struct):
    status: int
    id_str: str | None = ""
    owner: DouyinOwner | None = None
    title: str | None = ""
    cover: DouyinPictures | None = None
    user_count_str: str | None = ""
    room_view_stats: DouyinViewCount | None = None


class DouyinUser(msgspec.Struct):
    nickname: str | None = ""
    avatar_thumb: Any = None


class DouyinPartition(msgspec.Struct):
    title: str | None = ""


class DouyinPartitionPath(msgspec.Struct):
    partition: DouyinPartition | None = None


class DouyinData(msgspec.Struct):
    data: list[DouyinRoom] | msgspec.UnsetType | None = msgspec.UNSET  # left out, it says nothing
    user: DouyinUser | None = None
    prompts: str | None = ""
    partition_road_map: DouyinPartitionPath | None = None


class DouyinEnvelope(msgspec.Struct):
    status_code: int
    data: msgspec.Raw = msgspec.Raw(b"{}")


class DouyinRoomInfo(msgspec.Struct):
    """A room in its page. What is left out says nothing; what is null says that there is none."""

    room: DouyinRoom | msgspec.UnsetType | None = msgspec.UNSET
    anchor: DouyinUser | msgspec.UnsetType | None = msgspec.UNSET


class DouyinRoomOwner(msgspec.Struct):
    web_rid: str


class DouyinOwnedRoom(msgspec.Struct):
    owner: DouyinRoomOwner


class DouyinReflow(msgspec.Struct):
    room: DouyinOwnedRoom


class DouyinSharedRoom(msgspec.Struct):
    room: DouyinRoom


ENVELOPE = msgspec.json.Decoder(DouyinEnvelope)
DATA = msgspec.json.Decoder(DouyinData, strict=False)
REFLOW = msgspec.json.Decoder(DouyinReflow)
SHARED_ROOM = msgspec.json.Decoder(DouyinSharedRoom, strict=False)


def address(text: str) -> str | None:
    """A web_rid; or v.douyin.com/CODE or reflow/ROOM, which `resolve` leads to it."""
    page = parse_page_address(text)
    if page is None:
        return None
    match page.host, page.parts:
        case ("v.douyin.com", [code]) | ("douyin", ["v.douyin.com", code]) if re.fullmatch(r"[\w-]+", code, re.ASCII):
            return f"v.douyin.com/{code}"
        case ("webcast.amemv.com", [*_, "reflow", room]) | ("douyin", ["reflow", room]) if is_number(room):
            return f"reflow/{room}"
        case ("live.douyin.com" | "douyin", [streamer_id]) if re.fullmatch(r"\w{1,40}", streamer_id, re.ASCII):
            return streamer_id
        case host, [*_, "live", streamer_id] if host in SITE_HOSTS and re.fullmatch(r"\w{1,40}", streamer_id, re.ASCII):
            return streamer_id
        case host, ["user", *_] if host in SITE_HOSTS:
            raise NotAStreamer("a Douyin profile does not tell its live room", HINT)
    if page.host in {NAME, "v.douyin.com", "live.douyin.com", "webcast.amemv.com", *SITE_HOSTS}:
        raise NotAStreamer(f"no Douyin live room in {page.url}", HINT)
    return None


def url(streamer_id: str) -> str:
    return f"https://{streamer_id}" if streamer_id.startswith("v.douyin.com/") else f"{LIVE_SITE}/{streamer_id}"


def resolve(streamer_id: str, context: CheckContext) -> Resolve:
    if streamer_id.startswith("v.douyin.com/"):
        streamer_id = address((yield from follow_link(streamer_id, parsing.browser_headers()))) or ""
    if not streamer_id or streamer_id.startswith("v.douyin.com/"):
        raise NotAStreamer("the short link leads to no Douyin live room", HINT)
    if not streamer_id.startswith("reflow/"):
        return streamer_id
    return (yield from _find_owner(streamer_id.removeprefix("reflow/"), context))


def observe_names(names: Sequence[str], context: CheckContext) -> Observations:
    """The states of shared rooms: one that is on air tells its owner's state, too."""
    observations: dict[str, Observation] = {}
    for name in names:
        room_json = yield from _find_room(name.removeprefix("reflow/"), context)
        owner_id = parsing.decode_json(room_json, REFLOW).room.owner.web_rid
        try:
            room = parsing.decode_json(room_json, SHARED_ROOM).room
            is_live = room.status == ROOM_LIVE
        except CheckFailed:
            is_live = False
        if is_live:
            observations[name] = _build_observation(owner_id, DouyinData(data=[room]), context)
        else:
            observations[name] = yield from check_streamer(owner_id, context)
    return observations


def _find_owner(room_id: str, context: CheckContext) -> Resolve:
    return parsing.decode_json((yield from _find_room(room_id, context)), REFLOW).room.owner.web_rid


def _find_room(room_id: str, context: CheckContext) -> Generator[Effect, Any, msgspec.Raw]:
    query = {"type_id": "0", "live_id": "1", "room_id": room_id, "sec_user_id": "", "app_id": "1128"}
    request = Request(url=f"{REFLOW_API}?{urlencode(query)}", headers=parsing.browser_headers())
    envelope = parsing.read_json((yield from ask(request)), ENVELOPE, context.now)
    if envelope.status_code != 0:
        raise CheckFailed(State.BLOCKED, f"refused to tell the room's owner (status_code {envelope.status_code})")
    return envelope.data


def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """Asks with the kept visitor's cookie; once more, with a new one, when that is refused."""
    was_kept = not context.keys.get("cookie") and bool((yield from cache_get("ttwid")))
    try:
        return (yield from _enter_room(streamer_id, context))
    except CheckFailed as failure:
        if failure.state is not State.BLOCKED or not was_kept:
            raise
    return (yield from _enter_room(streamer_id, context))


def _enter_room(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    headers = yield from _headers(streamer_id, context)
    request = Request(url=f"{ENTER_API}?{urlencode(ENTER_QUERY | {'web_rid': streamer_id})}", headers=headers)
    try:
        envelope = parsing.read_json((yield from ask(request)), ENVELOPE, context.now)
        if envelope.status_code == REFUSED_CODE:
            raise CheckFailed(State.BLOCKED, f"refused (status_code {REFUSED_CODE})")
    except CheckFailed as failure:
        if failure.state is State.BLOCKED:  # perhaps because of the cookie: it is asked for anew
            yield from cache_set("ttwid", "", COOKIE_CACHE_SECONDS)
        raise
    if envelope.status_code == TROUBLE_CODE and ENDED_PROMPT.encode() not in bytes(envelope.data):
        raise CheckFailed(State.NETWORK, f"the site has trouble (status_code {TROUBLE_CODE})")
    data = parsing.decode_json(envelope.data, DATA)
    if observation := _find_clear_state(streamer_id, data, context):
        return observation
    if envelope.status_code != 0:
        raise parsing.unknown_value("$.status_code", envelope.status_code)
    if data.user is None:
        return (yield from check_page(streamer_id, context))
    if data.data is msgspec.UNSET:
        raise CheckFailed(State.PARSE_ERROR, "missing field `data` - at `$.data`")
    return _build_observation(streamer_id, data, context)


def _find_clear_state(streamer_id: str, data: DouyinData, context: CheckContext) -> Observation | None:
    """What the room's own status or the prompt says, whatever the status code beside it; None if they say nothing."""
    if any(room.status in {ROOM_LIVE, ROOM_ENDED} for room in data.data or []):
        return _build_observation(streamer_id, data, context)
    if ENDED_PROMPT in (data.prompts or ""):
        return Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now)
    if RESTRICTED_PROMPT not in (data.prompts or ""):
        return None
    return Observation(
        platform=NAME, id=streamer_id, state=State.RESTRICTED, at=context.now, problem="not shown to everyone"
    )


def _build_observation(streamer_id: str, data: DouyinData, context: CheckContext) -> Observation:
    room = data.data[0] if data.data else None
    owner = (room.owner if room else None) or DouyinOwner()
    if owner.web_rid and owner.web_rid != streamer_id:
        raise parsing.somebody_else("$.data.data[0].owner.web_rid", owner.web_rid)
    name = parsing.plain_text((data.user.nickname if data.user else "") or owner.nickname)
    avatar = parsing.find_image_url([data.user and data.user.avatar_thumb, owner.avatar_thumb])
    if room is None or room.status == ROOM_ENDED:
        return Observation(
            platform=NAME,
            id=streamer_id,
            state=State.OFFLINE,
            at=context.now,
            name=name,
            url=url(streamer_id),
            avatar=avatar,
        )
    if room.status != ROOM_LIVE:
        raise parsing.unknown_value("$.data.data[0].status", room.status)
    view_count = room.room_view_stats or DouyinViewCount()
    partition = data.partition_road_map.partition if data.partition_road_map else None
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.LIVE,
        at=context.now,
        session=room.id_str or "",
        title=parsing.plain_text(room.title),
        category=parsing.plain_text(partition.title if partition else ""),
        name=name,
        url=url(streamer_id),
        cover=parsing.image_url(room.cover.url_list[0] if room.cover and room.cover.url_list else ""),
        avatar=avatar,
        viewers=parsing.parse_count(room.user_count_str or view_count.display_value),
    )


def check_page(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """Reads the room's page. It tells an unknown room from a refusal, which ENTER_API answers alike."""
    headers = yield from _headers(streamer_id, context)
    response = yield from ask(Request(url=url(streamer_id), headers=headers))
    text = parsing.read_body(response, context.now).decode(errors="replace")
    chunks = re.findall(r'__pace_f\.push\(\[1,\s*("(?:[^"\\]|\\.)*")', text)
    page_state = "".join(_unquote(chunk) for chunk in chunks)
    if '"roomInfo":' not in page_state:
        raise CheckFailed(State.BLOCKED, "neither an answer nor a room's page")
    room_json = page_state[page_state.rindex('"roomInfo":') :]  # the first is an empty shell
    info = parsing.find_embedded_json(room_json, '"roomInfo":', DouyinRoomInfo) or DouyinRoomInfo()
    anchor = info.anchor or None
    if info.room:  # it may name its owner and no anchor
        return _build_observation(streamer_id, DouyinData(data=[info.room], user=anchor), context)
    if info.anchor is None:
        return Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=context.now)
    if info.room is msgspec.UNSET or anchor is None:
        raise CheckFailed(State.PARSE_ERROR, "missing field `room` - at `roomInfo`")
    return _build_observation(streamer_id, DouyinData(data=[], user=anchor), context)


def _unquote(chunk: str) -> str:
    try:
        return str(json.loads(chunk))
    except ValueError:
        return ""


def _headers(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, dict[str, str]]:
    """A browser's headers, with the user's own cookie or a visitor's."""
    cookie = context.keys.get("cookie") or f"ttwid={(yield from _visitor_id(context))}"
    return parsing.browser_headers(f"{LIVE_SITE}/{streamer_id}", cookie)


def _visitor_id(context: CheckContext) -> Generator[Effect, Any, str]:
    ttwid = yield from cache_get("ttwid")
    if ttwid:
        return ttwid
    response = yield from ask(Request(url=f"{LIVE_SITE}/", headers=parsing.browser_headers()))
    parsing.read_body(response, context.now)
    match = re.search(r"ttwid=([^;,\s]+)", response.headers.get("set-cookie", ""))
    if match is None:
        raise CheckFailed(State.BLOCKED, "the site hands out no visitor's cookie")
    yield from cache_set("ttwid", match[1], COOKIE_CACHE_SECONDS)
    return match[1]


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"live.douyin.com", "v.douyin.com", "www.douyin.com", "www.iesdouyin.com", "webcast.amemv.com"}),
    batch=1,
    budget="30/m",  # no refusal at 200 rooms in five minutes
    key_names=("cookie",),
    address=address,
    url=url,
    check=one_by_one(NAME, with_second_route(check_streamer, check_page)),
    resolve=resolve,
    names=NameLookup(1, resolve_each(resolve), lambda name: name.startswith("reflow/"), observe_names),
)
