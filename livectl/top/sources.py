"""Where `livectl top` reads: the servers of a deployment."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from livectl.errors import LivectlError
from livectl.live import pulse as live_pulse
from livectl.live import store_reader
from livectl.live.store_reader import Everybody
from livectl.ops import apps
from livectl.ops import deployment as deployments
from livectl.ops.beat import views as beat_views
from livectl.ops.cluster import queues, workers
from livectl.ops.jobs import dead_letters, results
from livectl.ops.schedules.options import KnownTasks
from livectl.ops.services.pulse import JobPulse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.address import Address
    from livectl.models import BoardReading, Job
    from livectl.ops.beat.views import BeatSchedule
    from livectl.ops.cluster.queues import QueueDepths, QueueRates
    from livectl.ops.cluster.workers import WorkerList
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.dead_letters import DeadLetterSummary
    from livectl.settings import Settings

MAX_JOBS = 200  # the newest
MAX_STREAMERS = 1000  # those who are live, the newest first; then the others


class DeploymentSource:
    """Reads the servers of a deployment, found anew each time: the embedded broker may have moved. Nothing stays open
    there, and nothing is subscribed to. `store_of_streamers` is None for an app that has nothing to do with streamers.
    """

    def __init__(
        self,
        find_deployment: Callable[[], Deployment],
        settings: Settings,
        store_of_streamers: Callable[[], Address] | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.zone = settings.timezone
        self._find_deployment = find_deployment
        self._follows: Path = settings.follows
        self._schedules: Path = settings.schedules
        self._tasks = settings.tasks
        self._store_of_streamers = store_of_streamers
        self._clock = clock
        self._measured: tuple[QueueDepths, float] | None = None
        pulses = [JobPulse(find_deployment, lambda: settings.schedules, clock()).read]
        if store_of_streamers:
            pulses.append(
                live_pulse.LivePulse(store_of_streamers, lambda: settings.follows, clock(), lambda: settings.push).read
            )
        self._pulses = pulses

    def status(self) -> Sequence[BoardReading]:
        return [read(self._clock()) for read in self._pulses]

    def queues(self) -> tuple[QueueDepths, QueueRates | None]:
        """The queues, from the second reading on with the rates since the one before."""
        before, depths, now = self._measured, queues.measure(self._find_deployment()), time.monotonic()
        self._measured = depths, now
        return depths, queues.rates_between(before[0], depths, now - before[1]) if before else None

    def workers(self) -> WorkerList:
        with workers.WorkerControl(self._find_deployment()) as control:
            return control.list_workers()

    def jobs(self) -> Sequence[Job]:
        newest = results.ResultFilter(routine=deployments.ROUTINE_TASKS, limit=MAX_JOBS)
        return results.list_recent(self._find_deployment(), newest)

    def schedules(self) -> BeatSchedule:
        """What beats send; of an app, which is here, also what is in its own beat_schedule."""
        deployment = self._find_deployment()
        app, snapshot, tasks = deployment.app, None, None
        if app is not None:
            snapshot = beat_views.read_snapshot(self._schedules, app=app, optional=True)
            with suppress(LivectlError):  # a module of tasks that cannot be imported
                tasks = KnownTasks(apps.load_tasks(app, Path.cwd()), self._tasks)
        return beat_views.read_running(deployment.store_to_read, deployment, self._clock(), snapshot, tasks)

    def dead_letters(self) -> Sequence[DeadLetterSummary]:
        return dead_letters.list_summaries(self._find_deployment())

    def streamers(self) -> Everybody:
        if self._store_of_streamers is None:
            return Everybody([])
        store, most = self._store_of_streamers(), MAX_STREAMERS
        return store_reader.list_everybody(store, self._follows, store_reader.Selection(), limit=most)
