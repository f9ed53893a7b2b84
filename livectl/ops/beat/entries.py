"""The entries that beat runs, and which of them is due next."""

from __future__ import annotations

import math
from datetime import datetime, tzinfo
from hashlib import blake2b
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from celery.utils.log import get_logger

from livectl.models import After, Expectation, Run, Schedule
from livectl.ops.beat.run_store import DueRun
from livectl.ops.schedules import due_times
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


logger = get_logger(__name__)

MAX_IS_DUE_CALLS = 10_000  # of one schedule at a time: one that never becomes due must not stop the others
MAX_LATENESS_MS = 10_000  # a run that is later than this was missed, and `catchup` decides
MAX_MISSED_NOTED = 20  # of an entry at a time
ENCODER = msgspec.json.Encoder(order="deterministic")
NO_NEXT_RUN_MS = 10**15  # to the next run of an entry that has none


class DueTimes(Protocol):
    """When an entry is due, in UTC milliseconds. Every beat must find the same instants."""

    @property
    def identity(self) -> str:
        """Differs between entries that are due at different times."""

    def after(self, moment: int) -> int | None:
        """The first due instant after this moment; None when there is none."""

    def latest(self, first: int, until: int) -> int:
        """The latest due instant up to `until`, given an earlier one."""


class BeatEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What beat sends, and when."""

    name: str
    task: str
    due_times: DueTimes
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    catchup: Literal["once", "skip", "all"] = "once"
    window: float | None = None  # seconds
    deadline: float | None = None  # seconds
    overlap: Literal["allow", "skip", "queue", "queue-all", "cancel"] = "allow"
    count: int = 0  # runs at most; 0 is any number
    after: After | None = None  # the entry whose runs it follows
    pause_on_failure: int = 0  # failed runs in a row; 0 is never
    expect: Expectation | None = None  # of its runs

    def says_the_same_as(self, other: BeatEntry) -> bool:
        """Whether the two send the same at the same times, as an entry and the one that was imported from it."""
        first, second = (
            (entry.task, tuple(entry.args), entry.kwargs, entry.options, entry.due_times.identity)
            for entry in (self, other)
        )
        return first == second


def to_beat_entry(file_schedule: Schedule) -> BeatEntry:
    """The entry of a schedule of the file."""
    return BeatEntry(
        name=file_schedule.name,
        task=file_schedule.task,
        due_times=ComputedDueTimes(file_schedule),
        args=file_schedule.args,
        kwargs=file_schedule.kwargs,
        options=file_schedule.options,
        catchup=file_schedule.catchup,
        window=file_schedule.window,
        deadline=file_schedule.deadline,
        overlap=file_schedule.overlap,
        count=file_schedule.count or 0,
        after=file_schedule.timing if isinstance(file_schedule.timing, After) else None,
        pause_on_failure=file_schedule.pause_on_failure or 0,
        expect=file_schedule.expect,
    )


class ComputedDueTimes(msgspec.Struct, frozen=True):
    """The due instants of a schedule that livectl computes."""

    schedule: Schedule

    @property
    def identity(self) -> str:
        schedule = self.schedule
        facts: tuple[Any, ...] = (schedule.timing, schedule.timezone)
        policies = (schedule.start, schedule.end, schedule.jitter, schedule.excluded)
        if any(policy is not None and policy != () for policy in policies):  # the others are what they always were
            facts = (*facts, *policies)
        return _fingerprint(ENCODER.encode(facts))

    def after(self, moment: int) -> int | None:
        return due_times.next_due(self.schedule, moment)

    def latest(self, first: int, until: int) -> int:
        return due_times.last_due(self.schedule, until) or first


class CustomDueTimes(msgspec.Struct, frozen=True):
    """The due instants of a schedule of some other class, which is asked `is_due` at one moment after another.

    Beats agree on them as long as the class takes the time from its `now()` alone.
    """

    celery_schedule: Any
    zone: tzinfo  # of the times that the class is given

    @property
    def identity(self) -> str:
        text = repr(self.celery_schedule)
        return _fingerprint((type(self.celery_schedule).__qualname__ if " at 0x" in text else text).encode())

    def after(self, moment: int) -> int | None:
        asked_at = moment
        for _ in range(MAX_IS_DUE_CALLS):
            due, wait = self._is_due(moment, asked_at)
            if due and asked_at > moment:
                return asked_at
            asked_at += max(1, math.ceil(wait * MS_PER_SECOND))
        return None

    def latest(self, first: int, until: int) -> int:
        latest = first
        for _ in range(MAX_IS_DUE_CALLS):
            next_due = self.after(latest)
            if next_due is None or next_due > until:
                return latest
            latest = next_due
        return latest

    def _is_due(self, last_run: int, asked_at: int) -> tuple[bool, float]:
        """Whether a run would be due at a moment, and the seconds until the class wants to be asked again."""
        # The schedule itself is changed and put back: a copy loses what a class adds to Celery's own attributes.
        original_nowfun, self.celery_schedule.nowfun = (
            self.celery_schedule.nowfun,
            lambda: datetime.fromtimestamp(asked_at / MS_PER_SECOND, self.zone),
        )
        try:
            due, wait = self.celery_schedule.is_due(datetime.fromtimestamp(last_run / MS_PER_SECOND, self.zone))
        finally:
            self.celery_schedule.nowfun = original_nowfun
        return bool(due), float(wait)


def _fingerprint(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


class BeatTimetable:
    """The next due instant of each entry. An entry whose due times raise an error is logged and left out: `broken`."""

    def __init__(self, entries: Mapping[str, BeatEntry]) -> None:
        """None of the entries is due before it is reckoned."""
        self._entries = entries
        self._due_by_name: dict[str, int] = {}  # what the heap has of other instants is left from before a change
        self._heap: list[tuple[int, str]] = []
        self.broken: set[str] = set()
        self._missed: list[Run] = []

    def change(self, entries: Mapping[str, BeatEntry], changed: Iterable[str]) -> None:
        """Takes other entries over. Those that have changed are not due before they are reckoned anew."""
        self._entries = entries
        self.reckon(changed, {}, 0)

    def reckon(self, names: Iterable[str], since: Mapping[str, int], now: int) -> None:
        """Reckons these entries anew. Those without an instant in `since` are gone."""
        for name in names:
            before = self._due_by_name.pop(name, None)
            self.broken.discard(name)
            if name not in since:
                continue
            # An instant ahead is from before the store's clock was set back, and does not count.
            next_due = self._next_due_after(name, min(since[name], now))
            if next_due is not None:
                self._due_by_name[name] = next_due
                if next_due != before:
                    heappush(self._heap, (next_due, name))

    @property
    def next_due(self) -> int | None:
        while self._heap and self._due_by_name.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: int, limit: int) -> list[DueRun]:
        """The runs that are due by now, at most `limit`.

        The latest run of an entry stands for all that it missed, unless it catches up with all of them.
        """
        due_runs: list[DueRun] = []
        while (next_due := self.next_due) is not None and next_due <= now and len(due_runs) < limit:
            due, name = heappop(self._heap)
            due_run = self._schedule_next(name, due, now)
            if self.is_worth_sending(due_run.run, now):
                due_runs.append(due_run)
            else:
                self._missed.append(due_run.run)
        return due_runs

    def take_missed(self) -> list[Run]:
        """The runs that were passed over since the last call: some of those that another one stands for, and others.

        Another beat may have sent them.
        """
        missed, self._missed = self._missed, []
        return missed

    def _schedule_next(self, name: str, due: int, now: int) -> DueRun:
        """The run of an entry that is due; the entry's next run goes on the timetable."""
        if now - due > MAX_LATENESS_MS:
            first, due = due, self._missed_due(name, due, now)
            self._missed += self._runs_before(name, first, due)
        del self._due_by_name[name]
        next_due = self._next_due_after(name, due)
        if next_due is not None:
            self._due_by_name[name] = next_due
            heappush(self._heap, (next_due, name))
        period = NO_NEXT_RUN_MS if next_due is None else next_due - due
        return DueRun(Run(name, due), period, self._entries[name].count)

    def is_worth_sending(self, run: Run, now: int) -> bool:
        """Whether a run is not too late for its deadline, its `catchup` and the entry's next run."""
        entry = self._entries[run.name]
        lateness = now - run.due
        if entry.deadline is not None and lateness > entry.deadline * MS_PER_SECOND:
            logger.info("%s: not sent, %.1f s late is past its deadline", run.name, lateness / MS_PER_SECOND)
            return False
        if lateness <= MAX_LATENESS_MS:
            return True
        if entry.window is not None and lateness > entry.window * MS_PER_SECOND:
            logger.info("%s: not sent, %.1f s late is beyond its window", run.name, lateness / MS_PER_SECOND)
            return False
        if entry.catchup == "all":
            return True
        if entry.catchup == "skip":
            logger.info("%s: not sent, %.1f s late, since it skips what it missed", run.name, lateness / MS_PER_SECOND)
            return False
        next_due = self._next_due_after(run.name, run.due)
        return next_due is None or next_due > now

    def _runs_before(self, name: str, first: int, until: int) -> list[Run]:
        """The runs of an entry from one that is due to before another one, the first of them."""
        runs: list[Run] = []
        due: int | None = first
        while due is not None and due < until and len(runs) < MAX_MISSED_NOTED:
            runs.append(Run(name, due))
            due = self._next_due_after(name, due)
        return runs

    def _next_due_after(self, name: str, moment: int) -> int | None:
        try:
            return self._entries[name].due_times.after(moment)
        except Exception:
            self._mark_broken(name)
            return None

    def _missed_due(self, name: str, due: int, now: int) -> int:
        """Which of the runs that an entry has missed is to be sent next, given the first of them."""
        entry = self._entries[name]
        if entry.catchup != "all" or entry.window is None:
            return self._latest_due(name, due, now)
        opened = now - round(entry.window * MS_PER_SECOND)
        if due >= opened:
            return due
        first = self._next_due_after(name, opened - 1)
        return first if first is not None and first <= now else self._latest_due(name, due, now)

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
