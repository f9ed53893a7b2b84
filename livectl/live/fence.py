"""Lets one process at a time change the whole store, and keeps out who was taken for dead and comes back.

Whoever moves the store has a number, higher than those of all before. Each place notes the highest number that has been
there and takes nothing from a lower one, in the same step: a process that stood still for longer than its lease,
while another did its work, writes nothing old over what is new.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from livectl import replicas
from livectl.errors import ServerError
from livectl.live.cells import COMMON, lease_place
from livectl.live.lua_scripts import ScriptCall, lua_script, run_scripts
from livectl.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LEASE_SECONDS, LOOK_SECONDS = 10.0, 0.2
PLACES_AT_ONCE = 500  # that are closed in one round trip

log = logging.getLogger(__name__)


class Fence:
    """What a process that moves the store changes it by. ServerError where another has come since."""

    def __init__(self, client: Any, token: str) -> None:
        self._client = client
        self._token = token
        self._place = lease_place("migrate")
        self._number = 0

    def take(self) -> bool:
        """Whether the store is this process's to move, for a while from now on."""
        number = int(lua_script(self._client, "lease")(self._place, self._token, LEASE_SECONDS))
        self._number = self._number or number
        return number > 0

    def keep_on(self) -> None:
        """Goes on for as long again; this belongs between two pieces."""
        if not self.take():
            raise _superseded()

    def describe_holder(self) -> str:
        """Whose the store is to move; empty where it is nobody's by now."""
        token = self._client.get(f"{self._place}holder")
        return token.partition(" ")[0] if token else ""

    def seconds_left(self) -> float:
        """How long a holder that has died still keeps others waiting."""
        return max(0.0, float(self._client.pttl(f"{self._place}holder")) / 1000)

    def leave(self) -> None:
        lua_script(self._client, "leave")(self._place, self._token)

    def close(self, places: Iterable[str]) -> None:
        """Keeps out of these places whoever moved the store before. All that any of them may write to belongs here."""
        replicas.confirm(self._client, [self._place])
        rest = iter(places)
        while some := list(islice(rest, PLACES_AT_ONCE)):
            self.run([self.call(place, "fence") for place in some])
            replicas.confirm(self._client, some)
            self.keep_on()

    def call(self, place: str, kind: str, *words: str | float) -> ScriptCall:
        """A command and its words, as a change of the key of this kind."""
        return ScriptCall("move", place, (self._number, *words), {"rows": kind})

    def call_pulls(self, place: str, rows: str, *, over: bool = True) -> ScriptCall:
        """The same of poll weights, which change the sums of their cell with them."""
        return ScriptCall("pulls", place, (self._number, rows, int(over)))

    def begin_copy(self, name: str, digest: str) -> bool:
        """Notes that the store is being filled from a copy. False where it knows somebody already."""
        return bool(lua_script(self._client, "fill")(COMMON, self._number, name, digest))

    def run(self, calls: Sequence[ScriptCall]) -> None:
        """Takes these, each a step of its own."""
        if not all(map(int, run_scripts(self._client, calls))):
            raise _superseded()

    def change(self, place: str, kind: str, *words: str | float) -> None:
        self.run([self.call(place, kind, *words)])


@contextmanager
def alone(client: Any) -> Iterator[Fence]:
    """Waits until no other process moves the store, and says in the log for whom and how long."""
    fence, waited_for = Fence(client, f"{os.getpid()}@{socket.gethostname()} {uuid4().hex}"), ""
    while not fence.take():
        if (holder := fence.describe_holder()) not in {"", waited_for}:
            waited_for = holder
            seconds = format_duration(math.ceil(fence.seconds_left()))
            log.warning(
                "waiting for process %s, which moves the store: until it is done, or %s if it died", holder, seconds
            )
        time.sleep(LOOK_SECONDS)
    try:
        yield fence
    finally:
        fence.leave()


def _superseded() -> ServerError:
    return ServerError("Another process has gone on with this meanwhile.", "Wait until it is done, or say it again.")
