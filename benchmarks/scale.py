"""What a million streamers cost. Each section prints its own numbers.

python -m benchmarks.scale [STREAMERS] [SECTION ...]

lists   a follow list of so many lines, read from its file and applied; a million without STREAMERS
history what a streamer with fifty sessions takes in memory, and what reading one's and a thousand's costs
store   one server: lists, pages, claims and records; the calls that took longer than 50 ms of the server's time
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import redis

from benchmarks import run_valkey
from benchmarks.store import DAY, LIVED, copy_to, live_a_year, server_cpu, timed
from livectl.live import polling, store_copies, store_moving
from livectl.live.checker import Checker
from livectl.live.follows.sync import FollowSync
from livectl.live.polling import LimitsByPlatform
from livectl.live.store import OUTBOX_KEY, Store
from livectl.models import Observation, PollingLimits, State, Streamer
from livectl.settings import Settings
from livectl.web.cache import RecentEdits
from livectl.web.selection import StreamerFilter
from livectl.web.streamer_list import find_streamers, read_streamers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STREAMERS = 100_000
LISTED = 1_000_000
SESSIONS = 50
LIVE_SHARE = 20  # one streamer in so many is live
LONGEST_MS = 50
START = 1_800_000_000.0
BATCH = 500
LIMITS = PollingLimits(platform="bench", batch=100, rate=1000.0)
LEARNED = 2_000
SECTIONS: dict[str, Callable[[int | None], None]] = {}


@contextmanager
def server() -> Iterator[tuple[Any, str]]:
    """A server, a client of it, and its socket. Its slowlog has the calls that kept others waiting."""
    with tempfile.TemporaryDirectory(prefix="lv-") as folder, run_valkey(Path(folder)) as (socket, pid):
        be_urgent(pid)
        with redis.Redis(unix_socket_path=str(socket), decode_responses=True) as client:
            client.config_set("slowlog-log-slower-than", LONGEST_MS * 1000)
            yield client, str(socket)


def be_urgent(pid: int) -> None:
    """Lets a server go before all others, where we may: what it waits for on a busy machine is not its own time."""
    with suppress(PermissionError, AttributeError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(1))


def print_slow_calls(client: Any) -> None:
    for entry in client.slowlog_get():
        print(f"  {entry['duration'] / 1000:.0f} ms: {entry['command'][:60]!r}")
    client.slowlog_reset()


def lists_section(count: int | None) -> None:
    """Each list is applied by a process of its own, of which the most memory is told."""
    count = count or LISTED
    with server() as (client, socket), tempfile.TemporaryDirectory(prefix="lv-") as folder:
        path = Path(folder) / "follows.txt"
        Store(client).prepare()
        for what, numbers in (
            ("a new list", range(count)),
            ("the same list, another comment", range(count)),
            ("one line more", range(count + 1)),
            ("that line less", range(count)),
            ("every second line", range(0, count, 2)),
        ):
            with path.open("w") as file:
                file.write(f"# {what}\n")
                file.writelines(f"demo/u{number:08}\n" for number in numbers)
            theirs = server_cpu(client)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                applied, own, peak = pool.submit(apply_list, path, socket).result()
            theirs = server_cpu(client) - theirs
            print(f"{what:<34}{applied!s:>20}{own:>8.1f} CPU-s, server {theirs:.1f} CPU-s, at most {peak:.0f} MB")
            print_slow_calls(client)


def apply_list(path: Path, socket: str) -> tuple[tuple[int, int] | None, float, float]:
    """What came of it, the processor time, and the most memory."""
    settings = Settings(home=path.parent, folder=path.parent, follows=path)
    with redis.Redis(unix_socket_path=socket, decode_responses=True) as client:
        store = Store(client)
        sync = FollowSync(settings, store, Checker(settings, store).fetcher, LimitsByPlatform(settings))
        before = time.process_time()
        applied = sync.refresh(time.time() + 10)
        used = time.process_time() - before
    return applied, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def history_section(count: int | None) -> None:
    """The year of some goes through record; the others get copies of theirs."""
    count = count or STREAMERS
    names = [f"u{number:07}" for number in range(count)]
    with server() as (client, _):
        store = Store(client)
        store.prepare()
        empty = client.info("memory")["used_memory"]
        timed("follow", count, lambda: store.set_followed(map(named, names), START), client)
        live_a_year(store, names[:LIVED], Random(7), SESSIONS)
        copy_to(client, names)
        client.xtrim(OUTBOX_KEY, maxlen=0, approximate=False)
        print(f"memory {(client.info('memory')['used_memory'] - empty) / count:.0f} bytes each, {SESSIONS} sessions")
        timed("the sessions of one", 1, lambda: store.sessions("bench", names[-1:]), client)
        some = names[-1000:]
        timed("the sessions of a thousand", len(some), lambda: store.sessions("bench", some), client)
        timed("prune", count, lambda: store.prune(START + 400 * DAY, START), client)
        print_slow_calls(client)


def named(name: str) -> Streamer:
    return Streamer(platform="bench", id=name, name=f"Name {name}")


def store_section(count: int | None) -> None:
    with server() as (client, _):
        measure_store(client, count or STREAMERS)


def measure_store(client: Any, count: int) -> None:
    store = Store(client)
    store.prepare()
    people = [Streamer(platform="bench", id=f"u{number:07}", name=f"Name {number}") for number in range(count)]
    names = [streamer.id for streamer in people]

    def step(what: str, number: int, work: Callable[[], object]) -> None:
        timed(what, number, work, client)
        print_slow_calls(client)

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
    measure_crowd(store, step, names, START + 30_000)
    step("the first 100 of all", 1, lambda: store.newest(100))
    step("everybody, in pages", count, lambda: sum(map(len, store.pages())))
    step("count all", count, store.tally)
    step("the page of all", 1, lambda: read_streamers(client, START + 10_000))
    step("a search among all", count, lambda: search(client, f"name {count - 1}"))
    step("mark all as unlearned", count, store.mark_unlearned)
    step(f"learn {LEARNED:,}", LEARNED, lambda: polling.learn_habits(store, START + 40_000, LEARNED))
    step("prune", count, lambda: store.prune(START + 40_000, START))
    step("export", count, lambda: sum(map(len, store_copies.export_lines(client, START + 40_000))))
    shards = 2 * store.cells.shards
    step("into twice as many shards", count, lambda: store_moving.change_shards(client, shards, lambda _: None))
    step("follow every second one", count // 2, lambda: store.set_followed(people[::2], START))


def search(client: Any, text: str) -> None:
    whole = read_streamers(client, START + 10_000)
    find_streamers(client, whole, StreamerFilter(text=text), "recent", RecentEdits())


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


def measure_crowd(
    store: Store, step: Callable[[str, int, Callable[[], object]], None], names: list[str], at: float
) -> None:
    """Those of a job, all of one cell, go live at once and end at once: the most that a call has to do."""
    some = next(iter(store.cells.split("bench", names).values()))[: polling.MAX_JOB_STREAMERS]
    step("a job of whom all go live", len(some), lambda: record_at_once(store, some, at, live=True))
    record_at_once(store, some, at + 100, live=False)
    step("a job of whom all end", len(some), lambda: record_at_once(store, some, at + 300, live=False))


def record_at_once(store: Store, names: list[str], at: float, *, live: bool) -> None:
    store.record(LIMITS, [look(name, at, live) for name in names])


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


SECTIONS.update(lists=lists_section, history=history_section, store=store_section)


def main(words: list[str]) -> None:
    count = next((int(word) for word in words if word.isdecimal()), None)
    for name in [word for word in words if word in SECTIONS] or SECTIONS:
        print(f"-- {name}")
        SECTIONS[name](count)


if __name__ == "__main__":
    main(sys.argv[1:])
