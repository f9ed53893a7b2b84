"""CHZZK, Naver's: one channel at a time. Only `status` tells; the rest of a closed channel's answer is stale."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Platform, Refused, Unanswered, ask, keep, recall
from livectl.live.platforms.batches import one_by_one
from livectl.live.platforms.pages import page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.platforms.base import Effect, Means

NAME = "chzzk"
PAGES = {NAME, "chzzk.naver.com", "m.chzzk.naver.com"}
HINT = "Give the channel: https://chzzk.naver.com/live/ID, an ID of 32 letters and digits"
API = "https://api.chzzk.naver.com"
HEADERS = {"User-Agent": answers.BROWSER}
KST = timezone(timedelta(hours=9))
NAME_SECONDS = 7 * 86_400.0  # a channel's name is asked for once a week

Local = Annotated[datetime, msgspec.Meta(tz=False)]


class Content(msgspec.Struct, rename="camel"):
    status: str
    live_title: str | None = ""
    live_category_value: str | None = ""
    concurrent_user_count: int | None = None
    open_date: Local | None = None


class Envelope(msgspec.Struct):
    code: int
    message: str | None = ""
    content: msgspec.Raw = msgspec.Raw(b"")


class Channel(msgspec.Struct, rename="camel"):
    channel_name: str | None = ""


class Named(msgspec.Struct):
    content: Channel | None = None


ENVELOPE = msgspec.json.Decoder(Envelope)
CONTENT = msgspec.json.Decoder(Content | None)
NAMED = msgspec.json.Decoder(Named)


def address(text: str) -> str | None:
    where = page(text)
    if where is None or where.host not in PAGES:
        return None
    match where.parts:
        case ["live", one, *_] | [one, *_] if re.fullmatch(r"[0-9a-f]{32}", one.lower()):
            return one.lower()
        case ["video" | "clips", *_]:
            raise Refused("a CHZZK recording or clip is no streamer", HINT)
    raise Refused(f"no CHZZK channel in {where.url}", HINT)


def url(one: str) -> str:
    return f"https://chzzk.naver.com/live/{one}"


def look(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    endpoint = f"{API}/polling/v3.1/channels/{one}/live-status?includePlayerRecommendContent=false"
    response = yield from ask(Request(url=endpoint, headers=HEADERS))
    absent = Observation(platform=NAME, id=one, state=State.NOT_FOUND, at=means.now)
    if response.status == 404:
        return absent
    envelope = answers.read(response, ENVELOPE, means.now)
    if envelope.code == 404:
        return absent
    if envelope.code != 200:
        raise Unanswered(State.PARSE_ERROR, f"code {envelope.code}: {answers.plain(envelope.message)}")
    content = answers.decode(envelope.content, CONTENT)
    if content is None or content.status == "CLOSE":
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now)
    if content.status != "OPEN":
        raise answers.odd("$.content.status", content.status)
    began = content.open_date.replace(tzinfo=KST).timestamp() if content.open_date else None
    return Observation(
        platform=NAME,
        id=one,
        state=State.LIVE,
        at=means.now,
        session=f"{began:.0f}" if began else "",
        title=answers.plain(content.live_title),
        category=answers.plain(content.live_category_value),
        name=(yield from _name(one)),
        url=url(one),
        viewers=answers.count(content.concurrent_user_count),
        started_at=answers.instant(began),
    )


def _name(one: str) -> Generator[Effect, Any, str]:
    """The channel's name, which the status lacks and an id does not tell."""
    kept = yield from recall(f"name/{one}")
    if kept:
        return kept
    response = yield from ask(Request(url=f"{API}/service/v1/channels/{one}", headers=HEADERS))
    try:
        content = NAMED.decode(response.body).content
    except msgspec.DecodeError:
        return ""  # the name is a courtesy: that it is live stands without
    name = answers.plain(content.channel_name if content else "")
    if name:
        yield from keep(f"name/{one}", name, NAME_SECONDS)
    return name


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.chzzk.naver.com"}),
    batch=1,
    budget="120/m",  # no limit is published; its own page asks every 10 seconds
    address=address,
    url=url,
    check=one_by_one(NAME, look),
)
