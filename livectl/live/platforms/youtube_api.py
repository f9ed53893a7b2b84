"""Checks YouTube channels with the user's key: their feeds, then one call of the Data API for ten channels.

Feeds are free, and each call costs one unit of the day's quota. So a check asks only about videos that may be a
broadcast: the new ones, the one that ran, and those announced for about now. Videos that ended are remembered.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
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
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from livectl.live.platforms.base import CheckContext, Effect, Observations
    from livectl.models import Response

NAME = "youtube"
API = "https://www.googleapis.com/youtube/v3"
FEED_URL = "https://www.youtube.com/feeds/videos.xml"
BATCH = 10  # channels: one feed each, in turn, before the one call for all
MAX_IDS_PER_CALL = 50
QUOTA_TIMEZONE = "America/Los_Angeles"  # quotas start again at its midnight
QUOTA_REASONS = {"quotaExceeded", "dailyLimitExceeded", "rateLimitExceeded", "userRateLimitExceeded"}
BAD_KEY_REASONS = {"keyInvalid", "keyExpired", "API_KEY_INVALID", "accessNotConfigured"}
OVERDUE_SECONDS = 3_600.0  # a broadcast announced for longer ago than this will not come
START_LEAD_SECONDS = 900.0  # from so long before its start, every check asks about an announced broadcast
ANNOUNCED_RECHECK_SECONDS = 1_800.0  # and until then a check asks so often, for announcements are moved
KNOWN_VIDEOS_SECONDS = 30 * 86_400.0  # forgetting the videos that ended costs one unit
RECENTLY_LIVE_SECONDS = 900.0  # for so long after a broadcast, the next one announced does not hide that it ended


# The names of the Data API's categories, which are the same everywhere; pages have the name alone.
# fmt: off
CATEGORY_NAMES = {
    "1": "Film & Animation", "2": "Autos & Vehicles", "10": "Music", "15": "Pets & Animals", "17": "Sports",
    "19": "Travel & Events", "20": "Gaming", "22": "People & Blogs", "23": "Comedy", "24": "Entertainment",
    "25": "News & Politics", "26": "Howto & Style", "27": "Education", "28": "Science & Technology",
    "29": "Nonprofits & Activism",
}
# fmt: on


class YouTubePicture(msgspec.Struct):
    url: str


class YouTubeSnippet(msgspec.Struct, rename="camel"):
    live_broadcast_content: str
    title: str = ""
    channel_title: str = ""
    channel_id: str = ""
    category_id: str = ""
    thumbnails: dict[str, YouTubePicture] = {}


class YouTubeLiveDetails(msgspec.Struct, rename="camel"):
    actual_start_time: parsing.Instant | None = None
    actual_end_time: parsing.Instant | None = None
    scheduled_start_time: parsing.Instant | None = None
    concurrent_viewers: int | None = None


class YouTubeContentDetails(msgspec.Struct):
    duration: str = ""


class YouTubeItem(msgspec.Struct, rename="camel"):
    id: str
    snippet: YouTubeSnippet
    live_streaming_details: YouTubeLiveDetails | None = None
    content_details: YouTubeContentDetails | None = None


class YouTubeItems(msgspec.Struct):
    items: list[msgspec.Raw]


class YouTubeChannel(msgspec.Struct):
    id: str


class YouTubePictured(msgspec.Struct):
    id: str
    snippet: dict[str, Any] = {}


class YouTubePictures(msgspec.Struct):
    items: list[YouTubePictured] = []


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


class KnownVideos(msgspec.Struct):
    """What is remembered of a channel's videos: which ended, which runs, when to ask about those announced."""

    past: list[str] = []
    live: str = ""
    announced: dict[str, float] = {}


class YouTubeVideos(NamedTuple):
    """The videos in an answer. One it leaves out was taken down, unless there was a row that could not be read."""

    by_id: dict[str, YouTubeItem]
    row_failure: CheckFailed | None

    def get(self, video_id: str) -> YouTubeItem | None:
        if self.row_failure and video_id not in self.by_id:
            raise self.row_failure
        return self.by_id.get(video_id)


ITEMS = msgspec.json.Decoder(YouTubeItems)
ITEM = msgspec.json.Decoder(YouTubeItem, strict=False)
CHANNELS = msgspec.json.Decoder(YouTubeChannels)
PICTURES = msgspec.json.Decoder(YouTubePictures)
PLAYLIST = msgspec.json.Decoder(YouTubePlaylist)
ERROR_RESPONSE = msgspec.json.Decoder(YouTubeErrorResponse)
KNOWN_VIDEOS = msgspec.json.Decoder(KnownVideos)


