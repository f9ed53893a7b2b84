"""SOOP, once AfreecaTV: one streamer at a time. Who is behind a gate is asked for at the station, which has none."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Platform, Refused, Unanswered, ask, keep, recall
from livectl.live.platforms.batches import one_by_one
from livectl.live.platforms.pages import is_number, page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.platforms.base import Effect, Means

NAME = "soop"
DOMAINS = ("sooplive.com", "sooplive.co.kr", "afreecatv.com")
PLAYERS = {f"{part}.{domain}" for part in ("play", "ch", "bj", "m") for domain in DOMAINS}
OTHERS = {f"{part}{domain}" for part in ("", "www.", "vod.") for domain in DOMAINS}
HINT = "Give the player: https://play.sooplive.co.kr/ID"
API = "https://live.sooplive.com/afreeca/player_live_api.php"
STATION = "https://chapi.sooplive.co.kr/api"
ON, OFF = 1, 0  # RESULT
GATES = {-2: "not shown in this region", -6: "shown to who is logged in and 19", -8: "shown to adults"}
KST = timezone(timedelta(hours=9))
KNOWN_SECONDS = 30 * 86_400.0  # that somebody exists is looked up once a month
PATIENCE_SECONDS = 3_600.0  # and where the station does not answer, once an hour

Local = Annotated[datetime, msgspec.Meta(tz=False)]


class Channel(msgspec.Struct, rename="upper"):
    result: int
    title: str | None = ""
    bjnick: str | None = ""
    bno: str | int | None = ""
    btime: int | None = None
    category_tags: list[str] | None = None
    bpwd: str | None = ""
    gdpr: bool | None = False


class Body(msgspec.Struct):
    channel: Channel = msgspec.field(name="CHANNEL")


class Broad(msgspec.Struct):
    broad_no: int
    broad_title: str | None = ""
    current_sum_viewer: int | None = None


class Station(msgspec.Struct):
    user_nick: str | None = ""
    broad_start: Local | None = None


class StationBody(msgspec.Struct):
    station: Station
    broad: Broad | None  # no default: null says offline, no broad at all says nothing


BODY = msgspec.json.Decoder(Body, strict=False)
STATION_BODY = msgspec.json.Decoder(StationBody, strict=False)


def address(text: str) -> str | None:
    where = page(text)
    if where is None or where.host not in {NAME, *PLAYERS, *OTHERS}:
        return None
    match where.parts:
        case ["station" | "player" | "live", one, *_] | [one, *_] if where.host not in OTHERS:
            if re.fullmatch(r"[a-z0-9_]{1,40}", one.lower()):
                return one.lower()
        case ["player" | "vod", *_]:
            raise Refused("a SOOP recording is no streamer", HINT)
        case ["station", one, *_] if re.fullmatch(r"[a-z0-9_]{1,40}", one.lower()):
            return one.lower()
    raise Refused(f"no SOOP streamer in {where.url}", HINT)


def url(one: str) -> str:
    return f"https://play.sooplive.co.kr/{one}"


def look(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    form = {"bid": one, "type": "live", "player_type": "html5", "from_api": "0", "mode": "landing"}
    headers = _headers(one, means) | {"Content-Type": "application/x-www-form-urlencoded"}
    request = Request(url=f"{API}?bjid={one}", method="POST", headers=headers, body=urlencode(form).encode())
    channel = answers.read((yield from ask(request)), BODY, means.now).channel
    if channel.result == ON:
        return _observed(one, channel, State.RESTRICTED if channel.bpwd == "Y" else State.LIVE, means)
    if channel.result in GATES and channel.title and channel.btime:
        return _observed(one, channel, State.RESTRICTED, means)
    if channel.result in GATES:
        return (yield from _at_station(one, GATES[channel.result], means))
    if channel.result != OFF:
        raise answers.odd("$.CHANNEL.RESULT", channel.result)
    if channel.gdpr:
        raise Unanswered(State.BLOCKED, "not shown in this region at all")
    return (yield from _offline(one, means))


def _offline(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    """Said of who is not live and of who does not exist: which, the station tells, once in a while."""
    offline = Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now)
    if (yield from recall(f"known/{one}")):
        return offline
    try:
        return (yield from _at_station(one, "", means))
    except Unanswered:
        yield from keep(f"known/{one}", "1", PATIENCE_SECONDS)
        return offline


def _observed(one: str, channel: Channel, state: State, means: Means) -> Observation:
    session = str(channel.bno or "")
    tags = channel.category_tags
    return Observation(
        platform=NAME,
        id=one,
        state=state,
        at=means.now,
        session=session,
        title=answers.plain(channel.title),
        category=answers.plain(tags[0] if tags else ""),
        name=answers.plain(channel.bjnick),
        url=url(one),
        cover=f"https://liveimg.sooplive.co.kr/m/{session}" if is_number(session) else "",
        started_at=answers.instant(means.now - channel.btime) if channel.btime is not None else None,
        problem=GATES.get(channel.result, "asks for a password") if state is State.RESTRICTED else "",
    )


def _at_station(one: str, gate: str, means: Means) -> Generator[Effect, Any, Observation]:
    """The second source: whether there is such a streamer, and what runs behind a gate."""
    response = yield from ask(Request(url=f"{STATION}/{one}/station", headers=_headers(one, means)))
    if response.status in {400, 404}:
        return Observation(platform=NAME, id=one, state=State.NOT_FOUND, at=means.now)
    body = answers.read(response, STATION_BODY, means.now)
    yield from keep(f"known/{one}", "1", KNOWN_SECONDS)
    name = answers.plain(body.station.user_nick)
    if body.broad is None:
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now, name=name, url=url(one))
    began = body.station.broad_start
    return Observation(
        platform=NAME,
        id=one,
        state=State.RESTRICTED if gate else State.LIVE,
        at=means.now,
        session=str(body.broad.broad_no),
        title=answers.plain(body.broad.broad_title),
        name=name,
        url=url(one),
        cover=f"https://liveimg.sooplive.co.kr/m/{body.broad.broad_no}",
        viewers=answers.count(body.broad.current_sum_viewer),
        started_at=answers.instant(began.replace(tzinfo=KST).timestamp()) if began else None,
        problem=gate,
    )


def _headers(one: str, means: Means) -> dict[str, str]:
    headers = {"User-Agent": answers.BROWSER, "Referer": url(one)}
    return headers | ({"Cookie": means.keys["cookie"]} if means.keys.get("cookie") else {})


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"live.sooplive.com", "chapi.sooplive.co.kr"}),
    batch=1,
    budget="120/m",  # no limit is published
    address=address,
    url=url,
    check=one_by_one(NAME, look),
)
