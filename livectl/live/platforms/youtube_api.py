"""The YouTube Data API: which of a channel's newest videos is a broadcast that runs.

Feeds are free and tell the videos; videos.list costs a unit for 50 and tells which are live. What has ended is
remembered and never asked again, so a quiet channel costs nothing.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Refused, Unanswered, ask, keep, recall, unanswered
from livectl.live.platforms.batches import FINAL
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from livectl.live.platforms.base import Effect, Means
    from livectl.model import Response

NAME = "youtube"
API = "https://www.googleapis.com/youtube/v3"
FEED = "https://www.youtube.com/feeds/videos.xml"
BATCH = 10  # channels: one feed each, in turn, before the one call for all
VIDEOS = 50  # ids a call
PACIFIC = ZoneInfo("America/Los_Angeles")  # quotas are counted anew at its midnight
OVERDUE_SECONDS = 3_600.0  # a broadcast announced for longer ago than this will not come
SOON_SECONDS = 900.0  # an announced broadcast is asked after at every check from so long before its start
PEEK_SECONDS = 1_800.0  # and until then so often, for announcements are moved
PAST_SECONDS = 30 * 86_400.0  # what ended is remembered; forgetting costs one unit
AFTERGLOW_SECONDS = 900.0  # after a broadcast the next one announced does not hide that this one ended
LIMITS = {"quotaExceeded", "dailyLimitExceeded", "rateLimitExceeded", "userRateLimitExceeded"}
BAD_KEY = {"keyInvalid", "keyExpired", "API_KEY_INVALID", "accessNotConfigured"}

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Picture(msgspec.Struct):
    url: str


class Snippet(msgspec.Struct, rename="camel"):
    live_broadcast_content: str
    channel_id: str = ""
    title: str = ""
    channel_title: str = ""
    category_id: str = ""
    thumbnails: dict[str, Picture] = {}


class Details(msgspec.Struct, rename="camel"):
    actual_start_time: Instant | None = None
    actual_end_time: Instant | None = None
    scheduled_start_time: Instant | None = None
    concurrent_viewers: int | None = None


class Content(msgspec.Struct):
    duration: str = ""


class Item(msgspec.Struct, rename="camel"):
    id: str
    snippet: Snippet
    live_streaming_details: Details | None = None
    content_details: Content | None = None


class Items(msgspec.Struct):
    items: list[msgspec.Raw]


class Channel(msgspec.Struct):
    id: str


class Channels(msgspec.Struct):
    items: list[Channel] = []  # left out when there are none


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
    channels = answers.read(response, CHANNELS, means.now).items
    if not channels:
        raise Refused(f"YouTube knows no {handle}")
    return channels[0].id


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
    states = {video: _state(items.get(video), means.now) for video in _candidates(known, videos, means.now)}
    live = next((video for video, state in states.items() if state in {State.LIVE, State.REPLAY}), "")
    ahead = [video for video, state in states.items() if state is State.UPCOMING]
    later = {video: ask_at for video, ask_at in known.announced.items() if video not in states}
    over = {video for video, state in states.items() if state is State.OFFLINE and not _may_come(items.get(video))}
    past = [video for video in videos if video in known.past or video in over]
    learned = Memory(past, live, later | {video: _ask_at(items.found[video], means.now) for video in ahead})
    if learned != known:
        yield from keep(f"videos/{one}", msgspec.json.encode(learned).decode(), PAST_SECONDS)
    if live:
        return (yield from settled(_observed(one, states[live], items.found[live], means)))
    if ahead:
        first = min(ahead, key=lambda video: _announced(items.found[video]))
        return (yield from settled(_observed(one, State.UPCOMING, items.found[first], means)))
    if later:
        announced = Observation(platform=NAME, id=one, state=State.UPCOMING, at=means.now, session=min(later))
        return (yield from settled(announced))
    return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now)


def settled(observation: Observation) -> Generator[Effect, Any, Observation]:
    """The observation, but offline where a broadcast has just ended and the next one is merely announced."""
    key = f"live/{observation.id}"
    if observation.state is State.LIVE:
        yield from keep(key, observation.session, AFTERGLOW_SECONDS)
    if observation.state is State.UPCOMING and (yield from recall(key)):
        return Observation(platform=NAME, id=observation.id, state=State.OFFLINE, at=observation.at)
    return observation


def _state(item: Item | None, now: float) -> State:
    """Of one video. OFFLINE: it is over, or never was a broadcast, or was taken down."""
    if item is None:
        return State.OFFLINE
    details = item.live_streaming_details or Details()
    content = item.snippet.live_broadcast_content
    if content not in {"live", "upcoming", "none"}:
        raise answers.odd("$.items[].snippet.liveBroadcastContent", content)
    if content == "live" or (details.actual_start_time and not details.actual_end_time):
        duration = item.content_details.duration if item.content_details else ""
        return State.LIVE if duration in {"", "P0D"} else State.REPLAY  # of known length: a premiere
    overdue = now - _announced(item) > OVERDUE_SECONDS
    return State.UPCOMING if content == "upcoming" and not overdue else State.OFFLINE


def _may_come(item: Item | None) -> bool:
    """Announced, if long ago: it is not shown as coming, but it may yet begin."""
    return bool(item and item.snippet.live_broadcast_content == "upcoming")


def _ask_at(item: Item, now: float) -> float:
    return min(max(_announced(item) - SOON_SECONDS, now), now + PEEK_SECONDS)


def _announced(item: Item) -> float:
    scheduled = item.live_streaming_details and item.live_streaming_details.scheduled_start_time
    return scheduled.timestamp() if scheduled else 0.0


def _observed(one: str, state: State, item: Item, means: Means) -> Observation:
    details = item.live_streaming_details or Details()
    began = details.actual_start_time or details.scheduled_start_time
    pictures = item.snippet.thumbnails
    picture = pictures.get("maxres") or pictures.get("high")
    return Observation(
        platform=NAME,
        id=one,
        state=state,
        at=means.now,
        session=item.id,
        title=answers.plain(item.snippet.title),
        category=answers.plain(item.snippet.category_id),
        name=answers.plain(item.snippet.channel_title),
        url=f"https://www.youtube.com/watch?v={item.id}",
        cover=answers.link(picture.url if picture else ""),
        viewers=answers.count(details.concurrent_viewers),
        started_at=answers.instant(began.timestamp()) if began else None,
    )


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
    tomorrow = datetime.fromtimestamp(now, PACIFIC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), PACIFIC).timestamp()


def _remembered(text: str | None) -> Memory:
    try:
        return MEMORY.decode(text or "{}")
    except msgspec.DecodeError:
        return Memory()
