"""The YouTube Data API: which of a channel's newest videos is a broadcast that runs.

Feeds are free and tell the videos; videos.list costs a unit for 50 and tells which are live. What has ended is
remembered and never asked again, so a quiet channel costs nothing.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Refused, Unanswered, ask, keep, recall, unanswered
from livectl.live.platforms.batches import FINAL
from livectl.live.platforms.youtube_video import NAME, Item, announced, may_come, observed, state_of
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from livectl.live.platforms.base import Effect, Means
    from livectl.model import Response

API = "https://www.googleapis.com/youtube/v3"
FEED = "https://www.youtube.com/feeds/videos.xml"
BATCH = 10  # channels: one feed each, in turn, before the one call for all
VIDEOS = 50  # ids a call
PACIFIC = "America/Los_Angeles"  # quotas are counted anew at its midnight
SOON_SECONDS = 900.0  # an announced broadcast is asked after at every check from so long before its start
PEEK_SECONDS = 1_800.0  # and until then so often, for announcements are moved
PAST_SECONDS = 30 * 86_400.0  # what ended is remembered; forgetting costs one unit
AFTERGLOW_SECONDS = 900.0  # after a broadcast the next one announced does not hide that this one ended
LIMITS = {"quotaExceeded", "dailyLimitExceeded", "rateLimitExceeded", "userRateLimitExceeded"}
BAD_KEY = {"keyInvalid", "keyExpired", "API_KEY_INVALID", "accessNotConfigured"}


class Items(msgspec.Struct):
    items: list[msgspec.Raw]


class Channel(msgspec.Struct):
    id: str


class Channels(msgspec.Struct):
    kind: str = ""
    items: list[Channel] | None = None  # left out when there are none


class Listed(msgspec.Struct, rename="camel"):
    video_id: str


class Row(msgspec.Struct, rename="camel"):
    content_details: Listed


class Listing(msgspec.Struct):
    items: list[Row]


class Reason(msgspec.Struct):
    reason: str = ""


class Fault(msgspec.Struct):
    message: str = ""
    errors: list[Reason] = []


class Failure(msgspec.Struct):
    error: Fault


class Videos(NamedTuple):
    """What the API says of each. One it leaves out was taken down, unless there was a row that could not be read."""

    found: dict[str, Item]
    spoilt: Unanswered | None

    def get(self, video: str) -> Item | None:
        if self.spoilt and video not in self.found:
            raise self.spoilt
        return self.found.get(video)


class Memory(msgspec.Struct):
    """What is known of a channel's videos: which ended, which runs, and when to ask after those announced."""

    past: list[str] = []
    live: str = ""
    announced: dict[str, float] = {}


ITEMS = msgspec.json.Decoder(Items)
ITEM = msgspec.json.Decoder(Item, strict=False)
CHANNELS = msgspec.json.Decoder(Channels)
LISTING = msgspec.json.Decoder(Listing)
FAILURE = msgspec.json.Decoder(Failure)
MEMORY = msgspec.json.Decoder(Memory)


def channel_of(handle: str, means: Means) -> Generator[Effect, Any, str]:
    response = yield from _call("channels", {"part": "id", "forHandle": handle}, means)
    found = answers.read(response, CHANNELS, means.now)
    if found.items is None and not found.kind:
        raise Unanswered(State.PARSE_ERROR, "missing field `items` - at `$`")
    if not found.items:
        raise Refused(f"YouTube knows no {handle}")
    return found.items[0].id


def look(ids: Sequence[str], means: Means) -> Generator[Effect, Any, dict[str, Observation]]:
    known: dict[str, Memory] = {}
    recent: dict[str, list[str]] = {}
    seen: dict[str, Observation] = {}
    for one in ids:
        known[one] = _remembered((yield from recall(f"videos/{one}")))
        try:
            recent[one] = yield from _recent(one, means)
        except Unanswered as trouble:
            if trouble.state in FINAL:
                raise
            seen[one] = unanswered(NAME, one, trouble, means)
    asked = [video for one, videos in recent.items() for video in _candidates(known[one], videos, means.now)]
    items = yield from _videos(asked, means)
    for one, videos in recent.items():
        try:
            seen[one] = yield from _concluded(one, videos, known[one], items, means)
        except Unanswered as trouble:
            seen[one] = unanswered(NAME, one, trouble, means)
    return seen


def newest(one: str) -> Generator[Effect, Any, list[str] | None]:
    """The videos of a channel's feed, newest first; None when it fails, as it does for hours on some days."""
    response = yield from ask(Request(url=f"{FEED}?channel_id={one}"))
    if response.status != 200 or b"<feed" not in response.body:
        return None
    return re.findall(r"<yt:videoId>([\w-]{11})</yt:videoId>", response.body.decode(errors="replace"), re.ASCII)


