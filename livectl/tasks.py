"""Defines the tasks that livectl's own workers run."""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from celery import Task, shared_task
from celery.utils.log import get_task_logger
from redis.exceptions import RedisError

from livectl import __version__
from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis

    from livectl.live.alerts.delivery import AlertDispatcher
    from livectl.live.checker import Sweeper
    from livectl.live.listing import ListingJob
    from livectl.live.polling import CheckBatch
    from livectl.live.store import Store
    from livectl.settings import Settings
    from livectl.settings_watch import SettingsWatch

MAX_WAITING_JOBS = 20  # in the queue of a platform, before a sweep sends more there
LEARN_JOBS = 2  # after a sweep, of a second each: so much of all the workers' time is for learning
LEARN_EXPIRES_S = 5.0  # the next sweep sends others
MAX_WAIT_S = 30.0  # of a job in a worker: on Redis, one that waits longer might run twice

EXPECTED_ERRORS = (LivectlError, RedisError)  # logged as one line without a traceback: the next sweep tries again

logger = get_task_logger(__name__)


# Its result is kept, unlike that of other tasks: a person calls it to see that the way to a worker and back works.
@shared_task(name="livectl.ping", ignore_result=False)
def ping() -> str:
    return "pong"


@shared_task(name="livectl.report", bind=True)
def report(self: Task) -> dict[str, Any]:
    """Returns and logs the worker's name, its process id and its versions."""
    versions = {"livectl": __version__, "celery": version("celery"), "python": platform.python_version()}
    facts = {"worker": self.request.hostname, "pid": os.getpid(), **versions}
    logger.info("report: %s", ", ".join(f"{name} {value}" for name, value in facts.items()))
    return facts


@shared_task(name="livectl.sweep", bind=True, throws=EXPECTED_ERRORS)
def sweep(self: Task) -> None:
    """Claims the lists to read and the streamers that are due, and sends the jobs that do it."""
    from livectl.live.checker import JOB_EXPIRES_SECONDS
    from livectl.live.polling import MAX_LEARNED
    from livectl.ops.jobs import publish_many

    wiring, now = _wiring.get(), time.time()
    sweeper, queues = wiring.sweeper, wiring.settings.platform_queues
    sweeper.refresh_follows(now)
    full = _full_queues(wiring.settings)
    left_out = [platform for platform, queue in queues.items() if queue in full]

    def send(task: str, jobs: Iterable[ListingJob | CheckBatch]) -> None:
        drafts = [
            publish_many.JobDraft(id=str(uuid4()), args=job, brief=f"({job})", queue=queues.get(job.platform))
            for job in jobs
        ]
        publish_many.publish_jobs(self.app, task, drafts, publish_many.SendOptions(expires=JOB_EXPIRES_SECONDS))

    send(list_live.name, sweeper.lister.claim(now, left_out))
    for batches in sweeper.claim(now, left_out):
        send(check.name, batches)
    if sweeper.learn_habits(now) == MAX_LEARNED:
        jobs = [publish_many.JobDraft(id=str(uuid4()), args=(), brief="()") for _ in range(LEARN_JOBS)]
        publish_many.publish_jobs(self.app, learn.name, jobs, publish_many.SendOptions(expires=LEARN_EXPIRES_S))


def _full_queues(settings: Settings) -> set[str]:
    """The queues of platforms whose workers do not keep up, or do not run: what is sent there would only expire.

    The usual queue needs no look: the next sweep waits behind what this one sends.
    """
    from livectl.ops import deployment
    from livectl.ops.cluster import queues

    names = {*settings.platform_queues.values()}
    own = deployment.own_deployment(settings) if names else None
    return {name for name in names if own and queues.count_ready(own, (name,)) > MAX_WAITING_JOBS}


