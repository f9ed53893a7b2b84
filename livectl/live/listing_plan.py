"""Weighs what the list of a platform costs against asking about each who is followed, and how often it is read.

Both come out of the same budget. What is known of a list is its state, kept from one sweep to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from livectl.models import PollingLimits

MIN_PASS_PAGES, MAX_PASS_PAGES = 50, 3_000  # a list that is longer than worth it is given up, between these two
BUDGET_SHARE = 0.7  # of a platform's budget; the rest checks those whom no list shows
FASTEST_SECONDS = 30.0  # from pass to pass: sites renew their lists no faster
WHOLE_SECONDS = 300.0  # from whole pass to whole pass, where shorter ones read the newest in between
WHOLE_SHARE = 0.5  # of the list's budget at most for whole passes, where there are shorter ones
KNOWN_HABITS = 0.27  # of the mean delay is left where habits are learned, as `python -m benchmarks.polling` measures

# As pace.lua has it.
LIVE_SOONEST, LIVE_LATEST, LIVE_SHARE, IDLE_SHARE = 60.0, 120.0, 0.2, 0.5
FLOOR = 0.3


class Pass(msgspec.Struct, kw_only=True):
    """One reading of a list, as far as it has come."""

    began: float
    cursor: str = ""
    page: int = 0
    in_order: bool = True  # the latest start first, so far
    shown: int = 0  # rows of followed streamers
    last_page: str = ""  # what tells that a page is the same as the one before
    marked_page: str = ""  # ... or as the 1st, 2nd, 4th, 8th and so on: the pages of a list may lead in a circle


class ListingState(msgspec.Struct, kw_only=True):
    """How the list of a platform stands, from one sweep to the next."""

    listed: bool = False  # it is worth it
    planned_at: float = 0.0
    next_at: float = 0.0  # nothing is to be done before
    until: float = 0.0  # until then it stands in for asking
    shown_for: float = 0.0  # whoever is not shown for so long is asked
    pages: int = 0  # of the last whole pass; 0: none was read
    counted_at: float = 0.0
    news_pages: float = 1.0  # of a pass that reads the newest
    whole_at: float = 0.0  # when the last whole pass began
    newest_first: bool = False
    coverage: float = 1.0  # of the followed who are live, as far as is known: the share that it shows
    failures: int = 0  # in a row
    problem: str = ""
    troubled: float | None = None  # since when it cannot be read
    since: float = 0.0  # all that began before is known: when the last pass began that read so far
    cuts: int = 0  # whole passes in a row that ended too early
    most: int = MAX_PASS_PAGES  # pages, before it is given up
    whole: Pass | None = None  # the pass under way that reads to the end
    news: Pass | None = None  # ... that reads the newest meanwhile, and goes first
    news_at: float = 0.0  # when the newest are read next
    exit: str = ""  # by which it is read, of network.exits

    @property
    def current(self) -> Pass | None:
        """The pass whose page is read next."""
        return self.news or self.whole

    def give_up(self) -> None:
        self.whole = self.news = None


class Cost(NamedTuple):
    """How late a go-live is noticed on average, in seconds, and what that takes, in requests a second."""

    delay: float
    rate: float


class ListingPace(NamedTuple):
    """Seconds from pass to pass, and from whole pass to whole pass."""

    passes: float
    whole: float


def asking(limits: PollingLimits, followed: int, live: int) -> Cost:
    """What it costs to ask about each who is followed."""
    of_live, interval = _intervals(limits, followed, live)
    requests = (max(1, followed - live) / interval + live / of_live) / limits.batch
    requests += _confirming(limits, max(1, followed - live), interval)
    return Cost(interval / 2 * _known(limits, interval), requests)


def _intervals(limits: PollingLimits, followed: int, live: int) -> tuple[float, float]:
    """Seconds from check to check of somebody who is live, and of somebody who is not."""
    capacity = (limits.capacity or limits.rate) * limits.batch
    of_live = min(max(LIVE_SOONEST, live / (capacity * LIVE_SHARE)), LIVE_LATEST)
    idle = max(1, followed - live)
    spare = _beside_confirming(limits, max(capacity - live / of_live, capacity * IDLE_SHARE), idle)
    return of_live, max(limits.fastest, idle / spare)


def _beside_confirming(limits: PollingLimits, spare: float, idle: int) -> float:
    """How many are asked in a second, as pace.lua has it."""
    if not limits.offline_batch:
        return spare
    requests = spare / limits.batch
    left = (requests - _confirming(limits, idle, limits.offline_seconds)) * limits.batch
    if left > 0 and idle / left <= limits.offline_seconds:
        return left
    return requests / (1 / limits.batch + 1 / limits.offline_batch)


def _confirming(limits: PollingLimits, idle: int, interval: float) -> float:
    """The requests in a second by which those who are not live are asked about once more."""
    if not limits.offline_batch:
        return 0.0
    return idle / limits.offline_batch / max(interval, limits.offline_seconds)


def _known(limits: PollingLimits, interval: float) -> float:
    return KNOWN_HABITS if limits.mode == "learned" and interval > limits.fastest else 1.0


def listing_pace(limits: PollingLimits, state: ListingState, pages: int) -> ListingPace:
    """How often a list of so many pages can be read within its share of the budget."""
    budget, soonest = limits.rate * BUDGET_SHARE, max(FASTEST_SECONDS, limits.fastest)
    alone = max(soonest, pages / budget)
    if not state.newest_first:
        return ListingPace(alone, alone)
    whole = max(WHOLE_SECONDS, pages / (budget * WHOLE_SHARE))
    passes = max(soonest, state.news_pages / (budget - pages / whole))
    return ListingPace(passes, whole) if passes <= alone else ListingPace(alone, alone)


def listing(limits: PollingLimits, state: ListingState, pages: int, followed: int, live: int, delay: float) -> Cost:
    """What it costs to read the list as often as this delay takes; or as often as the budget bears, if that is less."""
    pace, (_, interval) = listing_pace(limits, state, pages), _intervals(limits, followed, live)
    rarely = interval / FLOOR
    hidden = (1 - state.coverage) * rarely / 2 * _known(limits, rarely)
    shown = max(state.coverage, 0.001)
    passes = max(pace.passes, (delay - hidden) * 2 / shown)
    requests = pages / passes
    if pace.passes < pace.whole:
        requests = min(requests, state.news_pages / passes + pages / max(pace.whole, passes))
    idle = max(1, followed - live)
    return Cost(
        shown * passes / 2 + hidden, requests + idle / rarely / limits.batch + _confirming(limits, idle, rarely)
    )


def is_worth_it(limits: PollingLimits, state: ListingState, pages: int, followed: int, live: int) -> bool:
    """Whether the list costs less than asking, for the same delay. Where both are close, all stays as it is."""
    asked = asking(limits, followed, live)
    read = listing(limits, state, pages, followed, live, asked.delay)
    favour = 1.25 if state.listed else 0.8
    return read.delay <= asked.delay * max(1.0, favour) and read.rate < asked.rate * favour


def most_pages(limits: PollingLimits, followed: int, live: int) -> int:
    """How long a list may be before it is certain that asking is cheaper."""
    worth = asking(limits, followed, live).delay * 2 * limits.rate * BUDGET_SHARE
    return int(min(max(MIN_PASS_PAGES, 1.5 * worth), MAX_PASS_PAGES))
