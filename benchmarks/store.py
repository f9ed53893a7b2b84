"""What the store costs: memory a streamer with a year of sessions, time to record a batch, to claim, to read.

python -m benchmarks.store [STREAMERS]
"""

from __future__ import annotations

import contextlib
import resource
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import redis

from benchmarks import run_valkey
from livectl.live.cells import Cells
from livectl.live.store import OUTBOX_KEY, Store
from livectl.models import Observation, PollingLimits, State, Streamer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STREAMERS = 10_000
LIVED = 200  # streamers whose year goes through record; the others get copies of theirs
DAYS, SESSIONS = 365, 250
START = 1_800_000_000
DAY = 86_400
TERMS = PollingLimits(platform="bench", batch=100, rate=100.0)
LIVE_NOW = 10  # one streamer in so many
BATCH = 500
COPIED = ("now", "page", "log", "recent")


@contextlib.contextmanager
def server() -> Iterator[Any]:
    with tempfile.TemporaryDirectory(prefix="lv-") as folder, run_valkey(Path(folder)) as (socket, _):
        yield redis.Redis(unix_socket_path=str(socket), decode_responses=True)


def seen(name: str, state: State, at: float, number: int) -> Observation:
    return Observation(
        platform="bench",
        id=name,
        state=state,
        at=at,
        session=f"4021{number:07}",
        title=f"Day {number}: 今日も配信する, climbing the ladder and chatting about it",
        category="Just Chatting",
        name=f"Streamer {name}",
        url=f"https://www.example.test/{name}",
        cover=f"https://static.example.test/previews/live_user_{name}-1280x720.jpg?t={number}",
        viewers=1234,
    )


def live_a_year(store: Store, names: list[str], dice: Random, sessions: int = SESSIONS) -> None:
    for number in range(sessions):
        at = START + number * DAYS * DAY / sessions + dice.random() * 3600
        store.record(TERMS, [seen(name, State.LIVE, at, number) for name in names])
        for half in (0, 1):  # not all at once: that would be taken for a broken parser
            for after in (7200.0, 7400.0):
                looks = [seen(name, State.OFFLINE, at + after + half * 1000, number) for name in names[half::2]]
                store.record(TERMS, looks)


def copy_to(client: Any, names: list[str]) -> None:
    cells = Cells(client)
    places = [cell.place for cell in cells.of("bench")]
    for kind in COPIED:
        rows = [row for place in places for row in client.hvals(f"{place}{kind}")]
        for start in range(LIVED, len(names), BATCH):
            some = names[start : start + BATCH]
            for cell, ids in cells.split("bench", some).items():
                client.hset(f"{cell.place}{kind}", mapping={one: rows[n % LIVED] for n, one in enumerate(ids)})


def timed(what: str, count: int, work: Callable[[], object], client: Any) -> None:
    wall, own, theirs = time.perf_counter(), time.process_time(), server_cpu(client)
    work()
    wall, own, theirs = time.perf_counter() - wall, time.process_time() - own, server_cpu(client) - theirs
    cost = f"{own * 1e3:>9.1f} + {theirs * 1e3:.1f} CPU-ms"
    print(f"{what:<42}{wall * 1e3:>9.1f} ms{wall / count * 1e6:>9.1f} us each{cost}")


def server_cpu(client: Any) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def record_all(store: Store, names: list[str], state: Callable[[int], State], at: float) -> None:
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        store.record(TERMS, [seen(one, state(start + n), at, 999) for n, one in enumerate(some)])


def main(count: int) -> None:
    names = [f"u{number:06}" for number in range(count)]
    with server() as client:
        store = Store(client)
        store.prepare()
        empty = client.info("memory")["used_memory"]
        people = [Streamer(platform="bench", id=name) for name in names]
        timed(f"follow {count:,}", count, lambda: store.set_followed(people, START), client)
        live_a_year(store, names[:LIVED], Random(7))
        copy_to(client, names)
        client.xtrim(OUTBOX_KEY, maxlen=0, approximate=False)
        for start in range(0, count, BATCH):
            store.save_poll_weights("bench", dict.fromkeys(names[start : start + BATCH], "5" * 168))
        at = START + (DAYS + 1) * DAY
        timed(
            f"record {count:,}, all offline",
            count,
            lambda: record_all(store, names, lambda _: State.OFFLINE, at),
            client,
        )
        some = lambda number: State.OFFLINE if number % LIVE_NOW else State.LIVE  # noqa: E731
        timed("record again, one in ten went live", count, lambda: record_all(store, names, some, at + 100), client)
        timed("record again, nothing new", count, lambda: record_all(store, names, some, at + 200), client)
        timed("claim", count, lambda: store.claim([TERMS], at + 9999, 60), client)
        timed("read who is live", count // LIVE_NOW, store.live_streamers, client)
        timed("read everyone", count, store.all_streamers, client)
        timed("read the history of one", 1, lambda: store.sessions("bench", names[:1]), client)
        used = client.info("memory")["used_memory"] - empty
        print(f"{'memory':<42}{used / 1e6:>9.1f} MB{used / count:>9.0f} bytes each")
        for kind in ("follows", "now", "page", "log", "recent", "due", "pull"):
            keys = [f"{cell.place}{kind}" for cell in store.cells.of("bench")]
            size = sum(client.memory_usage(key, samples=1000) or 0 for key in keys)
            print(f"  {kind:<40}{size / 1e6:>9.1f} MB{size / count:>9.0f} bytes each")
    print(f"own peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else STREAMERS)
