"""The tasks: what livectl's own workers know how to do."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from functools import cache
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
    from livectl.live.alerts.delivery import AlertDispatcher
    from livectl.live.alerts.message import Alert
    from livectl.live.alerts.outbox import StoredDeadLetter
    from livectl.live.checker import Sweeper

MAX_WAIT_S = 30.0  # seconds a job waits in a worker at most: on Redis, one that waits longer might run twice

EXPECTED_ERRORS = (LivectlError, RedisError)  # a line in the log, not a traceback: the next sweep tries again

logger = get_task_logger(__name__)


# The answer is kept, unlike those of other tasks: a person asks for it to see that the whole way there and back works.
@shared_task(name="livectl.ping", ignore_result=False)
def ping() -> str:
    return "pong"


@shared_task(name="livectl.report", bind=True)
def report(self: Task) -> dict[str, Any]:
    """Who works here, with which versions; also a line of the worker's log."""
    versions = {"livectl": __version__, "celery": version("celery"), "python": platform.python_version()}
    facts = {"worker": self.request.hostname, "pid": os.getpid(), **versions}
    logger.info("report: %s", ", ".join(f"{name} {value}" for name, value in facts.items()))
    return facts


@shared_task(name="livectl.sweep", bind=True, throws=EXPECTED_ERRORS)
def sweep(self: Task) -> None:
    """Claims who is due, and sends the jobs that ask after them."""
    from livectl.live.checker import JOB_EXPIRES_SECONDS
    from livectl.ops.jobs import publish_many

    sweeper, now = _sweeper(), time.time()
    sweeper.refresh_follows(now)
    for batches in sweeper.claim(now):
        drafts = [publish_many.JobDraft(id=str(uuid4()), args=batch, brief=f"({batch})") for batch in batches]
        publish_many.publish_jobs(self.app, check.name, drafts, publish_many.SendOptions(expires=JOB_EXPIRES_SECONDS))
    sweeper.learn_habits(now)


@shared_task(name="livectl.check", bind=True, max_retries=None, throws=EXPECTED_ERRORS)
def check(self: Task, platform: str, ids: list[str], due: float | None = None) -> list[dict[str, Any]] | None:
    """Asks after streamers of one platform and records what is said. The answers are kept only if somebody waits.

    Those that were claimed are paid for. For a person's own list, `due` is when its turn comes: the platform's budget
    is shared, and who asks for many waits for it.
    """
    checker, now = _sweeper().checker, time.time()
    if due is None:
        checker.check(platform, ids, now)
        return None
    due = due or now + checker.reserve(platform, len(ids), now)
    if due > now:
        delay, result_ignored = min(due - now, MAX_WAIT_S), bool(self.request.ignore_result)
        raise self.retry(args=(platform, ids, due), countdown=delay, ignore_result=result_ignored)
    observations = checker.check_now(platform, ids, now)
    return None if self.request.ignore_result else [msgspec.to_builtins(observation) for observation in observations]


@shared_task(name="livectl.prune", throws=EXPECTED_ERRORS)
def prune() -> None:
    """Drops what nobody needs any more."""
    dropped = _sweeper().prune(time.time())
    logger.info("pruned: %d streamers forgotten", dropped)


@shared_task(name="livectl.deliver")
def deliver() -> None:
    """Tells every target what it has not been told. What is told lies in the store: no alert is ever an argument."""
    _dispatcher().deliver()


@shared_task(name="livectl.digest")
def digest() -> None:
    """Tells the targets that want a digest, once the time of day has come that they name."""
    _dispatcher().deliver_digests()


@cache
def _dispatcher() -> AlertDispatcher:
    """Of this process, as `_sweeper` is."""
    from livectl import redis_client, settings
    from livectl.live.alerts import delivery, targets
    from livectl.live.network.fetcher import Fetcher
    from livectl.live.network.routes import Routes
    from livectl.live.store import Store
    from livectl.ops.processes import embedded_broker

    process_settings = settings.load(os.environ, Path.cwd())
    client = redis_client.open_store(embedded_broker.resolve_addresses(process_settings).store)
    store = Store(client)
    store.prepare()
    senders = targets.build_senders(process_settings, Fetcher(Routes.from_settings(process_settings.network), store))
    return delivery.AlertDispatcher(
        process_settings, store, client, senders, delivery.DispatchHooks(time.time, _make_dead_letter)
    )


def _make_dead_letter(alert: Alert, reason: str, now: float) -> StoredDeadLetter:
    """An alert that nobody took, as a dead letter."""
    from livectl.live.alerts.outbox import StoredDeadLetter
    from livectl.ops.jobs import dead_letters

    dead_letter = dead_letters.DeadLetter(
        id=alert.key,
        kind="alert",
        reason=f"{alert.target}: {reason}",
        at=datetime.fromtimestamp(now, UTC),
        task=deliver.name,
        payload=msgspec.to_builtins(alert),
    )
    return StoredDeadLetter(dead_letter.id, msgspec.json.encode(dead_letter).decode())


@cache
def _sweeper() -> Sweeper:
    """Of this process, with the settings it was started with. Its connections notice a fork."""
    from livectl import redis_client, settings
    from livectl.live.checker import Sweeper
    from livectl.live.store import Store
    from livectl.ops.processes import embedded_broker

    process_settings = settings.load(os.environ, Path.cwd())
    store = Store(redis_client.open_store(embedded_broker.resolve_addresses(process_settings).store))
    store.prepare()
    return Sweeper(process_settings, store)
