"""Keeps the entries of a beat in the order in which they are due."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from livectl.models import Run
from livectl.ops.beat.run_store import DueRun
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.ops.beat.entries import BeatEntry


logger = get_logger(__name__)

MAX_LATENESS_MS = 10_000  # a run that is later than this was missed, and `catchup` decides
NO_NEXT_RUN_MS = 10**15  # to the next run of an entry that has none


class BeatTimetable:
    """The next due instant of each entry. An entry whose due times raise an error is logged and left out: `broken`."""

    def __init__(self, entries: Mapping[str, BeatEntry], since: Mapping[str, int], now: int) -> None:
        self._entries = entries
        self._heap: list[tuple[int, str]] = []
        self.broken: set[str] = set()
        for name in entries:
            # An instant ahead is from before the store's clock was set back, and does not count.
            next_due = self._next_due_after(name, min(since[name], now))
            if next_due is not None:
                self._heap.append((next_due, name))
        heapify(self._heap)

    @property
    def next_due(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: int, limit: int) -> list[DueRun]:
        """The runs that are due by now, at most `limit`. The latest run of an entry stands for all that it missed."""
        due_runs: list[DueRun] = []
        while self._heap and self._heap[0][0] <= now and len(due_runs) < limit:
            due, name = heappop(self._heap)
            due_run = self._schedule_next(name, due, now)
            if self.is_worth_sending(due_run.run, now):
                due_runs.append(due_run)
        return due_runs

    def _schedule_next(self, name: str, due: int, now: int) -> DueRun:
        """The run of an entry that is due; the entry's next run goes on the timetable."""
        if now - due > MAX_LATENESS_MS:
            due = self._latest_due(name, due, now)
        next_due = self._next_due_after(name, due)
        if next_due is not None:
            heappush(self._heap, (next_due, name))
        return DueRun(Run(name, due), NO_NEXT_RUN_MS if next_due is None else next_due - due)

    def is_worth_sending(self, run: Run, now: int) -> bool:
        """Whether a run is not too late for its deadline, its `catchup` and the entry's next run."""
        entry = self._entries[run.name]
        lateness = now - run.due
        if entry.deadline is not None and lateness > entry.deadline * MS_PER_SECOND:
            logger.info("%s: not sent, %.1f s late is past its deadline", run.name, lateness / MS_PER_SECOND)
            return False
        if lateness <= MAX_LATENESS_MS:
            return True
        if entry.catchup == "skip":
            logger.info("%s: not sent, %.1f s late, since it skips what it missed", run.name, lateness / MS_PER_SECOND)
            return False
        next_due = self._next_due_after(run.name, run.due)
        return next_due is None or next_due > now

    def _next_due_after(self, name: str, moment: int) -> int | None:
        try:
            return self._entries[name].due_times.after(moment)
        except Exception:
            self._mark_broken(name)
            return None

    def _latest_due(self, name: str, due: int, now: int) -> int:
        try:
            return self._entries[name].due_times.latest(due, now)
        except Exception:
            self._mark_broken(name)
            return due

    def _mark_broken(self, name: str) -> None:
        if name not in self.broken:
            logger.error("Entry %r is left out: its next run cannot be reckoned", name)
            self.broken.add(name)
