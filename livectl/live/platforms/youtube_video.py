"""One video of YouTube, as the Data API tells of it: a broadcast that runs, one announced, or neither."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from livectl.live.platforms import answers
from livectl.model import Observation, State

if TYPE_CHECKING:
    from livectl.live.platforms.base import CheckContext

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
        raise answers.unknown_value("$.items[].snippet.liveBroadcastContent", content)
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
        title=answers.plain(item.snippet.title),
        category=answers.plain(item.snippet.category_id),
        name=answers.plain(item.snippet.channel_title),
        url=f"https://www.youtube.com/watch?v={item.id}",
        cover=answers.image_url(picture.url if picture else ""),
        viewers=answers.parse_count(details.concurrent_viewers),
        started_at=answers.valid_timestamp(start.timestamp()) if start else None,
    )
