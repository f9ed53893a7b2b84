"""The timetable: which runs come next, and which of the missed ones are still worth sending."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from livectl.model import Run
from livectl.ops.beat.dues import SECOND
from livectl.ops.beat.runs import Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.ops.beat.dues import Entry

logger = get_logger(__name__)

LATE = 10_000  # milliseconds: up to here a run is merely late; beyond, it was missed, and `catchup` decides
FOREVER = 10**15  # milliseconds to the next run where there is none


class Timetable:
    """The next due instant of each entry. One whose instants cannot be reckoned is logged, and left out: `broken`."""

    def __init__(self, entries: Mapping[str, Entry], counted: Mapping[str, int], now: int) -> None:
        self._entries = entries
        self._heap: list[tuple[int, str]] = []
        self.broken: set[str] = set()
        for name in entries:
            # What the store has from before its clock was set back lies ahead, and does not count.
            following = self._after(name, min(counted[name], now))
            if following is not None:
                self._heap.append((following, name))
        heapify(self._heap)

    @property
    def next(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: int, most: int) -> list[Wanted]:
        """The runs due by now, at most so many. Of an entry that missed many, the latest stands for all."""
        found: list[Wanted] = []
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            due, name = heappop(self._heap)
            wanted = self._settle(name, due, now)
            if self.is_worth_sending(wanted.run, now):
                found.append(wanted)
        return found

    def _settle(self, name: str, due: int, now: int) -> Wanted:
        """The run that stands for what is due; its entry's next one goes on the timetable."""
        if now - due > LATE:
            due = self._latest(name, due, now)
        following = self._after(name, due)
        if following is not None:
            heappush(self._heap, (following, name))
        return Wanted(Run(name, due), FOREVER if following is None else following - due)

    def is_worth_sending(self, run: Run, now: int) -> bool:
        entry = self._entries[run.name]
        late = now - run.due
        if entry.deadline is not None and late > entry.deadline * SECOND:
            logger.info("%s: not sent, %.1f s late is past its deadline", run.name, late / SECOND)
            return False
        if late <= LATE:
            return True
        if entry.catchup == "skip":
            logger.info("%s: not sent, %.1f s late, since it skips what it missed", run.name, late / SECOND)
            return False
        following = self._after(run.name, run.due)
        return following is None or following > now

    def _after(self, name: str, moment: int) -> int | None:
        try:
            return self._entries[name].dues.after(moment)
        except Exception:
            self._break(name)
            return None

    def _latest(self, name: str, due: int, now: int) -> int:
        try:
            return self._entries[name].dues.latest(due, now)
        except Exception:
            self._break(name)
            return due

    def _break(self, name: str) -> None:
        if name not in self.broken:
            logger.error("Entry %r is left out: its next run cannot be reckoned", name)
            self.broken.add(name)
