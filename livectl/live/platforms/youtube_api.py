"""One video of YouTube, as the Data API tells of it: a broadcast that runs, one announced, or neither."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.base import (
    PLATFORM_WIDE_STATES,
    CheckFailed,
    NotAStreamer,
    ask,
    cache_get,
    cache_set,
    failed_observation,
)
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from livectl.live.platforms.base import CheckContext, Effect
    from livectl.models import Response


NAME = "youtube"
OVERDUE_SECONDS = 3_600.0  # a broadcast announced for longer ago than this will not come

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class YouTubePicture(msgspec.Struct):
    url: str


class YouTubeSnippet(msgspec.Struct, rename="camel"):
    live_broadcast_content: str
    channel_id: str = ""
    title: str = ""
    channel_title: str = ""
    category_id: str = ""
    thumbnails: dict[str, YouTubePicture] = {}


class YouTubeLiveDetails(msgspec.Struct, rename="camel"):
    actual_start_time: Instant | None = None
    actual_end_time: Instant | None = None
    scheduled_start_time: Instant | None = None
    concurrent_viewers: int | None = None


class YouTubeContentDetails(msgspec.Struct):
    duration: str = ""


class YouTubeItem(msgspec.Struct, rename="camel"):
    id: str
    snippet: YouTubeSnippet
    live_streaming_details: YouTubeLiveDetails | None = None
    content_details: YouTubeContentDetails | None = None


def video_state(item: YouTubeItem | None, now: float) -> State:
    """Of one video. OFFLINE: it is over, or never was a broadcast, or was taken down."""
    if item is None:
        return State.OFFLINE
    details = item.live_streaming_details or YouTubeLiveDetails()
    content = item.snippet.live_broadcast_content
    if content not in {"live", "upcoming", "none"}:
        raise parsing.unknown_value("$.items[].snippet.liveBroadcastContent", content)
    if content == "live" or (details.actual_start_time and not details.actual_end_time):
        duration = item.content_details.duration if item.content_details else ""
        return State.LIVE if duration in {"", "P0D"} else State.REPLAY  # of known length: a premiere
    is_overdue = now - scheduled_time(item) > OVERDUE_SECONDS
    return State.UPCOMING if content == "upcoming" and not is_overdue else State.OFFLINE


def may_start(item: YouTubeItem | None) -> bool:
    """Announced, if long ago: it is not shown as coming, but it may yet begin."""
    return bool(item and item.snippet.live_broadcast_content == "upcoming")


def scheduled_time(item: YouTubeItem) -> float:
    scheduled = item.live_streaming_details and item.live_streaming_details.scheduled_start_time
    return scheduled.timestamp() if scheduled else 0.0


def build_observation(streamer_id: str, state: State, item: YouTubeItem, context: CheckContext) -> Observation:
    details = item.live_streaming_details or YouTubeLiveDetails()
    start = details.actual_start_time or details.scheduled_start_time
    pictures = item.snippet.thumbnails
    picture = pictures.get("maxres") or pictures.get("high")
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=state,
        at=context.now,
        session=item.id,
        title=parsing.plain_text(item.snippet.title),
        category=parsing.plain_text(item.snippet.category_id),
        name=parsing.plain_text(item.snippet.channel_title),
        url=f"https://www.youtube.com/watch?v={item.id}",
        cover=parsing.image_url(picture.url if picture else ""),
        viewers=parsing.parse_count(details.concurrent_viewers),
        started_at=parsing.valid_timestamp(start.timestamp()) if start else None,
    )


API = "https://www.googleapis.com/youtube/v3"
FEED_URL = "https://www.youtube.com/feeds/videos.xml"
BATCH = 10  # channels: one feed each, in turn, before the one call for all
MAX_IDS_PER_CALL = 50  # ids a call
QUOTA_TIMEZONE = "America/Los_Angeles"  # quotas are counted anew at its midnight
START_LEAD_SECONDS = 900.0  # an announced broadcast is asked after at every check from so long before its start
ANNOUNCED_RECHECK_SECONDS = 1_800.0  # and until then so often, for announcements are moved
KNOWN_VIDEOS_SECONDS = 30 * 86_400.0  # what ended is remembered; forgetting costs one unit
RECENTLY_LIVE_SECONDS = 900.0  # after a broadcast the next one announced does not hide that this one ended
QUOTA_REASONS = {"quotaExceeded", "dailyLimitExceeded", "rateLimitExceeded", "userRateLimitExceeded"}
BAD_KEY_REASONS = {"keyInvalid", "keyExpired", "API_KEY_INVALID", "accessNotConfigured"}


class YouTubeItems(msgspec.Struct):
    items: list[msgspec.Raw]


class YouTubeChannel(msgspec.Struct):
    id: str


class YouTubeChannels(msgspec.Struct):
    kind: str = ""
    items: list[YouTubeChannel] | None = None  # left out when there are none


class YouTubePlaylistVideo(msgspec.Struct, rename="camel"):
    video_id: str


class YouTubePlaylistItem(msgspec.Struct, rename="camel"):
    content_details: YouTubePlaylistVideo


class YouTubePlaylist(msgspec.Struct):
    items: list[YouTubePlaylistItem]


class YouTubeErrorReason(msgspec.Struct):
    reason: str = ""


class YouTubeError(msgspec.Struct):
    message: str = ""
    errors: list[YouTubeErrorReason] = []


class YouTubeErrorResponse(msgspec.Struct):
    error: YouTubeError


class YouTubeVideos(NamedTuple):
    """What the API says of each. One it leaves out was taken down, unless there was a row that could not be read."""

    by_id: dict[str, YouTubeItem]
    row_failure: CheckFailed | None

    def get(self, video: str) -> YouTubeItem | None:
        if self.row_failure and video not in self.by_id:
            raise self.row_failure
        return self.by_id.get(video)


class KnownVideos(msgspec.Struct):
    """What is known of a channel's videos: which ended, which runs, and when to ask after those announced."""

    past: list[str] = []
    live: str = ""
    announced: dict[str, float] = {}


