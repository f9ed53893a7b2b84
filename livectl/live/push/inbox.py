"""Takes what platforms tell by themselves, and records it as what they answer is recorded."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec

from livectl.live import platforms
from livectl.live.polling import check_context, left_alone
from livectl.models import Observation, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.live.network.fetcher import Fetcher
    from livectl.live.polling import LimitsByPlatform
    from livectl.live.push.push_store import PushStore
    from livectl.live.store import Store
    from livectl.models import Change
    from livectl.settings import Settings

LATE_SECONDS = 60.0  # what is told later may be over: the platform is asked instead
DOUBT_SECONDS = 180.0  # after a go-live that the platform does not confirm: its answers lag behind by a minute or two
MORE_SECONDS = 10.0  # until a streamer is asked after of whom a platform told no more than that they are live

log = logging.getLogger(__name__)


class PushEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform told of a streamer by itself, and when it says that this was (seconds since the epoch).

    `told_at`: when it was told, where that proves more: whoever goes live at 12:00:00, as they tell at 12:00:05, may
    have been seen offline at 12:00:01, since seconds are whole and a site's answers lag behind.
    `news`: something has happened, and only asking will show what.
    """

    platform: str
    id: str
    kind: Literal["online", "offline", "news"]
    at: float
    told_at: float = 0.0
    session: str = ""
    started_at: float | None = None
    title: str = ""
    name: str = ""
    url: str = ""
    needs_details: bool = False  # it tells less than an answer would

    def as_observation(self, now: float) -> Observation:
        return Observation(
            platform=self.platform,
            id=self.id,
            state=State.LIVE if self.kind == "online" else State.OFFLINE,
            at=min(max(self.at, self.told_at), now),
            session=self.session,
            title=self.title,
            name=self.name,
            url=self.url,
            started_at=self.started_at,
        )


class Inbox:
    """Records what is told. Late, doubled and reordered news make nothing false: who was read since stays as read."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        push_store: PushStore,
        limits: LimitsByPlatform,
        on_changes: Callable[[], None] = lambda: None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._push_store = push_store
        self._limits = limits
        self._on_changes = on_changes
        self._fetcher = fetcher  # without one nobody is asked for more than was told

    def receive(self, events: Sequence[PushEvent], now: float) -> list[Change]:
        """Records these; whom they leave in doubt is asked after at once. Returns the changes."""
        by_platform: dict[str, list[PushEvent]] = defaultdict(list)
        for event in events:
            by_platform[event.platform].append(event)
        changes = [
            change for platform, told in by_platform.items() for change in self._receive_from(platform, told, now)
        ]
        if changes:
            self._on_changes()
        return changes

    def _receive_from(self, platform: str, events: list[PushEvent], now: float) -> list[Change]:
        ids = list(dict.fromkeys(event.id for event in events))
        followed = {record.id for record in self._store.find_streamers(platform, ids) if record.streamer}
        events = [event for event in events if event.id in followed]
        if not events:
            return []
        details = self._ask(platform, [event.id for event in events if event.needs_details], now)
        observations = [seen for event in events if (seen := _believe(event, details.get(event.id), now))]
        changes = self._record(platform, observations, now)
        self._follow_up(platform, events, details, now)
        self._push_store.note(platform, told_at=now)
        for _ in changes:
            self._push_store.count(platform, "told")
        return changes

    def _record(self, platform: str, observations: Sequence[Observation], now: float) -> list[Change]:
        by_id: dict[str, list[Observation]] = defaultdict(list)
        for seen in observations:
            by_id[seen.id].append(seen)
        ways = self._limits.split(platform, list(by_id), now) if by_id else []
        return [
            change
            for limits, ids in ways
            for change in self._store.record(limits, [seen for each in ids for seen in by_id[each]])
        ]

    def _ask(self, platform: str, ids: Sequence[str], now: float) -> dict[str, Observation]:
        """What the platform answers about those who went live, as far as its budget lets it be asked."""
        if not (ids and self._fetcher) or left_alone(self._store, platform, now):
            return {}
        context = check_context(self._settings, platform, now)
        usable = {each.exit for each in self._limits.at_large(platform, now)}
        found: dict[str, Observation] = {}
        for limits, some in self._limits.split(platform, list(dict.fromkeys(ids)), now):
            if limits.exit in usable and self._store.spend(limits, -(-len(some) // limits.batch), now) >= 0:
                report = self._fetcher.check(platforms.get(platform), some, context, limits.exit)
                found |= {seen.id: seen for seen in report.observations}
        return found

    def _follow_up(self, platform: str, events: list[PushEvent], details: dict[str, Observation], now: float) -> None:
        """Asks again soon about those of whom too little is known, and trusts no silence about those in doubt."""
        answered = {streamer_id for streamer_id, seen in details.items() if seen.state is State.LIVE}
        bare = [event.id for event in events if event.kind == "online" and event.id not in answered]
        self._push_store.doubt(platform, bare, now + DOUBT_SECONDS)
        fresh = [event.id for event in events if event.id in bare and not _is_late(event, now)]
        self._push_store.make_due(platform, fresh, now + MORE_SECONDS)
        uncertain = [event.id for event in events if event.kind == "news" or _is_late(event, now)]
        self._push_store.make_due(platform, uncertain, now)


def _is_late(event: PushEvent, now: float) -> bool:
    return now - event.at > LATE_SECONDS


def _believe(event: PushEvent, details: Observation | None, now: float) -> Observation | None:
    """What is recorded of an event: the answer that confirms it, or what it says itself while it is fresh."""
    if event.kind == "online" and details and details.state is State.LIVE:
        return details
    if event.kind == "news" or _is_late(event, now):
        return None
    return event.as_observation(now)
