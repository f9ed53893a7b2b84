"""A million habitual streamers on the budgets of platforms: how late go-lives are noticed by asking, lists and push.

    python -m benchmarks.simulation [SEED [EXITS]]

The clock is played, and nothing is asked. The model:

- Streamers live as `benchmarks.polling` has them: three months to learn from, then a fortnight that counts.
- A thousand of them stand for all: each platform's budget is cut down by the same share, so that they wait for each
  other as a million would. Whoever is due waits for their turn; who is live is asked every 60 to 120 s, as pace.lua
  has it.
- A list is read as often as listing_plan.py says; what it shows is known at the next pass. It never shows 2 of 100
  streamers, who are asked at the pace that is left beside a list.
- EXITS exits ask so many times as much, where the budget is not that of a key; the list is read by one of them.
- Push tells within a second of as many as the platform allows, those whose go-lives are expected most often first.
- A go-live is late by the time until the first look at its broadcast; one that nobody looked at is missed, and late by
  its whole length. What sites take to show it is not in here.
"""

from __future__ import annotations

import heapq
import sys
import time
from bisect import bisect_right
from random import Random
from statistics import mean
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.polling import HOUR, LEARNED_WEEKS, POLLED_WEEKS, STREAMERS, WEEK, Session, learn, life
from livectl.live import listing_plan, platforms, polling
from livectl.live.listing_plan import FLOOR, IDLE_SHARE, LIVE_LATEST, LIVE_SHARE, LIVE_SOONEST, ListingState
from livectl.live.push.conduit import DEFAULT_MAX_COST
from livectl.live.push.kick_webhook import MAX_COST
from livectl.models import PollingLimits
from livectl.units import format_count, parse_rate
from tests.support.polling_model import poll_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLLOWED = 1_000_000
# Where they are followed, an invented mix.
SHARES = {
    "twitch": 0.30, "youtube": 0.15, "kick": 0.10, "bilibili": 0.10, "huya": 0.08,
    "douyu": 0.08, "chzzk": 0.07, "soop": 0.07, "tiktok": 0.03, "douyin": 0.02,
}  # fmt: skip
PUSHED = {"twitch": DEFAULT_MAX_COST, "kick": MAX_COST}  # of how many the platform tells
KEYED = {"twitch", "youtube", "kick"}  # whose budget is that of the user's key
NEWEST_FIRST = {"soop"}  # sites that sort their lists by start
HIDDEN = 0.02
PUSH_S = 1.0  # until it is told
CONFIRM_S = 120.0  # from the first look that finds nobody to the second, which ends a session
BEGIN, END = LEARNED_WEEKS * WEEK, (LEARNED_WEEKS + POLLED_WEEKS) * WEEK


class World(NamedTuple):
    """Who stands for all: their broadcasts, their poll weights, how much each is wanted."""

    lives: list[list[Session]]
    pulls: list[list[float]]
    means: list[float]  # of the pulls, in each hour
    live: float  # the share of them who are live, on average


class Notice(NamedTuple):
    """When a broadcast was noticed: seconds after its start; its whole length where it was missed."""

    late: float
    is_seen: bool


class Outcome(NamedTuple):
    """What became of the broadcasts of each streamer."""

    notices: list[list[Notice]]

    @property
    def all(self) -> list[Notice]:
        return [notice for notices in self.notices for notice in notices]

    @property
    def mean(self) -> float:
        """Of those that were noticed."""
        return mean([notice.late for notice in self.all if notice.is_seen])

    @property
    def missed(self) -> float:
        return mean(not notice.is_seen for notice in self.all)

    @property
    def loss(self) -> float:
        """The mean with those that were missed, each by its whole length."""
        return mean(notice.late for notice in self.all)

    def __str__(self) -> str:
        return f"{_span(self.mean):>10}{self.missed:>7.1%}"


