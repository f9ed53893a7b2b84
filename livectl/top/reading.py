"""Reads for the panels, one after the other, in a thread that uses a small share of a core at most."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from livectl.errors import LivectlError
from livectl.models import BoardReading
from livectl.redaction import hide_secrets
from livectl.top.panels import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.top.panels import Panel, TopSource

FOCUSED_S, OTHERS_S = 1.0, 5.0  # between two readings of the panel that has the keys, and of each other
STATUS_S = 2.0
CPU_SHARE = 0.03  # of the thread's CPU time in all: after a reading that took 0.3 s it rests for ten
MAX_REST_S = 30.0


class Reading(NamedTuple):
    """One reading: the rows of a panel, or the status of the whole where `panel` is None."""

    panel: Panel | None
    value: Any  # Rows, or the readings of the status line


class Turns:
    """Whose turn it is: the panel with the keys often, the others from time to time."""

    def __init__(self, panels: Sequence[Panel], now: float) -> None:
        self.focused = panels[0]
        self._unread: set[Panel | None] = {None, *panels}
        self._due: dict[Panel | None, float] = dict.fromkeys([None, *panels], now)

    def focus(self, panel: Panel, now: float) -> None:
        self.focused = panel
        self._due[panel] = now

    def next(self) -> tuple[Panel | None, float]:
        """What is read next, and when. Where several are late, the one with the keys comes first."""
        return min(self._due.items(), key=lambda item: (item[1], item[0] is not self.focused))

    @property
    def is_first_round(self) -> bool:
        return bool(self._unread)

    def read(self, panel: Panel | None, now: float) -> None:
        self._unread.discard(panel)
        interval = STATUS_S if panel is None else FOCUSED_S if panel is self.focused else OTHERS_S
        self._due[panel] = now + interval


class Reader:
    """Reads in a thread of its own, and hands each reading to `deliver`."""

    def __init__(self, source: TopSource, panels: Sequence[Panel], deliver: Callable[[Reading], None]) -> None:
        self._source = source
        self._deliver = deliver
        self._turns = Turns(panels, time.monotonic())
        self._rests_until = 0.0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="livectl-top", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        with self._changed:
            self._changed.notify()

    def focus(self, panel: Panel) -> None:
        """Reads this panel next, and often from now on."""
        with self._changed:
            self._turns.focus(panel, time.monotonic())
            self._changed.notify()

    def _run(self) -> None:
        while not self._ended.is_set():
            panel = self._wait_for_turn()
            began = time.thread_time()
            reading = Reading(panel, read_rows(panel, self._source) if panel else read_status(self._source))
            self._rest(panel, time.thread_time() - began)
            if not self._ended.is_set():
                self._deliver(reading)

    def _wait_for_turn(self) -> Panel | None:
        with self._changed:
            while not self._ended.is_set():
                panel, due = self._turns.next()
                wait_s = max(due, self._rests_until) - time.monotonic()
                if wait_s <= 0:
                    return panel
                self._changed.wait(wait_s)
        return None

    def _rest(self, panel: Panel | None, used: float) -> None:
        with self._changed:
            now = time.monotonic()
            self._turns.read(panel, now)
            if not self._turns.is_first_round:  # everything is there as soon as can be
                self._rests_until = now + min(MAX_REST_S, used / CPU_SHARE)


def read_rows(panel: Panel, source: TopSource) -> Rows:
    """The rows of a panel, or why there are none: a panel that cannot be read hides no other."""
    try:
        return panel.read(source)
    except Exception as error:
        return Rows(summary="cannot be read", problem=_describe(error))


def read_status(source: TopSource) -> Sequence[BoardReading]:
    try:
        return source.status()
    except Exception as error:
        return [BoardReading(problems=(_describe(error),))]


def _describe(error: Exception) -> str:
    """What went wrong; also where it was nothing that livectl foresaw: the screen goes on."""
    if isinstance(error, LivectlError):
        return hide_secrets(f"{error.message}\n{error.hint}".strip())
    return hide_secrets(f"{type(error).__name__}: {error}")
