"""YouTube: the Data API with the user's key; without, the channel's /live page, one at a time and behind its feed.

A streamer is followed by channel id (UC…); handles, names and videos are led to it once. The page is a megabyte and
guarded, so while the feed shows no video that the last look at the page did not know, the page's word stands a while.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec

from livectl.live.platforms import answers, youtube_api, youtube_video
from livectl.live.platforms.base import Pace, Platform, Refused, Unanswered, ask, keep, recall
from livectl.live.platforms.batches import in_batches, one_by_one
from livectl.live.platforms.pages import page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import Check, Effect, Means, Resolve

NAME = youtube_video.NAME
SITE = {NAME, "youtube.com", "www.youtube.com", "m.youtube.com", "gaming.youtube.com", "youtu.be"}
HINT = "Give the channel: https://www.youtube.com/@handle or https://www.youtube.com/channel/UC…"
# fmt: off
NOT_CHANNELS = {
    "shorts", "playlist", "feed", "results", "clip", "gaming", "premium", "account", "embed", "hashtag", "post",
}
# fmt: on
CONSENT = "SOCS=CAI; CONSENT=YES+cb"  # "reject all" on the consent page, which comes before everything in the EU
PAGE_LIMIT = 2_000_000  # bytes; pages run to 1.2 MB
PAGE_END = b"var ytInitialData"  # all that tells of a broadcast stands before it
QUIET_SECONDS = 600.0  # the page is read at least so often, whatever the feed shows

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Broadcast(msgspec.Struct, rename="camel"):
    is_live_now: bool
    start_timestamp: Instant | None = None


class Video(msgspec.Struct, rename="camel"):
    video_id: str
    channel_id: str = ""
    title: str = ""
    author: str = ""
    is_live: bool = False
    is_upcoming: bool = False


class Playability(msgspec.Struct):
    status: str = ""
    reason: str = ""


def address(text: str) -> str | None:
    """A channel id; or @handle, c/NAME, user/NAME, video:ID, which `resolve` leads to one."""
    where = page(text)
    if where is None or where.host not in SITE:
        return None
    parts = where.parts[1:] if where.parts[:1] == ("channel",) else where.parts
    match parts:
        case [video] if where.host == "youtu.be":
            return _video(video, where.url)
        case [one, *_] if re.fullmatch(r"UC[\w-]{22}", one, re.ASCII):
            return one
        case [handle, *_] if re.fullmatch(r"@[\w.·-]{1,100}", handle):
            return handle.lower()
        case ["c" | "user" as kind, name, *_] if re.fullmatch(r"[\w.-]{1,100}", name):
            return f"{kind}/{name}"
        case ["watch"]:
            return _video(where.query.get("v", ""), where.url)
        case ["live", video]:
            return _video(video, where.url)
        case [video] if where.host == NAME and video.startswith("video:"):
            return _video(video.removeprefix("video:"), where.url)
        case [name] | [name, "live" | "streams"] if name.lower() not in NOT_CHANNELS and re.fullmatch(r"[\w.-]+", name):
            return f"c/{name}"
    raise Refused(f"no YouTube channel in {where.url}", HINT)


def _video(video: str, where: str) -> str:
    if not re.fullmatch(r"[\w-]{11}", video, re.ASCII):
        raise Refused(f"no YouTube video in {where}", HINT)
    return f"video:{video}"


def url(one: str) -> str:
    if one.startswith("video:"):
        return f"https://www.youtube.com/watch?v={one.removeprefix('video:')}"
    return f"https://www.youtube.com/{'channel/' if one.startswith('UC') else ''}{quote(one, safe='@/')}"


def resolve(one: str, means: Means) -> Resolve:
    if re.fullmatch(r"UC[\w-]{22}", one, re.ASCII):
        return one
    if one.startswith("@") and means.keys.get("api_key"):
        return (yield from youtube_api.channel_of(one, means))
    response = yield from ask(Request(url=url(one), headers=_headers(means), limit=PAGE_LIMIT))
    if response.status == 404:
        raise Refused(f"YouTube knows no {one}", HINT)
    text = _opened(response.url, answers.accepted(response, means.now))
    key = "channelId" if one.startswith("video:") else "externalId"
    found = re.search(rf'"{key}":"(UC[\w-]{{22}})"', text)
    if found is None:
        raise Unanswered(State.PARSE_ERROR, f'no "{key}" in the page of {one}')
    return found[1]


def look(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    newest = " ".join((yield from youtube_api.newest(one)) or [])
    if newest and newest == (yield from recall(f"quiet/{one}")):
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now)
    request = Request(url=f"{url(one)}/live", headers=_headers(means), limit=PAGE_LIMIT, until=PAGE_END)
    response = yield from ask(request)
    if response.status == 404:
        return Observation(platform=NAME, id=one, state=State.NOT_FOUND, at=means.now)
    text = _opened(response.url, answers.accepted(response, means.now))
    observation = yield from youtube_api.settled(_observed(one, text, means))
    if observation.state is State.OFFLINE and newest:
        yield from keep(f"quiet/{one}", newest, QUIET_SECONDS)
    return observation


def _opened(landed: str, body: bytes) -> str:
    text = body.decode(errors="replace")
    if "//consent.youtube.com" in landed or "Before you continue to YouTube" in text:
        raise Unanswered(State.BLOCKED, "YouTube asks for consent first")
    return text


def _observed(one: str, text: str, means: Means) -> Observation:
    broadcast = answers.embedded(text, '"liveBroadcastDetails":', Broadcast)
    video = answers.embedded(text, '"videoDetails":', Video)
    gate = answers.embedded(text, '"playabilityStatus":', Playability) or Playability()
    found = re.search(r'<link rel="canonical" href="([^"]*)"', text)
    canonical = found[1] if found else ""
    if gate.status == "LOGIN_REQUIRED" and "bot" in gate.reason:
        raise Unanswered(State.BLOCKED, answers.plain(gate.reason))
    if not canonical and "ytInitialData" not in text:
        raise Unanswered(State.BLOCKED, "a page for robots: neither canonical address nor data")
    state = _state(broadcast, video, gate, canonical, whole="ytInitialData" in text, now=means.now)
    if state is State.OFFLINE:
        return Observation(platform=NAME, id=one, state=state, at=means.now)
    watched = re.search(r"watch\?v=([\w-]{11})", canonical)
    session = watched[1] if watched else video.video_id if video else ""
    if not session:
        raise Unanswered(State.PARSE_ERROR, "a broadcast without a video id - at `videoDetails.videoId`")
    began = broadcast.start_timestamp if broadcast else None
    return Observation(
        platform=NAME,
        id=one,
        state=state,
        at=means.now,
        session=session,
        title=answers.plain(video.title if video else ""),
        name=answers.plain(video.author if video else ""),
        url=f"https://www.youtube.com/watch?v={session}",
        cover=f"https://i.ytimg.com/vi/{session}/hqdefault.jpg",
        started_at=answers.instant(began.timestamp()) if began else None,
    )


def _state(
    broadcast: Broadcast | None, video: Video | None, gate: Playability, canonical: str, *, whole: bool, now: float
) -> State:
    live = broadcast.is_live_now if broadcast else bool(video and video.is_live and not video.is_upcoming)
    if live:
        return State.RESTRICTED if gate.status == "LOGIN_REQUIRED" else State.LIVE
    start = broadcast.start_timestamp.timestamp() if broadcast and broadcast.start_timestamp else now
    announced = start > now or bool(video and video.is_upcoming)
    if announced and now - start <= youtube_video.OVERDUE_SECONDS:
        return State.UPCOMING
    if "watch?v=" not in canonical and re.search(r"youtube\.com/(channel/|@|c/|user/)", canonical) and whole:
        return State.OFFLINE
    if video:
        return State.OFFLINE  # the recording of the last broadcast
    raise Unanswered(State.PARSE_ERROR, "neither a channel nor a video - at `videoDetails`")


def _headers(means: Means) -> dict[str, str]:
    cookie = means.keys.get("cookie") or CONSENT
    return {"User-Agent": answers.BROWSER, "Accept-Language": "en", "Cookie": cookie}


KEYED = in_batches(NAME, youtube_api.BATCH, youtube_api.look)
KEYLESS = one_by_one(NAME, look)


def check(ids: Sequence[str], means: Means) -> Check:
    return KEYED(ids, means) if means.keys.get("api_key") else KEYLESS(ids, means)


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"www.youtube.com", "m.youtube.com", "consent.youtube.com", "www.googleapis.com"}),
    batch=youtube_api.BATCH,
    budget="60/m",  # feeds are free; videos.list costs 1 of 10,000 units a day
    keyless=Pace(1, "20/m"),  # pages of a megabyte, behind a wall against robots
    address=address,
    url=url,
    check=check,
    resolve=resolve,
)
