"""Learned against uniform polling: 1,000 habitual streamers, the same budget, how late each go-live is seen.

    python -m benchmarks.polling [SEED]

Three months are lived to learn from, then a fortnight is polled both ways.
"""

from __future__ import annotations

import heapq
import sys
import time
from bisect import bisect_right
from random import Random
from statistics import mean, median, quantiles
from typing import NamedTuple

from livectl.live import polling
from tests.support.polling_model import poll_interval

STREAMERS = 1000
WEEK, DAY, HOUR, MINUTE = 604_800.0, 86_400.0, 3600.0, 60.0
LEARNED_WEEKS, POLLED_WEEKS = 13, 2
UNIFORM = 300.0  # seconds between two looks if all are asked alike and nobody is live
CAPACITY = STREAMERS / UNIFORM
FASTEST, SLOWEST = 15.0, 900.0
LIVE_EVERY = 120.0
SURPRISES = 0.05  # of the sessions keep to no habit
SKIPPED = 0.15  # of the habitual ones do not take place


class Session(NamedTuple):
    start: float
    end: float


def life(dice: Random, weeks: int) -> list[Session]:
    """The sessions of one streamer: some days of the week, about the same time, now and then at none of them."""
    days = dice.sample(range(7), dice.choice((2, 3, 4, 5, 6, 7)))
    evening = dice.choices((18.0, 1.0, 10.0), (5, 3, 2))[0]  # three parts of the world, in UTC
    hour = (evening + dice.gauss(0, 2.5)) % 24
    weekend = (hour - dice.choice((0, 0, 4))) % 24
    jitter = dice.choice((3, 8, 15, 25, 45)) * MINUTE
    starts = []
    for day in range(weeks * 7):
        if day % 7 in days and dice.random() > SKIPPED:
            usual = weekend if day % 7 > 4 else hour
            starts.append(day * DAY + usual * HOUR + dice.gauss(0, jitter))
    surprises = round(len(starts) * SURPRISES + dice.random())
    starts += [dice.random() * weeks * WEEK for _ in range(surprises)]
    sessions: list[Session] = []
    for start in sorted(starts):
        if start > 0 and (not sessions or start > sessions[-1].end + HOUR):
            sessions.append(Session(start, start + dice.uniform(1.5, 5) * HOUR))
    return sessions


def learn(lives: list[list[Session]], until: float) -> list[list[float]]:
    known = []
    for sessions in lives:
        starts = [session.start for session in sessions if session.start < until]
        known.append(polling.poll_weights(polling.golive_rates(starts, 0.0, until), 1.0))
    return known


def poll(
    lives: list[list[Session]], pulls: list[list[float]] | None, begin: float, end: float, dice: Random
) -> list[float]:
    """How late each go-live was seen. Nobody is asked beyond the budget: what is due waits its turn."""
    means = [mean(pull[hour] for pull in pulls) for hour in range(polling.WEEK_HOURS)] if pulls else []
    starts = [[session.start for session in sessions] for sessions in lives]
    due = [(begin + dice.random() * UNIFORM, one) for one in range(len(lives))]
    heapq.heapify(due)
    seen: list[float] = [begin] * len(lives)  # the end of the session last noticed
    delays, free_at, live = [], begin, 0
    is_live = [False] * len(lives)
    while due:
        when, one = heapq.heappop(due)
        at = max(when, free_at)
        if at >= end:
            break
        free_at = at + 1 / CAPACITY
        index = bisect_right(starts[one], at) - 1
        on = index >= 0 and lives[one][index].end > at
        if on and lives[one][index].end > seen[one]:
            if lives[one][index].start > begin:
                delays.append(at - lives[one][index].start)
            seen[one] = lives[one][index].end
        live += on - is_live[one]
        is_live[one] = on
        heapq.heappush(due, (at + LIVE_EVERY if on else next_due(one, at, pulls, means, live, len(lives)), one))
    return delays


def next_due(one: int, at: float, pulls: list[list[float]] | None, means: list[float], live: int, all_: int) -> float:
    idle = all_ - live
    uniform = idle / max(CAPACITY - live / LIVE_EVERY, CAPACITY / 2)
    share = 1.0
    while True:
        hour = polling.hour_of_week(at)
        left = HOUR - at % HOUR
        pull = pulls[one][hour] / means[hour] if pulls else 1.0
        whole = poll_interval(pull, uniform, FASTEST, SLOWEST)
        if left >= share * whole:
            return at + share * whole
        share -= left / whole
        at += left


def show(name: str, delays: list[float]) -> tuple[float, float, float]:
    cuts = quantiles(delays, n=100)
    told = mean(delays), median(delays), cuts[98]
    late = f"mean {told[0]:6.1f}  median {told[1]:6.1f}  p99 {told[2]:6.1f}"
    print(f"{name:<10}{len(delays):>7} go-lives, seconds late: {late}")
    return told


def main(seed: int) -> None:
    dice = Random(seed)
    lives = [life(dice, LEARNED_WEEKS + POLLED_WEEKS) for _ in range(STREAMERS)]
    begin = LEARNED_WEEKS * WEEK
    began = time.perf_counter()
    pulls = learn(lives, begin)
    print(f"seed {seed}, {CAPACITY:.2f} requests a second; learning took {time.perf_counter() - began:.1f} s")
    uniform = show("uniform", poll(lives, None, begin, begin + POLLED_WEEKS * WEEK, Random(seed)))
    learned = show("learned", poll(lives, pulls, begin, begin + POLLED_WEEKS * WEEK, Random(seed)))
    changed = [f"{new / old - 1:+.0%}" for old, new in zip(uniform, learned, strict=True)]
    print(f"{'':<10}{'learned against uniform:':>32} mean {changed[0]:>6}  median {changed[1]:>6}  p99 {changed[2]:>6}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