def find_channel_id(name: str, context: CheckContext) -> Generator[Effect, Any, str]:
    """The channel of @handle, user/NAME or video:ID, for one unit each."""
    if name.startswith("video:"):
        video_id = name.removeprefix("video:")
        item = (yield from _fetch_videos([video_id], context)).get(video_id)
        if item is None:
            raise NotAStreamer(f"YouTube knows no {name}")
        if not item.snippet.channel_id:
            raise CheckFailed(State.PARSE_ERROR, "missing field `channelId` - at `$.items[].snippet`")
        return item.snippet.channel_id
    query = {"forHandle": name} if name.startswith("@") else {"forUsername": name.removeprefix("user/")}
    response = yield from _call_api("channels", {"part": "id"} | query, context)
    channels = parsing.read_json(response, CHANNELS, context.now)
    if channels.items is None and not channels.kind:
        raise CheckFailed(State.PARSE_ERROR, "missing field `items` - at `$`")
    if not channels.items:
        raise NotAStreamer(f"YouTube knows no {name}")
    return channels.items[0].id


def find_avatars(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, str]]:
    """The pictures of channels, for one unit."""
    query = {"part": "snippet", "id": ",".join(ids), "maxResults": str(MAX_IDS_PER_CALL)}
    channels = parsing.read_json((yield from _call_api("channels", query, context)), PICTURES, context.now).items
    return {channel.id: parsing.find_image_url(channel.snippet.get("thumbnails")) for channel in channels}


def check_batch(ids: Sequence[str], context: CheckContext) -> Observations:
    """Asks first about the broadcasts that ran: the feed of a channel whose broadcast still runs tells nothing more."""
    known_videos: dict[str, KnownVideos] = {}
    for streamer_id in ids:
        known_videos[streamer_id] = _decode_known_videos((yield from cache_get(f"videos/{streamer_id}")))
    videos = yield from _fetch_running(known_videos, context)
    observations = yield from _still_live(known_videos, videos, context)
    recent_videos: dict[str, list[str]] = {}
    for streamer_id in [streamer_id for streamer_id in ids if streamer_id not in observations]:
        try:
            recent_videos[streamer_id] = yield from _recent_videos(streamer_id, context)
        except CheckFailed as failure:
            if failure.state in PLATFORM_WIDE_STATES:
                raise
            observations[streamer_id] = failed_observation(NAME, streamer_id, failure, context)
    candidates = {
        video_id
        for streamer_id, video_ids in recent_videos.items()
        for video_id in _candidates(known_videos[streamer_id], video_ids, context.now)
    }
    running = {known.live for known in known_videos.values()}
    more_videos = yield from _fetch_videos(sorted(candidates - running), context)
    videos = YouTubeVideos(videos.by_id | more_videos.by_id, videos.row_failure or more_videos.row_failure)
    for streamer_id, video_ids in recent_videos.items():
        try:
            observations[streamer_id] = yield from _observe_channel(
                streamer_id, video_ids, known_videos[streamer_id], videos, context
            )
        except CheckFailed as failure:
            observations[streamer_id] = failed_observation(NAME, streamer_id, failure, context)
    return observations


def _fetch_running(
    known_videos: Mapping[str, KnownVideos], context: CheckContext
) -> Generator[Effect, Any, YouTubeVideos]:
    """The broadcasts that ran. Those that an answer lacks are asked for again: only a second tells that they ended."""
    running = [known.live for known in known_videos.values() if known.live]
    videos = yield from _fetch_videos(running, context)
    lost = [video_id for video_id in running if video_id not in videos.by_id and not videos.row_failure]
    again = yield from _fetch_videos(lost, context)
    return YouTubeVideos(videos.by_id | again.by_id, videos.row_failure or again.row_failure)


def _still_live(known_videos: Mapping[str, KnownVideos], videos: YouTubeVideos, context: CheckContext) -> Observations:
    observations: dict[str, Observation] = {}
    for streamer_id, known in known_videos.items():
        item = videos.by_id.get(known.live)
        if item is None or item.snippet.channel_id not in {"", streamer_id}:
            continue
        try:
            state = _video_state(item, context.now)
        except CheckFailed:
            continue
        if state in {State.LIVE, State.REPLAY}:
            observation = _build_video_observation(streamer_id, state, item, context)
            observations[streamer_id] = yield from offline_if_just_ended(observation)
    return observations