def main(seed: int = 1, exits: int = 1) -> int:
    began, dice = time.perf_counter(), Random(seed)
    world = _world(dice)
    print(f"seed {seed}, {format_count(exits, 'exit')}")
    print("mean delay of what was noticed, and the share of broadcasts that were missed\n")
    print(
        f"{'':<10}{'followed':>10}{'a round of asking':>19}{'asked':>17}{'a pass':>10}{'listed':>17}{'and pushed':>17}"
    )
    limits = {name: limits_of(name, exits) for name in SHARES}
    for name in SHARES:
        _show(limits[name], FOLLOWED, *_play(limits[name], FOLLOWED, world, seed))
    print("\nA million on all of them:")
    sums = [[0.0] * 3 for _ in range(3)]
    for name, share in SHARES.items():
        outcomes = _play(limits[name], int(FOLLOWED * share), world, seed)
        _show(limits[name], int(FOLLOWED * share), *outcomes)
        for way, outcome in enumerate(outcomes):
            sums[way][0] += share * (1 - outcome.missed) * outcome.mean
            sums[way][1] += share * outcome.missed
            sums[way][2] += share * outcome.loss
    for words, (late, missed, loss) in zip(("asked", "listed", "and pushed"), sums, strict=True):
        print(f"{words:<10} {_span(late / (1 - missed))}, {missed:.1%} missed; {_span(loss)} with those")
    print(f"{time.perf_counter() - began:.0f} s")
    return 0


def _world(dice: Random) -> World:
    lives = [life(dice, LEARNED_WEEKS + POLLED_WEEKS) for _ in range(STREAMERS)]
    pulls = learn(lives, BEGIN)
    means = [mean(pull[hour] for pull in pulls) for hour in range(polling.WEEK_HOURS)]
    on = sum(each.end - each.start for sessions in lives for each in sessions if BEGIN <= each.start < END)
    return World(lives, pulls, means, on / (END - BEGIN) / STREAMERS)


def limits_of(name: str, exits: int) -> PollingLimits:
    """As published, with the user's keys where they help."""
    limit = platforms.get(name).rate_limit({"client_id": "x", "api_key": "x"})
    rate = parse_rate(limit.budget).per_second
    capacity = rate * (1 if name in KEYED else exits) / requests_of(name)
    return PollingLimits(platform=name, batch=limit.batch, rate=rate, capacity=capacity)


def requests_of(name: str) -> float:
    """That a check of a whole batch takes, nearly all of whom are not live; rounds are long."""
    platform = platforms.get(name)
    limit = platform.rate_limit({"client_id": "x", "api_key": "x"})
    return limit.requests + (limit.batch / platform.offline_batch if platform.offline_batch else 0.0)


def pass_seconds(limits: PollingLimits, followed: int, live: int) -> float | None:
    """How long from one pass of the list to the next; None where there is none, or asking is cheaper."""
    offered = platforms.get(limits.platform).listing
    if offered is None:
        return None
    state = ListingState(listed=True, newest_first=limits.platform in NEWEST_FIRST, coverage=1 - HIDDEN, news_pages=2)
    if not listing_plan.is_worth_it(limits, state, offered.pages, followed, live):
        return None
    return listing_plan.listing_pace(limits, state, offered.pages).passes


def _play(limits: PollingLimits, followed: int, world: World, seed: int) -> tuple[Outcome, Outcome, Outcome]:
    """By asking alone; with the list, where it is worth it; with push as well."""
    share = STREAMERS / followed
    asked = ask(world, limits.capacity * limits.batch * share, Random(seed))
    passes = pass_seconds(limits, followed, int(world.live * followed))
    listed = _listed(world, limits, share, passes, seed) if passes else asked
    return asked, listed, _pushed(world, listed, int(PUSHED.get(limits.platform, 0) * share))


