"""The small client's connection to a Redis Cluster: each command goes to the node that has its keys."""

from __future__ import annotations

import re
import time
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from livectl import cluster_keys
from livectl.errors import ServerAwayError, ServerError
from livectl.redis_connection import (
    DISK_FULL,
    MIN_TIMEOUT_S,
    SERVER_TIMEOUT_S,
    TRIAL_WRITE,
    TRIAL_WRITE_TOLERATED,
    RedisConnection,
    closed_on_error,
    log_in,
    open_connection,
)
from livectl.redis_replies import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.address import Address
    from livectl.redis_connection import RedisArgument

    Node = tuple[str, int]

MAX_HOPS = 5  # that a command is sent on: while slots move one or two are usual
TRY_AGAIN_S = 0.05
POLICY, HARMLESS_POLICY = re.compile(rb"maxmemory_policy:(\S+)"), b"noeviction"
SLOTS_COMMAND = ("CLUSTER", "SLOTS")


def connect_cluster(
    address: Address, timeout: float, *, trial_write: bool = True, reads_suffice: bool = True
) -> ClusterConnection:
    """A connection to the cluster of which these are some nodes. ServerError where none of them answers, where slots
    are nobody's, or where it takes nothing."""
    deadline = time.monotonic() + timeout
    refusal = ServerError(f"no node answers at {address.masked}", "Start them, or mend their addresses.")
    for host, port in address.nodes:
        left = min(SERVER_TIMEOUT_S, max(MIN_TIMEOUT_S, deadline - time.monotonic()))
        try:
            first = _open_node(address.at(host, port), left)
            with closed_on_error(first):
                log_in(first, address.at(host, port), trial_write=False, tolerated=DISK_FULL)
                slots = read_slots(first, host, address)
        except ServerError as error:
            refusal = error
            continue
        tolerated = TRIAL_WRITE_TOLERATED + (DISK_FULL if reads_suffice else ())
        connection = ClusterConnection(
            address, slots, (host, port), first, deadline, tolerated if trial_write else None
        )
        if trial_write:
            with closed_on_error(connection):
                connection.try_write(TRIAL_WRITE[1])
        return connection
    raise refusal


def _open_node(address: Address, timeout: float) -> RedisConnection:
    try:
        return open_connection(address, timeout)
    except ServerAwayError as error:
        raise ServerAwayError(error.message, "It is a node of the cluster: start it, or mend its address.") from error


def read_slots(connection: RedisConnection, host: str, address: Address) -> list[Node]:
    """Which primary has each slot. ServerError for a server that is no cluster's, and for slots that are nobody's."""
    try:
        spans = connection.execute(*SLOTS_COMMAND)
    except RedisReplyError as error:
        raise ServerError(
            f"{address.at(*address.nodes[0]).masked} is no node of a cluster: {error.words}",
            "Write redis://, without +cluster, for a server by itself.",
        ) from error
    owners: list[Node | None] = [None] * cluster_keys.SLOTS
    for first, last, primary, *_ in spans:
        owners[first : last + 1] = [_read_node(primary, host)] * (last + 1 - first)
    known = [owner for owner in owners if owner is not None]
    if len(known) < cluster_keys.SLOTS:
        raise ServerError(
            f"{address.masked} has no node for {cluster_keys.SLOTS - len(known):,} of its {cluster_keys.SLOTS:,} slots",
            "`redis-cli --cluster fix` gives them to somebody; start the nodes that had them.",
        )
    return known


def _read_node(entry: Sequence[Any], host: str) -> Node:
    """A node as CLUSTER SLOTS names it: without a host where it is that of whoever was asked."""
    name = entry[0].decode() if isinstance(entry[0], bytes) else entry[0]
    return name or host, int(entry[1])


class Asked(NamedTuple):
    """A command, and the node that it is for; one that takes a slot over just now wants a word before it."""

    node: Node
    command: Sequence[RedisArgument]
    is_asking: bool = False

    @property
    def commands(self) -> list[Sequence[RedisArgument]]:
        return [("ASKING",), self.command] if self.is_asking else [self.command]


