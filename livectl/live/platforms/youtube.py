"""Checks YouTube: with the user's key through the Data API (youtube_api.py), without through the channel's /live page.

A streamer is followed by channel id (UC…); handles, names and videos are resolved to it once. The page is a megabyte
behind a wall against robots, so an "offline" read from it stands for a while, as long as the feed shows no other video.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import msgspec

from livectl.live.platforms import parsing, youtube_api
from livectl.live.platforms.base import (
    CheckFailed,
    NameLookup,
    NotAStreamer,
    Platform,
    RateLimit,
    ask,
    cache_get,
    cache_set,
    in_batches,
    one_by_one,
    resolve_each,
    with_avatars,
    with_second_check,
)
from livectl.live.platforms.parsing import parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import Check, CheckContext, Effect, Observations, Resolve

NAME = youtube_api.NAME
HOSTS = {NAME, "youtube.com", "www.youtube.com", "m.youtube.com", "gaming.youtube.com", "youtu.be"}
HINT = "Give the channel: https://www.youtube.com/@handle or https://www.youtube.com/channel/UC…"
# fmt: off
NON_CHANNEL_PATHS = {
    "shorts", "playlist", "feed", "results", "clip", "gaming", "premium", "account", "embed", "hashtag", "post",
}
# fmt: on
CHANNEL_URL = re.compile(r"youtube\.com/(channel/|@|c/|user/)")
CHANNEL_ID = re.compile(r"UC[\w-]{22}", re.ASCII)
# Where pages say whose they are, the surest first. A page need not have them all.
_ID = rf"({CHANNEL_ID.pattern})"
_DETAILS_MARK = re.compile(rf'"videoDetails"\s*:\s*\{{[^{{}}]*?"channelId"\s*:\s*"{_ID}"')
_META_MARK = re.compile(rf'<meta itemprop="(?:identifier|channelId)" content="{_ID}"')
_CANONICAL_MARK = re.compile(rf'<link rel="canonical" href="https://www\.youtube\.com/channel/{_ID}"')
_EXTERNAL_MARK = re.compile(rf'"externalChannelId"\s*:\s*"{_ID}"')
_OWNER_MARK = re.compile(rf'"videoOwnerRenderer"\s*:.{{0,4000}}?"browseId"\s*:\s*"{_ID}"', re.DOTALL)
CHANNEL_MARKS = (re.compile(rf'"externalId"\s*:\s*"{_ID}"'), _META_MARK, _CANONICAL_MARK, _DETAILS_MARK)
VIDEO_MARKS = (_DETAILS_MARK, _OWNER_MARK, _EXTERNAL_MARK, _META_MARK, *CHANNEL_MARKS[:1])
PAGE_MARKS = (_DETAILS_MARK, _EXTERNAL_MARK, _CANONICAL_MARK, *CHANNEL_MARKS[:2])
_OWNER_PICTURE = re.compile(r'"videoOwnerRenderer"\s*:.{0,400}?"url"\s*:\s*("https:[^"]{1,1000}")', re.DOTALL)
PRIMARY_VIDEO = re.compile(r'"videoId"\s*:\s*"([\w-]{11})"')
CONSENT_COOKIE = "SOCS=CAI; CONSENT=YES+cb"  # "reject all" on the page that the EU sees first
MAX_PAGE_BYTES = 2_000_000  # pages run to 1.2 MB
PAGE_END_MARKER = b"var ytInitialData"  # what a page says of a broadcast stands before it, or soon after
PAGE_END_BYTES = 100_000  # so soon; the rest, half a page, is about other videos
OFFLINE_CACHE_SECONDS = 600.0  # the page is read at least so often, whatever the feed shows


class YouTubeBroadcast(msgspec.Struct, rename="camel"):
    is_live_now: bool
    start_timestamp: parsing.Instant | None = None


class YouTubeVideo(msgspec.Struct, rename="camel"):
    video_id: str
    title: str = ""
    author: str = ""
    channel_id: str = ""
    is_live: bool = False
    is_upcoming: bool = False


class YouTubePlayability(msgspec.Struct):
    status: str = ""
    reason: str = ""


class YouTubeMicroformat(msgspec.Struct, rename="camel"):
    category: str | None = ""
    external_channel_id: str | None = ""


class YouTubeText(msgspec.Struct, rename="camel"):
    """A text of a page, in one piece or in several."""

    simple_text: str | None = ""
    runs: list[dict[str, Any]] | None = None

    def __str__(self) -> str:
        return self.simple_text or "".join(str(run.get("text", "")) for run in self.runs or ())


class YouTubeViewCount(msgspec.Struct, rename="camel"):
    """How many watch a broadcast; of a recording, how many ever have."""

    is_live: bool = False
    view_count: YouTubeText | None = None
    original_view_count: str | int | None = None


class YouTubePage(NamedTuple):
    """What a /live page says: of the broadcast, of the video in it, and whose page it is."""

    broadcast: YouTubeBroadcast | None
    video: YouTubeVideo | None
    playability: YouTubePlayability
    canonical_url: str
    has_data: bool  # a page for robots has none
    microformat: YouTubeMicroformat
    view_count: YouTubeViewCount | None
    primary_video_id: str  # of the video that the page is about, where its details are missing
    owner_id: str  # of the channel whose video or page this is; empty where the page does not say
    avatar: str = ""  # of that channel


def address(text: str) -> str | None:
    """A channel id; or @handle, c/NAME, user/NAME, video:ID, which `resolve` leads to one."""
    page = parse_page_address(text)
    if page is None or page.host not in HOSTS:
        return None
    parts = page.parts[1:] if page.parts[:1] == ("channel",) else page.parts
    match parts:
        case [video] if page.host == "youtu.be":
            return _video_id(video, page.url)
        case [streamer_id, *_] if CHANNEL_ID.fullmatch(streamer_id):
            return streamer_id
        case [handle, *_] if re.fullmatch(r"@[\w.·-]{1,100}", handle):
            return handle.lower()
        case ["c" | "user" as kind, name, *_] if re.fullmatch(r"[\w.-]{1,100}", name):
            return f"{kind}/{name}"
        case ["watch"]:
            return _video_id(page.query.get("v", ""), page.url)
        case ["live", video]:
            return _video_id(video, page.url)
        case [video] if page.host == NAME and video.startswith("video:"):
            return _video_id(video.removeprefix("video:"), page.url)
        case [name] | [name, "live" | "streams"] if name.lower() not in NON_CHANNEL_PATHS and re.fullmatch(
            r"[\w.-]+", name
        ):
            return f"c/{name}"
    raise NotAStreamer(f"no YouTube channel in {page.url}", HINT)


def _video_id(video: str, page_url: str) -> str:
    if not re.fullmatch(r"[\w-]{11}", video, re.ASCII):
        raise NotAStreamer(f"no YouTube video in {page_url}", HINT)
    return f"video:{video}"


def url(streamer_id: str) -> str:
    if streamer_id.startswith("video:"):
        return f"https://www.youtube.com/watch?v={streamer_id.removeprefix('video:')}"
    folder = "channel/" if streamer_id.startswith("UC") else ""
    return f"https://www.youtube.com/{folder}{quote(streamer_id, safe='@/')}"


def resolve(streamer_id: str, context: CheckContext) -> Resolve:
    if CHANNEL_ID.fullmatch(streamer_id):
        return streamer_id
    if streamer_id.startswith(("@", "user/", "video:")) and context.keys.get("api_key"):
        try:
            return (yield from youtube_api.find_channel_id(streamer_id, context))
        except CheckFailed as failure:
            if failure.state is not State.PARSE_ERROR:
                raise
    return (yield from _find_in_page(streamer_id, context))


def _find_in_page(name: str, context: CheckContext) -> Resolve:
    response = yield from ask(Request(url=url(name), headers=_headers(context), limit=MAX_PAGE_BYTES))
    if response.status == 404:
        raise NotAStreamer(f"YouTube knows no {name}", HINT)
    text = _decode_page(response.url, parsing.read_body(response, context.now))
    marks = VIDEO_MARKS if name.startswith("video:") else CHANNEL_MARKS
    channel = _find_channel(text, marks)
    if not channel:
        raise CheckFailed(State.PARSE_ERROR, f"no mark of a channel in the page of {name} - at `externalId`")
    return channel


def _find_channel(text: str, marks: Sequence[re.Pattern[str]]) -> str:
    """The channel that the first of these marks names; empty where there is none of them."""
    return next((match[1] for mark in marks if (match := mark.search(text))), "")


def observe_names(names: Sequence[str], context: CheckContext) -> Observations:
    """The states of handles and names: the /live page tells whose it is. It leaves out whom no page names."""
    if context.keys.get("api_key"):
        return {}
    observations: dict[str, Observation] = {}
    for name in names:
        text = yield from _read_live_page(name, context)
        if text is None:
            observations[name] = Observation(platform=NAME, id=name, state=State.NOT_FOUND, at=context.now)
            continue
        if channel := _find_channel(text, PAGE_MARKS):
            observations[name] = yield from _observe_text(channel, text, context)
    return observations


def _observe_text(channel: str, text: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """The state in a page found by name; in the page found by id, where the first cannot be read."""
    try:
        observation = _build_observation(channel, _parse_page(text), context)
    except CheckFailed:
        return (yield from check_streamer(channel, context))
    return (yield from youtube_api.offline_if_just_ended(observation))


def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """Reads the feed first, but not of a channel that was live a moment ago: its page tells whether it still is."""
    was_live = yield from cache_get(f"live/{streamer_id}")
    newest_videos = "" if was_live else " ".join((yield from youtube_api.read_feed(streamer_id)) or [])
    if newest_videos and newest_videos == (yield from cache_get(f"quiet/{streamer_id}")):
        return Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now)
    text = yield from _read_live_page(streamer_id, context)
    if text is None:
        return Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=context.now)
    page = _parse_page(text)
    observation = yield from youtube_api.offline_if_just_ended(_build_observation(streamer_id, page, context))
    if observation.state is State.OFFLINE and newest_videos:
        yield from cache_set(f"quiet/{streamer_id}", newest_videos, OFFLINE_CACHE_SECONDS)
    return observation


def _read_live_page(name: str, context: CheckContext) -> Generator[Effect, Any, str | None]:
    """The text of a channel's /live page; None when there is no such channel."""
    request = Request(
        url=f"{url(name)}/live",
        headers=_headers(context),
        limit=MAX_PAGE_BYTES,
        until=PAGE_END_MARKER,
        beyond=PAGE_END_BYTES,
    )
    response = yield from ask(request)
    if response.status == 404:
        return None
    return _decode_page(response.url, parsing.read_body(response, context.now))


