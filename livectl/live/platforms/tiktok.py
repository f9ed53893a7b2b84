"""Checks TikTok (tiktok.com), one streamer at a time; those who were live a moment ago, 50 at once.

TikTok answers "no such user" for users who are live, too, so that answer proves nothing. Another address tells of many
rooms whether they are still on air, and nothing else of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.base import (
    PLATFORM_WIDE_STATES,
    CheckFailed,
    NotAStreamer,
    Platform,
    ask,
    cache_get,
    cache_set,
    follow_link,
    one_by_one,
    with_second_route,
)
from livectl.live.platforms.parsing import parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from livectl.live.platforms.base import CheckContext, Effect, Observations, Resolve
    from livectl.models import Response

NAME = "tiktok"
HOSTS = {NAME, "tiktok.com", "www.tiktok.com", "m.tiktok.com"}
SHORT_LINK_HOSTS = {"vm.tiktok.com", "vt.tiktok.com"}
HINT = "Give the profile: https://www.tiktok.com/@NAME"
API = "https://www.tiktok.com/api-live/user/room?aid=1988&sourceType=54"
ALIVE_API = "https://webcast.tiktok.com/webcast/room/check_alive/?aid=1988"
ALIVE_BATCH = 50  # rooms a call
MIN_ALIVE_ROOMS = 2  # one alone is asked about in full, for the same price
BROADCAST_CACHE_SECONDS = 86_400.0  # a broadcast that was seen may be asked about by its room so long
DETAILS_SECONDS = 300.0  # title and viewers are asked for anew so often
ALIVE_RETRY_SECONDS = 3_600.0  # the other address is left alone so long after a refusal
MAX_PAGE_BYTES = 2_000_000
ROOM_LIVE, ROOM_ENDED = 2, 4  # of status
UNKNOWN_USER_CODE, REFUSED_CODE = 19881007, 4003110  # of statusCode
REGION_CLOSED_TEXT = "We regret to inform you"  # the page of a region where the site is closed


class TikTokStats(msgspec.Struct, rename="camel"):
    user_count: int | None = None


class TikTokLiveRoom(msgspec.Struct, rename="camel"):
    status: int
    title: str | None = ""
    cover_url: str | None = ""
    start_time: int | None = None
    live_room_stats: TikTokStats | None = None


class TikTokUser(msgspec.Struct, rename="camel"):
    room_id: str
    unique_id: str | None = ""
    status: int | None = None
    nickname: str | None = ""
    avatar_larger: Any = None


class TikTokData(msgspec.Struct, rename="camel"):
    user: TikTokUser
    live_room: TikTokLiveRoom | None = None


class TikTokRoomState(msgspec.Struct):
    alive: bool
    room_id: int | None = None
    room_id_str: str | None = ""


class TikTokRoomStates(msgspec.Struct):
    data: list[TikTokRoomState]


class TikTokEnvelope(msgspec.Struct, rename="camel"):
    status_code: int
    message: str | None = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


ENVELOPE = msgspec.json.Decoder(TikTokEnvelope, strict=False)
DATA = msgspec.json.Decoder(TikTokData, strict=False)
ROOM_STATES = msgspec.json.Decoder(TikTokRoomStates)
BROADCAST = msgspec.json.Decoder(Observation)


def address(text: str) -> str | None:
    """A name; or vm.tiktok.com/CODE, which `resolve` leads to it."""
    page = parse_page_address(text)
    if page is None:
        return None
    match page.host, page.parts:
        case host, [code] if host in SHORT_LINK_HOSTS and re.fullmatch(r"\w+", code, re.ASCII):
            return f"{host}/{code}"
        case "tiktok", [host, code] if host in SHORT_LINK_HOSTS:
            return f"{host}/{code}"
        case host, ["t", code] if host in HOSTS:
            return f"vm.tiktok.com/{code}"
        case host, [_, "video" | "photo" | "playlist", *_] if host in HOSTS:
            raise NotAStreamer("a TikTok video is no streamer", HINT)
        case host, [name, *_] if host in HOSTS and (host == NAME or name.startswith("@")):
            if re.fullmatch(r"@?[\w.]{1,40}", name, re.ASCII):
                return name.removeprefix("@").lower()
    if page.host in HOSTS | SHORT_LINK_HOSTS:
        raise NotAStreamer(f"no TikTok streamer in {page.url}", HINT)
    return None


def url(streamer_id: str) -> str:
    return f"https://{streamer_id}" if "/" in streamer_id else f"https://www.tiktok.com/@{streamer_id}/live"


def resolve(streamer_id: str, context: CheckContext) -> Resolve:  # noqa: ARG001 - a short link needs neither clock nor keys
    if "/" not in streamer_id:
        return streamer_id
    name = address((yield from follow_link(streamer_id, parsing.browser_headers())))
    if name is None or "/" in name:
        raise NotAStreamer("the short link leads to no TikTok streamer", HINT)
    return name


def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    observation = yield from _ask_user(streamer_id, context)
    if observation.state is State.LIVE:
        text = msgspec.json.encode(observation).decode()
        yield from cache_set(f"broadcast/{streamer_id}", text, BROADCAST_CACHE_SECONDS)
    if observation.state is State.UNKNOWN and (broadcast := (yield from _known_broadcast(streamer_id))):
        still_live = yield from _ask_alive({streamer_id: broadcast}, context)
        return still_live.get(streamer_id, observation)
    return observation


def recheck(ids: Sequence[str], context: CheckContext) -> Observations:
    """Those who are still live, of those whose broadcasts were seen in full a moment ago."""
    broadcasts: dict[str, Observation] = {}
    for streamer_id in ids:
        broadcast = yield from _known_broadcast(streamer_id)
        if broadcast and 0 <= context.now - broadcast.at < DETAILS_SECONDS:
            broadcasts[streamer_id] = broadcast
    if len(broadcasts) < MIN_ALIVE_ROOMS or (yield from cache_get("alive/refused")):
        return {}
    still_live: dict[str, Observation] = {}
    known = list(broadcasts)
    for start in range(0, len(known), ALIVE_BATCH):
        part = {streamer_id: broadcasts[streamer_id] for streamer_id in known[start : start + ALIVE_BATCH]}
        still_live |= yield from _ask_alive(part, context)
    return still_live


def _ask_alive(broadcasts: Mapping[str, Observation], context: CheckContext) -> Observations:
    """The broadcasts whose rooms are on air. Of the others this says nothing: they may be in another room by now."""
    rooms = ",".join(broadcast.session for broadcast in broadcasts.values())
    headers = parsing.browser_headers("https://www.tiktok.com/", context.keys.get("cookie"))
    response = yield from ask(Request(url=f"{ALIVE_API}&room_ids={rooms}", headers=headers))
    try:
        rows = parsing.read_json(response, ROOM_STATES, context.now).data
    except CheckFailed as failure:
        if failure.state in PLATFORM_WIDE_STATES:
            yield from cache_set("alive/refused", "1", ALIVE_RETRY_SECONDS)
        return {}
    on_air = {row.room_id_str or str(row.room_id) for row in rows if row.alive}
    return {
        streamer_id: msgspec.structs.replace(broadcast, at=context.now)
        for streamer_id, broadcast in broadcasts.items()
        if broadcast.session in on_air
    }


def _known_broadcast(streamer_id: str) -> Generator[Effect, Any, Observation | None]:
    text = yield from cache_get(f"broadcast/{streamer_id}")
    try:
        broadcast = BROADCAST.decode(text) if text else None
    except msgspec.DecodeError:
        return None
    return broadcast if broadcast and broadcast.id == streamer_id and broadcast.session else None


def _ask_user(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    headers = parsing.browser_headers(url(streamer_id), context.keys.get("cookie"))
    response = yield from ask(Request(url=f"{API}&uniqueId={streamer_id}", headers=headers))
    _refuse_closed_region(response)
    envelope = parsing.read_json(response, ENVELOPE, context.now)
    if envelope.status_code == UNKNOWN_USER_CODE:
        problem = "said not to exist, which is also said of users who are live"
        return Observation(platform=NAME, id=streamer_id, state=State.UNKNOWN, at=context.now, problem=problem)
    if envelope.status_code == REFUSED_CODE:
        raise CheckFailed(State.BLOCKED, f"refused (statusCode {REFUSED_CODE})")
    if envelope.status_code != 0:
        raise CheckFailed(
            State.PARSE_ERROR, f"statusCode {envelope.status_code}: {parsing.plain_text(envelope.message)}"
        )
    return _build_observation(streamer_id, parsing.decode_json(envelope.data, DATA), context)


def check_page(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """Reads the streamer's page, which embeds what the API answers."""
    headers = parsing.browser_headers(cookie=context.keys.get("cookie"))
    response = yield from ask(Request(url=url(streamer_id), headers=headers, limit=MAX_PAGE_BYTES))
    _refuse_closed_region(response)
    text = parsing.read_body(response, context.now).decode(errors="replace")
    data = parsing.find_embedded_json(text, '"liveRoomUserInfo":', TikTokData)
    if data is None:
        raise CheckFailed(State.PARSE_ERROR, "no room in the page - at `liveRoomUserInfo`")
    return _build_observation(streamer_id, data, context)


