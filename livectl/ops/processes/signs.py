"""Signs of life of a worker and a beat: what they leave at the broker and in the store while they work."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import resp
from livectl.errors import LivectlError, ServerError
from livectl.ops.beat import runs
from livectl.ops.cluster import deployment, pidbox
from livectl.ops.cluster.pidbox import Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.cluster.deployment import Deployment

WORKER_SECONDS = 5.0  # what a busy machine leaves a worker to answer in
BEAT_SECONDS = 60.0  # a beat looks in each second
MILLISECOND = 0.001


class Seen(msgspec.Struct, frozen=True):
    """What a beat leaves each time it looks in: when, in milliseconds, and which process it is."""

    at: int
    host: str
    pid: int


class Signs:
    """Asks for them. The deployment is found on first need: that may take loading somebody's app."""

    def __init__(self, find: Callable[[], Deployment], host: str, complain: Callable[[str], None]) -> None:
        self._find = find
        self._host = host
        self._complain = complain
        self._found: Deployment | None = None
        self._app: Any = None
        self._hopeless = False
        self._one_at_a_time = threading.Lock()

    def worker(self, node: str) -> bool | None:
        """Whether the worker of this name answers; None where nobody can tell."""
        place = self._place()
        if place is None:
            return None
        try:
            return node in self._ask(place, Question(method="ping", destination=(node,)))
        except Exception:  # kombu lets through whatever its transports raise
            return None

    def _ask(self, place: Deployment, question: Question) -> dict[str, Any]:
        if place.broker is None or not place.broker.is_redis:
            return self._ask_through_kombu(place, question)
        with resp.dial(place.broker, WORKER_SECONDS + resp.PATIENCE) as wire:
            return pidbox.ask(wire, place.layout, place.broker.database, question, WORKER_SECONDS).said

    def _ask_through_kombu(self, place: Deployment, question: Question) -> dict[str, Any]:
        self._app = self._app or deployment.client(place)
        asked = {"destination": list(question.destination or ()), "reply": True, "timeout": WORKER_SECONDS}
        said = self._app.control.broadcast(question.method, **asked)
        return {name: answer for one in said or [] for name, answer in one.items()}

    def beat(self, leader: int) -> bool | None:
        """Whether a beat of the session that this process leads looked in lately."""
        place = self._place()
        if place is None or place.store is None:
            return None
        try:
            with resp.dial(place.store) as wire:
                (seconds, _), told = wire.ask_all([("TIME",), ("HVALS", runs.SEEN)])
        except (ServerError, resp.Refused):
            return None
        seen = [msgspec.json.decode(one, type=Seen) for one in told]
        lately = (float(seconds) - BEAT_SECONDS) / MILLISECOND
        return any(one.at > lately and one.host == self._host and _session(one.pid) == leader for one in seen)

    def _place(self) -> Deployment | None:
        with self._one_at_a_time:
            if self._found is None and not self._hopeless:
                try:
                    self._found = self._find()
                except ServerError:  # not there yet, or away
                    return None
                except LivectlError as error:
                    self._hopeless = True
                    self._complain(f"whether worker and beat work cannot be seen, only that they run: {error.message}")
            return self._found


def _session(pid: int) -> int | None:
    """The process that leads its session: the child that `up` started, however many tethers lie between."""
    try:
        return os.getsid(pid)
    except OSError:
        return None
