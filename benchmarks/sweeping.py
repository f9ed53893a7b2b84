"""How much more several sweeps do than one: all who are due are claimed and recorded, by one process and by several.

python -m benchmarks.sweeping [PROCESSES] [STREAMERS]

The server has one thread: what it spends on a streamer is the end of it. Wall time says something where each process
has a processor of its own, and the server one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import redis

from benchmarks import run_valkey
from benchmarks.store import server_cpu
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES, STREAMERS, TURNS = 2, 100_000, 5
NAME, BATCH, LEASE = "bench", 500, 60.0
LIMITS = PollingLimits(platform=NAME, batch=100, rate=1e6, mode="uniform", fastest=3600.0, slowest=3600.0)
SPARE = 2  # requests of a sweep that may be filled up with some who are not due
START = 1_800_000_000.0


class Swept(NamedTuple):
    """What one process has done."""

    streamers: int
    claims: int
    in_vain: int  # that found nobody, though somebody was due
    cpu: float


def sweep(socket: str, barrier: Any, now: float, told: Any) -> None:
    """As a worker does it, but for the site: until nobody is due."""
    with redis.Redis(unix_socket_path=socket, decode_responses=True) as client:
        store = Store(client)
        store.health(now)
        barrier.wait()
        began, streamers, claims, in_vain = time.process_time(), 0, 0, 0
        while any(health.due for health in store.health(now)):
            claimed = [each for _, ids in store.claim([LIMITS], now, LEASE) for each in ids]
            claims, in_vain = claims + 1, in_vain + (not claimed)
            for start in range(0, len(claimed), BATCH):
                some = claimed[start : start + BATCH]
                store.record(
                    LIMITS, [Observation(platform=NAME, id=each, state=State.OFFLINE, at=now) for each in some]
                )
            streamers += len(claimed)
        told.put(Swept(streamers, claims, in_vain, time.process_time() - began))


def turn(client: Any, socket: str, processes: int, now: float) -> tuple[float, float, list[Swept]]:
    """Seconds, the server's CPU seconds, and what each process has done."""
    context = get_context("spawn")
    barrier, told = context.Barrier(processes + 1), context.Queue()
    running = [context.Process(target=sweep, args=(socket, barrier, now, told)) for _ in range(processes)]
    for each in running:
        each.start()
    barrier.wait()
    began, theirs = time.monotonic(), server_cpu(client)
    done = [told.get() for _ in running]
    took, theirs = time.monotonic() - began, server_cpu(client) - theirs
    for each in running:
        each.join()
    return took, theirs, done


def turns(client: Any, socket: str, processes: int) -> Iterator[tuple[int, float, float, list[Swept]]]:
    for number in range(2 * TURNS):
        count = processes if number % 2 else 1
        yield count, *turn(client, socket, count, START + (number + 1) * 4000.0)


def main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    processes, count = (*given, *(PROCESSES, STREAMERS)[len(given) :])
    with (
        tempfile.TemporaryDirectory(prefix="lv-") as folder,
        run_valkey(Path(folder)) as (socket, _),
        redis.Redis(unix_socket_path=str(socket), decode_responses=True) as client,
    ):
        store = Store(client)
        store.prepare()
        store.set_followed([Streamer(platform=NAME, id=f"u{number:07}") for number in range(count)], START)
        seconds: dict[int, list[float]] = {1: [], processes: []}
        for many, took, theirs, done in turns(client, str(socket), processes):
            assert sum(each.streamers for each in done) < count + processes * LIMITS.batch * SPARE, "each once"
            seconds[many].append(took)
            own = sum(each.cpu for each in done)
            shares = " + ".join(f"{each.streamers:,}" for each in done)
            claims, in_vain = (sum(getattr(each, name) for each in done) for name in ("claims", "in_vain"))
            print(
                f"{many} sweeping: {count / took:>9,.0f} streamers/s; server {1e6 * theirs / count:.1f} us each, "
                f"sweeps {1e6 * own / count:.1f} us; {shares}, by {claims} claims, {in_vain} in vain"
            )
        print(f"{processes} do {median(seconds[1]) / median(seconds[processes]):.2f} times as much as one")


if __name__ == "__main__":
    main()
