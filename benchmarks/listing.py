"""A list of 100,000 live, 20,000 followed: how late go-lives are noticed, for how many requests, and what is false.

    python -m benchmarks.listing [CYCLES [SHARE [SEED]]]

A cycle is half a minute: so often the newest pages are read. SHARE makes the site and its pages so much smaller, for
many cycles (`python -m benchmarks.listing 10000 0.1`); or many are played in pieces, each of another SEED. The site and
its clock are played: pages shift, fail, lack rows, double them, end too early, and rows of broadcasts that have ended
stay for a while. Ended early, by a SIGTERM to it alone, it tells of the cycles until then.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import pytest
import redis

from benchmarks import run_valkey
from livectl.live.listing_plan import FASTEST_SECONDS
from livectl.live.store import Store
from tests.support.played_list import Faults, PlayedSite
from tests.support.played_sweeps import Followed

LIVE, FOLLOWED, PAGE, REQUESTS_A_MINUTE = 100_000, 20_000, 1_000, 120
ROUGH = Faults(holes=0.02, doubles=0.05, failures=0.01, cuts=0.0005, failed_checks=0.02, late_rows=0.3)
SHARDS = 2  # the cells of the store are not what is measured
BEGAN = 1_790_000_000.0
UNTIL_KNOWN_S = 300.0  # the list is read to its end once, and everybody who is live is known: no delay counts before
MOST_SHARE = 0.02  # of the requests that asking each once a cycle would take


def main(cycles: int = 120, share: float = 1.0, seed: int = 1) -> int:
    with tempfile.TemporaryDirectory() as folder, run_valkey(Path(folder)) as (socket, _):
        url = f"unix://{socket}?db=0"
        with redis.Redis.from_url(url, decode_responses=True) as client, pytest.MonkeyPatch.context() as patch:
            store = Store(client)
            store.prepare(shards=SHARDS)
            cpu = time.process_time()
            site, followed, cycles = _play(store, patch, cycles, share, Random(seed))
            cpu = time.process_time() - cpu
    asking, told = cycles * int(FOLLOWED * share), followed.result
    print(f"{cycles} cycles; {site.live:,} live, {int(FOLLOWED * share):,} followed; {cpu:.0f} s of CPU")
    print(f"{site.list_requests:,} pages, {site.check_requests:,} checks: {site.requests / asking:.2%} of asking each")
    print(f"{len(told.delays):,} go-lives, seconds late: median {told.late(0.5):.1f}, 95 % {told.late(0.95):.1f}")
    print(f"of {followed.begins:,} go-lives false {told.false_begins}, doubled {told.doubled}", end="; ")
    print(f"of {followed.ends:,} ends false {told.false_ends}")
    is_late = told.late(0.95) > FASTEST_SECONDS
    return int(any(told[1:]) or is_late or site.requests > MOST_SHARE * asking)


def _play(
    store: Store, patch: pytest.MonkeyPatch, cycles: int, share: float, dice: Random
) -> tuple[PlayedSite, Followed, int]:
    """And how many cycles were played."""
    live, population = int(LIVE * share), int(10 * LIVE * share)
    site = PlayedSite(population, live, max(10, int(PAGE * share)), ROUGH, dice, BEGAN)
    site.budget = f"{REQUESTS_A_MINUTE}/m"
    followed = Followed(site, store, range(0, population, 10 * LIVE // FOLLOWED), patch)
    followed.sweep(UNTIL_KNOWN_S)
    followed.result.delays.clear()
    site.list_requests = site.check_requests = 0
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: over.append(number))
    played = 0
    while played < cycles and not over:
        followed.sweep(FASTEST_SECONDS)
        played += 1
    return site, followed, played


if __name__ == "__main__":
    kinds = (int, float, int)
    sys.exit(main(*[kind(text) for kind, text in zip(kinds, sys.argv[1:], strict=False)]))
