"""Checks TikTok (tiktok.com), one streamer at a time.

TikTok answers "no such user" for users who are live, too, so that answer proves nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.base import CheckFailed, NotAStreamer, Platform, ask, follow_link, one_by_one
from livectl.live.platforms.parsing import parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.platforms.base import CheckContext, Effect, Resolve

NAME = "tiktok"
HOSTS = {NAME, "tiktok.com", "www.tiktok.com", "m.tiktok.com"}
SHORT_LINK_HOSTS = {"vm.tiktok.com", "vt.tiktok.com"}
HINT = "Give the profile: https://www.tiktok.com/@NAME"
API = "https://www.tiktok.com/api-live/user/room?aid=1988&sourceType=54"
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


class TikTokData(msgspec.Struct, rename="camel"):
    user: TikTokUser
    live_room: TikTokLiveRoom | None = None


class TikTokEnvelope(msgspec.Struct, rename="camel"):
    status_code: int
    message: str | None = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


ENVELOPE = msgspec.json.Decoder(TikTokEnvelope, strict=False)
DATA = msgspec.json.Decoder(TikTokData, strict=False)


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
    headers = parsing.browser_headers(url(streamer_id), context.keys.get("cookie"))
    response = yield from ask(Request(url=f"{API}&uniqueId={streamer_id}", headers=headers))
    if REGION_CLOSED_TEXT.encode() in response.body:
        raise CheckFailed(State.BLOCKED, "TikTok is closed in this region")
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
        viewers=parsing.parse_count(room.live_room_stats.user_count if room.live_room_stats else None),
        started_at=parsing.valid_timestamp(room.start_time),
    )


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"www.tiktok.com", "m.tiktok.com", *SHORT_LINK_HOSTS}),
    batch=1,
    budget="30/m",  # no limit is published, and refusals come soon
    key_names=("cookie",),
    address=address,
    url=url,
    check=one_by_one(NAME, check_streamer),
    resolve=resolve,
)
