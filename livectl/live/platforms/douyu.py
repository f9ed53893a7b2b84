"""Douyu: one room at a time. A room that loops recordings shows the same status as a live one, and `videoLoop`."""

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
    from livectl.model import Response

NAME = "douyu"
PAGES = {NAME, "douyu.com", "www.douyu.com", "m.douyu.com"}
HINT = "Give the room: https://www.douyu.com/NUMBER"
NOT_ROOMS = {"directory", "video", "show", "author", "g", "member", "search", "t", "cms", "client"}
SHOWN, CLOSED = 1, 2  # show_status
# What its pages say in place of a room.
NO_ROOM = ("没有开放", "房间不存在")
SHUT = "您观看的房间已被关闭"


class Heat(msgspec.Struct):
    hot: str | int | None = None


class Category(msgspec.Struct):
    name: str | None = ""


class Room(msgspec.Struct):
    show_status: int
    video_loop: int = msgspec.field(name="videoLoop")
    show_time: int
    room_name: str | None = ""
    second_lvl_name: str | None = ""
    child_cate: Category | list[None] | None = None
    nickname: str | None = ""
    owner_name: str | None = ""
    room_pic: str | None = ""
    room_biz_all: Heat | list[None] | None = None


class Body(msgspec.Struct):
    room: Room


BODY = msgspec.json.Decoder(Body, strict=False)


def address(text: str) -> str | None:
    """A room's number, or its alias of letters, which `resolve` leads to the number."""
    where = page(text)
    if where is None or where.host not in PAGES:
        return None
    rid = where.query.get("rid", "")
    match where.parts:
        case ["topic", _] if is_number(rid):
            return rid
        case ["beta" | "room", number, *_] if is_number(number):
            return number
        case [room] if re.fullmatch(r"\w{1,40}", room, re.ASCII) and room.lower() not in NOT_ROOMS | {"topic", "beta"}:
            return room
    raise Refused(f"no Douyu room in {where.url}", HINT)


def url(one: str) -> str:
    return f"https://www.douyu.com/{one}"


def resolve(one: str, means: Means) -> Resolve:
    if is_number(one):
        return one
    response = yield from ask(Request(url=f"https://m.douyu.com/{one}", headers={"User-Agent": answers.BROWSER}))
    if response.status == 404:
        raise Refused(f"Douyu knows no room {one!r}", HINT)
    text = answers.accepted(response, means.now).decode(errors="replace")
    found = re.search(r'"roomInfo":.{0,2000}?"rid":\s*"?(\d+)', text, re.DOTALL)
    if found is None and any(words in text for words in NO_ROOM):
        raise Refused(f"Douyu knows no room {one!r}", HINT)
    if found is None:
        raise Unanswered(State.PARSE_ERROR, f"no room number in the page of {one} - at `roomInfo.rid`")
    return found[1]


def look(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    headers = {"User-Agent": answers.BROWSER, "Referer": url(one)}
    response = yield from ask(Request(url=f"https://www.douyu.com/betard/{one}", headers=headers))
    absent = _absent(response)
    if absent:
        return Observation(platform=NAME, id=one, state=absent, at=means.now)
    room = answers.read(response, BODY, means.now).room
    state = _state(room)
    began = answers.instant(room.show_time) if state is not State.OFFLINE else None
    category = room.child_cate.name if isinstance(room.child_cate, Category) else ""
    heat = room.room_biz_all.hot if isinstance(room.room_biz_all, Heat) else None
    return Observation(
        platform=NAME,
        id=one,
        state=state,
        at=means.now,
        session=str(room.show_time) if began else "",
        title=answers.plain(room.room_name),
        category=answers.plain(room.second_lvl_name or category),
        name=answers.plain(room.nickname or room.owner_name),
        url=url(one),
        cover=answers.link(room.room_pic),
        viewers=answers.count(heat) if began else None,
        started_at=began,
    )


def _state(room: Room) -> State:
    if room.show_status == CLOSED:
        return State.OFFLINE
    if room.show_status != SHOWN:
        raise answers.odd("$.room.show_status", room.show_status)
    if room.video_loop not in {0, 1}:
        raise answers.odd("$.room.videoLoop", room.video_loop)
    return State.REPLAY if room.video_loop else State.LIVE


def _absent(response: Response) -> State | None:
    """What a page in place of the room says; None when it is no such page."""
    if response.status not in {200, 404} or response.body.lstrip()[:1] == b"{":
        return None
    text = response.body.decode(errors="replace")
    if SHUT in text:
        return State.BANNED
    return State.NOT_FOUND if any(words in text for words in NO_ROOM) else None


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"www.douyu.com", "m.douyu.com"}),
    batch=1,
    budget="120/m",  # no limit is published
    address=address,
    url=url,
    check=one_by_one(NAME, look),
    resolve=resolve,
)
