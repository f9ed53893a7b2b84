"""Reads what the pages show out of the store, and keeps each reading for a while."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError, UnfinishedError
from livectl.live import history, store_reader
from livectl.live.alerts import outbox
from livectl.live.store import Store
from livectl.live.store_order import OrderedPage
from livectl.live.store_reader import StreamerHistory
from livectl.ops.beat import views
from livectl.ops.cluster import queues, workers
from livectl.ops.jobs import dead_letters, results
from livectl.redaction import hide_secrets
from livectl.web import selection
from livectl.web.cache import BodyCache, FragmentCache, KeyedCache, RecentEdits, TimedCache
from livectl.web.images import COVER, ImageCache, web_address
from livectl.web.streamer_list import find_streamers, read_streamers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis import Redis

    from livectl.address import Address
    from livectl.live.alerts.outbox import TargetStatus
    from livectl.live.history import HeatMap
    from livectl.live.store_order import OrderPlace
    from livectl.models import Job, Session, StreamerRecord, ViewerCurve
    from livectl.ops.deployment import Deployment
    from livectl.settings import Settings
    from livectl.web.images import Image
    from livectl.web.selection import StreamerFilter
    from livectl.web.streamer_list import StreamerList


T = TypeVar("T")

STREAMERS_KEEP_SECONDS = 1.0  # the list of streamers is never older than this
FOUND_KEEP_SECONDS, MAX_SEARCHES_KEPT = 5.0, 20
MAX_LOOK_WAIT_SECONDS = 2.0
TALLY_KEEP_SECONDS = 10.0
JOBS_KEEP_SECONDS = 3.0  # workers are asked, so not by each visitor
MAX_IMAGE_WAITERS = 2  # of the threads that answer: no slow site holds up the page
MAX_IMAGE_WAIT_SECONDS = 3.0
MAX_RECENT_JOBS = 25
MAX_LOOKS_A_PAGE = 10  # of those who fit, each at as many as a page has
MAX_CHANGES_READ = 500  # of which some are go-lives
MAX_CALENDAR_STREAMERS = 200
MAX_DEAD_LETTERS = 50
NOT_REDIS_REASON = "this broker does not tell without Celery"
NO_RESULTS_REASON = "these results cannot be listed without Celery"


class PageData:
    """What pages, JSON and metrics show. Every reading is shared by all visitors until its time is over."""

    def __init__(
        self,
        source: StoreReader,
        zone: str,
        settings: Callable[[], Settings] | None = None,
        clock: Callable[[], float] = time.time,
        images: ImageCache | None = None,
    ) -> None:
        self.source = source
        self.images = images  # none where they are switched off
        self._zone = zone
        self._settings = settings  # those in force; none for a page in anybody's app
        self.clock = clock
        self.bodies = BodyCache()
        self._image_waiters = threading.BoundedSemaphore(MAX_IMAGE_WAITERS)
        self.fragments = FragmentCache()
        self.edits = RecentEdits()
        self.streamers = TimedCache(
            lambda: source.read(
                lambda client: read_streamers(client, clock(), settings().follows if settings else None, self.edits)
            ),
            STREAMERS_KEEP_SECONDS,
        )
        self._found = KeyedCache(self._find, FOUND_KEEP_SECONDS, MAX_SEARCHES_KEPT)
        self._looking = threading.Lock()
        self.tally = TimedCache(lambda: source.read(lambda client: Store(client).tally()), TALLY_KEEP_SECONDS)
        self.changes = TimedCache(
            lambda: source.read(lambda client: Store(client).latest_changes(MAX_CHANGES_READ)), JOBS_KEEP_SECONDS
        )
        self.jobs = TimedCache(
            lambda: source.read_deployment(lambda deployment, _: read_jobs(deployment)), JOBS_KEEP_SECONDS
        )
        self.targets = TimedCache(lambda: read_targets(source, settings, clock()), JOBS_KEEP_SECONDS)
        self.beat_schedule = TimedCache(
            lambda: source.read_deployment(lambda deployment, store: views.read_running(store, deployment, clock())),
            JOBS_KEEP_SECONDS,
        )

    @property
    def image_version(self) -> int:
        """Grows when there is another image to show."""
        return self.images.version if self.images else 0

    @property
    def zone(self) -> str:
        """The timezone of what is shown."""
        return self._settings().timezone if self._settings else self._zone

    def streamer_page(self, platform: str, streamer_id: str) -> StreamerPage:
        """Reads one streamer. This reading is not kept: few visitors look at the same streamer at once."""
        streamer_history, viewers = self.source.read(
            lambda client: (
                store_reader.find_history(Store(client), platform, streamer_id),
                Store(client).viewer_curves(platform, [streamer_id]).get(streamer_id),
            )
        )
        record, sessions = streamer_history
        if not record.streamer and (waiting := self._find_waiting(platform, streamer_id)):
            record = waiting
        (record,) = self.edits.apply([record]) or [msgspec.structs.replace(record, streamer=None)]
        streamer_history = StreamerHistory(record, sessions)
        heat_map = history.compute_heat_map(sessions, record.first, self.clock(), self.zone)
        return StreamerPage(streamer_history, heat_map, viewers)

    def find_among_many(self, streamer_filter: StreamerFilter, sort: str = selection.SORTS[0]) -> StreamerList | None:
        """The first of those who fit, in this order; None where all are at hand. UnfinishedError while others look."""
        streamers = self.streamers.get()
        if not streamers.is_part:
            return None
        if not streamer_filter and sort == selection.SORTS[0]:
            return streamers
        return self._found.get((streamer_filter, sort))

    def page_after(
        self, place: OrderPlace, most: int, streamer_filter: StreamerFilter, *, everybody: bool
    ) -> OrderedPage:
        """So many who fit, and where to go on; fewer where many do not fit, so that no page takes long."""
        found: list[StreamerRecord] = []
        following = place
        live_only = not everybody or streamer_filter.state == "live"
        for _ in range(MAX_LOOKS_A_PAGE):
            read = partial(_read_page, following, most - len(found), streamer_filter.platform, live_only)
            page = self.source.read(read)
            found += [record for record in page.streamers if streamer_filter.matches(record)]
            if page.next is None or len(found) >= most:
                return OrderedPage(found, page.next)
            following = page.next
        return OrderedPage(found, following)

    def _find(self, wanted: tuple[StreamerFilter, str]) -> StreamerList:
        """One at a time: each may look at everybody."""
        if not self._looking.acquire(timeout=MAX_LOOK_WAIT_SECONDS):
            raise UnfinishedError("others are searching", "Try again in a moment.")
        try:
            return self.source.read(lambda client: find_streamers(client, self.streamers.get(), *wanted, self.edits))
        finally:
            self._looking.release()

    def news(self) -> str:
        """What changes when there is something new to see, apart from viewers."""
        return f"{self.streamers.get().news_digest}-{self.image_version}"

    def habits(self, records: Sequence[StreamerRecord], now: float) -> list[tuple[StreamerRecord, HeatMap]]:
        """When some of these usually stream, the likeliest to matter first: those who were live last."""
        some = [record for record in records if not record.unresolved][:MAX_CALENDAR_STREAMERS]
        found = self.sessions_between(some, now - history.MAX_WEEKS * history.WEEK_SECONDS, now)
        sessions = {record.key: record_sessions for record, record_sessions in found}
        return [
            (record, history.compute_heat_map(sessions.get(record.key, []), record.first, now, self.zone))
            for record in some
        ]

    def sessions_between(
        self, records: Iterable[StreamerRecord], begin: float, end: float
    ) -> list[tuple[StreamerRecord, list[Session]]]:
        """Who of these streamed in this time, and when; the earliest first."""
        by_platform: dict[str, list[StreamerRecord]] = defaultdict(list)
        for record in records:
            by_platform[record.platform].append(record)
        found = [
            (record, [session for session in sessions if session.started_at < end])
            for platform, some in by_platform.items()
            if platform
            for record, sessions in self.source.read(partial(_read_sessions, platform, some, begin))
        ]
        return sorted((pair for pair in found if pair[1]), key=lambda pair: pair[1][0].started_at)

    def image(self, kind: str, platform: str, streamer_id: str) -> Image | None:
        """The cover or avatar that is kept of a streamer; one that is not here yet is waited for, unless many wait."""
        if self.images is None:
            return None
        key = (kind, platform, streamer_id)
        if image := self.images.get(key, ""):
            return image
        record = self._find_listed(platform, streamer_id)
        if record is None or not self._image_waiters.acquire(blocking=False):
            return None
        try:
            address = web_address(record.cover if kind == COVER else record.avatar)
            return self.images.wait(key, address, MAX_IMAGE_WAIT_SECONDS) if address else None
        finally:
            self._image_waiters.release()

    def _find_waiting(self, platform: str, streamer_id: str) -> StreamerRecord | None:
        """Somebody who is on the list, and whom the store does not have yet."""
        return self._find_listed(platform, streamer_id)

    def _find_listed(self, platform: str, streamer_id: str) -> StreamerRecord | None:
        streamers = self.streamers.get()
        records = (*streamers.live, *streamers.others)
        found = next((record for record in records if (record.platform, record.id) == (platform, streamer_id)), None)
        if found or not streamers.is_part:
            return found
        record = self.source.read(lambda client: Store(client).find_streamer(platform, streamer_id))
        return record if record.streamer else None


class StreamerPage(NamedTuple):
    """One streamer: all sessions, the hours of the week in which they were live, the viewers of the last session."""

    history: StreamerHistory
    heat_map: HeatMap
    viewers: ViewerCurve | None = None

    @property
    def exists(self) -> bool:
        record, sessions = self.history
        return bool(record.streamer or record.state or record.trouble or sessions)


def _read_page(place: OrderPlace, most: int, platform: str, live_only: bool, client: Redis) -> OrderedPage:  # noqa: FBT001
    return Store(client).page_after(place, most, platform, live_only=live_only)


def _read_sessions(
    platform: str, records: Sequence[StreamerRecord], since: float, client: Redis
) -> list[tuple[StreamerRecord, list[Session]]]:
    """The sessions of each that went on after this time."""
    sessions = Store(client).sessions(platform, [record.id for record in records], since)
    return [(record, sessions[record.id]) for record in records]


class PageSection(msgspec.Struct, Generic[T], frozen=True):
    """A section of the jobs page: its value, or why nothing is known."""

    value: T | None = None
    why: str = ""
    left_out: int = 0  # rows that are not shown, as far as they were read


class JobsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Workers, queues, recent jobs and dead letters at one moment."""

    workers: PageSection[workers.WorkerList]
    queues: PageSection[queues.QueueDepths]
    recent: PageSection[list[Job]]
    dead: PageSection[list[dead_letters.ListedLetter]]


