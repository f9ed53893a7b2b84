"""The wall: everyone followed, in the order in which they are shown."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from livectl.live.store import Store
from livectl.model import PlatformHealth, State, StreamerRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

MAX_SEARCH_CHARS = 100  # characters


class StreamerList(msgspec.Struct, frozen=True, kw_only=True):
    """One reading: live ones first, the latest on top; then the others by when they were last live."""

    live: tuple[StreamerRecord, ...]
    others: tuple[StreamerRecord, ...]
    health: tuple[PlatformHealth, ...]
    digest: str  # of all of it
    page_digest: str  # of what the page shows of it: another look that found the same leaves the page as it is

    @property
    def platforms(self) -> list[str]:
        return sorted({record.platform for record in (*self.live, *self.others)})

    @property
    def tags(self) -> list[str]:
        return sorted({tag for record in (*self.live, *self.others) if record.streamer for tag in record.streamer.tags})


class StreamerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a visitor wants to see of it."""

    platform: str = ""
    tag: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.platform or self.tag or self.text)

    def matches(self, record: StreamerRecord) -> bool:
        if self.platform and record.platform != self.platform:
            return False
        if self.tag and not (record.streamer and self.tag in record.streamer.tags):
            return False
        search = self.text.casefold()
        return not search or any(
            search in text.casefold() for text in (record.name, record.id, record.title, record.category)
        )

    def apply(self, streamers: StreamerList) -> StreamerList:
        if not self:
            return streamers
        live, others = (tuple(filter(self.matches, records)) for records in (streamers.live, streamers.others))
        return msgspec.structs.replace(streamers, live=live, others=others)


def parse_filter(query: Mapping[str, str]) -> StreamerFilter:
    """As the address of a page says it."""
    values = {name: query.get(name, "").strip()[:MAX_SEARCH_CHARS] for name in ("platform", "tag", "q")}
    return StreamerFilter(platform=values["platform"], tag=values["tag"], text=values["q"])


def read_streamers(client: Redis, now: float) -> StreamerList:
    store = Store(client)
    everyone, health = store.all_streamers(), tuple(store.health(now))
    live = sorted((record for record in everyone if record.state is State.LIVE), key=_latest_start)
    others = sorted((record for record in everyone if record.state is not State.LIVE), key=_latest_end)
    return StreamerList(
        live=tuple(live),
        others=tuple(others),
        health=health,
        digest=_digest(live, others, health),
        page_digest=_digest([*map(_shown_record, live)], [*map(_shown_record, others)], [*map(_shown_health, health)]),
    )


def _latest_start(record: StreamerRecord) -> tuple[float, str, str]:
    return (-(record.started_at or 0), record.platform, record.id)


def _latest_end(record: StreamerRecord) -> tuple[float, float, str, str]:
    return (-(record.ended_at or 0), -(record.seen or 0), record.platform, record.id)


def _shown_record(record: StreamerRecord) -> StreamerRecord:
    """When somebody was last asked in vain is shown; when all is well, that moves with each look and is not."""
    return record if record.trouble else msgspec.structs.replace(record, seen=None)


def _shown_health(health: PlatformHealth) -> PlatformHealth:
    return PlatformHealth(
        platform=health.platform,
        open_until=health.open_until,
        wait_until=health.wait_until,
        auth_since=health.auth_since,
        parser_broken=health.parser_broken,
        all_gone=health.all_gone,
    )


def _digest(*parts: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=12).hexdigest()
