"""Huya: one room at a time. A room that shows recordings says so in its status, or only in its title."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Platform, Refused, Unanswered, ask
from livectl.live.platforms.batches import one_by_one
from livectl.live.platforms.pages import is_number, page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.platforms.base import Effect, Means, Resolve

NAME = "huya"
PAGES = {NAME, "huya.com", "www.huya.com", "m.huya.com"}
HINT = "Give the room: https://www.huya.com/NUMBER"
NOT_ROOMS = {"g", "l", "video", "play", "m", "search", "myfollow", "download", "p", "cache.php"}
API = "https://mp.huya.com/cache.php?m=Live&do=profileRoom&showSecret=1"
PAGE_LIMIT = 1_000_000  # bytes; pages run to 200 KB
RECORDED = ("回放", "重播")  # recording, rerun: at either end of a title
NO_STREAMER = "找不到这个主播"
ABSENT = re.compile("不存在|找不到|not (exist|found)", re.IGNORECASE)  # of a room, in a message


class Live(msgspec.Struct, rename="camel"):
    introduction: str | None = ""
    game_full_name: str | None = ""
    start_time: int | None = None
    user_count: int | None = None
    total_count: int | None = None
    screenshot: str | None = ""


class Profile(msgspec.Struct):
    nick: str | None = ""


class Room(msgspec.Struct, rename="camel"):
    live_status: str
    real_live_status: str
    live_data: Live | list[None] | None = None
    profile_info: Profile | list[None] | None = None


class Envelope(msgspec.Struct):
    status: int
    message: str | None = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


ENVELOPE = msgspec.json.Decoder(Envelope, strict=False)
ROOM = msgspec.json.Decoder(Room, strict=False)


def address(text: str) -> str | None:
    """A room's number, or its alias, which `resolve` leads to the number."""
    where = page(text)
    if where is None or where.host not in PAGES:
        return None
    match where.parts:
        case [room] if re.fullmatch(r"[\w-]{1,60}", room, re.ASCII) and room.lower() not in NOT_ROOMS:
            return room
    raise Refused(f"no Huya room in {where.url}", HINT)


def url(one: str) -> str:
    return f"https://www.huya.com/{one}"


def resolve(one: str, means: Means) -> Resolve:
    if is_number(one):
        return one
    request = Request(url=url(one), headers={"User-Agent": answers.BROWSER}, limit=PAGE_LIMIT)
    text = answers.accepted((yield from ask(request)), means.now).decode(errors="replace")
    if NO_STREAMER in text:
        raise Refused(f"Huya knows no streamer {one!r}", HINT)
    found = re.search(r'TT_ROOM_DATA\s*=.{0,4000}?"profileRoom":\s*"?(\d+)', text, re.DOTALL)
    if found is None:
        raise Unanswered(State.PARSE_ERROR, f"no room number in the page of {one} - at `TT_ROOM_DATA.profileRoom`")
    return found[1]


def look(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    headers = {"User-Agent": answers.BROWSER, "Referer": url(one)}
    response = yield from ask(Request(url=f"{API}&roomid={one}", headers=headers))
    envelope = answers.read(response, ENVELOPE, means.now)
    if envelope.status != 200 and ABSENT.search(envelope.message or ""):
        return Observation(platform=NAME, id=one, state=State.NOT_FOUND, at=means.now)
    if envelope.status != 200:
        problem = f"status {envelope.status}: {answers.plain(envelope.message)}"
        raise Unanswered(State.PARSE_ERROR, problem)
    room = answers.decode(envelope.data, ROOM)
    live = room.live_data if isinstance(room.live_data, Live) else Live()
    state = _state(room, live)
    began = answers.instant(live.start_time) if state is not State.OFFLINE else None
    return Observation(
        platform=NAME,
        id=one,
        state=state,
        at=means.now,
        session=str(live.start_time) if began else "",
        title=answers.plain(live.introduction),
        category=answers.plain(live.game_full_name),
        name=answers.plain(room.profile_info.nick if isinstance(room.profile_info, Profile) else ""),
        url=url(one),
        cover=answers.link(live.screenshot),
        viewers=answers.count(live.user_count or live.total_count) if began else None,
        started_at=began,
    )


def _state(room: Room, live: Live) -> State:
    if room.live_status == "REPLAY":
        return State.REPLAY
    if room.live_status not in {"ON", "OFF"}:
        raise answers.odd("$.data.liveStatus", room.live_status)
    if room.real_live_status not in {"ON", "OFF"}:
        raise answers.odd("$.data.realLiveStatus", room.real_live_status)
    if "OFF" in {room.live_status, room.real_live_status}:
        return State.OFFLINE
    title = re.sub(r"\W", "", answers.plain(live.introduction))
    recorded = title.startswith(RECORDED) or title.endswith(RECORDED)
    return State.REPLAY if recorded else State.LIVE


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"mp.huya.com", "www.huya.com", "m.huya.com"}),
    batch=1,
    budget="120/m",  # no limit is published
    address=address,
    url=url,
    check=one_by_one(NAME, look),
    resolve=resolve,
)
