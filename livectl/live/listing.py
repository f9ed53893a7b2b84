"""Reads lists of everybody who is live, where that costs less than to ask about each who is followed.

A pass reads a list from its first page to its end, a few pages at each sweep, out of the budget of the checks. Who is
in a page is live; who is in none may be live all the same. So a list ends no session: whoever it shows no longer is due
again, and asked. Everybody else is asked rarely for as long as it works, and as ever once it does not.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import msgspec

from livectl.live import platforms, polling
from livectl.live.listing_plan import (
    BUDGET_SHARE,
    ListingPace,
    ListingState,
    Pass,
    is_worth_it,
    listing_pace,
    most_pages,
)
from livectl.live.platforms.base import CheckFailed
from livectl.live.store_records import MAX_PROBLEM_CHARS, truncate
from livectl.models import Observation, PlatformHealth, State
from livectl.redaction import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from livectl.live.network.fetcher import Fetcher
    from livectl.live.platforms.base import ListingPage, Platform
    from livectl.live.polling import LimitsByPlatform
    from livectl.live.store import Store
    from livectl.live.store_records import StoredPage
    from livectl.models import PollingLimits
    from livectl.settings import Settings

PLAN_SECONDS = 300.0  # after so long it is weighed again what the list costs
COUNT_SECONDS = 3600.0  # a list that was not worth it is tried again after so long
LEASE_SECONDS = 60.0  # a list whose reader has died is read on after so long
MAX_JOB_SECONDS = 20.0  # a job reads no further page after so long
MAX_JOB_PAGES = 50
OVERLAP_SECONDS = 300.0  # a broadcast may be in the list so long after its start
MISSED_PASSES, SLACK_SECONDS = 1.5, 60.0  # whoever is not shown for so many passes and so long is asked
GIVEN_UP_PASSES = 2.5  # without a whole pass for so many, everybody is asked again
MAX_CURSOR_CHARS = 2_000  # it is kept, and asked for in an address
MAX_PAGE_FAILURES = 3  # in a row, before a pass is given up
RETRY_SECONDS, RETRY_FACTOR, LONGEST_RETRY_SECONDS = 5.0, 3.0, 6 * 3600.0  # a failed page is read again after so long
CUT_SHARE, MAX_CUTS = 0.7, 3  # a pass with fewer of the pages that there were is cut off; three in a row are believed
COVERAGE_LIVE = 10  # that must be live, before it says something how many of them the list shows

log = logging.getLogger(__name__)


class ListingJob(NamedTuple):
    """The pages of a list that one job reads. They are paid for."""

    platform: str
    token: str
    pages: int

    def __str__(self) -> str:
        return f"{self.platform}, {self.pages} pages of its list"


class Lister:
    """Reads the lists of platforms, and records who of those in them is followed."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        limits: LimitsByPlatform,
        fetcher: Fetcher,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._limits = limits
        self._fetcher = fetcher
        self._clock = clock

    # For a sweep

    def claim(self, now: float, leave_out: Collection[str] = ()) -> Iterator[ListingJob]:
        """The lists that are read on now, as jobs: of all platforms but those to be left out.

        Any number of sweeps may claim: each list has one reader."""
        others = [name for name in self._store.platforms() if name not in leave_out]
        names = [name for name in others if polling.may_list(self._settings, name)]
        texts, healths = self._store.listings(names), None
        for name in names:
            state = _decode(texts.get(name))
            if now < state.next_at < now + 2 * LONGEST_RETRY_SECONDS:
                continue
            token = uuid4().hex
            if not self._store.hold_listing(name, token, LEASE_SECONDS):
                continue
            healths = healths or {health.platform: health for health in self._store.health(now)}
            pages = self._start(name, state, healths.get(name, PlatformHealth(platform=name)), now)
            self._save(name, token, state, release=not pages)
            if pages:
                yield ListingJob(name, token, pages)

    def _start(self, name: str, state: ListingState, health: PlatformHealth, now: float) -> int:
        """How many pages are to be read now; they are paid for. Otherwise the state says when to look again."""
        options = self._limits.by_exits(name, now)
        usable = polling.let_in(options, health, now)
        limits = next((each for each in usable if each.exit == state.exit), usable[0] if usable else options[0])
        if not 0 <= now - state.planned_at < PLAN_SECONDS:
            self._plan(limits, state, health, now)
        if not state.listed:
            state.next_at = now + PLAN_SECONDS
            state.give_up()
            return 0
        if not usable:
            return 0
        state.exit = limits.exit
        pages = self._pages(name, state, now)
        _begin(state, listing_pace(limits, state, pages), now)
        return self._pay(limits, _pages_left(state, pages), now)

    def _plan(self, limits: PollingLimits, state: ListingState, health: PlatformHealth, now: float) -> None:
        name, was = limits.platform, state.listed
        pages = self._pages(name, state, now)
        state.listed = is_worth_it(limits, state, pages, health.followed, health.live)
        state.most = most_pages(limits, health.followed, health.live)
        state.planned_at = now
        state.until = state.until if state.listed else 0.0
        if state.listed != was:
            log.info("%s is %s from now on", name, "listed" if state.listed else "asked")

    def _pages(self, name: str, state: ListingState, now: float) -> int:
        """How many pages the list has, as far as is known: counted a while ago, or as it usually has."""
        listing = platforms.get(name).listing
        if state.pages and not state.listed and not 0 <= now - state.counted_at < COUNT_SECONDS:
            state.pages, state.coverage, state.counted_at = 0, 1.0, now
        return state.pages or (listing.pages if listing else 1)

    def _pay(self, limits: PollingLimits, pages: int, now: float) -> int:
        left = self._store.spend(limits, 0, now)
        pages = min(pages, MAX_JOB_PAGES, max(1, int(left * BUDGET_SHARE))) if left >= 1 and pages else 0
        if pages:
            self._store.spend(limits, pages, now)
        return pages

    def _save(self, name: str, token: str, state: ListingState, *, release: bool) -> bool:
        problem = truncate(hide_secrets(state.problem), MAX_PROBLEM_CHARS)
        health: dict[str, str | float] = {"listed_until": state.until, "list_problem": problem}
        health["list_troubled"] = state.troubled or 0.0
        return self._store.save_listing(name, token, msgspec.json.encode(state).decode(), health, release=release)

    # For a job

    def read(self, name: str, token: str, pages: int) -> None:
        """Reads so many pages of a list, from where it was left, and gives back what they cost less."""
        platform, text = platforms.get(name), self._store.listings([name]).get(name)
        state, requests, began = _decode(text), 0, time.monotonic()
        if not self._save(name, token, state, release=False):
            return  # another reads it by now
        for _ in range(pages):
            if not state.current:
                break
            requests += self._read_page(platform, state, state.current, self._clock())
            if state.failures or time.monotonic() - began > MAX_JOB_SECONDS:
                break
        if requests != pages:
            self._store.spend(self._limits_of(name, state), requests - pages, self._clock())
        self._save(name, token, state, release=True)

    def _limits_of(self, name: str, state: ListingState) -> PollingLimits:
        """Those of the exit by which it is read."""
        options = self._limits.by_exits(name, self._clock())
        return next((each for each in options if each.exit == state.exit), options[0])

    def _read_page(self, platform: Platform, state: ListingState, current: Pass, now: float) -> int:
        """Reads the next page. Returns how many requests that took."""
        context = polling.check_context(self._settings, platform.name, now)
        exit_name = self._limits_of(platform.name, state).exit
        page, requests = self._fetcher.list_page(platform, current.cursor, context, exit_name)
        if not isinstance(page, CheckFailed) and not page.rows and not current.page:
            page = CheckFailed(State.PARSE_ERROR, "the list is empty")
        if not isinstance(page, CheckFailed) and len(page.cursor) > MAX_CURSOR_CHARS:
            page = CheckFailed(State.PARSE_ERROR, f"the next page has a name of {len(page.cursor):,} characters")
        if isinstance(page, CheckFailed):
            self._fail(platform.name, state, page, now)
            return requests
        current.shown += self._record(platform, state, page, now)
        state.failures, state.problem, state.troubled = 0, "", None
        self._go_on(platform.name, state, current, page, now)
        return requests

    def _fail(self, name: str, state: ListingState, failure: CheckFailed, now: float) -> None:
        """A page that fails is tried again; then the pass is given up. Checks go on: a list may fail alone."""
        state.failures += 1
        state.problem, state.troubled = failure.message, state.troubled or now
        wait = min(LONGEST_RETRY_SECONDS, RETRY_SECONDS * RETRY_FACTOR ** min(state.failures - 1, 30))
        state.next_at = min(max(now + wait, failure.retry_at or 0.0), now + LONGEST_RETRY_SECONDS)
        if state.failures >= MAX_PAGE_FAILURES:
            state.give_up()
        if failure.state is State.RATE_LIMITED:  # of all that asks this site
            refusal = Observation(platform=name, id="", state=failure.state, at=now, retry_at=failure.retry_at)
            self._store.record(self._limits_of(name, state), [refusal])

    def _record(self, platform: Platform, state: ListingState, page: ListingPage, now: float) -> int:
        """Records those of a page who are followed. Returns how many."""
        is_hint = platform.listing is not None and platform.listing.hint
        rows = {row.id: row for row in page.rows if row.id}
        followed = self._store.followed(platform.name, list(rows))
        seen = [_completed(rows[each], shown, is_hint=is_hint) for each, shown in followed.items()]
        if not seen:
            return 0
        limits = msgspec.structs.replace(
            self._limits_of(platform.name, state),
            source="hint" if is_hint else "list",
            listed=state.until > now,
            shown_for=state.shown_for,
        )
        self._store.record(limits, seen)
        return len(seen)

    def _go_on(self, name: str, state: ListingState, current: Pass, page: ListingPage, now: float) -> None:
        """Notes the next page, or ends the pass: at the end, at what is known, or where the list leads nowhere."""
        ids = hashlib.sha256("\n".join(row.id for row in page.rows).encode()).hexdigest()[:16]
        is_last = not page.cursor or page.cursor == current.cursor or ids in (current.last_page, current.marked_page)
        starts = [row.started_at or 0.0 for row in page.rows]
        current.in_order &= min(starts, default=1.0) > 0 and starts == sorted(starts, reverse=True)
        is_known = current.in_order and max(starts, default=now) < state.since - OVERLAP_SECONDS
        current.page, current.last_page, current.cursor = current.page + 1, ids, page.cursor
        current.marked_page = ids if current.page.bit_count() == 1 else current.marked_page
        if is_known:
            state.since = max(state.since, current.began)
        if state.news and not state.news.in_order:  # then only what is read to the end says something
            state.newest_first, state.whole, state.news = False, state.whole or state.news, None
        if current is state.news and (is_last or is_known):
            self._finish_news(state, current)
        elif current is state.whole and is_last:
            self._finish_whole(name, state, current, now)
        elif current.page >= state.most:  # it is longer than it is worth: it is weighed again with what is known now
            state.pages, state.counted_at, state.planned_at = current.page, now, 0.0
            state.give_up()

    def _finish_news(self, state: ListingState, current: Pass) -> None:
        state.news_pages = (state.news_pages + current.page) / 2
        state.since, state.news = max(state.since, current.began), None
        if not state.whole:
            state.next_at = state.news_at

    def _finish_whole(self, name: str, state: ListingState, current: Pass, now: float) -> None:
        """Ends a whole pass. One that ends much too early says nothing, unless others do so as well."""
        limits, state.whole = self._limits_of(name, state), None
        if current.page < CUT_SHARE * state.pages and state.cuts < MAX_CUTS:
            state.cuts += 1
        else:
            state.cuts, state.counted_at, state.whole_at = 0, now, current.began
            state.pages, state.newest_first = current.page, current.in_order and current.page > 1
            state.since = max(state.since, current.began)
            state.coverage = self._coverage(name, state, current, now)
            state.until = now + GIVEN_UP_PASSES * listing_pace(limits, state, state.pages).whole + SLACK_SECONDS
        next_at = max(now, current.began + listing_pace(limits, state, state.pages or current.page).passes)
        state.news_at = min(state.news_at, next_at) if state.newest_first else next_at
        state.next_at = now if state.news else state.news_at

    def _coverage(self, name: str, state: ListingState, current: Pass, now: float) -> float:
        """The share of the followed who are live that a whole pass has shown, evened out over passes."""
        live = next((health.live for health in self._store.health(now) if health.platform == name), 0)
        if live < COVERAGE_LIVE:
            return state.coverage
        return 0.75 * state.coverage + 0.25 * min(1.0, current.shown / live)


