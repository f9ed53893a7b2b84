"""The timetable: which runs come next, and which of the missed ones are still worth sending."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from livectl.model import Run
from livectl.ops.dues import SECOND
from livectl.ops.runs import Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.ops.dues import Entry

logger = get_logger(__name__)

LATE = 10_000  # milliseconds: up to here a run is merely late; beyond, it was missed, and `catchup` decides
FOREVER = 10**15  # milliseconds to the next run where there is none


class Timetable:
    """The next due instant of each entry. One whose instants cannot be reckoned is logged, and left out."""

    def __init__(self, entries: Mapping[str, Entry], counted: Mapping[str, int], now: int) -> None:
        self._entries = entries
        self._heap: list[tuple[int, str]] = []
        for name in entries:
            # What the store has from before its clock was set back lies ahead, and does not count.
            self._add(name, min(counted[name], now))
        heapify(self._heap)

    def _add(self, name: str, after: int) -> None:
        if following := self._after(name, after):
            self._heap.append((following, name))

    @property
    def next(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: int, most: int) -> list[Wanted]:
        """The runs due by now, at most so many. Of an entry that missed many, the latest stands for all."""
        found: list[Wanted] = []
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            wanted = self._settle(*heappop(self._heap), now)
            if self.is_worth_sending(wanted.run, now):
                found.append(wanted)
        return found

    def _settle(self, due: int, name: str, now: int) -> Wanted:
        if now - due > LATE:
            due = self._entries[name].dues.latest(due, now)
        following = self._after(name, due)
        if following:
            heappush(self._heap, (following, name))
        return Wanted(Run(name, due), following - due if following else FOREVER)

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
        following = entry.dues.after(run.due)
        return following is None or following > now

    def _after(self, name: str, moment: int) -> int | None:
        try:
            return self._entries[name].dues.after(moment)
        except Exception:
            logger.exception("Entry %r is left out: its next run cannot be reckoned", name)
            return None
