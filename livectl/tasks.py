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
    from livectl.live.alerts.alert import Alert
    from livectl.live.alerts.delivery import Courier
    from livectl.live.alerts.outbox import Grave
    from livectl.live.sweeping import Sweeper

LONGEST_WAIT = 30.0  # seconds a job waits in a worker at most: on Redis, one that waits longer might run twice

EXPECTED = (LivectlError, RedisError)  # a line in the log, not a traceback: the next sweep tries again

logger = get_task_logger(__name__)


# The answer is kept, unlike those of other tasks: a person asks for it to see that the whole way there and back works.
@shared_task(name="livectl.ping", ignore_result=False)
def ping() -> str:
    return "pong"


@shared_task(name="livectl.report", bind=True)
def report(self: Task) -> dict[str, Any]:
    """Who works here, with which versions; also a line of the worker's log."""
    versions = {"livectl": __version__, "celery": version("celery"), "python": platform.python_version()}
    told = {"worker": self.request.hostname, "pid": os.getpid(), **versions}
    logger.info("report: %s", ", ".join(f"{name} {value}" for name, value in told.items()))
    return told


@shared_task(name="livectl.sweep", bind=True, throws=EXPECTED)
def sweep(self: Task) -> None:
    """Claims who is due, and sends the jobs that ask after them."""
    from livectl.live.sweeping import EXPIRES
    from livectl.ops.jobs import posting

    sweeper, now = _sweeper(), time.time()
    sweeper.refresh(now)
    for portions in sweeper.claim(now):
        letters = [posting.Letter(id=str(uuid4()), args=one, brief=f"({one})") for one in portions]
        posting.post(self.app, check.name, letters, posting.Terms(expires=EXPIRES))
    sweeper.learn(now)


@shared_task(name="livectl.check", bind=True, max_retries=None, throws=EXPECTED)
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
        pause, unheard = min(due - now, LONGEST_WAIT), bool(self.request.ignore_result)
        raise self.retry(args=(platform, ids, due), countdown=pause, ignore_result=unheard)
    seen = checker.look(platform, ids, now)
    return None if self.request.ignore_result else [msgspec.to_builtins(one) for one in seen]


@shared_task(name="livectl.prune", throws=EXPECTED)
def prune() -> None:
    """Drops what nobody needs any more."""
    dropped = _sweeper().prune(time.time())
    logger.info("pruned: %d streamers forgotten", dropped)


@shared_task(name="livectl.deliver")
def deliver() -> None:
    """Tells every target what it has not been told. What is told lies in the store: no alert is ever an argument."""
    _courier().deliver()


@shared_task(name="livectl.digest")
def digest() -> None:
    """Tells the targets that want a digest, once the time of day has come that they name."""
    _courier().digest()


@cache
def _courier() -> Courier:
    """Of this process, as `_sweeper` is."""
    from livectl import config, connect
    from livectl.live.alerts import delivery, targets
    from livectl.live.network.fetch import Fetcher
    from livectl.live.network.route import Routes
    from livectl.live.store import Store
    from livectl.ops import broker

    settings = config.load(os.environ, Path.cwd())
    client = connect.open_store(broker.addresses(settings).store)
    store = Store(client)
    store.start()
    senders = targets.senders(settings, Fetcher(Routes.of(settings.network), store))
    return delivery.Courier(settings, store, client, senders, delivery.Tools(time.time, _bury))


def _bury(alert: Alert, reason: str, now: float) -> Grave:
    """An alert that nobody took, as a dead letter."""
    from livectl.live.alerts.outbox import Grave
    from livectl.ops.jobs import deadletters

    letter = deadletters.Letter(
        id=alert.key,
        kind="alert",
        reason=f"{alert.target}: {reason}",
        at=datetime.fromtimestamp(now, UTC),
        task=deliver.name,
        payload=msgspec.to_builtins(alert),
    )
    return Grave(letter.id, msgspec.json.encode(letter).decode())


@cache
def _sweeper() -> Sweeper:
    """Of this process, with the settings it was started with. Its connections notice a fork."""
    from livectl import config, connect
    from livectl.live.store import Store
    from livectl.live.sweeping import Sweeper
    from livectl.ops import broker

    settings = config.load(os.environ, Path.cwd())
    store = Store(connect.open_store(broker.addresses(settings).store))
    store.start()
    return Sweeper(settings, store)
