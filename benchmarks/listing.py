"""A list of 100,000 live, 20,000 followed: how late go-lives are noticed, for how many requests, and what is false.

    python -m benchmarks.listing redis://127.0.0.1:6379/9 [HOURS]

The site and its clock are played: pages shift, fail, lack rows, double them, end too early. The database is emptied.
"""

from __future__ import annotations

import sys
from random import Random

import pytest
import redis

from livectl.live.store import Store
from tests.support.played_list import Faults, PlayedSite
from tests.support.played_sweeps import Followed

LIVE, FOLLOWED, PAGE = 100_000, 20_000, 1_000
ROUGH = Faults(holes=0.02, doubles=0.05, failures=0.01, cuts=0.0005, failed_checks=0.02, late_rows=0.3)
BEGAN = 1_790_000_000.0


def main(url: str, hours: float) -> None:
    with redis.Redis.from_url(url, decode_responses=True) as client, pytest.MonkeyPatch.context() as patch:
        client.flushdb()
        store = Store(client)
        store.prepare()
        site = PlayedSite(10 * LIVE, LIVE, PAGE, ROUGH, Random(1), BEGAN)
        site.budget = "120/m"
        followed = Followed(site, store, range(0, 10 * LIVE, 10 * LIVE // FOLLOWED), patch)
        followed.sweep(hours * 3600)
    told = followed.result
    print(f"{site.list_requests} pages, {site.check_requests} checks in {hours:g} h; {len(told.delays)} go-lives")
    print(f"seconds late: median {told.late(0.5):.0f}, 95 % {told.late(0.95):.0f}")
    print(f"false go-lives {told.false_begins}, doubled {told.doubled}, false ends {told.false_ends}")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)