@shared_task(name="livectl.check", bind=True, max_retries=None, throws=EXPECTED_ERRORS)
def check(self: Task, platform: str, ids: list[str], due: float | None = None) -> list[dict[str, Any]] | None:
    """Checks streamers of one platform and records the observations; returns them when the job keeps its result.

    A sweep leaves `due` out: it has already paid for its requests out of the platform's budget. A list that a person
    submits sends 0 first: the job reserves its requests and retries itself with `due` set to when its turn comes.
    """
    checker, now = _wiring.get().sweeper.checker, time.time()
    if due is None:
        checker.check(platform, ids, now)
        return None
    due = due or now + checker.reserve(platform, len(ids), now)
    if due > now:
        delay, result_ignored = min(due - now, MAX_WAIT_S), bool(self.request.ignore_result)
        raise self.retry(args=(platform, ids, due), countdown=delay, ignore_result=result_ignored)
    observations = checker.check_now(platform, ids, now)
    return None if self.request.ignore_result else [msgspec.to_builtins(observation) for observation in observations]


@shared_task(name="livectl.list", throws=EXPECTED_ERRORS)
def list_live(platform: str, token: str, pages: int) -> None:
    """Reads so many pages of a platform's list of who is live, which the sweep has paid for."""
    _wiring.get().sweeper.lister.read(platform, token, pages)


@shared_task(name="livectl.learn", throws=EXPECTED_ERRORS)
def learn() -> None:
    """Learns when streamers usually stream, for a second: of more than a sweep does itself."""
    from livectl.live.checker import LEARN_SECONDS

    _wiring.get().sweeper.learn_for(LEARN_SECONDS, time.time())


@shared_task(name="livectl.prune", throws=EXPECTED_ERRORS)
def prune() -> None:
    """Drops old changes, and streamers that were unfollowed long ago."""
    dropped = _wiring.get().sweeper.prune(time.time())
    logger.info("pruned: %d streamers forgotten", dropped)


@shared_task(name="livectl.deliver")
def deliver() -> None:
    """Sends every target its pending alerts. They lie in the store: an alert is never a task argument."""
    _wiring.get().dispatcher.deliver()


@shared_task(name="livectl.digest")
def digest() -> None:
    """Sends a digest to each target that wants one and whose time of day has come."""
    _wiring.get().dispatcher.deliver_digests()


@cache
def settings_watch() -> SettingsWatch:
    """The settings of this worker: made before it forks, so that it says once what all its processes take over."""
    from livectl.live.alerts import targets
    from livectl.settings_watch import SettingsWatch

    return SettingsWatch(os.environ, Path.cwd(), check=targets.check_targets)


class Wiring:
    """What the tasks of a process share, made of the settings in force. Its connections notice a fork."""

    def __init__(self, settings: Settings, before: Wiring | None) -> None:
        from livectl.live.alerts import delivery

        self.settings = settings
        self.follows_named_at: float = before.follows_named_at if before else 0.0
        if before and before.settings.follows != settings.follows:
            self.follows_named_at = time.time()
        place = f"{socket.gethostname()} {settings.file or settings.folder}"
        delivery.note_targets(settings, before.settings if before else None, _store(), _redis(), place, time.time())

    @cached_property
    def sweeper(self) -> Sweeper:
        from livectl.live.checker import Sweeper

        return Sweeper(self.settings, _store(), self.follows_named_at)

    @cached_property
    def dispatcher(self) -> AlertDispatcher:
        from livectl import alert_sending

        return alert_sending.build_dispatcher(self.settings, _store(), _redis(), self.is_outdated)

    def is_outdated(self) -> bool:
        return settings_watch().current() is not self.settings


class WiringInForce:
    """Makes the wiring anew when the settings change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wiring: Wiring | None = None

    def get(self) -> Wiring:
        with self._lock:
            wiring, settings = self._wiring, settings_watch().current()
            if wiring is None or wiring.settings is not settings:
                wiring = self._wiring = Wiring(settings, wiring)
            return wiring


_wiring = WiringInForce()  # one in each process of a worker


@cache
def _store() -> Store:
    from livectl.live.store import Store

    store = Store(_redis())
    store.prepare(settings_watch().started.polling.shards)
    return store


@cache
def _redis() -> Redis:
    from livectl import redis_client
    from livectl.ops.processes import embedded_broker

    return redis_client.open_store(embedded_broker.resolve_addresses(settings_watch().started).store)
