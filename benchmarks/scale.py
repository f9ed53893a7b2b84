"""What a million streamers cost. Each section prints its own numbers.

python -m benchmarks.scale [STREAMERS] [SECTION ...]

store   one server: lists, pages, claims and records; the calls that took longer than 50 ms of the server's time
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from benchmarks import run_valkey
from benchmarks.store import timed
from livectl.live import polling
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer

if TYPE_CHECKING:
    from collections.abc import Callable

STREAMERS = 100_000
LIVE_SHARE = 20  # one streamer in so many is live
LONGEST_MS = 50
URGENT = -15  # of the server, where we may: what it waits for on a busy machine is not its own time
START = 1_800_000_000.0
BATCH = 500
LIMITS = PollingLimits(platform="bench", batch=100, rate=1000.0)
LEARNED = 2_000
SECTIONS: dict[str, Callable[[int], None]] = {}


def store_section(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="lv-") as folder, run_valkey(Path(folder)) as (socket, pid):
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, pid, URGENT)
        with redis.Redis(unix_socket_path=str(socket), decode_responses=True) as client:
            client.config_set("slowlog-log-slower-than", LONGEST_MS * 1000)
            measure_store(client, count)


def measure_store(client: Any, count: int) -> None:
    store = Store(client)
    store.prepare()
    people = [Streamer(platform="bench", id=f"u{number:07}", name=f"Name {number}") for number in range(count)]
    names = [streamer.id for streamer in people]

    def step(what: str, number: int, work: Callable[[], object]) -> None:
        timed(what, number, work, client)
        for entry in client.slowlog_get():
            print(f"  {entry['duration'] / 1000:.0f} ms: {entry['command'][:60]!r}")
        client.slowlog_reset()

    step(f"follow {count:,}", count, lambda: store.set_followed(people, START))
    step("the same list again", count, lambda: store.set_followed(people, START))
    step("the same list, one line more", count, lambda: store.set_followed([*people, extra()], START))
    step("the same list, that line less", count, lambda: store.set_followed(people, START))
    print(f"memory {client.info('memory')['used_memory'] / count:.0f} bytes each, before any look")
    for first in range(0, count, BATCH):
        store.save_poll_weights("bench", dict.fromkeys(names[first : first + BATCH], "5" * polling.WEEK_HOURS))
    record(store, names, START + 1, is_live=lambda _: False)
    record(store, names, START + 100, is_live=is_live)
    measure_polling(store, step, START + 10_000)
    step("the first 100 of all", 1, lambda: store.newest(100))
    step("everybody, in pages", count, lambda: sum(map(len, store.pages())))
    step("mark all as unlearned", count, store.mark_unlearned)
    step(f"learn {LEARNED:,}", LEARNED, lambda: polling.learn_habits(store, START + 20_000, LEARNED))
    step("prune", count, lambda: store.prune(START + 20_000, START))
    step("follow every second one", count // 2, lambda: store.set_followed(people[::2], START))


def measure_polling(store: Store, step: Callable[[str, int, Callable[[], object]], None], at: float) -> None:
    """Claims about everybody, and records that nothing has changed."""
    claimed: list[str] = []

    def claim() -> None:
        wait = 0
        while batches := store.claim([LIMITS], at + wait, 9_000):
            claimed.extend(batches[0][1])
            wait += 10

    step("claim all who are due", len(claimed) or 1, claim)
    step("record them, as they were", len(claimed), lambda: record(store, claimed, at + 9_000, is_live=is_live))


def record(store: Store, names: list[str], at: float, is_live: Callable[[str], bool]) -> None:
    for first in range(0, len(names), BATCH):
        store.record(LIMITS, [look(name, at, is_live(name)) for name in names[first : first + BATCH]])


def look(name: str, at: float, live: bool) -> Observation:
    if not live:
        return Observation(platform="bench", id=name, state=State.OFFLINE, at=at)
    title, session = f"Title of {name}", f"{name}1"
    return Observation(platform="bench", id=name, state=State.LIVE, at=at, session=session, title=title, viewers=9)


def is_live(name: str) -> bool:
    return int(name[1:]) % LIVE_SHARE == 0


def extra() -> Streamer:
    return Streamer(platform="bench", id="more")


SECTIONS["store"] = store_section


def main(words: list[str]) -> None:
    count = next((int(word) for word in words if word.isdecimal()), STREAMERS)
    for name in [word for word in words if word in SECTIONS] or SECTIONS:
        print(f"-- {name}, {count:,} streamers")
        SECTIONS[name](count)


if __name__ == "__main__":
    main(sys.argv[1:])