def _listed(world: World, limits: PollingLimits, share: float, passes: float, seed: int) -> Outcome:
    dice = Random(seed)
    left = limits.capacity - limits.rate * listing_plan.BUDGET_SHARE / requests_of(limits.platform)
    asked = ask(world, left * limits.batch * share, dice, beside_list=True)
    hidden = {one for one in range(STREAMERS) if one % round(1 / HIDDEN) == 0}
    return Outcome(
        [
            notices if one in hidden else [_sooner(notice, dice.random() * passes) for notice in notices]
            for one, notices in enumerate(asked.notices)
        ]
    )


def _pushed(world: World, others: Outcome, told: int) -> Outcome:
    """Of those who are wanted most, each go-live is told; the others are found as before."""
    wanted = sorted(range(STREAMERS), key=lambda one: -sum(world.pulls[one]))[:told]
    notices = list(others.notices)
    for one in wanted:
        notices[one] = [_sooner(notice, PUSH_S) for notice in notices[one]]
    return Outcome(notices)


def _sooner(notice: Notice, late: float) -> Notice:
    """It is also noticed so late by another way."""
    return Notice(late, is_seen=True) if late <= notice.late else notice


def ask(world: World, capacity: float, dice: Random, *, beside_list: bool = False) -> Outcome:
    """Asks so many a second, in the order in which they are due; the list shows who is live where there is one."""
    starts = [[session.start for session in sessions] for sessions in world.lives]
    first_looks: list[dict[int, float]] = [{} for _ in world.lives]
    state = ["away"] * STREAMERS
    share = FLOOR if beside_list else 1.0
    due = [(BEGIN + dice.random() * STREAMERS / capacity / share, one) for one in range(STREAMERS)]
    heapq.heapify(due)
    free_at, live = BEGIN, 0
    while due:
        when, one = heapq.heappop(due)
        at = max(when, free_at)
        if at >= END:
            break
        free_at = at + 1 / capacity
        index = bisect_right(starts[one], at) - 1
        was, is_on = state[one], index >= 0 and world.lives[one][index].end > at
        if is_on:
            first_looks[one].setdefault(index, at)
        state[one] = "live" if is_on else "ending" if was == "live" else "away"
        live += (state[one] == "live") - (was == "live")
        of_live = min(max(LIVE_SOONEST, live / (capacity * LIVE_SHARE)), LIVE_LATEST)
        spare = share * max(capacity - live / of_live, capacity * IDLE_SHARE)
        if state[one] == "live":
            again = at + (HOUR if beside_list else of_live)  # the list shows that they go on
        else:
            again = at + CONFIRM_S if state[one] == "ending" else _next_due(world, one, at, (STREAMERS - live) / spare)
        heapq.heappush(due, (again, one))
    return _outcome(world.lives, first_looks)


def _next_due(world: World, one: int, at: float, uniform: float) -> float:
    share = 1.0
    while True:
        hour, left = polling.hour_of_week(at), HOUR - at % HOUR
        whole = poll_interval(world.pulls[one][hour] / world.means[hour], uniform, 15.0, 900.0)
        if left >= share * whole:
            return at + share * whole
        share, at = share - left / whole, at + left


def _outcome(lives: Sequence[list[Session]], first_looks: list[dict[int, float]]) -> Outcome:
    """Of broadcasts that lie in the fortnight."""
    return Outcome(
        [
            [
                Notice(looks.get(index, session.end) - session.start, is_seen=index in looks)
                for index, session in enumerate(sessions)
                if session.start > BEGIN and session.end < END
            ]
            for sessions, looks in zip(lives, first_looks, strict=True)
        ]
    )


def _show(limits: PollingLimits, followed: int, asked: Outcome, listed: Outcome, pushed: Outcome) -> None:
    passes = pass_seconds(limits, followed, int(followed * 0.1))
    a_round = _span(followed / (limits.capacity * limits.batch))
    with_push = str(pushed) if limits.platform in PUSHED else ""
    with_list = f"{_span(passes):>10}{listed!s:>17}" if passes else f"{'-':>10}{'':>17}"
    print(f"{limits.platform:<10}{followed:>10,}{a_round:>19}{asked!s:>17}{with_list}{with_push:>17}", flush=True)


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