def _refuse_closed_region(response: Response) -> None:
    if REGION_CLOSED_TEXT.encode() in response.body:
        raise CheckFailed(State.BLOCKED, "TikTok is closed in this region")


def _build_observation(streamer_id: str, data: TikTokData, context: CheckContext) -> Observation:
    name, room = parsing.plain_text(data.user.nickname), data.live_room
    if data.user.unique_id and data.user.unique_id.lower() != streamer_id:
        raise parsing.somebody_else("$.data.user.uniqueId", data.user.unique_id)
    is_over = room.status == ROOM_ENDED if room else not data.user.room_id
    if is_over and data.user.status == ROOM_LIVE:
        raise CheckFailed(State.PARSE_ERROR, "the user is live, the room is not - at `$.data.user.status`")
    if is_over:
        return Observation(
            platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now, name=name, url=url(streamer_id)
        )
    if room is None:
        raise CheckFailed(State.PARSE_ERROR, "missing field `liveRoom` - at `$.data`")
    if room.status != ROOM_LIVE:
        raise parsing.unknown_value("$.data.liveRoom.status", room.status)
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.LIVE,
        at=context.now,
        session=data.user.room_id,
        title=parsing.plain_text(room.title),
        name=name,
        url=url(streamer_id),
        cover=parsing.image_url(room.cover_url),
        avatar=parsing.find_image_url(data.user.avatar_larger),
        viewers=parsing.parse_count(room.live_room_stats.user_count if room.live_room_stats else None),
        started_at=parsing.valid_timestamp(room.start_time),
    )


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"www.tiktok.com", "m.tiktok.com", "webcast.tiktok.com", *SHORT_LINK_HOSTS}),
    batch=1,
    budget="30/m",  # no limit is published, and refusals come soon
    key_names=("cookie",),
    address=address,
    url=url,
    check=one_by_one(NAME, with_second_route(check_streamer, check_page)),
    resolve=resolve,
    recheck=recheck,
)
