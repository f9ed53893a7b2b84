"""One page being served: its readings, each kept for a moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.live.alerts import backlog
from livectl.live.alerts import view as alert_view
from livectl.live.store import Store
from livectl.web import heat, jobs, wall
from livectl.web.bodies import BodyCache
from livectl.web.drawings import FragmentCache
from livectl.web.keeping import TimedCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.config import Settings
    from livectl.model import Session, StreamerRecord
    from livectl.web.heat import HeatMap
    from livectl.web.source import StoreReader

STREAMERS_KEEP_SECONDS = 1.0  # the wall is never older than this
JOBS_KEEP_SECONDS = 3.0  # workers are asked, so not by each visitor


class StreamerPage(NamedTuple):
    """All that is known of one streamer."""

    record: StreamerRecord
    sessions: list[Session]
    heat_map: HeatMap

    @property
    def exists(self) -> bool:
        return bool(self.record.streamer or self.record.state or self.record.trouble or self.sessions)


class PageData:
    """What every request is answered from."""

    def __init__(
        self, source: StoreReader, zone: str, settings: Settings | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.source = source
        self.zone = zone
        self.clock = clock
        self.bodies = BodyCache()
        self.fragments = FragmentCache()
        self.streamers = TimedCache(
            lambda: source.read(lambda client: wall.read_streamers(client, clock())), STREAMERS_KEEP_SECONDS
        )
        self.jobs = TimedCache(lambda: jobs.read_jobs(source.deployment_and_store()[0]), JOBS_KEEP_SECONDS)
        self.alerts = TimedCache(lambda: _alert_targets(source, settings, clock()), JOBS_KEEP_SECONDS)
        self.beat_schedule = TimedCache(
            lambda: source.read(lambda client: jobs.read_beat_schedule(client, *source.deployment_and_store(), zone)),
            JOBS_KEEP_SECONDS,
        )

    def streamer_page(self, platform: str, name: str) -> StreamerPage:
        def read_record(store: Store) -> tuple[StreamerRecord, list[Session]]:
            return store.find_streamer(platform, name), store.sessions(platform, [name])[name]

        record, sessions = self.source.read(lambda client: read_record(Store(client)))
        if sessions and sessions[-1].ended_at is None:
            sessions[-1] = msgspec.structs.replace(sessions[-1], title=record.title, category=record.category)
        return StreamerPage(record, sessions, heat.compute_heat_map(sessions, record.first, self.clock(), self.zone))


def _alert_targets(source: StoreReader, settings: Settings | None, now: float) -> list[dict[str, Any]]:
    """The targets as `livectl alerts list` has them; none where the settings are not known."""
    if settings is None or not settings.alerts:
        return []
    target_states, waiting = source.read(lambda client: backlog.read_backlog(settings, client, now))
    target_rows: list[dict[str, Any]] = alert_view.targets_view(settings, target_states, waiting, now).data
    return target_rows
