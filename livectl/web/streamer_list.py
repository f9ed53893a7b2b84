"""Reads the streamers that the pages show."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.live.follows import follow_list
from livectl.live.store import Store
from livectl.models import PlatformHealth, State, StreamerRecord, ViewerCurve
from livectl.web import selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from redis import Redis

    from livectl.web.cache import RecentEdits
    from livectl.web.selection import StreamerFilter

MANY = 20_000  # of more than these only the first are read; whoever looks for others finds them among all
SHOWN = 500  # of those who are live, and of the others
HELD = 4 * SHOWN
NUMBERS_WANTED = {"live": (1, 0), "offline": (0, 1)}  # of those who are live, and of the others


class StreamerList(msgspec.Struct, frozen=True, kw_only=True):
    """Every streamer at one moment: the live ones, the latest start first; then the others, the latest end first."""

    live: tuple[StreamerRecord, ...]
    others: tuple[StreamerRecord, ...]
    viewers: dict[tuple[str, str], ViewerCurve] = {}  # of those who are live, by platform and id
    health: tuple[PlatformHealth, ...]
    list_problem: str = ""  # why the file of the follow list cannot be read
    more_live: int = 0  # who fit and are not among these: of many, only the first are
    more_others: int = 0
    digest: str  # changes with anything in this list
    page_digest: str  # changes with what the page shows: another look with the same result leaves the page as it is
    news_digest: str  # ... with all of that but viewers, which change with every look

    @property
    def is_part(self) -> bool:
        return bool(self.more_live or self.more_others)

    @property
    def live_count(self) -> int:
        return len(self.live) + self.more_live

    @property
    def count(self) -> int:
        return self.live_count + len(self.others) + self.more_others

    @property
    def platforms(self) -> list[str]:
        followed = {health.platform for health in self.health if health.followed}
        return sorted({*followed, *(record.platform for record in (*self.live, *self.others))} - {""})

    @property
    def tags(self) -> list[str]:
        return sorted({tag for record in (*self.live, *self.others) for tag in selection.tags_of(record)})


def read_streamers(
    client: Redis, now: float, follows: Path | None = None, edits: RecentEdits | None = None
) -> StreamerList:
    """Each line of the follow list; of more than MANY the first. Those of its file `follows` that no worker has read
    yet are among the others.
    """
    store = Store(client)
    health = tuple(store.health(now))
    waiting = follow_list.find_waiting(store, follows) if follows else follow_list.WaitingList()
    if sum(platform.followed for platform in health) + store.count_unresolved() > MANY:
        found = _first_of(store, "")
        count, others = len(waiting.streamers), [*found.others, *waiting.streamers]
        found = found._replace(other_count=found.other_count + count, others=others)
    else:
        everyone = [*store.all_streamers(), *waiting.streamers]
        live = [record for record in everyone if record.state is State.LIVE]
        others = [record for record in everyone if record.state is not State.LIVE]
        found = Found(len(live), len(others), live, others)
    return _build(store, found, health, edits, waiting.problem)


def find_streamers(
    client: Redis, whole: StreamerList, streamer_filter: StreamerFilter, sort: str, edits: RecentEdits
) -> StreamerList:
    """The first of those who fit, of however many; `whole` are the first of all."""
    store = Store(client)
    is_plain = not (streamer_filter.text or streamer_filter.tag) and streamer_filter.state in {"", *NUMBERS_WANTED}
    if is_plain and sort == selection.SORTS[0] and _has_few_lines(store):
        first = _first_of(store, streamer_filter.platform)
        live, others = NUMBERS_WANTED.get(streamer_filter.state, (1, 1))
        found = Found(first.live_count * live, first.other_count * others, first.live * live, first.others * others)
    else:
        found = _look_through(store, streamer_filter, sort)
    return _build(store, found, whole.health, edits, whole.list_problem)


class Found(NamedTuple):
    """The first of those who fit, and of how many."""

    live_count: int
    other_count: int
    live: list[StreamerRecord]
    others: list[StreamerRecord]


def _has_few_lines(store: Store) -> bool:
    """Whether few lines of the list lead to nobody: the store keeps no order of them."""
    return store.count_unresolved() <= SHOWN


def _first_of(store: Store, platform: str) -> Found:
    """The first of all, or of a platform, by the orders that the store keeps."""
    first = store.first_of_each(SHOWN, platform)
    if not _has_few_lines(store):
        return Found(first.live_count, first.other_count + store.count_unresolved(), first.live, first.others)
    lines = [record for page in store.lines() for record in page if platform in {"", record.platform}]
    others = sorted([*first.others, *lines], key=_latest_end)[:SHOWN]
    return Found(first.live_count, first.other_count + len(lines), first.live, others)


def _look_through(store: Store, streamer_filter: StreamerFilter, sort: str) -> Found:
    """Looks at everybody, page by page; a search at nearly nobody but those of whom it may be true."""
    text = streamer_filter.text or streamer_filter.tag
    is_trouble = streamer_filter.state == "trouble"
    pages = store.troubled() if is_trouble else store.pages(streamer_filter.platform, text)
    live, others = _First(selection.sort_key(sort) or _latest_start), _First(selection.sort_key(sort) or _latest_end)
    for page in pages:
        for record in page:
            if streamer_filter.matches(record):
                (live if record.state is State.LIVE else others).add(record)
    return Found(live.count, others.count, live.records(), others.records())


class _First:
    """The first of many records, in an order."""

    def __init__(self, key: Callable[[StreamerRecord], Any]) -> None:
        self.count = 0
        self._key = key
        self._records: list[StreamerRecord] = []

    def add(self, record: StreamerRecord) -> None:
        self.count += 1
        self._records.append(record)
        if len(self._records) > HELD:
            self._records = self.records()

    def records(self) -> list[StreamerRecord]:
        return heapq.nsmallest(SHOWN, self._records, self._key)


def _build(
    store: Store, found: Found, health: tuple[PlatformHealth, ...], edits: RecentEdits | None, list_problem: str
) -> StreamerList:
    everyone = [*found.live, *found.others]
    everyone = edits.apply(everyone) if edits else everyone
    live = sorted((record for record in everyone if record.state is State.LIVE), key=_latest_start)
    others = sorted((record for record in everyone if record.state is not State.LIVE), key=_latest_end)
    viewers = read_viewers(store, live)
    more_live, more_others = found.live_count - len(found.live), found.other_count - len(found.others)
    shown = [[*map(_shown_record, records)] for records in (live, others)]
    news = _digest(*shown, [*map(_shown_health, health)], list_problem)
    return StreamerList(
        live=tuple(live),
        others=tuple(others),
        viewers=viewers,
        health=health,
        list_problem=list_problem,
        more_live=more_live,
        more_others=more_others,
        digest=_digest(live, others, health),
        page_digest=_digest(news, [record.viewers for record in live], list(viewers.values()), more_live, more_others),
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
