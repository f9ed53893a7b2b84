"""Tells whether a worker or a beat is alive: the worker answers, the beat leaves its heartbeat in the store."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from livectl import redis_client
from livectl.errors import LivectlError, ServerError
from livectl.ops import deployment as deployments
from livectl.ops.beat import heartbeats
from livectl.ops.cluster import broadcast
from livectl.ops.protocol.remote_control import ControlCommand

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.remote_control import ControlReplies


WORKER_REPLY_SECONDS = 5.0  # for a worker on a busy machine to answer
BEAT_SILENCE_SECONDS = 60.0  # a beat looks in each second


class LivenessProbe:
    """Checks a worker and a beat. It finds the deployment on first need, because that may load the user's app."""

    def __init__(self, find_deployment: Callable[[], Deployment], host: str, warn: Callable[[str], None]) -> None:
        self._find_deployment = find_deployment
        self._host = host
        self._warn = warn
        self._deployment: Deployment | None = None
        self._load_failed = False
        self._lock = threading.Lock()

    def is_worker_alive(self, node: str) -> bool | None:
        """Whether the worker of this name answers; None where nobody can tell."""
        target = self._load_deployment()
        if target is None:
            return None
        try:
            return node in self._ask_worker(target, node).by_worker
        except Exception:  # kombu lets through whatever its transports raise
            return None

    def _ask_worker(self, target: Deployment, node: str) -> ControlReplies:
        ping = ControlCommand(method="ping", destination=(node,))
        with broadcast.connect(target, WORKER_REPLY_SECONDS + redis_client.SERVER_TIMEOUT_S) as connection:
            return broadcast.ask(target, connection, ping, WORKER_REPLY_SECONDS)

    def is_beat_alive(self, leader: int) -> bool | None:
        """Whether a beat in the session of this leader looked in lately; None where nobody can tell."""
        target = self._load_deployment()
        if target is None or target.store is None:
            return None
        try:
            with redis_client.connect(target.store) as connection:
                activity = heartbeats.read_activity(connection)
        except ServerError:
            return None
        return any(
            activity.age_s(heartbeat) < BEAT_SILENCE_SECONDS
            and heartbeat.host == self._host
            and _session_leader(heartbeat.pid) == leader
            for heartbeat in activity.heartbeats.values()
        )

    def _load_deployment(self) -> Deployment | None:
        with self._lock:
            if self._deployment is None and not self._load_failed:
                try:
                    self._deployment = deployments.keep_client(self._find_deployment())
                except ServerError:  # not started yet, or away
                    return None
                except LivectlError as error:
                    self._load_failed = True
                    self._warn(f"whether worker and beat work cannot be seen, only that they run: {error.message}")
            return self._deployment


def _session_leader(pid: int) -> int | None:
    """The process that leads the session: the child that `up` started, however many processes lie between."""
    try:
        return os.getsid(pid)
    except OSError:
        return None
