"""Douyin: one room at a time, with a visitor's cookie that the site hands to everybody.

A streamer is followed by web_rid, which stays with the account; room ids change with every broadcast. An empty answer
means that this client is refused. Nothing is signed and no captcha is solved.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Platform, Refused, Unanswered, ask, keep, recall
from livectl.live.platforms.batches import one_by_one
from livectl.live.platforms.pages import is_number, page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.platforms.base import Effect, Means, Resolve

NAME = "douyin"
SITE = {"douyin.com", "www.douyin.com", "m.douyin.com", "iesdouyin.com", "www.iesdouyin.com"}
HINT = "Open the live room in a browser and give its address: https://live.douyin.com/NUMBER"
LIVE_SITE = "https://live.douyin.com"
ENTER = f"{LIVE_SITE}/webcast/room/web/enter/"
REFLOW = "https://webcast.amemv.com/webcast/room/reflow/info/"
COOKIE_SECONDS = 3 * 86_400.0  # a visitor's cookie goes on working for days
QUESTION = {
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
ON, ENDED = 2, 4  # status of a room
DROWSY, REFUSED = 10001, 10011  # status_code of an answer
NOT_FOR_US = "你不在主播设置的可见范围内"
OVER = "直播已结束"


class Pictures(msgspec.Struct):
    url_list: list[str] = []


class Viewed(msgspec.Struct):
    display_value: int | None = None


class Room(msgspec.Struct):
    status: int
    id_str: str
    title: str | None = ""
    cover: Pictures | None = None
    user_count_str: str | None = ""
    room_view_stats: Viewed | None = None


class User(msgspec.Struct):
    nickname: str | None = ""


class Partition(msgspec.Struct):
    title: str | None = ""


class RoadMap(msgspec.Struct):
    partition: Partition | None = None


class Data(msgspec.Struct):
    data: list[Room] | None = None
    user: User | None = None
    prompts: str | None = ""
    partition_road_map: RoadMap | None = None


class Envelope(msgspec.Struct):
    status_code: int
    data: msgspec.Raw


class RoomInfo(msgspec.Struct):
    room: Room | None = None
    anchor: User | None = None


class Owner(msgspec.Struct):
    web_rid: str


class OwnedRoom(msgspec.Struct):
    owner: Owner


class Reflow(msgspec.Struct):
    room: OwnedRoom


ENVELOPE = msgspec.json.Decoder(Envelope)
DATA = msgspec.json.Decoder(Data, strict=False)
REFLOWN = msgspec.json.Decoder(Reflow)


def address(text: str) -> str | None:
    """A web_rid; or v.douyin.com/CODE and reflow/ROOM, which `resolve` leads to it."""
    where = page(text)
    if where is None:
        return None
    match where.host, where.parts:
        case ("v.douyin.com", [code]) | ("douyin", ["v.douyin.com", code]) if re.fullmatch(r"[\w-]+", code, re.ASCII):
            return f"v.douyin.com/{code}"
        case ("webcast.amemv.com", [*_, "reflow", room]) | ("douyin", ["reflow", room]) if is_number(room):
            return f"reflow/{room}"
        case ("live.douyin.com" | "douyin", [one]) if re.fullmatch(r"\w{1,40}", one, re.ASCII):
            return one
        case host, [*_, "live", one] if host in SITE and re.fullmatch(r"\w{1,40}", one, re.ASCII):
            return one
        case host, ["user", *_] if host in SITE:
            raise Refused("a Douyin profile does not tell its live room", HINT)
    if where.host in {NAME, "v.douyin.com", "live.douyin.com", "webcast.amemv.com", *SITE}:
        raise Refused(f"no Douyin live room in {where.url}", HINT)
    return None


def url(one: str) -> str:
    return f"https://{one}" if one.startswith("v.douyin.com/") else f"{LIVE_SITE}/{one}"


def resolve(one: str, means: Means) -> Resolve:
    if one.startswith("v.douyin.com/"):
        landed = yield from ask(Request(url=f"https://{one}", headers={"User-Agent": answers.BROWSER}))
        one = address(answers.landed(landed)) or ""
    if not one or one.startswith("v.douyin.com/"):
        raise Refused("the short link leads to no Douyin live room", HINT)
    if not one.startswith("reflow/"):
        return one
    query = {
        "type_id": "0",
        "live_id": "1",
        "room_id": one.removeprefix("reflow/"),
        "sec_user_id": "",
        "app_id": "1128",
    }
    request = Request(url=f"{REFLOW}?{urlencode(query)}", headers={"User-Agent": answers.BROWSER})
    envelope = answers.read((yield from ask(request)), ENVELOPE, means.now)
    if envelope.status_code != 0:
        raise Unanswered(State.BLOCKED, f"refused to tell the room's owner (status_code {envelope.status_code})")
    return answers.decode(envelope.data, REFLOWN).room.owner.web_rid


def look(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    headers = yield from _headers(one, means)
    request = Request(url=f"{ENTER}?{urlencode(QUESTION | {'web_rid': one})}", headers=headers)
    try:
        envelope = answers.read((yield from ask(request)), ENVELOPE, means.now)
    except Unanswered as trouble:
        if trouble.state is State.BLOCKED:
            yield from keep("ttwid", "", COOKIE_SECONDS)  # perhaps it is the cookie: the next check gets a new one
        raise
    if envelope.status_code == DROWSY:
        raise Unanswered(State.NETWORK, f"the site has trouble (status_code {DROWSY})")
    if envelope.status_code == REFUSED:
        raise Unanswered(State.BLOCKED, f"refused (status_code {REFUSED})")
    data = answers.decode(envelope.data, DATA)
    if data.prompts == NOT_FOR_US:
        return Observation(platform=NAME, id=one, state=State.RESTRICTED, at=means.now, problem="not shown to everyone")
    if envelope.status_code != 0:
        raise answers.odd("$.status_code", envelope.status_code)
    if data.prompts == OVER:
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now)
    if data.user is None:
        data = yield from _by_page(one, headers, means)
    if data.user is None:
        return Observation(platform=NAME, id=one, state=State.NOT_FOUND, at=means.now)
    return _observed(one, data, means)


def _observed(one: str, data: Data, means: Means) -> Observation:
    room = data.data[0] if data.data else None
    name = answers.plain(data.user.nickname if data.user else "")
    if room is None or room.status == ENDED:
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now, name=name, url=url(one))
    if room.status != ON:
        raise answers.odd("$.data.data[0].status", room.status)
    viewed = room.room_view_stats or Viewed()
    partition = data.partition_road_map.partition if data.partition_road_map else None
    return Observation(
        platform=NAME,
        id=one,
        state=State.LIVE,
        at=means.now,
        session=room.id_str,
        title=answers.plain(room.title),
        category=answers.plain(partition.title if partition else ""),
        name=name,
        url=url(one),
        cover=answers.link(room.cover.url_list[0] if room.cover and room.cover.url_list else ""),
        viewers=answers.count(room.user_count_str or viewed.display_value),
    )


def _by_page(one: str, headers: dict[str, str], means: Means) -> Generator[Effect, Any, Data]:
    """The room's page: it tells an unknown room from a refusal, which the question above answers alike."""
    response = yield from ask(Request(url=url(one), headers=headers))
    text = answers.accepted(response, means.now).decode(errors="replace")
    pushed = re.findall(r'__pace_f\.push\(\[1,\s*("(?:[^"\\]|\\.)*")', text)
    state = "".join(_unquoted(piece) for piece in pushed)
    if '"roomInfo":' not in state:
        raise Unanswered(State.BLOCKED, "neither an answer nor a room's page")
    last = state[state.rindex('"roomInfo":') :]  # the first is an empty shell
    info = answers.embedded(last, '"roomInfo":', RoomInfo) or RoomInfo()
    return Data(data=[info.room] if info.room else [], user=info.anchor)