def read_jobs(deployment: Deployment) -> JobsSnapshot:
    on_redis, can_list_results = deployment.on_redis, deployment.results is not None
    return JobsSnapshot(
        workers=_read_section(lambda: _list_workers(deployment)) if on_redis else PageSection(why=NOT_REDIS_REASON),
        queues=_read_queues(deployment),
        recent=_cut(_read_section(lambda: _recent_jobs(deployment)), MAX_RECENT_JOBS)
        if can_list_results
        else PageSection(why=NO_RESULTS_REASON),
        dead=_read_dead(deployment),
    )


def _read_queues(deployment: Deployment) -> PageSection[queues.QueueDepths]:
    if not queues.tells_ready(deployment):
        return PageSection(why=NOT_REDIS_REASON)
    measure = queues.measure if deployment.on_redis else queues.measure_declared
    return _read_section(lambda: measure(deployment))


def _read_dead(deployment: Deployment) -> PageSection[list[dead_letters.ListedLetter]]:
    section = _read_section(lambda: dead_letters.list_newest(deployment, MAX_DEAD_LETTERS))
    if section.value is None:
        return PageSection(why=section.why)
    letters, total = section.value
    return PageSection(letters, left_out=total - len(letters))


def _cut(section: PageSection[list[T]], most: int) -> PageSection[list[T]]:
    """The section with its first rows only, and how many it leaves out."""
    if section.value is None:
        return section
    return PageSection(section.value[:most], left_out=max(0, len(section.value) - most))


