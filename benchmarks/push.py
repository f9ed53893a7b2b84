"""Measures how soon a go-live that a platform tells of is in the outbox, and how soon all are asked once push ends.

2,000 go-lives on Twitch and Kick, both played in this process, with the sweeps and the process of push: pushed, polled,
listed, mixed, lost, late, twice and forged alike.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks import run_valkey
from tests.support import pushed_lives

LIVES, A_SECOND = 2_000, 40.0
DELAY_LIMIT_S = 1.0  # of 95 in 100 that were told of


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, run_valkey(Path(folder)) as (socket, _):
        cpu = time.process_time()
        outcome = pushed_lives.play(Path(folder), f"unix://{socket}?db=0", LIVES, A_SECOND)
        cpu = time.process_time() - cpu
    print(f"{outcome.lives} go-lives: {outcome.missing} missing, {outcome.doubled} doubled")
    print(f"{len(outcome.forged)} forged: {outcome.believed} believed")
    print(f"{outcome.list_pages} pages of lists were read meanwhile")
    print(f"delay of the {len(outcome.delays)} that were told at once: half within {outcome.delay(0.5) * 1000:.0f} ms,")
    print(f"  95 in 100 within {outcome.delay(0.95) * 1000:.0f} ms, all within {outcome.delays[-1] * 1000:.0f} ms")
    again = outcome.polled_again_after
    interval = pushed_lives.FASTEST_S + pushed_lives.SWEEP_SECONDS
    print(f"once push ended, all were asked within {again:.1f} s (an interval and a sweep are {interval:.1f} s)")
    print(f"{cpu:.1f} s of CPU, the played sites included")
    is_false = outcome.missing or outcome.doubled or outcome.believed
    return int(bool(is_false) or outcome.delay(0.95) > DELAY_LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