ITEMS = msgspec.json.Decoder(YouTubeItems)
ITEM = msgspec.json.Decoder(YouTubeItem, strict=False)
CHANNELS = msgspec.json.Decoder(YouTubeChannels)
PLAYLIST = msgspec.json.Decoder(YouTubePlaylist)
ERROR_RESPONSE = msgspec.json.Decoder(YouTubeErrorResponse)
KNOWN_VIDEOS = msgspec.json.Decoder(KnownVideos)


def find_channel_id(handle: str, context: CheckContext) -> Generator[Effect, Any, str]:
    response = yield from _call_api("channels", {"part": "id", "forHandle": handle}, context)
    channels = parsing.read_json(response, CHANNELS, context.now)
    if channels.items is None and not channels.kind:
        raise CheckFailed(State.PARSE_ERROR, "missing field `items` - at `$`")
    if not channels.items:
        raise NotAStreamer(f"YouTube knows no {handle}")
    return channels.items[0].id


def check_batch(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, Observation]]:
    known_videos: dict[str, KnownVideos] = {}
    recent: dict[str, list[str]] = {}
    observations: dict[str, Observation] = {}
    for streamer_id in ids:
        known_videos[streamer_id] = _decode_known_videos((yield from cache_get(f"videos/{streamer_id}")))
        try:
            recent[streamer_id] = yield from _recent_videos(streamer_id, context)
        except CheckFailed as failure:
            if failure.state in PLATFORM_WIDE_STATES:
                raise
            observations[streamer_id] = failed_observation(NAME, streamer_id, failure, context)
    candidates = [
        video
        for streamer_id, videos in recent.items()
        for video in _candidates(known_videos[streamer_id], videos, context.now)
    ]
    items = yield from _fetch_videos(candidates, context)
    for streamer_id, videos in recent.items():
        try:
            observations[streamer_id] = yield from _conclude(
                streamer_id, videos, known_videos[streamer_id], items, context
            )
        except CheckFailed as failure:
            observations[streamer_id] = failed_observation(NAME, streamer_id, failure, context)
    return observations


def read_feed(streamer_id: str) -> Generator[Effect, Any, list[str] | None]:
    """The videos of a channel's feed, newest first; None when it fails, as it does for hours on some days."""
    response = yield from ask(Request(url=f"{FEED_URL}?channel_id={streamer_id}"))
    if response.status != 200 or b"<feed" not in response.body:
        return None
    return re.findall(r"<yt:videoId>([\w-]{11})</yt:videoId>", response.body.decode(errors="replace"), re.ASCII)


def _recent_videos(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, list[str]]:
    videos = yield from read_feed(streamer_id)
    if videos is not None:
        return videos
    query = {"part": "contentDetails", "playlistId": f"UULV{streamer_id[2:]}", "maxResults": "5"}
    response = yield from _call_api("playlistItems", query, context)
    if response.status == 404:
        raise CheckFailed(State.UNKNOWN, "neither its feed nor its list of broadcasts answers")
    return [row.content_details.video_id for row in parsing.read_json(response, PLAYLIST, context.now).items]


def _candidates(known_videos: KnownVideos, videos: Iterable[str], now: float) -> list[str]:
    """The videos that may be a broadcast: new ones, the one that ran, those announced for about now."""
    running = [known_videos.live] if known_videos.live else []
    later = {video for video, ask_at in known_videos.announced.items() if ask_at > now}
    candidates = dict.fromkeys([*running, *videos, *known_videos.announced])
    return [video for video in candidates if video not in known_videos.past and video not in later]