def _unquoted(piece: str) -> str:
    try:
        return str(json.loads(piece))
    except ValueError:
        return ""


def _headers(one: str, means: Means) -> Generator[Effect, Any, dict[str, str]]:
    """A browser's, with the user's own cookie or a visitor's."""
    headers = {"User-Agent": answers.BROWSER, "Referer": f"{LIVE_SITE}/{one}"}
    if means.keys.get("cookie"):
        return headers | {"Cookie": means.keys["cookie"]}
    ttwid = yield from recall("ttwid")
    if not ttwid:
        response = yield from ask(Request(url=f"{LIVE_SITE}/", headers={"User-Agent": answers.BROWSER}))
        answers.accepted(response, means.now)
        found = re.search(r"ttwid=([^;,\s]+)", response.headers.get("set-cookie", ""))
        if found is None:
            raise Unanswered(State.BLOCKED, "the site hands out no visitor's cookie")
        ttwid = found[1]
        yield from keep("ttwid", ttwid, COOKIE_SECONDS)
    return headers | {"Cookie": f"ttwid={ttwid}"}


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"live.douyin.com", "v.douyin.com", "www.douyin.com", "www.iesdouyin.com", "webcast.amemv.com"}),
    batch=1,
    budget="30/m",  # 200 rooms in five minutes went well
    address=address,
    url=url,
    check=one_by_one(NAME, look),
    resolve=resolve,
)
