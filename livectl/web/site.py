"""One page being served: its readings, each kept for a moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.live.alerts import backlog
from livectl.live.alerts import view as alert_view
from livectl.live.store import Store
from livectl.web import heat, jobs, wall
from livectl.web.bodies import Bodies
from livectl.web.drawings import Drawings
from livectl.web.keeping import Kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.config import Settings
    from livectl.model import Known, Session
    from livectl.web.heat import Heat
    from livectl.web.source import Source

WALL_SECONDS = 1.0  # the wall is never older than this
JOBS_SECONDS = 3.0  # workers are asked, so not by each visitor


class Portrait(NamedTuple):
    """All that is known of one streamer."""

    known: Known
    past: list[Session]
    heat: Heat

    @property
    def exists(self) -> bool:
        return bool(self.known.streamer or self.known.state or self.known.trouble or self.past)


class Site:
    """What every request is answered from."""

    def __init__(
        self, source: Source, zone: str, settings: Settings | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.source = source
        self.zone = zone
        self.clock = clock
        self.bodies = Bodies()
        self.drawings = Drawings()
        self.wall = Kept(lambda: source.read(lambda client: wall.read(client, clock())), WALL_SECONDS)
        self.jobs = Kept(lambda: jobs.read(source.place()[0]), JOBS_SECONDS)
        self.alerts = Kept(lambda: _alerts(source, settings, clock()), JOBS_SECONDS)
        self.timetable = Kept(
            lambda: source.read(lambda client: jobs.timetable(client, *source.place(), zone)), JOBS_SECONDS
        )

    def portrait(self, platform: str, name: str) -> Portrait:
        def read(store: Store) -> tuple[Known, list[Session]]:
            return store.one(platform, name), store.sessions(platform, [name])[name]

        known, past = self.source.read(lambda client: read(Store(client)))
        if past and past[-1].ended_at is None:
            past[-1] = msgspec.structs.replace(past[-1], title=known.title, category=known.category)
        return Portrait(known, past, heat.reckon(past, known.first, self.clock(), self.zone))


def _alerts(source: Source, settings: Settings | None, now: float) -> list[dict[str, Any]]:
    """The targets as `livectl alerts list` has them; none where the settings are not known."""
    if settings is None or not settings.alerts:
        return []
    stands, waiting = source.read(lambda client: backlog.look(settings, client, now))
    found: list[dict[str, Any]] = alert_view.everyone(settings, stands, waiting, now).data
    return found