def _fetch_videos(video_ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, YouTubeVideos]:
    by_id: dict[str, YouTubeItem] = {}
    row_failure: CheckFailed | None = None
    for start in range(0, len(video_ids), MAX_IDS_PER_CALL):
        query = {
            "part": "snippet,liveStreamingDetails,contentDetails",
            "id": ",".join(video_ids[start : start + MAX_IDS_PER_CALL]),
        }
        response = yield from _call_api("videos", query, context)
        for row in parsing.read_json(response, ITEMS, context.now).items:
            try:
                item = parsing.decode_json(row, ITEM)
            except CheckFailed as failure:
                row_failure = failure
            else:
                by_id[item.id] = item
    return YouTubeVideos(by_id, row_failure)


def _conclude(
    streamer_id: str, videos: Sequence[str], known_videos: KnownVideos, items: YouTubeVideos, context: CheckContext
) -> Generator[Effect, Any, Observation]:
    """What the videos add up to; what was learned is remembered."""
    states = {
        video: video_state(items.get(video), context.now) for video in _candidates(known_videos, videos, context.now)
    }
    live = next((video for video, state in states.items() if state in {State.LIVE, State.REPLAY}), "")
    upcoming = [video for video, state in states.items() if state is State.UPCOMING]
    later = {video: ask_at for video, ask_at in known_videos.announced.items() if video not in states}
    ended = {video for video, state in states.items() if state is State.OFFLINE and not may_start(items.get(video))}
    past_videos = [video for video in videos if video in known_videos.past or video in ended]
    updated = KnownVideos(
        past_videos, live, later | {video: _next_ask_time(items.by_id[video], context.now) for video in upcoming}
    )
    if updated != known_videos:
        yield from cache_set(f"videos/{streamer_id}", msgspec.json.encode(updated).decode(), KNOWN_VIDEOS_SECONDS)
    if live:
        return (
            yield from offline_if_just_ended(build_observation(streamer_id, states[live], items.by_id[live], context))
        )
    if upcoming:
        next_video = min(upcoming, key=lambda video: scheduled_time(items.by_id[video]))
        return (
            yield from offline_if_just_ended(
                build_observation(streamer_id, State.UPCOMING, items.by_id[next_video], context)
            )
        )
    if later:
        observation = Observation(
            platform=NAME, id=streamer_id, state=State.UPCOMING, at=context.now, session=min(later)
        )
        return (yield from offline_if_just_ended(observation))
    return Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now)


def offline_if_just_ended(observation: Observation) -> Generator[Effect, Any, Observation]:
    """The observation, but offline where a broadcast has just ended and the next one is merely announced."""
    key = f"live/{observation.id}"
    if observation.state is State.LIVE:
        yield from cache_set(key, observation.session, RECENTLY_LIVE_SECONDS)
    if observation.state is State.UPCOMING and (yield from cache_get(key)):
        return Observation(platform=NAME, id=observation.id, state=State.OFFLINE, at=observation.at)
    return observation


def _next_ask_time(item: YouTubeItem, now: float) -> float:
    return min(max(scheduled_time(item) - START_LEAD_SECONDS, now), now + ANNOUNCED_RECHECK_SECONDS)


def _call_api(endpoint: str, query: dict[str, str], context: CheckContext) -> Generator[Effect, Any, Response]:
    """One unit of the day's 10,000. Its refusals are in a body: which, tells whether to wait or to mend the key."""
    request = Request(url=f"{API}/{endpoint}?{urlencode(query | {'key': context.keys['api_key']})}")
    response = yield from ask(request)
    if response.status not in {400, 403}:
        return response
    api_error = _read_error(response)
    reasons = {reason.reason for reason in api_error.errors}
    if reasons & QUOTA_REASONS:
        problem = f"the day's quota is used up ({', '.join(sorted(reasons))})"
        raise CheckFailed(State.RATE_LIMITED, problem, _quota_reset_time(context.now))
    if reasons & BAD_KEY_REASONS or "API key" in api_error.message:
        raise CheckFailed(State.AUTH, f"the api_key was refused: {parsing.plain_text(api_error.message)}")
    raise CheckFailed(State.BLOCKED, f"refused: {parsing.plain_text(api_error.message)}")


def _read_error(response: Response) -> YouTubeError:
    try:
        return ERROR_RESPONSE.decode(response.body).error
    except msgspec.DecodeError:
        return YouTubeError(message=f"HTTP {response.status}")


def _quota_reset_time(now: float) -> float:
    zone = ZoneInfo(QUOTA_TIMEZONE)
    tomorrow = datetime.fromtimestamp(now, zone).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), zone).timestamp()


def _decode_known_videos(text: str | None) -> KnownVideos:
    try:
        return KNOWN_VIDEOS.decode(text or "{}")
    except msgspec.DecodeError:
        return KnownVideos()
