"""What a cluster of three bears beside one node, and what it loses when nodes are killed. Each has a replica.

python -m benchmarks.scale_cluster [STREAMERS] [SECTION ...]

balance   the same claims and records on both in turns: streamers per CPU second of the busiest primary, and their ratio
failover  many go live while primary after primary is killed: how often was a target told of each?
sentinel  the same behind Sentinel, where a primary stands still until its replica has taken over, and goes on then
beat      two beats send runs: what each takes of the node that has the schedules, and how many a minute it bears
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.scale import be_urgent
from livectl import redis_client
from livectl.address import Address
from livectl.cluster_keys import CLOCK
from livectl.live.store import Store
from livectl.live.store_away import write_when_back
from livectl.models import Observation, PollingLimits, State, Streamer
from tests.support.alerts import running_receiver
from tests.support.beats import World, end_job
from tests.support.faulty_servers import redis_server, sees_a_replica
from tests.support.faulty_servers import sentinel as sentinel_of
from tests.support.lives_over_failovers import PLACES, LivesOverFailovers
from tests.support.redis_cluster import redis_cluster
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.redis_cluster import ClusterNode, RedisCluster

STREAMERS = 60_000
PLATFORMS = ("twitch", "bilibili", "douyu", "huya", "chzzk", "soop")
# On how many platforms they are, and in how many shards of each: three nodes share sixteen as six, five and five.
CASES = ((len(PLATFORMS), 16), (1, 16), (1, 48))
SWEEPERS, ROUNDS, JOB = 3, 4, 500  # who claim at once, how often everybody is due, streamers of a job
LIVE_SHARE = 20  # one streamer in so many is live, with another title each time: that is a change
START, ROUND_SECONDS = 1_800_000_000.0, 10_000.0
AWAY_S, AGAIN_S = 20.0, 0.1  # as workers have it, for a replica that a busy machine keeps from answering
KILLS, WORKERS, FOLLOWED = 12, 3, 3_000
LIVES_A_KILL, LIVES_A_SECOND = 200, 100.0
UNDER_LOAD_S = 0.5  # of go-lives before a node is killed
STANDSTILLS, STANDSTILL_S = 5, 4.0  # the sentinel of the tests declares a server dead after half a second
PATIENT = ("--cluster-node-timeout", "15000")  # no node is to be taken for dead on a machine that others use too
SYNC_AT_ONCE = ("--repl-diskless-sync-delay", "0")
ENTRIES, PLAYED_S, IDLE_S, MANY_RUNS = 20_000, 30, 3.0, 100_000  # entries are due every one to two minutes
POLICIES: dict[str, dict[str, Any]] = {
    "no policy": {},
    "overlap: skip": {"overlap": "skip"},
    "count: 1000": {"count": 1_000},
    "pause_on_failure: 3": {"pause_on_failure": 3},
}
AFTER = "one after each"


class Side:
    """A cluster, who is followed there, and those who sweep."""

    def __init__(self, cluster: RedisCluster, count: int, platforms: Sequence[str], shards: int) -> None:
        self._cluster, self._count = cluster, count
        self._limits = {name: PollingLimits(platform=name, batch=100, rate=1000.0) for name in platforms}
        address = Address.parse_store(cluster.url)
        self._stores = [Store(redis_client.store_client(address)) for _ in range(SWEEPERS)]
        self._stores[0].prepare(shards)
        self._stores[0].set_followed(
            [Streamer(platform=platforms[each % len(platforms)], id=f"u{each:07}") for each in range(count)], START
        )
        self._sweep(START + 1)
        self.rounds, self.used = 0, [0.0] * len(cluster.primaries)

    def play(self) -> None:
        """Everybody is due, is claimed and is recorded once: noted is what that costs each primary."""
        before = [cpu_of(node) for node in self._cluster.primaries]
        self.rounds += 1
        self._sweep(START + self.rounds * ROUND_SECONDS)
        after = [cpu_of(node) for node in self._cluster.primaries]
        self.used = [used + now - then for used, now, then in zip(self.used, after, before, strict=True)]

    def _sweep(self, at: float) -> None:
        threads = [threading.Thread(target=self._claim_and_record, args=(store, at)) for store in self._stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _claim_and_record(self, store: Store, at: float) -> None:
        while batches := store.claim(list(self._limits.values()), at, ROUND_SECONDS):
            for platform, ids in batches:
                for first in range(0, len(ids), JOB):
                    seen = [look(platform, each, at) for each in ids[first : first + JOB]]
                    record = partial(store.record, self._limits[platform], seen)
                    write_when_back(record, AWAY_S, AGAIN_S, (redis.ConnectionError,))

    @property
    def per_second(self) -> float:
        """Streamers per CPU second of the busiest primary."""
        return self.rounds * self._count / max(self.used)


def cpu_of(node: ClusterNode) -> float:
    with node.client() as client:
        used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def look(platform: str, streamer_id: str, at: float) -> Observation:
    if int(streamer_id[1:]) % LIVE_SHARE:
        return Observation(platform=platform, id=streamer_id, state=State.OFFLINE, at=at)
    session, title = f"{streamer_id}1", f"Title at {at}"
    return Observation(
        platform=platform, id=streamer_id, state=State.LIVE, at=at, session=session, title=title, viewers=9
    )


def balance(count: int) -> int:
    for platforms, shards in CASES:
        with tempfile.TemporaryDirectory(prefix="lv-") as folder, ExitStack() as stack:
            sides = {}
            for primaries in (1, 3):
                nodes = redis_cluster(Path(folder) / str(primaries), primaries=primaries, replicas=1, options=PATIENT)
                cluster = stack.enter_context(nodes)
                for node in cluster.nodes:
                    be_urgent(node.process.pid)
                sides[primaries] = Side(cluster, count, PLATFORMS[:platforms], shards)
            for _ in range(ROUNDS):
                for side in sides.values():
                    side.play()
        print(f"{count:,} on {platforms} platforms in {shards} shards of each")
        for primaries, side in sides.items():
            each = ", ".join(f"{used:.2f}" for used in side.used)
            print(f"  {primaries} primaries: {side.per_second:>9,.0f} a CPU second of the busiest; CPU seconds: {each}")
        print(f"  three bear {sides[3].per_second / sides[1].per_second:.2f} times as much as one", flush=True)
    return 0


def failover(count: int) -> int:
    count = min(count, FOLLOWED)
    with (
        tempfile.TemporaryDirectory(prefix="lv-") as folder,
        redis_cluster(Path(folder) / "nodes", replicas=1) as cluster,
        running_receiver() as receiver,
    ):
        world = LivesOverFailovers(cluster.url, receiver, count)
        with world.running(WORKERS):
            for number in range(KILLS):
                with going_live(world):
                    seconds = cluster.lose_owner(PLACES[number % len(PLACES)])
                    print(f"a primary is killed: nobody has its slots for {seconds:.1f} s")
                cluster.bring_back()
        return judge(world)


def sentinel(_: int) -> int:
    """The same of a primary that stands still until another has taken over, and goes on as if it were one."""
    with (
        tempfile.TemporaryDirectory(prefix="lv-") as folder,
        redis_server(Path(folder) / "one", *SYNC_AT_ONCE) as first,
        redis_server(Path(folder) / "two", "--replicaof", f"127.0.0.1 {first}", *SYNC_AT_ONCE) as second,
        sentinel_of(Path(folder), first) as port,
        redis.Redis(port=port, decode_responses=True) as asked,
        running_receiver() as receiver,
    ):
        wait_for(lambda: sees_a_replica(asked), what="the replica")
        pids = {each: redis.Redis(port=each).info("server")["process_id"] for each in (first, second)}
        world = LivesOverFailovers(f"redis+sentinel://127.0.0.1:{port}/shop", receiver, STANDSTILLS * LIVES_A_KILL)
        with world.running(WORKERS):
            for _ in range(STANDSTILLS):
                with going_live(world):
                    stand_still(pids[asked.sentinel_master("shop")["port"]])
                wait_for(lambda: sees_a_replica(asked), what="the one that stood still as a replica")
        return judge(world)


def stand_still(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STANDSTILL_S)
    os.kill(pid, signal.SIGCONT)
    print(f"the primary stood still for {STANDSTILL_S:.1f} s", flush=True)


@contextmanager
def going_live(world: LivesOverFailovers) -> Iterator[None]:
    """Some go live before, while and after the block happens; each is told by the end."""
    begins = threading.Thread(target=world.go_live, args=(LIVES_A_KILL, LIVES_A_SECOND))
    begins.start()
    time.sleep(UNDER_LOAD_S)
    yield
    begins.join()
    world.wait_until_all_are_told()


def beat(_: int) -> int:
    """The clock is played, and so how many runs there are does not depend on how busy the machine is."""
    for what in (*POLICIES, AFTER):
        with (
            tempfile.TemporaryDirectory(prefix="lv-") as folder,
            redis_server(Path(folder) / "broker") as broker,
            redis_cluster(Path(folder) / "nodes", replicas=1, options=PATIENT) as cluster,
        ):
            for node in cluster.nodes:
                be_urgent(node.process.pid)
            world = World(Path(folder), cluster.url, broker_url=f"redis://127.0.0.1:{broker}/0")
            world.write(**entries_of(what))
            world.beat(), world.beat()
            while any(each.is_starting for each in world.beats):
                world.tick()
            runs, seconds, own = play(world, cluster.owner(CLOCK), ends=what not in ("no policy", "count: 1000"))
            world.close()
        share = MANY_RUNS / 60 * seconds / runs
        print(f"{what:<20}{runs:>7,} runs, {seconds / runs * 1e6:.0f} us each of the node that has the schedules")
        print(f"  and {own / runs * 1e6:.0f} us of the beats")
        print(f"  it bears {60 * runs / seconds:,.0f} a minute, and {MANY_RUNS:,} are {share:.1%} of it", flush=True)
    return 0


def entries_of(what: str) -> dict[str, dict[str, Any]]:
    names = [f"e{number:05}" for number in range(ENTRIES // (2 if what == AFTER else 1))]
    behind: dict[str, dict[str, Any]] = {f"{name}-next": {"after": name} for name in names} if what == AFTER else {}
    return behind | {
        name: {"every": f"{60 + 60 * number / len(names):.3f}s", **POLICIES.get(what, {})}
        for number, name in enumerate(names)
    }


def play(world: World, node: ClusterNode, *, ends: bool) -> tuple[int, float, float]:
    """How many runs are sent, the node's CPU seconds, without what it takes when nothing happens, and those of the
    beats. Where it matters, jobs end as soon as they are sent.
    """
    before = cpu_of(node)
    time.sleep(IDLE_S)
    idle, began, sent, own = (cpu_of(node) - before) / IDLE_S, time.monotonic(), 0, 0.0
    before = cpu_of(node)
    for _ in range(PLAYED_S):
        world.clock.wait(1)
        own -= time.process_time()
        for each in world.beats:
            each.tick()
        own += time.process_time()
        messages = world.collect()
        sent += len(messages)
        for message in messages if ends else ():
            end_job(world, message.task_id)
    return sent, cpu_of(node) - before - idle * (time.monotonic() - began), own


def judge(world: LivesOverFailovers) -> int:
    """Of how many the target was told for nothing, twice, or not at all."""
    world.deliver_once_more()
    wrong = {"lost": len(world.lost), "doubled": len(world.doubled), "of nothing": len(world.invented)}
    counts = ", ".join(f"{number} {what}" for what, number in wrong.items())
    print(f"{world.asked:,} looks, {sum(world.told().values()):,} alerts: {counts}", flush=True)
    return sum(wrong.values())


SECTIONS = {"balance": balance, "failover": failover, "sentinel": sentinel, "beat": beat}


def main(words: Sequence[str]) -> int:
    count = next((int(word) for word in words if word.isdecimal()), STREAMERS)
    wrong = [SECTIONS[name](count) for name in [word for word in words if word in SECTIONS] or SECTIONS]
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