def _recent(one: str, means: Means) -> Generator[Effect, Any, list[str]]:
    videos = yield from newest(one)
    if videos is not None:
        return videos
    query = {"part": "contentDetails", "playlistId": f"UULV{one[2:]}", "maxResults": "5"}
    response = yield from _call("playlistItems", query, means)
    if response.status == 404:
        raise Unanswered(State.UNKNOWN, "neither its feed nor its list of broadcasts answers")
    return [row.content_details.video_id for row in answers.read(response, LISTING, means.now).items]


def _candidates(known: Memory, videos: Iterable[str], now: float) -> list[str]:
    """The videos that may be a broadcast: new ones, the one that ran, those announced for about now."""
    ran = [known.live] if known.live else []
    later = {video for video, ask_at in known.announced.items() if ask_at > now}
    candidates = dict.fromkeys([*ran, *videos, *known.announced])
    return [video for video in candidates if video not in known.past and video not in later]


def _videos(asked: Sequence[str], means: Means) -> Generator[Effect, Any, Videos]:
    found: dict[str, Item] = {}
    spoilt: Unanswered | None = None
    for start in range(0, len(asked), VIDEOS):
        query = {"part": "snippet,liveStreamingDetails,contentDetails", "id": ",".join(asked[start : start + VIDEOS])}
        response = yield from _call("videos", query, means)
        for row in answers.read(response, ITEMS, means.now).items:
            try:
                item = answers.decode(row, ITEM)
            except Unanswered as trouble:
                spoilt = trouble
            else:
                found[item.id] = item
    return Videos(found, spoilt)


def _concluded(
    one: str, videos: Sequence[str], known: Memory, items: Videos, means: Means
) -> Generator[Effect, Any, Observation]:
    """What the videos add up to; what was learned is remembered."""
    states = {video: state_of(items.get(video), means.now) for video in _candidates(known, videos, means.now)}
    live = next((video for video, state in states.items() if state in {State.LIVE, State.REPLAY}), "")
    ahead = [video for video, state in states.items() if state is State.UPCOMING]
    later = {video: ask_at for video, ask_at in known.announced.items() if video not in states}
    over = {video for video, state in states.items() if state is State.OFFLINE and not may_come(items.get(video))}
    past = [video for video in videos if video in known.past or video in over]
    learned = Memory(past, live, later | {video: _ask_at(items.found[video], means.now) for video in ahead})
    if learned != known:
        yield from keep(f"videos/{one}", msgspec.json.encode(learned).decode(), PAST_SECONDS)
    if live:
        return (yield from settled(observed(one, states[live], items.found[live], means)))
    if ahead:
        first = min(ahead, key=lambda video: announced(items.found[video]))
        return (yield from settled(observed(one, State.UPCOMING, items.found[first], means)))
    if later:
        coming = Observation(platform=NAME, id=one, state=State.UPCOMING, at=means.now, session=min(later))
        return (yield from settled(coming))
    return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now)


def settled(observation: Observation) -> Generator[Effect, Any, Observation]:
    """The observation, but offline where a broadcast has just ended and the next one is merely announced."""
    key = f"live/{observation.id}"
    if observation.state is State.LIVE:
        yield from keep(key, observation.session, AFTERGLOW_SECONDS)
    if observation.state is State.UPCOMING and (yield from recall(key)):
        return Observation(platform=NAME, id=observation.id, state=State.OFFLINE, at=observation.at)
    return observation


def _ask_at(item: Item, now: float) -> float:
    return min(max(announced(item) - SOON_SECONDS, now), now + PEEK_SECONDS)


def _call(what: str, query: dict[str, str], means: Means) -> Generator[Effect, Any, Response]:
    """One unit of the day's 10,000. Its refusals are in a body: which, tells whether to wait or to mend the key."""
    request = Request(url=f"{API}/{what}?{urlencode(query | {'key': means.keys['api_key']})}")
    response = yield from ask(request)
    if response.status not in {400, 403}:
        return response
    fault = _fault(response)
    reasons = {error.reason for error in fault.errors}
    if reasons & LIMITS:
        problem = f"the day's quota is used up ({', '.join(sorted(reasons))})"
        raise Unanswered(State.RATE_LIMITED, problem, _midnight(means.now))
    if reasons & BAD_KEY or "API key" in fault.message:
        raise Unanswered(State.AUTH, f"the api_key was refused: {answers.plain(fault.message)}")
    raise Unanswered(State.BLOCKED, f"refused: {answers.plain(fault.message)}")


def _fault(response: Response) -> Fault:
    try:
        return FAILURE.decode(response.body).error
    except msgspec.DecodeError:
        return Fault(message=f"HTTP {response.status}")


def _midnight(now: float) -> float:
    zone = ZoneInfo(PACIFIC)
    tomorrow = datetime.fromtimestamp(now, zone).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), zone).timestamp()


def _remembered(text: str | None) -> Memory:
    try:
        return MEMORY.decode(text or "{}")
    except msgspec.DecodeError:
        return Memory()