def _begin(state: ListingState, pace: ListingPace, now: float) -> None:
    """Begins what is due: a whole pass, whose first pages are the newest; or one over these, also beside the other."""
    state.shown_for = MISSED_PASSES * pace.whole + SLACK_SECONDS
    if state.news or now < state.news_at <= now + pace.whole:
        return
    is_whole_due = pace.passes >= pace.whole or not 0 <= now - state.whole_at < pace.whole - pace.passes / 2
    if not state.whole and is_whole_due:
        state.whole, state.news_at = Pass(began=now), now + pace.passes
    elif pace.passes < pace.whole:
        state.news, state.news_at = Pass(began=now), now + pace.passes


def _pages_left(state: ListingState, pages: int) -> int:
    """How many pages the passes under way are likely to need, of a list of so many."""
    left = max(1, pages + 1 - state.whole.page) if state.whole else 0
    return left + (max(1, math.ceil(state.news_pages) + 1 - state.news.page) if state.news else 0)


def _completed(row: Observation, shown: StoredPage, *, is_hint: bool) -> Observation:
    """A row with what it lacks beside what was shown before: what a list leaves out must not look like a change."""
    is_same = shown.title == row.title
    kept = shown.category if is_same and (is_hint or not row.category) else ""
    return msgspec.structs.replace(
        row,
        name=row.name or shown.name,
        url=row.url or shown.url,
        avatar=row.avatar or shown.avatar,
        cover=row.cover or (shown.cover if is_same else ""),
        category=kept or row.category,
    )


def _decode(text: str | None) -> ListingState:
    return msgspec.json.decode(text, type=ListingState) if text else ListingState()