def _decode_page(final_url: str, body: bytes) -> str:
    text = body.decode(errors="replace")
    if "//consent.youtube.com" in final_url or "Before you continue to YouTube" in text:
        raise CheckFailed(State.BLOCKED, "YouTube asks for consent first")
    return text


def _parse_page(text: str) -> YouTubePage:
    canonical = re.search(r'<link rel="canonical" href="([^"]*)"', text)
    video = parsing.find_embedded_json(text, '"videoDetails":', YouTubeVideo)
    microformat = parsing.find_embedded_json(text, '"playerMicroformatRenderer":', YouTubeMicroformat)
    primary_info = _find_primary_info(text)
    primary_video = PRIMARY_VIDEO.search(primary_info)
    owner = _OWNER_MARK.search(text) or _CANONICAL_MARK.search(text)
    page = YouTubePage(
        broadcast=parsing.find_embedded_json(text, '"liveBroadcastDetails":', YouTubeBroadcast),
        video=video,
        playability=parsing.find_embedded_json(text, '"playabilityStatus":', YouTubePlayability)
        or YouTubePlayability(),
        canonical_url=canonical[1] if canonical else "",
        has_data="ytInitialData" in text,
        microformat=microformat or YouTubeMicroformat(),
        view_count=parsing.find_embedded_json(primary_info, '"videoViewCountRenderer":', YouTubeViewCount),
        primary_video_id=primary_video[1] if primary_video else "",
        owner_id=(video and video.channel_id)
        or (microformat and microformat.external_channel_id)
        or (owner[1] if owner else ""),
        avatar=_find_avatar(text),
    )
    if page.playability.status == "LOGIN_REQUIRED" and "bot" in page.playability.reason:
        raise CheckFailed(State.BLOCKED, parsing.plain_text(page.playability.reason))
    if not page.canonical_url and not page.has_data:
        raise CheckFailed(State.BLOCKED, "a page for robots: neither canonical address nor data")
    return page


