"""The way to what is shown: opened on first need, and anew after it was lost."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError
from livectl.live.alerts import outbox
from livectl.live.alerts import views as alert_view
from livectl.live.store import Store
from livectl.models import PlatformHealth, State, StreamerRecord
from livectl.ops.beat import last_runs, run_store, views
from livectl.ops.cluster import queues, workers
from livectl.ops.jobs import dead_letters, results
from livectl.redis_client import RedisReplyError
from livectl.web import heat_map
from livectl.web.cache import BodyCache, FragmentCache, TimedCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis

    from livectl.address import Address
    from livectl.models import Job, Schedule, Session
    from livectl.ops.deployment import Deployment
    from livectl.settings import Settings
    from livectl.web.heat_map import HeatMap


T = TypeVar("T")


class StoreReader:
    """One store and what belongs to it. `find` is asked again whenever the store was away: it may have moved."""

    def __init__(self, find_deployment: Callable[[], Deployment]) -> None:
        self._find_deployment = find_deployment
        self._lock = threading.Lock()
        self._connection: tuple[Deployment, Redis] | None = None

    def deployment_and_store(self) -> tuple[Deployment, Address]:
        """The app that is shown, and its store."""
        deployment, _ = self._connect()
        return deployment, _store_address(deployment)

    def read(self, query: Callable[[Redis], T]) -> T:
        """What `work` makes of the store. A connection that died meanwhile is made anew once."""
        from redis.exceptions import RedisError

        for last_try in (False, True):
            deployment, client = self._connect()
            try:
                return query(client)
            except (RedisError, OSError) as error:
                self._disconnect()
                if last_try:
                    raise ServerError(f"the store at {_store_address(deployment).masked} does not answer") from error
        raise AssertionError("unreachable")

    def _connect(self) -> tuple[Deployment, Redis]:
        with self._lock:
            if self._connection is None:
                deployment = self._find_deployment()
                self._connection = deployment, redis_client.open_store(_store_address(deployment))
            return self._connection

    def _disconnect(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection:
            connection[1].close()


def _store_address(deployment: Deployment) -> Address:
    if deployment.store is None:
        raise ServerError("there is no store to read", "Set `store:` in livectl.yaml.")
    return deployment.store


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


SectionT = TypeVar("SectionT")

MAX_RECENT_JOBS = 25  # jobs shown
MAX_DEAD_LETTERS = 50
MS_PER_SECOND = 1000
NOT_REDIS_REASON = "this broker does not tell without Celery"
NO_RESULTS_REASON = "these results cannot be listed without Celery"


class PageSection(msgspec.Struct, Generic[SectionT], frozen=True):
    """What was found, or why nothing is known."""

    found: SectionT | None = None
    why: str = ""


class JobsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of all of it."""

    workers: PageSection[workers.WorkerList]
    queues: PageSection[queues.QueueDepths]
    recent: PageSection[list[Job]]
    dead: PageSection[list[dead_letters.DeadLetterSummary]]


class BeatSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """What the running beats send, as `livectl schedules list` tells it, and when one of them last looked in."""

    beats: int
    looked_in: float | None  # seconds since the epoch
    rows: list[dict[str, Any]]


def read_jobs(deployment: Deployment) -> JobsSnapshot:
    on_redis, can_list_results = deployment.on_redis, deployment.results is not None
    return JobsSnapshot(
        workers=_read_section(lambda: _list_workers(deployment)) if on_redis else PageSection(why=NOT_REDIS_REASON),
        queues=_read_section(lambda: queues.measure(deployment)) if on_redis else PageSection(why=NOT_REDIS_REASON),
        recent=_read_section(lambda: _recent_jobs(deployment))
        if can_list_results
        else PageSection(why=NO_RESULTS_REASON),
        dead=_read_section(lambda: dead_letters.list_summaries(deployment)[:MAX_DEAD_LETTERS]),
    )


def read_beat_schedule(client: Redis, deployment: Deployment, store: Address, zone: str) -> BeatSchedule:
    beats, loaded_schedules = run_store.read_running_beats(client), run_store.read_loaded_schedules(client)
    schedules: dict[str, Schedule] = {
        entry.name: entry for loaded in loaded_schedules.values() for entry in loaded.schedules
    }
    previous_runs = last_runs.read(store, deployment)
    table_view = views.render_entries(list(schedules.values()), previous_runs, int(time.time() * MS_PER_SECOND), zone)
    looked_in = max((beat.at / MS_PER_SECOND for beat in beats.values()), default=None)
    return BeatSchedule(beats=len(beats), looked_in=looked_in, rows=table_view.data)


def _list_workers(deployment: Deployment) -> workers.WorkerList:
    with workers.WorkerControl(deployment) as control:
        return control.list_workers()


def _recent_jobs(deployment: Deployment) -> list[Job]:
    return results.list_recent(deployment, results.ResultFilter(limit=MAX_RECENT_JOBS))


def _read_section(read: Callable[[], SectionT]) -> PageSection[SectionT]:
    """One part that cannot be read hides no other."""
    try:
        return PageSection(read())
    except LivectlError as error:
        return PageSection(why=error.message)
    except RedisReplyError as refusal:
        return PageSection(why=str(refusal))


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
            lambda: source.read(lambda client: read_streamers(client, clock())), STREAMERS_KEEP_SECONDS
        )
        self.jobs = TimedCache(lambda: read_jobs(source.deployment_and_store()[0]), JOBS_KEEP_SECONDS)
        self.alerts = TimedCache(lambda: _alert_targets(source, settings, clock()), JOBS_KEEP_SECONDS)
        self.beat_schedule = TimedCache(
            lambda: source.read(lambda client: read_beat_schedule(client, *source.deployment_and_store(), zone)),
            JOBS_KEEP_SECONDS,
        )

    def streamer_page(self, platform: str, name: str) -> StreamerPage:
        def read_record(store: Store) -> tuple[StreamerRecord, list[Session]]:
            return store.find_streamer(platform, name), store.sessions(platform, [name])[name]

        record, sessions = self.source.read(lambda client: read_record(Store(client)))
        if sessions and sessions[-1].ended_at is None:
            sessions[-1] = msgspec.structs.replace(sessions[-1], title=record.title, category=record.category)
        return StreamerPage(
            record, sessions, heat_map.compute_heat_map(sessions, record.first, self.clock(), self.zone)
        )


def _alert_targets(source: StoreReader, settings: Settings | None, now: float) -> list[dict[str, Any]]:
    """The targets as `livectl alerts list` has them; none where the settings are not known."""
    if settings is None or not settings.alerts:
        return []
    target_states, waiting = source.read(lambda client: outbox.read_backlog(settings, client, now))
    target_rows: list[dict[str, Any]] = alert_view.targets_view(settings, target_states, waiting, now).data
    return target_rows