class ClusterConnection(RedisConnection):
    """Connections to the nodes of a cluster, each opened when it is needed first; the caller sees one server."""

    def __init__(
        self,
        address: Address,
        slots: list[Node],
        node: Node,
        connection: RedisConnection,
        deadline: float,
        tolerated: tuple[str, ...] | None,
    ) -> None:
        self._address, self._masked = address, address.masked
        self._slots = slots
        self._first = node
        self._nodes = {node: connection}
        self.deadline = deadline
        self._tolerated = tolerated  # refusals of a trial write; None where nothing need be written

    def address_of(self, node: Node) -> Address:
        return self._address.at(*node)

    def find_nodes(self) -> list[Node]:
        """The nodes that have slots, and their replicas."""
        spans = self.connect_to(self._first).execute(*SLOTS_COMMAND)
        return list(dict.fromkeys(_read_node(entry, self._first[0]) for span in spans for entry in span[2:]))

    def try_write(self, key: str) -> None:
        """ServerError where the node that has this key takes nothing."""
        (reply,) = self.call_all([(TRIAL_WRITE[0], key, *TRIAL_WRITE[2:])])
        if isinstance(reply, RedisReplyError) and not reply.words.startswith(self._tolerated or ()):
            raise reply

    def check_nodes(self) -> None:
        """ServerError for a node that takes nothing, for one that throws keys away when it is full, and where what lies
        at one place cannot be reached.
        """
        self.execute_all([("EXISTS", f"livectl:{word}") for word in cluster_keys.TAGS])
        keys = (f"{TRIAL_WRITE[1]}:{number}" for number in count())
        nodes = dict.fromkeys(self._slots)
        while nodes and self._tolerated is not None:
            key = next(keys)
            node = self._slots[cluster_keys.key_slot(key)]
            if node in nodes:
                del nodes[node]
                self.try_write(key)
                self._check_policy(node)

    def _check_policy(self, node: Node) -> None:
        (reply,) = self.connect_to(node).call_all([("INFO", "memory")])
        match = POLICY.search(reply) if isinstance(reply, bytes) else None  # this user may not ask
        if match and match[1] != HARMLESS_POLICY:
            raise ServerError(
                f"{self.address_of(node).masked} of {self._masked} throws keys away when it is full: its "
                f"maxmemory-policy is {match[1].decode()}",
                "Say `CONFIG SET maxmemory-policy noeviction` there, and in its configuration.",
            )

    def call_all(self, commands: Sequence[Sequence[RedisArgument]]) -> list[Any]:
        parts = [(at, *part) for at, command in enumerate(commands) for part in cluster_keys.split_by_slot(command)]
        asked = [Asked(self._first if slot is None else self._slots[slot], part) for _, part, slot, _ in parts]
        of_commands: dict[int, list[tuple[list[int], Any]]] = {}
        for (at, _, _, places), reply in zip(parts, self._ask_and_follow(asked), strict=True):
            of_commands.setdefault(at, []).append((places, reply))
        return [cluster_keys.merge_replies(command, of_commands[at]) for at, command in enumerate(commands)]

    def _ask_and_follow(self, asked: list[Asked]) -> list[Any]:
        """The replies, from whichever nodes the nodes send us to."""
        replies: dict[int, Any] = {}
        left = dict(enumerate(asked))
        for _ in range(MAX_HOPS + 1):
            replies |= self._ask_nodes(left)
            left = {at: hop for at, one in left.items() if (hop := self._next_hop(one, replies[at]))}
            if not left:
                return [replies[at] for at in range(len(asked))]
        raise RedisReplyError(f"TTL exhausted: sent on {MAX_HOPS} times", self._masked)

    def _ask_nodes(self, left: dict[int, Asked]) -> dict[int, Any]:
        """Sends all that is left, each to its node, and reads what they reply."""
        of_nodes: dict[Node, list[int]] = {}
        for at, one in left.items():
            of_nodes.setdefault(one.node, []).append(at)
        sent = {
            node: [command for at in numbers for command in left[at].commands] for node, numbers in of_nodes.items()
        }
        for node, commands in sent.items():
            self.connect_to(node).send_all(commands)
        received = {node: iter(self.connect_to(node).receive_all(commands)) for node, commands in sent.items()}
        return {
            at: [next(received[node]) for _ in left[at].commands][-1]
            for node, numbers in of_nodes.items()
            for at in numbers
        }

    def _next_hop(self, asked: Asked, reply: Any) -> Asked | None:
        """The same to the node that a refusal sends us to."""
        if not isinstance(reply, RedisReplyError):
            return None
        word, *rest = reply.words.split()
        if word == "TRYAGAIN":
            time.sleep(TRY_AGAIN_S)
            return asked
        if word not in {"MOVED", "ASK"} or len(rest) < 2:
            return None
        host, _, port = rest[1].rpartition(":")
        node = host.strip("[]") or asked.node[0], int(port)
        if word == "MOVED":
            self._slots[int(rest[0])] = node
        return Asked(node, asked.command, is_asking=word == "ASK")

    def connect_to(self, node: Node) -> RedisConnection:
        """A connection to this node alone."""
        if node not in self._nodes:
            address, left = self.address_of(node), max(MIN_TIMEOUT_S, self.deadline - time.monotonic())
            connection = _open_node(address, min(SERVER_TIMEOUT_S, left))
            with closed_on_error(connection):
                log_in(connection, address, trial_write=False, tolerated=DISK_FULL)
            self._nodes[node] = connection
        self._nodes[node].deadline = self.deadline
        return self._nodes[node]

    def close(self) -> None:
        for connection in self._nodes.values():
            connection.close()