def _find_avatar(text: str) -> str:
    """The owner's picture beside the video; empty where reading has stopped before it."""
    found = _OWNER_PICTURE.search(text)
    with suppress(ValueError):
        return parsing.image_url(json.loads(found[1])) if found else ""
    return ""


def _find_primary_info(text: str) -> str:
    """What the page says of its own video, not of those beside it. Reading may have stopped in the midst of it."""
    try:
        info = parsing.find_embedded_json(text, '"videoPrimaryInfoRenderer":', dict[str, Any])
    except CheckFailed:
        return ""
    return json.dumps(info) if info else ""


def _build_observation(streamer_id: str, page: YouTubePage, context: CheckContext) -> Observation:
    if page.owner_id not in {"", streamer_id}:
        raise parsing.somebody_else("videoDetails.channelId", page.owner_id)
    state = _state(page, context.now)
    if state is State.OFFLINE:
        return Observation(platform=NAME, id=streamer_id, state=state, at=context.now)
    video = page.video or YouTubeVideo(video_id=page.primary_video_id)
    in_address = re.search(r"watch\?v=([\w-]{11})", page.canonical_url)
    session = in_address[1] if in_address else video.video_id
    if not session:
        raise CheckFailed(State.PARSE_ERROR, "a broadcast without a video id - at `videoDetails.videoId`")
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=state,
        at=context.now,
        session=session,
        title=parsing.plain_text(video.title),
        category=parsing.plain_text(page.microformat.category),
        name=parsing.plain_text(video.author),
        url=f"https://www.youtube.com/watch?v={session}",
        cover=f"https://i.ytimg.com/vi/{session}/hqdefault.jpg",
        avatar=page.avatar,
        viewers=_viewers(page.view_count),
        started_at=parsing.instant_timestamp(page.broadcast.start_timestamp) if page.broadcast else None,
    )