def _recent_videos(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, list[str]]:
    """The newest videos in the channel's feed; in its list of broadcasts, while the feed fails."""
    video_ids = yield from read_feed(streamer_id)
    if video_ids is not None:
        return video_ids
    query = {"part": "contentDetails", "playlistId": f"UULV{streamer_id[2:]}", "maxResults": "5"}
    response = yield from _call_api("playlistItems", query, context)
    if response.status == 404:
        raise CheckFailed(State.UNKNOWN, "neither its feed nor its list of broadcasts answers")
    return [row.content_details.video_id for row in parsing.read_json(response, PLAYLIST, context.now).items]


def read_feed(streamer_id: str) -> Generator[Effect, Any, list[str] | None]:
    """The videos of a channel's feed, newest first; None when it fails, which can last for hours, or is cut off."""
    response = yield from ask(Request(url=f"{FEED_URL}?channel_id={streamer_id}"))
    if response.status != 200 or b"<feed" not in response.body or b"</feed>" not in response.body:
        return None
    return re.findall(r"<yt:videoId>([\w-]{11})</yt:videoId>", response.body.decode(errors="replace"), re.ASCII)


def _candidates(known_videos: KnownVideos, recent: Iterable[str], now: float) -> list[str]:
    """The videos that may be a broadcast: new ones, the one that ran, those announced for about now."""
    running = [known_videos.live] if known_videos.live else []
    later = {video_id for video_id, ask_at in known_videos.announced.items() if ask_at > now}
    candidates = dict.fromkeys([*running, *recent, *known_videos.announced])
    return [video_id for video_id in candidates if video_id not in known_videos.past and video_id not in later]


def _fetch_videos(video_ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, YouTubeVideos]:
    by_id: dict[str, YouTubeItem] = {}
    row_failure: CheckFailed | None = None
    for start in range(0, len(video_ids), MAX_IDS_PER_CALL):
        wanted = ",".join(video_ids[start : start + MAX_IDS_PER_CALL])
        query = {"part": "snippet,liveStreamingDetails,contentDetails", "id": wanted}
        response = yield from _call_api("videos", query, context)
        for row in parsing.read_json(response, ITEMS, context.now).items:
            try:
                item = parsing.decode_json(row, ITEM)
            except CheckFailed as failure:
                row_failure = failure
            else:
                by_id[item.id] = item
    return YouTubeVideos(by_id, row_failure)


def _observe_channel(
    streamer_id: str, recent: Sequence[str], known_videos: KnownVideos, videos: YouTubeVideos, context: CheckContext
) -> Generator[Effect, Any, Observation]:
    """The observation of a channel by the states of its videos, which are remembered."""
    candidates = _candidates(known_videos, recent, context.now)
    owners = {item.snippet.channel_id for each in candidates if (item := videos.get(each))} - {"", streamer_id}
    if owners:
        raise parsing.somebody_else("$.items[].snippet.channelId", owners.pop())
    states = {video_id: _video_state(videos.get(video_id), context.now) for video_id in candidates}
    updated = _update_known_videos(known_videos, recent, states, videos, context.now)
    if updated != known_videos:
        yield from cache_set(f"videos/{streamer_id}", msgspec.json.encode(updated).decode(), KNOWN_VIDEOS_SECONDS)
    return (yield from offline_if_just_ended(_build_observation(streamer_id, updated, states, videos, context)))


def _video_state(item: YouTubeItem | None, now: float) -> State:
    """The state of one video. OFFLINE: the broadcast is over, was none, or was taken down."""
    if item is None:
        return State.OFFLINE
    details = item.live_streaming_details or YouTubeLiveDetails()
    content = item.snippet.live_broadcast_content
    if content not in {"live", "upcoming", "none"}:
        raise parsing.unknown_value("$.items[].snippet.liveBroadcastContent", content)
    if content == "live" or (details.actual_start_time and not details.actual_end_time):
        duration = item.content_details.duration if item.content_details else ""
        return State.LIVE if duration in {"", "P0D"} else State.REPLAY  # of known length: a premiere
    is_overdue = now - _scheduled_time(item) > OVERDUE_SECONDS
    return State.UPCOMING if content == "upcoming" and not is_overdue else State.OFFLINE