def _read_section(read: Callable[[], T]) -> PageSection[T]:
    """A section that cannot be read hides no other."""
    try:
        return PageSection(read())
    except LivectlError as error:
        return PageSection(why=hide_secrets(error.message))


def _list_workers(deployment: Deployment) -> workers.WorkerList:
    with workers.WorkerControl(deployment) as control:
        return control.list_workers()


def _recent_jobs(deployment: Deployment) -> list[Job]:
    """One more than the page shows, if there is one: then it says that there are older ones."""
    return results.list_recent(deployment, results.ResultFilter(limit=MAX_RECENT_JOBS + 1))


def read_targets(source: StoreReader, find_settings: Callable[[], Settings] | None, now: float) -> list[TargetStatus]:
    """The targets of alerts; none where the settings are not known."""
    settings = find_settings() if find_settings else None
    if settings is None or not settings.alerts:
        return []
    return source.read(lambda client: outbox.read_targets(settings, client, now))


class StoreReader:
    """A connection to the store, opened on first need and again after it was lost.

    Each time it is opened, `find_deployment` is called again: the store may have moved.
    """

    def __init__(self, find_deployment: Callable[[], Deployment]) -> None:
        self._find_deployment = find_deployment
        self._lock = threading.Lock()
        self._connection: tuple[Deployment, Redis] | None = None

    def read_deployment(self, query: Callable[[Deployment, Address], T]) -> T:
        """Runs the query on the deployment that is shown, and the address of its store."""
        deployment, _ = self._connect()
        try:
            return query(deployment, deployment.store_to_read)
        except ServerError:
            self._disconnect()
            raise

    def read(self, query: Callable[[Redis], T]) -> T:
        """Runs the query on the store; once more, over a new connection, when the old one has died."""
        from redis.exceptions import RedisError

        for last_try in (False, True):
            deployment, client = self._connect()
            try:
                return query(client)
            except (RedisError, OSError) as error:
                self._disconnect()
                if last_try:
                    raise ServerError(f"the store at {deployment.store_to_read.masked} does not answer") from error
            except Exception as error:
                if server_error := redis_client.explain_error(error, deployment.store_to_read.masked):
                    raise server_error from error
                raise
        raise AssertionError("unreachable")

    def _connect(self) -> tuple[Deployment, Redis]:
        with self._lock:
            if self._connection is None:
                deployment = self._find_deployment()
                self._connection = deployment, redis_client.open_store(deployment.store_to_read, trial_write=False)
            return self._connection

    def _disconnect(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection:
            connection[1].close()
