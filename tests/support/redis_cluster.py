"""A Redis Cluster of real processes on ports of its own: three nodes that share the slots, with replicas if wanted."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import redis

from livectl.ops.processes.embedded_broker import locate_binary
from tests.support.faulty_servers import tls_options
from tests.support.servers import free_port, needed
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SLOTS = 16_384
NODE_TIMEOUT_MS = 1_500  # then a silent node counts as dead: soon, so that its replica takes over


class ClusterNode:
    """One process, and where it is reached."""

    def __init__(self, folder: Path, options: Sequence[str], certificate: Path | None) -> None:
        """With a certificate it speaks TLS alone, as the embedded Valkey does not."""
        self.port, self.bus = free_port(), free_port()
        self._certificate = certificate
        folder.mkdir(parents=True)
        binary = needed(shutil.which("redis-server"), "redis-server") if certificate else locate_binary()
        tls = (
            ("--port", "0", "--tls-cluster", "yes", "--tls-replication", "yes", *tls_options(certificate))
            if certificate
            else ()
        )
        self._argv = [
            *(binary, "--bind", "127.0.0.1", "--cluster-enabled", "yes", *tls),
            *("--tls-port" if certificate else "--port", str(self.port)),
            *("--cluster-port", str(self.bus), "--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
            *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
            *("--repl-ping-replica-period", "1"),  # a replica without any data yet is known to nobody until then
            *("--save", "", "--dir", str(folder), *options),
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """At once, as kill -9 does."""
        self.process.kill()
        self.process.wait()

    def client(self) -> redis.Redis:
        """A client of this node alone."""
        ca = str(self._certificate) if self._certificate else None
        return redis.Redis(port=self.port, ssl=ca is not None, ssl_ca_certs=ca, decode_responses=True)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class RedisCluster:
    """What tests ask of a cluster: its addresses, its nodes, and to be empty again."""

    def __init__(self, primaries: Sequence[ClusterNode], replicas: Sequence[ClusterNode]) -> None:
        self.primaries, self.replicas = primaries, replicas
        self._lost: list[ClusterNode] = []

    @property
    def nodes(self) -> list[ClusterNode]:
        return [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        """As `store:` takes it."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.primaries)}"

    def flush(self) -> None:
        for node in self.primaries:
            with node.client() as client:
                client.flushall()

    def owner(self, key: str) -> ClusterNode:
        """The node that has a key now: all others send on whoever asks for it."""
        return wait_for(lambda: next(filter(partial(_has, key), self.nodes), None), what=f"an owner of {key}")

    def lose_owner(self, key: str) -> float:
        """Kills the node that has this key, and waits until its replica has taken over. Returns for how many seconds
        nobody had it.
        """
        began, node = time.monotonic(), self.owner(key)
        node.kill()
        self._lost.append(node)
        self.owner(key)
        return time.monotonic() - began

    def bring_back(self) -> None:
        """Starts the nodes that were lost: as replicas of those that took over from them."""
        while self._lost:
            node = self._lost.pop()
            node.start()
            wait_for(lambda node=node: node.answers() and _is_synced(node), what="the node as a replica")  # type: ignore[misc]


@contextmanager
def redis_cluster(
    folder: Path,
    *,
    primaries: int = 3,
    replicas: int = 0,
    options: Sequence[str] = (),
    certificate: Path | None = None,
) -> Iterator[RedisCluster]:
    """Starts a cluster: `replicas` of each primary. Its processes end with the block."""
    with ExitStack() as stack:
        nodes: list[ClusterNode] = []
        for number in range(primaries * (1 + replicas)):
            nodes.append(ClusterNode(folder / str(number), options, certificate))
            stack.callback(nodes[-1].kill)
        for node in nodes:
            wait_for(node.answers, what="a node of the cluster")
        cluster = RedisCluster(nodes[:primaries], nodes[primaries:])
        _join(cluster)
        yield cluster


def _join(cluster: RedisCluster) -> None:
    """Gives each primary its share of the slots, and has all nodes meet."""
    first, count = cluster.primaries[0], len(cluster.primaries)
    for number, node in enumerate(cluster.primaries):
        span = SLOTS * number // count, SLOTS * (number + 1) // count - 1
        _tell(node, "CLUSTER", "ADDSLOTSRANGE", *span)
    for epoch, node in enumerate(cluster.nodes, 1):
        _tell(node, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        if node is not first:
            _tell(node, "CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
    wait_for(lambda: all(_knows(node, len(cluster.nodes)) for node in cluster.nodes), what="the nodes to meet")
    for number, node in enumerate(cluster.replicas):
        primary = cluster.primaries[number % count]
        _tell(node, "CLUSTER", "REPLICATE", _tell(primary, "CLUSTER", "MYID"))
    wait_for(lambda: all(_is_well(node) for node in cluster.nodes), what="the cluster to be well")
    wait_for(lambda: all(_is_synced(node) for node in cluster.replicas), what="the replicas")


def _tell(node: ClusterNode, *command: str | int) -> str:
    with node.client() as client:
        return str(client.execute_command(*command))


def _state(node: ClusterNode) -> dict[str, str]:
    with node.client() as client:
        reply = client.execute_command("CLUSTER INFO")
    return dict(reply) if isinstance(reply, dict) else dict(line.split(":", 1) for line in reply.split())


def _knows(node: ClusterNode, count: int) -> bool:
    return int(_state(node)["cluster_known_nodes"]) == count


def _is_well(node: ClusterNode) -> bool:
    state = _state(node)
    return state["cluster_state"] == "ok" and int(state["cluster_slots_ok"]) == SLOTS


def _is_synced(node: ClusterNode) -> bool:
    with node.client() as client:
        info = client.info("replication")
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def _has(key: str, node: ClusterNode) -> bool:
    if node.process.poll() is not None:
        return False
    try:
        with node.client() as client:
            client.exists(key)
    except redis.exceptions.RedisError:
        return False
    return True
