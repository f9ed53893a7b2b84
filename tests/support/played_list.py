"""A site with a list of everybody who is live, played in one process, with pages that shift and fail."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from livectl.live.network.fetcher import CheckReport, PageReport
from livectl.live.platforms.base import CheckContext, CheckFailed, Listing, ListingPage, Platform, next_page, one_by_one
from livectl.models import Observation, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from random import Random

NAME = "played"


@dataclass(frozen=True)
class Faults:
    """What goes wrong, as shares: of rows that are missing or doubled, of pages that fail or are the last too early."""

    holes: float = 0.0
    doubles: float = 0.0
    failures: float = 0.0
    cuts: float = 0.0
    shuffled: float = 0.0  # of pages, whose rows are in no order
    failed_checks: float = 0.0
    late_rows: float = 0.0  # of those who have left, who are still shown for a while


@dataclass
class PlayedSite:
    """Everybody goes live and leaves again by chance. Its clock is set by `play`; whoever asks it is counted."""

    population: int
    live: int  # of them, on average
    page_size: int
    faults: Faults
    dice: Random
    began: float
    hours: float = 3.0  # of a session, on average
    newest_first: bool = True
    hint: bool = False
    budget: str = "120/m"
    pages: int = 0  # that the platform says it usually has
    now: float = 0.0
    list_requests: int = 0
    check_requests: int = 0
    starts: dict[str, int] = field(default_factory=dict)  # of those who are live
    ends: dict[tuple[str, int], float] = field(default_factory=dict)  # by id and start, of those who have left
    hidden: set[str] = field(default_factory=set)  # whom the list never shows
    recordings: set[str] = field(default_factory=set)  # whom it shows as live for ever, though they are not
    endless: bool = False  # its pages never end, and show strangers
    circle: int = 0  # after so many pages, these come again and again
    long_cursor: int = 0  # characters more in the name of the next page, where they never end
    _events: list[tuple[float, str]] = field(default_factory=list)
    _order: list[tuple[str, int]] = field(default_factory=list)  # by start, some of them gone

    def __post_init__(self) -> None:
        self.now = self.began
        share = self.live / self.population
        self._away = self.hours * 3600 * (1 / share - 1)
        for number in range(self.population):
            name = str(number)
            if self.dice.random() < share:
                self._go_live(name, self.began - self.dice.expovariate(1 / (self.hours * 3600)))
            else:
                heapq.heappush(self._events, (self.began + self.dice.expovariate(1 / self._away), name))
        self._order.sort(key=lambda one: one[1])

    @property
    def requests(self) -> int:
        return self.list_requests + self.check_requests

    @property
    def platform(self) -> Platform:
        return Platform(
            name=NAME,
            hosts=frozenset(),
            batch=1,
            budget=self.budget,
            address=lambda text: text,
            url=lambda name: f"https://played.example/{name}",
            check=one_by_one(NAME, self._check_streamer),
            listing=Listing(self._list_page, self.pages or -(-self.live // self.page_size), hint=self.hint),
        )

    def play(self, now: float) -> None:
        """All that happens until then."""
        while self._events and self._events[0][0] <= now:
            at, name = heapq.heappop(self._events)
            if name in self.starts:
                self.ends[name, self.starts.pop(name)] = at
                heapq.heappush(self._events, (at + self.dice.expovariate(1 / self._away), name))
            else:
                self._go_live(name, at)
        self.now = now
        if len(self._order) > 1.05 * len(self.starts):
            self._order = [one for one in self._order if self.starts.get(one[0]) == one[1]]

    def truth(self) -> list[Observation]:
        """Who is live."""
        context = CheckContext(self.now, {})
        return [self._observation(name, start, context) for name, start in self.starts.items()]

    def check(self, platform: Platform, ids: Sequence[str], context: CheckContext, exit_name: str = "") -> CheckReport:
        """As the fetcher does it."""
        generators = [platform.check([each], context) for each in ids]
        return CheckReport([observation for each in generators for observation in _run(each)], len(ids))

    def list_page(self, platform: Platform, cursor: str, context: CheckContext, exit_name: str = "") -> PageReport:
        """As the fetcher does it."""
        assert not exit_name
        assert platform.listing
        try:
            return PageReport(_run(platform.listing.page(cursor, context)), 1)
        except CheckFailed as failure:
            return PageReport(failure, 1)

    def _go_live(self, name: str, at: float) -> None:
        self.starts[name] = int(at)
        self._order.append((name, int(at)))
        stay = 600 + self.dice.expovariate(1 / (self.hours * 3600 - 600))
        heapq.heappush(self._events, (max(at, self.began) + stay, name))

    def _check_streamer(self, name: str, context: CheckContext) -> Generator[Any, Any, Observation]:
        yield from ()
        self.check_requests += 1
        if self.dice.random() < self.faults.failed_checks:
            raise CheckFailed(State.NETWORK, "no answer")
        if name in self.recordings:
            return Observation(platform=NAME, id=name, state=State.REPLAY, at=context.now)
        return self._observation(name, self.starts.get(name), context)

    def _list_page(self, cursor: str, context: CheckContext) -> Generator[Any, Any, ListingPage]:
        yield from ()
        self.list_requests += 1
        if self.dice.random() < self.faults.failures:
            raise CheckFailed(State.NETWORK, "the site has trouble (HTTP 503)")
        number = (int(cursor or 1) - 1) % (self.circle or 10**9) + 1
        if self.endless:
            strangers = [self._observation(f"{number}-{at}", 1, context) for at in range(self.page_size)]
            return ListingPage(strangers, next_page(cursor, is_last=False) + "0" * self.long_cursor)
        last = len(self._order) - (number - 1) * self.page_size
        some = self._order[max(0, last - self.page_size) : max(0, last)][::-1]
        rows = [self._observation(name, start, context) for name, start in some if self._is_shown(name, start)]
        if number == 1:
            rows += [self._observation(name, int(self.began), context) for name in self.recordings]
        rows += self.dice.sample(rows, int(self.faults.doubles * len(rows)))
        rows.sort(key=lambda row: -(row.started_at or 0))
        if not self.newest_first or self.dice.random() < self.faults.shuffled:
            self.dice.shuffle(rows)
        is_last = last <= self.page_size or self.dice.random() < self.faults.cuts
        return ListingPage(rows, next_page(cursor, is_last=is_last))

    def _is_shown(self, name: str, start: int) -> bool:
        if name in self.hidden or (self.faults.holes and self.dice.random() < self.faults.holes):
            return False
        if self.starts.get(name) == start:
            return True
        return bool(self.faults.late_rows) and self.dice.random() < self.faults.late_rows

    def _observation(self, name: str, start: int | None, context: CheckContext) -> Observation:
        if start is None:
            return Observation(platform=NAME, id=name, state=State.OFFLINE, at=context.now)
        return Observation(
            platform=NAME,
            id=name,
            state=State.LIVE,
            at=context.now,
            session=str(start),
            title=f"No. {start}",
            started_at=float(start),
            viewers=7,
        )


def _run(steps: Generator[Any, Any, Any]) -> Any:
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it yields nothing")
