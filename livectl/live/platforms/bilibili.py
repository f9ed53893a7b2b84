"""Bilibili: live.bilibili.com, 30 users at once.

A streamer is followed by uid; a room, under its long number or its short one, is led to it once. Risk control answers
HTTP 412, or -412 and -352 in a body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Platform, Refused, Unanswered, ask, unanswered
from livectl.live.platforms.batches import in_batches
from livectl.live.platforms.pages import is_number, page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import Effect, Means, Resolve
    from livectl.model import Response

NAME = "bilibili"
LIVE_PAGES = {"live.bilibili.com", "m.live.bilibili.com"}
SITE = {"bilibili.com", "www.bilibili.com", "m.bilibili.com", "t.bilibili.com"}
BATCH = 30  # uids a call that were all answered; of 60 some were left out
API = "https://api.live.bilibili.com"
NEVER = {"", "0", "0000-00-00 00:00:00"}  # how it writes "not locked"
HINT = "Give the room, https://live.bilibili.com/NUMBER, or the user, https://space.bilibili.com/NUMBER"
LIVE, ROUND, OFF = 1, 2, 0  # live_status; a round plays recordings
CODES = {
    -412: (State.BLOCKED, "risk control refused the request (-412)"),
    -352: (State.BLOCKED, "risk control wants a check of the client (-352)"),
    -799: (State.RATE_LIMITED, "asked too often (-799)"),
    -509: (State.RATE_LIMITED, "asked too often (-509)"),
    -101: (State.AUTH, "the cookie is not logged in (-101)"),
}


class Envelope(msgspec.Struct):
    code: int
    data: msgspec.Raw = msgspec.Raw(b"[]")
    message: str | None = ""


class User(msgspec.Struct):
    live_status: int
    live_time: int
    title: str | None = ""
    uname: str | None = ""
    area_v2_name: str | None = ""
    online: int | None = None
    cover_from_user: str | None = ""
    keyframe: str | None = ""
    room_id: int | None = 0
    short_id: int | None = 0
    lock_till: str | int | None = ""
    hidden_till: str | int | None = ""


class Room(msgspec.Struct):
    uid: int


ENVELOPE = msgspec.json.Decoder(Envelope)
USERS = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[None])
USER = msgspec.json.Decoder(User, strict=False)
ROOM = msgspec.json.Decoder(Room, strict=False)


def address(text: str) -> str | None:
    """A uid, `room:NUMBER`, or a short link: the latter two are led to the uid by `resolve`."""
    where = page(text)
    if where is None:
        return None
    match where.host, where.parts:
        case "bilibili", [one] if is_number(one.removeprefix("room:")):
            return one
        case ("bilibili", ["b23.tv", code]) | ("b23.tv", [code]) if code.isalnum() and not code.startswith(
            ("BV", "av")
        ):
            return f"b23.tv/{code}"
        case "space.bilibili.com", [uid, *_] if is_number(uid):
            return uid
        case "m.bilibili.com", ["space", uid, *_] if is_number(uid):
            return uid
        case host, parts if host in LIVE_PAGES:
            return _room(parts, where.query, where.url)
    if where.host in {NAME, "b23.tv", "space.bilibili.com", *SITE}:
        raise Refused(f"no Bilibili room or user in {where.url}", HINT)
    return None


def _room(parts: Sequence[str], query: dict[str, str], where: str) -> str:
    number = next((part for part in parts if is_number(part)), query.get("room_id", query.get("roomid", "")))
    if not is_number(number):
        raise Refused(f"no Bilibili room in {where}", HINT)
    return f"room:{number}"


def url(one: str) -> str:
    if one.startswith("room:"):
        return f"https://live.bilibili.com/{one.removeprefix('room:')}"
    return f"https://space.bilibili.com/{one}" if is_number(one) else f"https://{one}"


def resolve(one: str, means: Means) -> Resolve:
    if one.startswith("b23.tv/"):
        landed = yield from ask(Request(url=f"https://{one}", headers=_headers(means)))
        one = address(answers.landed(landed)) or ""
    if is_number(one):
        return one
    number = one.removeprefix("room:")
    if not is_number(number):
        raise Refused("the short link leads to no Bilibili room or user", HINT)
    response = yield from ask(Request(url=f"{API}/room/v1/Room/get_info?room_id={number}", headers=_headers(means)))
    envelope = _opened(response, means)
    if envelope.code == 1:
        raise Refused(f"Bilibili has no room {number}")
    return str(answers.decode(envelope.data, ROOM).uid)


def look(ids: Sequence[str], means: Means) -> Generator[Effect, Any, dict[str, Observation]]:
    query = urlencode([("uids[]", one) for one in ids])
    endpoint = f"{API}/room/v1/Room/get_status_info_by_uids"
    response = yield from ask(Request(url=f"{endpoint}?{query}", headers=_headers(means)))
    envelope = _opened(response, means)
    if envelope.code != 0:
        problem = f"code {envelope.code}: {answers.plain(envelope.message)}"
        raise Unanswered(State.PARSE_ERROR, problem, divisible=True)
    users = answers.decode(envelope.data, USERS)
    rows = users if isinstance(users, dict) else {}
    return {one: _observed(one, rows[one], means) for one in ids if one in rows}


def _opened(response: Response, means: Means) -> Envelope:
    if "x-bili-gaia-vvoucher" in response.headers:
        raise Unanswered(*CODES[-352])
    envelope = answers.read(response, ENVELOPE, means.now)
    if envelope.code in CODES:
        raise Unanswered(*CODES[envelope.code])
    return envelope


def _observed(one: str, row: msgspec.Raw, means: Means) -> Observation:
    try:
        user = answers.decode(row, USER)
        state = _state(user)
    except Unanswered as trouble:
        return unanswered(NAME, one, trouble, means)
    started = answers.instant(user.live_time) if state is not State.OFFLINE else None
    return Observation(
        platform=NAME,
        id=one,
        state=state,
        at=means.now,
        session=str(user.live_time) if started else "",
        title=answers.plain(user.title),
        category=answers.plain(user.area_v2_name),
        name=answers.plain(user.uname),
        url=url(f"room:{user.short_id or user.room_id}" if user.room_id else one),
        cover=answers.link(user.cover_from_user or user.keyframe),
        viewers=answers.count(user.online) if started else None,
        started_at=started,
    )


def _state(user: User) -> State:
    locked = {str(user.lock_till or ""), str(user.hidden_till or "")} - NEVER
    if user.live_status == OFF and locked:
        return State.BANNED
    states = {LIVE: State.LIVE, ROUND: State.REPLAY, OFF: State.OFFLINE}
    if user.live_status not in states:
        raise answers.odd("$.data{}.live_status", user.live_status)
    return states[user.live_status]


def _headers(means: Means) -> dict[str, str]:
    headers = {"User-Agent": answers.BROWSER, "Referer": "https://live.bilibili.com/"}
    return headers | ({"Cookie": means.keys["cookie"]} if means.keys.get("cookie") else {})


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.live.bilibili.com", "b23.tv", "live.bilibili.com", "space.bilibili.com", "www.bilibili.com"}),
    batch=BATCH,
    budget="30/m",  # a batch every two seconds went well; a refusal lasts half an hour
    address=address,
    url=url,
    check=in_batches(NAME, BATCH, look),
    resolve=resolve,
)
