"""Reads the streamers that the pages show."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from livectl.live.follows import follow_list
from livectl.live.store import Store
from livectl.models import PlatformHealth, State, StreamerRecord, ViewerCurve
from livectl.web import selection

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from redis import Redis

    from livectl.web.cache import RecentEdits


class StreamerList(msgspec.Struct, frozen=True, kw_only=True):
    """Every streamer at one moment: the live ones, the latest start first; then the others, the latest end first."""

    live: tuple[StreamerRecord, ...]
    others: tuple[StreamerRecord, ...]
    viewers: dict[tuple[str, str], ViewerCurve] = {}  # of those who are live, by platform and id
    health: tuple[PlatformHealth, ...]
    list_problem: str = ""  # why the file of the follow list cannot be read
    digest: str  # changes with anything in this list
    page_digest: str  # changes with what the page shows: another look with the same result leaves the page as it is
    news_digest: str  # ... with all of that but viewers, which change with every look

    @property
    def platforms(self) -> list[str]:
        return sorted({record.platform for record in (*self.live, *self.others)} - {""})

    @property
    def tags(self) -> list[str]:
        return sorted({tag for record in (*self.live, *self.others) for tag in selection.tags_of(record)})


def read_streamers(
    client: Redis, now: float, follows: Path | None = None, edits: RecentEdits | None = None
) -> StreamerList:
    """Each line of the follow list. Those of its file `follows` that no worker has read yet are among the others."""
    store = Store(client)
    everyone, health = store.all_streamers(), tuple(store.health(now))
    waiting = follow_list.find_waiting(store, follows) if follows else follow_list.WaitingList()
    everyone = [*everyone, *waiting.streamers]
    everyone = edits.apply(everyone) if edits else everyone
    live = sorted((record for record in everyone if record.state is State.LIVE), key=_latest_start)
    others = sorted((record for record in everyone if record.state is not State.LIVE), key=_latest_end)
    viewers = read_viewers(store, live)
    news = _digest(
        [*map(_shown_record, live)], [*map(_shown_record, others)], [*map(_shown_health, health)], waiting.problem
    )
    return StreamerList(
        live=tuple(live),
        others=tuple(others),
        viewers=viewers,
        health=health,
        list_problem=waiting.problem,
        digest=_digest(live, others, health),
        page_digest=_digest(news, [record.viewers for record in live], list(viewers.values())),
        news_digest=news,
    )


def read_viewers(store: Store, live: Iterable[StreamerRecord]) -> dict[tuple[str, str], ViewerCurve]:
    """How many have watched the sessions that are on."""
    ids: dict[str, list[str]] = defaultdict(list)
    for record in live:
        ids[record.platform].append(record.id)
    return {
        (platform, streamer_id): curve
        for platform, names in ids.items()
        for streamer_id, curve in store.viewer_curves(platform, names).items()
    }


def _latest_start(record: StreamerRecord) -> tuple[float, str, str]:
    return (-(record.started_at or 0), record.platform, record.id)


def _latest_end(record: StreamerRecord) -> tuple[float, str, str]:
    """Not by when each was last read: that would be another order after each look, and news."""
    return (-(record.ended_at or 0), record.platform, record.id)


def _shown_record(record: StreamerRecord) -> StreamerRecord:
    """The page shows when a streamer was last read only beside trouble; otherwise that moves with every look, as do
    viewers."""
    return msgspec.structs.replace(record, seen=record.seen if record.trouble else None, viewers=None)


def _shown_health(health: PlatformHealth) -> PlatformHealth:
    return PlatformHealth(
        platform=health.platform,
        open_until=health.open_until,
        wait_until=health.wait_until,
        unreached=health.unreached,
        auth_since=health.auth_since,
        parser_broken=health.parser_broken,
        all_gone=health.all_gone,
        exit=health.exit,
        exits=tuple(map(_shown_health, health.exits)),
    )


def _digest(*parts: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=12).hexdigest()
