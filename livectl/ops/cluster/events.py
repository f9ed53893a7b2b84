"""Follows the events that workers send: one for each step of a job, and for what becomes of a worker."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import LivectlError
from livectl.ops import deployment as deployments
from livectl.ops.cluster import broadcast
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.ops.deployment import Deployment

MAX_KNOWN_JOBS = 10_000  # whose task is remembered: only the first event of a job names it
HEARTBEAT = "worker-heartbeat"
SUBSCRIBE_S = 0.2
DRAIN_S = 0.5  # between two looks whether the time is over
RECONNECT_S = 2.0
ENABLED_BY_US = "task events enabled"  # Celery's answer of a worker that did not send them before
TEXTS = ("args", "kwargs", "result", "exception", "traceback")  # what a job is given and returns, as text


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

    def __enter__(self) -> EventStream:
        deployments.check_broker(self._deployment)
        return self

    def __exit__(self, *_: object) -> None:
        if self._enabled:
            with suppress(LivectlError):
                self._ask("disable_events", *sorted(self._enabled))

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
        for worker, reply in self._ask("enable_events", *names).items():
            if isinstance(reply, dict) and reply.get("ok") == ENABLED_BY_US:
                self._enabled.add(worker)

    def _ask(self, method: str, *names: str) -> dict[str, Any]:
        with broadcast.connect(self._deployment) as connection:
            command = ControlCommand(method=method, destination=names or None)
            return broadcast.ask(self._deployment, connection, command).by_worker
