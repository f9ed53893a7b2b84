"""Follows the events that workers send: one for each step of a job, and for what becomes of a worker.

    livectl:events:enabled:APP   zset  worker -> until when it sends events for whoever looks, in UTC seconds

Whoever lets workers send events says so for as long as it looks. When it was killed, that ends by itself, and the next
beat of livectl's, or the next that looks, stops them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError
from livectl.ops import deployment as deployments
from livectl.ops.cluster import broadcast
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from livectl.ops.deployment import Deployment

MAX_KNOWN_JOBS = 10_000  # whose task is remembered: only the first event of a job names it
HEARTBEAT = "worker-heartbeat"
SUBSCRIBE_S = 0.2
DRAIN_S = 0.5  # between two looks whether the time is over
RECONNECT_S = 2.0
ENABLED_KEY = "livectl:events:enabled"
LEASE_S = 30.0  # for which workers send events after whoever asked for it was heard of last
RENEW_S = 10.0
ENABLED_BY_US = "task events enabled"  # Celery's answer of a worker that did not send them before
TEXTS = ("args", "kwargs", "result", "exception", "traceback")  # what a job is given and returns, as text


# KEYS: the set. ARGV: the seconds of a lease, then workers.
RENEW_SCRIPT = """
local time = redis.call('TIME')
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], time[1] + ARGV[1], ARGV[i]) end
return 1
"""
STALE_SCRIPT = "return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])"


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are wanted, by patterns."""

    task: str | None = None
    worker: str | None = None
    kind: str | None = None  # task-failed, or failed alone

    def matches(self, event: dict[str, Any]) -> bool:
        kind, worker = str(event.get("type")), str(event.get("hostname") or "")
        if self.kind is None and kind == HEARTBEAT:  # every two seconds, of each worker
            return False
        return (
            (self.task is None or fnmatchcase(str(event.get("name") or ""), self.task))
            and _fits(self.worker, worker, worker.partition("@")[0])
            and _fits(self.kind, kind, kind.partition("-")[2])
        )


def _fits(pattern: str | None, *words: str) -> bool:
    return pattern is None or any(fnmatchcase(word, pattern) for word in words)


class EventStream:
    """The events of the workers on a broker. With `enable` all of them send events of jobs for as long as it is open.

    Those that did so before go on afterwards, and the others no longer do.
    """

    def __init__(self, deployment: Deployment, event_filter: EventFilter, *, enable: bool = False) -> None:
        self._deployment, self._filter, self._enable = deployment, event_filter, enable
        self._app = deployments.celery_client(deployment)
        self._enabled: set[str] = set()
        self._tasks: OrderedDict[str, str] = OrderedDict()
        self._received: list[dict[str, Any]] = []
        self._renewed_at = float("-inf")

    def __enter__(self) -> EventStream:
        deployments.check_broker(self._deployment)
        with suppress(LivectlError):
            stop_left_on(self._deployment)
        return self

    def __exit__(self, *_: object) -> None:
        if self._enabled:
            with suppress(LivectlError):
                _disable(self._deployment, sorted(self._enabled))

    def read(self, seconds: float, ready: Callable[[], None], say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
        """The wanted events as they come, until the time is over. `ready` is called once none is missed any more."""
        deadline = time.monotonic() + seconds
        with self._app.connection_for_read() as connection:
            errors = (*connection.connection_errors, *connection.channel_errors)
        while time.monotonic() < deadline:
            try:
                yield from self._read_connected(deadline, ready)
            except errors as error:
                say(f"the broker is away: {redact_text(str(error))}; events are missed until it is back")
                time.sleep(RECONNECT_S)

    def _read_connected(self, deadline: float, ready: Callable[[], None]) -> Iterator[dict[str, Any]]:
        with self._app.connection_for_read() as connection:
            receiver = self._app.events.Receiver(connection, handlers={"*": self._received.append})
            with receiver.consumer_context(wakeup=False) as (own_connection, _, _):
                self._drain(own_connection, SUBSCRIBE_S)  # kombu subscribes on Redis only when it first waits
                if self._enable:
                    self._enable_events()
                ready()
                while time.monotonic() < deadline:
                    self._drain(own_connection, DRAIN_S)
                    if self._enabled and time.monotonic() - self._renewed_at > RENEW_S:
                        self._renew()
                    yield from self._take_wanted()

    @staticmethod
    def _drain(connection: Any, seconds: float) -> None:
        with suppress(TimeoutError):
            connection.drain_events(timeout=seconds)

    def _take_wanted(self) -> Iterator[dict[str, Any]]:
        received, self._received[:] = list(self._received), []
        for event in received:
            if self._enable and event.get("type") == "worker-online":
                self._enable_events(str(event.get("hostname")))
            named = self._with_task(event)
            if self._filter.matches(named):
                yield named

    def _with_task(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event with the name of its task, as far as it is known, and without secrets."""
        if job_id := event.get("uuid"):
            if name := event.get("name"):
                self._tasks[str(job_id)] = str(name)
                while len(self._tasks) > MAX_KNOWN_JOBS:
                    self._tasks.popitem(last=False)
            event = {**event, "name": event.get("name") or self._tasks.get(str(job_id))}
        hidden = {name: redact_text(event[name]) for name in TEXTS if isinstance(event.get(name), str)}
        return {**redact(event), **hidden}

    def _enable_events(self, *names: str) -> None:
        for worker, reply in _ask(self._deployment, "enable_events", *names).items():
            if isinstance(reply, dict) and reply.get("ok") == ENABLED_BY_US:
                self._enabled.add(worker)
        if self._enabled:
            self._renew()

    def _renew(self) -> None:
        """Says that somebody looks yet. Without a store nobody else could stop what a kill leaves on."""
        self._renewed_at = time.monotonic()
        with suppress(LivectlError):
            _in_store(
                self._deployment, "EVAL", RENEW_SCRIPT, 1, _enabled_key(self._deployment), LEASE_S, *self._enabled
            )


def stop_left_on(deployment: Deployment) -> list[str]:
    """Stops the events of workers that send them for somebody who was killed. Returns their names."""
    stale = _in_store(deployment, "EVAL", STALE_SCRIPT, 1, _enabled_key(deployment)) or []
    names = [name.decode(errors="replace") for name in stale]
    if names:
        _disable(deployment, names)
    return names


def _disable(deployment: Deployment, names: Sequence[str]) -> None:
    _ask(deployment, "disable_events", *names)
    _in_store(deployment, "ZREM", _enabled_key(deployment), *names)


def _ask(deployment: Deployment, method: str, *names: str) -> dict[str, Any]:
    with broadcast.connect(deployment) as connection:
        command = ControlCommand(method=method, destination=names or None)
        return broadcast.ask(deployment, connection, command).by_worker


def _in_store(deployment: Deployment, *command: Any) -> Any:
    """The reply of the store; None where there is none."""
    if deployment.store is None:
        return None
    with redis_client.connect(deployment.store) as connection:
        return connection.execute(*command)


def _enabled_key(deployment: Deployment) -> str:
    return f"{ENABLED_KEY}:{deployment.app_name}"