def _viewers(count: YouTubeViewCount | None) -> int | None:
    """How many are watching now: 1,234 of "1,234 watching now". A count of 0 beside a text is none."""
    if count is None or not count.is_live:
        return None
    number = re.match(r"[\d,.\s]*\d", str(count.view_count or ""))
    digits = re.sub(r"\D", "", number[0] if number else str(count.original_view_count or ""))
    return parsing.parse_count(digits)


def _state(page: YouTubePage, now: float) -> State:
    broadcast, video = page.broadcast, page.video
    is_live = broadcast.is_live_now if broadcast else bool(video and video.is_live and not video.is_upcoming)
    if not broadcast and not video:  # a page without details tells by its view count
        is_live = bool(page.view_count and page.view_count.is_live)
    if is_live:
        return State.RESTRICTED if page.playability.status == "LOGIN_REQUIRED" else State.LIVE
    start = broadcast.start_timestamp.timestamp() if broadcast and broadcast.start_timestamp else now
    is_announced = start > now or bool(video and video.is_upcoming)
    if is_announced and now - start <= youtube_api.OVERDUE_SECONDS:
        return State.UPCOMING
    if page.view_count and page.view_count.is_live:
        raise CheckFailed(State.PARSE_ERROR, "watched live, but not live - at `videoViewCountRenderer.isLive`")
    is_channel = "watch?v=" not in page.canonical_url and CHANNEL_URL.search(page.canonical_url)
    if (is_channel and page.has_data) or video:  # the channel's page, or the recording of its last broadcast
        return State.OFFLINE
    raise CheckFailed(State.PARSE_ERROR, "neither a channel nor a video - at `videoDetails`")


def _headers(context: CheckContext) -> dict[str, str]:
    return {"Accept-Language": "en"} | parsing.browser_headers(cookie=context.keys.get("cookie") or CONSENT_COOKIE)


CHECK_WITHOUT_KEY = one_by_one(NAME, check_streamer)
CHECK_WITH_KEY = with_avatars(
    with_second_check(in_batches(NAME, youtube_api.BATCH, youtube_api.check_batch), CHECK_WITHOUT_KEY),
    youtube_api.find_avatars,
    youtube_api.MAX_IDS_PER_CALL,
)


def check(ids: Sequence[str], context: CheckContext) -> Check:
    return CHECK_WITH_KEY(ids, context) if context.keys.get("api_key") else CHECK_WITHOUT_KEY(ids, context)


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"www.youtube.com", "m.youtube.com", "consent.youtube.com", "www.googleapis.com"}),
    batch=youtube_api.BATCH,
    budget="60/m",  # feeds are free; a call of the Data API costs 1 of 10,000 units a day
    keyless=RateLimit(1, "20/m"),  # pages of a megabyte, behind a wall against robots
    key_names=("api_key", "cookie"),
    address=address,
    url=url,
    check=check,
    resolve=resolve,
    names=NameLookup(1, resolve_each(resolve), lambda name: not name.startswith("video:"), observe_names),
    recording=lambda session: f"https://www.youtube.com/watch?v={session}",
    requests=youtube_api.BATCH,  # a feed for each; the one call for all is seldom needed
)
