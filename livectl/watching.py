"""The beat that watches: it sends what is due as every beat of livectl's, and tells targets of runs that went wrong.

For `celery -A proj beat -S livectl.watching:WatchingScheduler`; `livectl beat` names it. Here the wings meet in beat:
ops sees what is wrong, and the targets of the live wing are told.
"""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from livectl import alert_sending, redis_client
from livectl.errors import LivectlError, SecretUnsetError
from livectl.live.alerts import outbox
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import NOT_PUBLIC, Routes
from livectl.live.store import OUTBOX_KEY, Store
from livectl.models import Request
from livectl.ops import deployment as deployments
from livectl.ops.beat.watch import LOOK_INTERVAL_S, BeatAtWork, ReportStream, RunWatch
from livectl.ops.jobs import event_history
from livectl.ops.processes import launch
from livectl.ops.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.alerts.delivery import AlertDispatcher
    from livectl.ops.beat.reports import Report
    from livectl.ops.deployment import Deployment
    from livectl.secret import Secret
    from livectl.settings import Settings

HEARTBEAT_INTERVAL_S = 60
HEARTBEAT_KEY = "livectl:watch:heartbeat"  # held by the beat that has asked the address outside in this minute
STOP_S = 5.0

logger = get_logger(__name__)


class WatchingScheduler(Scheduler):
    """Celery's beat scheduler, which watches beside sending: nothing that the watch meets holds up a run."""

    _watcher: threading.Thread | None = None
    _listener: threading.Thread

    def tick(self, *args: Any, **kwargs: Any) -> float:
        if self._watcher is None:  # not before Celery has forked, and settled
            self._ended = threading.Event()
            self._watcher = threading.Thread(target=self._watch_on, name="livectl-watch", daemon=True)
            self._watcher.start()
            self._listener = threading.Thread(target=self._listen_on, name="livectl-events", daemon=True)
            self._listener.start()
        return super().tick(*args, **kwargs)

    def release(self) -> None:
        if self._watcher is not None:
            self._ended.set()
            self._watcher.join(STOP_S)
            self._listener.join(STOP_S)
        super().release()

    def _watch_on(self) -> None:
        """Looks every few seconds for as long as this beat lives."""
        watcher: Watcher | None = None
        while not self._ended.wait(LOOK_INTERVAL_S):
            try:
                watcher = watcher or Watcher(self)
                watcher.look()
            except (LivectlError, RedisError, OSError) as error:  # beat itself says that the store is away
                logger.debug("the watch could not look: %s", error)
                watcher = None
            except Exception:
                logger.exception("the watch stumbled, and goes on")
                watcher = None

    def _listen_on(self) -> None:
        """Notes what workers tell that livectl did not start."""
        event_history.listen_until(self._ended, self.app, lambda: self.current_settings, self._beat_id)

    def watched(self, settings: Settings) -> BeatAtWork:
        return BeatAtWork(
            dict(self.current_entries),
            self._clock.now(),
            self._beat_id,
            settings.watch.queue,
            settings.watch.checks,
            settings.tasks,
            settings.timezone,
        )


class Watcher:
    """What the watch of one beat holds on to: connections, and the dispatcher of the settings in force."""

    def __init__(self, scheduler: WatchingScheduler) -> None:
        self._scheduler = scheduler
        self._client = redis_client.open_store(scheduler.store_in_use)
        self._store = Store(self._client)
        self._store.prepare(scheduler.current_settings.polling.shards)
        encode = partial(_encode, command=name_command(sys.argv, scheduler.current_settings))
        self._watch = RunWatch(self._client, self._find_deployment(), ReportStream(OUTBOX_KEY, encode))
        self._dispatcher: tuple[Settings, AlertDispatcher] | None = None
        self._problem = ""  # why the address outside did not take what it was told

    def look(self) -> None:
        settings = self._scheduler.current_settings
        for report in self._watch.look(self._scheduler.watched(settings)):
            logger.warning("%s. %s", report.title, report.details)
        if any("job" in target.on for target in settings.alerts.values()):
            self._deliver(settings)
        if settings.watch.heartbeat is not None:
            self._say_well(settings, settings.watch.heartbeat)

    def _find_deployment(self) -> Deployment:
        return deployments.of_loaded(self._scheduler.app, self._scheduler.current_settings)

    def _deliver(self, settings: Settings) -> None:
        """Tells what waits, as workers of livectl's own app do: here none may be left, or none ever be."""
        if self._dispatcher is None or self._dispatcher[0] is not settings:
            place = f"beat {settings.file or settings.folder}"
            outbox.Outbox(self._client, "").note_targets(settings, place, (), time.time())
            dispatcher = alert_sending.build_dispatcher(
                settings, self._store, self._client, lambda: self._scheduler.current_settings is not settings
            )
            self._dispatcher = settings, dispatcher
        self._dispatcher[1].deliver()

    def _say_well(self, settings: Settings, address: Secret) -> None:
        """Asks the address outside, once a minute whichever beat comes first. Says when it is not taken, and again."""
        if not self._client.set(HEARTBEAT_KEY, "1", nx=True, ex=HEARTBEAT_INTERVAL_S - int(LOOK_INTERVAL_S)):
            return
        problem = self._ask_outside(settings, address)
        if problem and problem != self._problem:
            logger.warning("watch.heartbeat: %s", problem)
        elif self._problem and not problem:
            logger.info("watch.heartbeat: its address takes it again")
        self._problem = problem

    def _ask_outside(self, settings: Settings, address: Secret) -> str:
        """Why the address outside did not take it; empty where it did."""
        try:
            url = address.reveal()
        except SecretUnsetError as error:
            return error.message
        fetcher = Fetcher(Routes.from_settings(settings.network), self._store)
        try:
            (response,) = fetcher.ask([Request(url=url)])
        finally:
            fetcher.close()
        if 200 <= response.status < 300:
            return ""
        if response.error and response.error.endswith(NOT_PUBLIC):
            return (
                f"{response.error}; `network: {{allow: [{urlsplit(url).hostname}]}}` in livectl.yaml lets it be asked"
            )
        return response.error or f"its address answers with status {response.status}"


def _encode(report: Report, now: float, command: str = "livectl") -> Sequence[str]:
    details = "\n".join(filter(None, [report.details, f"{command} {report.look}"]))
    return outbox.outbox_fields(outbox.reported_change(report.name, report.kind, report.title, details, now))


def name_command(arguments: Sequence[str], settings: Settings) -> str:
    """How a command of livectl's for the app of this process begins, in the folder of its settings."""
    app = launch.find_app(arguments) if settings.app is None else None
    return f"livectl -A {app}" if app and app != launch.OWN_APP else "livectl"
