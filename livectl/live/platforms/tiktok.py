"""TikTok: one streamer at a time. "No such user" is also said of users who are live, and so proves nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Platform, Refused, Unanswered, ask
from livectl.live.platforms.batches import one_by_one
from livectl.live.platforms.pages import page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.platforms.base import Effect, Means, Resolve

NAME = "tiktok"
PAGES = {NAME, "tiktok.com", "www.tiktok.com", "m.tiktok.com"}
SHORT = {"vm.tiktok.com", "vt.tiktok.com"}
HINT = "Give the profile: https://www.tiktok.com/@NAME"
API = "https://www.tiktok.com/api-live/user/room?aid=1988&sourceType=54"
ON, OFF = 2, 4  # status of a live room
UNKNOWN_USER = 19881007
LIMITED = 4003110
WALL = "We regret to inform you"  # the page of a region where the site is closed


class Stats(msgspec.Struct, rename="camel"):
    user_count: int | None = None


class LiveRoom(msgspec.Struct, rename="camel"):
    status: int
    title: str | None = ""
    cover_url: str | None = ""
    start_time: int | None = None
    live_room_stats: Stats | None = None


class User(msgspec.Struct, rename="camel"):
    room_id: str
    nickname: str | None = ""


class Data(msgspec.Struct, rename="camel"):
    user: User
    live_room: LiveRoom | None = None


class Envelope(msgspec.Struct, rename="camel"):
    status_code: int
    message: str | None = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


ENVELOPE = msgspec.json.Decoder(Envelope, strict=False)
DATA = msgspec.json.Decoder(Data, strict=False)


def address(text: str) -> str | None:
    """A name; or vm.tiktok.com/CODE, which `resolve` leads to it."""
    where = page(text)
    if where is None:
        return None
    match where.host, where.parts:
        case host, [code] if host in SHORT and re.fullmatch(r"\w+", code, re.ASCII):
            return f"{host}/{code}"
        case "tiktok", [host, code] if host in SHORT:
            return f"{host}/{code}"
        case host, ["t", code] if host in PAGES:
            return f"vm.tiktok.com/{code}"
        case host, [_, "video" | "photo" | "playlist", *_] if host in PAGES:
            raise Refused("a TikTok video is no streamer", HINT)
        case host, [name, *_] if host in PAGES and (host == NAME or name.startswith("@")):
            if re.fullmatch(r"@?[\w.]{1,40}", name, re.ASCII):
                return name.removeprefix("@").lower()
    if where.host in PAGES | SHORT:
        raise Refused(f"no TikTok streamer in {where.url}", HINT)
    return None


def url(one: str) -> str:
    return f"https://{one}" if "/" in one else f"https://www.tiktok.com/@{one}/live"


def resolve(one: str, means: Means) -> Resolve:  # noqa: ARG001 - a short link needs neither clock nor keys
    if "/" not in one:
        return one
    landed = yield from ask(Request(url=f"https://{one}", headers={"User-Agent": answers.BROWSER}))
    name = address(answers.landed(landed))
    if name is None or "/" in name:
        raise Refused("the short link leads to no TikTok streamer", HINT)
    return name


def look(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    headers = {"User-Agent": answers.BROWSER, "Referer": url(one)}
    if means.keys.get("cookie"):
        headers["Cookie"] = means.keys["cookie"]
    response = yield from ask(Request(url=f"{API}&uniqueId={one}", headers=headers))
    if WALL.encode() in response.body:
        raise Unanswered(State.BLOCKED, "TikTok is closed in this region")
    envelope = answers.read(response, ENVELOPE, means.now)
    if envelope.status_code == UNKNOWN_USER:
        problem = "said not to exist, which is also said of users who are live"
        return Observation(platform=NAME, id=one, state=State.UNKNOWN, at=means.now, problem=problem)
    if envelope.status_code == LIMITED:
        raise Unanswered(State.BLOCKED, f"refused (statusCode {LIMITED})")
    if envelope.status_code != 0:
        raise Unanswered(State.PARSE_ERROR, f"statusCode {envelope.status_code}: {answers.plain(envelope.message)}")
    return _observed(one, answers.decode(envelope.data, DATA), means)


def _observed(one: str, data: Data, means: Means) -> Observation:
    name, room = answers.plain(data.user.nickname), data.live_room
    if not data.user.room_id or (room and room.status == OFF):
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now, name=name, url=url(one))
    if room is None:
        raise Unanswered(State.PARSE_ERROR, "missing field `liveRoom` - at `$.data`")
    if room.status != ON:
        raise answers.odd("$.data.liveRoom.status", room.status)
    return Observation(
        platform=NAME,
        id=one,
        state=State.LIVE,
        at=means.now,
        session=data.user.room_id,
        title=answers.plain(room.title),
        name=name,
        url=url(one),
        cover=answers.link(room.cover_url),
        viewers=answers.count(room.live_room_stats.user_count if room.live_room_stats else None),
        started_at=answers.instant(room.start_time),
    )


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"www.tiktok.com", "m.tiktok.com", *SHORT}),
    batch=1,
    budget="30/m",  # no limit is published, and refusals come soon
    address=address,
    url=url,
    check=one_by_one(NAME, look),
    resolve=resolve,
)