def _update_known_videos(
    known_videos: KnownVideos, recent: Sequence[str], states: dict[str, State], videos: YouTubeVideos, now: float
) -> KnownVideos:
    # A broadcast announced for long ago is not shown as upcoming, but it may yet begin: it has not ended.
    ended = {
        video_id
        for video_id, state in states.items()
        if state is State.OFFLINE and not _is_announced(videos.get(video_id))
    }
    later = {video_id: ask_at for video_id, ask_at in known_videos.announced.items() if video_id not in states}
    upcoming = [video_id for video_id, state in states.items() if state is State.UPCOMING]
    return KnownVideos(
        past=[video_id for video_id in recent if video_id in known_videos.past or video_id in ended],
        live=next((video_id for video_id, state in states.items() if state in {State.LIVE, State.REPLAY}), ""),
        announced=later | {video_id: _next_ask_time(videos.by_id[video_id], now) for video_id in upcoming},
    )


def _is_announced(item: YouTubeItem | None) -> bool:
    return bool(item and item.snippet.live_broadcast_content == "upcoming")


def _next_ask_time(item: YouTubeItem, now: float) -> float:
    return min(max(_scheduled_time(item) - START_LEAD_SECONDS, now), now + ANNOUNCED_RECHECK_SECONDS)


def _scheduled_time(item: YouTubeItem) -> float:
    scheduled = item.live_streaming_details and item.live_streaming_details.scheduled_start_time
    return scheduled.timestamp() if scheduled else 0.0


def _build_observation(
    streamer_id: str,
    known_videos: KnownVideos,
    states: dict[str, State],
    videos: YouTubeVideos,
    context: CheckContext,
) -> Observation:
    """The observation of the video that runs, else of the one announced for the nearest time; else offline."""
    if known_videos.live:
        item = videos.by_id[known_videos.live]
        return _build_video_observation(streamer_id, states[item.id], item, context)
    upcoming = [videos.by_id[video_id] for video_id, state in states.items() if state is State.UPCOMING]
    if upcoming:
        return _build_video_observation(streamer_id, State.UPCOMING, min(upcoming, key=_scheduled_time), context)
    later = [video_id for video_id in known_videos.announced if video_id not in states]
    state, session = (State.UPCOMING, min(later)) if later else (State.OFFLINE, "")
    return Observation(platform=NAME, id=streamer_id, state=state, at=context.now, session=session)


def _build_video_observation(streamer_id: str, state: State, item: YouTubeItem, context: CheckContext) -> Observation:
    details = item.live_streaming_details or YouTubeLiveDetails()
    pictures = item.snippet.thumbnails
    picture = pictures.get("maxres") or pictures.get("high")
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=state,
        at=context.now,
        session=item.id,
        title=parsing.plain_text(item.snippet.title),
        category=parsing.plain_text(CATEGORY_NAMES.get(item.snippet.category_id, item.snippet.category_id)),
        name=parsing.plain_text(item.snippet.channel_title),
        url=f"https://www.youtube.com/watch?v={item.id}",
        cover=parsing.image_url(picture.url if picture else ""),
        viewers=parsing.parse_count(details.concurrent_viewers),
        started_at=parsing.instant_timestamp(details.actual_start_time or details.scheduled_start_time),
    )


def offline_if_just_ended(observation: Observation) -> Generator[Effect, Any, Observation]:
    """The observation; but offline when a broadcast has just ended and the next one is merely announced."""
    key = f"live/{observation.id}"
    if observation.state is State.LIVE:
        yield from cache_set(key, observation.session, RECENTLY_LIVE_SECONDS)
    if observation.state is State.UPCOMING and (yield from cache_get(key)):
        return Observation(platform=NAME, id=observation.id, state=State.OFFLINE, at=observation.at)
    return observation


def _call_api(endpoint: str, query: dict[str, str], context: CheckContext) -> Generator[Effect, Any, Response]:
    """Calls the Data API, for one unit of the day's 10,000.

    A refusal is HTTP 400 or 403, and the reason in its body tells whether to wait or to mend the key.
    """
    request = Request(url=f"{API}/{endpoint}?{urlencode(query | {'key': context.keys['api_key']})}")
    response = yield from ask(request)
    if response.status not in {400, 403}:
        return response
    api_error = _decode_error(response)
    reasons = {reason.reason for reason in api_error.errors}
    if reasons & QUOTA_REASONS:
        problem = f"the day's quota is used up ({', '.join(sorted(reasons))})"
        raise CheckFailed(State.RATE_LIMITED, problem, _quota_reset_time(context.now))
    if reasons & BAD_KEY_REASONS or "API key" in api_error.message:
        raise CheckFailed(State.AUTH, f"the api_key was refused: {parsing.plain_text(api_error.message)}")
    raise CheckFailed(State.BLOCKED, f"refused: {parsing.plain_text(api_error.message)}")


def _decode_error(response: Response) -> YouTubeError:
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
