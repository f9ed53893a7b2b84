"""One video of YouTube, as the Data API tells of it: a broadcast that runs, one announced, or neither."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from livectl.live.platforms import answers
from livectl.model import Observation, State

if TYPE_CHECKING:
    from livectl.live.platforms.base import Means

NAME = "youtube"
OVERDUE_SECONDS = 3_600.0  # a broadcast announced for longer ago than this will not come

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


def state_of(item: Item | None, now: float) -> State:
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
    overdue = now - announced(item) > OVERDUE_SECONDS
    return State.UPCOMING if content == "upcoming" and not overdue else State.OFFLINE


def may_come(item: Item | None) -> bool:
    """Announced, if long ago: it is not shown as coming, but it may yet begin."""
    return bool(item and item.snippet.live_broadcast_content == "upcoming")


def announced(item: Item) -> float:
    scheduled = item.live_streaming_details and item.live_streaming_details.scheduled_start_time
    return scheduled.timestamp() if scheduled else 0.0


def observed(one: str, state: State, item: Item, means: Means) -> Observation:
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
