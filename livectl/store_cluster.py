"""The clients of redis-py for a store of several servers: a cluster, or what stands behind Sentinel."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from redis import ConnectionPool, Redis, RedisCluster, exceptions
from redis.cluster import ClusterNode
from redis.commands import CoreCommands
from redis.connection import parse_url
from redis.exceptions import (
    AskError,
    MovedError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.sentinel import Sentinel

from livectl import cluster_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.address import Address

FOLLOWED = (AskError, MovedError, NoScriptError, TryAgainError)  # refusals after which another call succeeds
ON_ALL_NODES = frozenset({"DBSIZE", "FLUSHALL", "FLUSHDB", "KEYS", "SCAN", "SCRIPT"})  # as redis-py does these


def cluster_client(address: Address, options: dict[str, Any]) -> Redis:
    others = [ClusterNode(host, port) for host, port in address.others]
    url = address.at(address.host, address.port).url
    return cast("Redis", StoreCluster(url=url, startup_nodes=others, require_full_coverage=True, **options))


def sentinel_client(address: Address, options: dict[str, Any]) -> Redis:
    """A client that asks the sentinels who is the primary, whenever it connects."""
    ours = {**parse_url(address.at(address.host, address.port).url), **options, "db": address.database}
    for name in ("host", "port"):
        del ours[name]
    if ours.pop("connection_class", None) is not None:
        ours["ssl"] = True
    theirs = {name: value for name, value in ours.items() if name not in {"username", "password", "db"}}
    sentinels = Sentinel(
        list(address.nodes), sentinel_kwargs={**theirs, "password": address.sentinel_password or None}, **ours
    )
    client: Any = sentinels.master_for(address.service, redis_class=Redis)
    client.is_one_server = False
    return cast("Redis", client)


class StoreCluster(RedisCluster):
    """redis-py's client of a cluster, which connects with its first command and sends none of them twice.

    Keys have their names of `cluster_keys`; a command for keys of many nodes goes to each of them, as far as one may.
    """

    is_one_server = False
    sources: dict[str, str]  # of scripts, by their hashes
    loaded: set[tuple[str, str]]  # nodes and the scripts that they were told

    def __init__(self, **options: Any) -> None:
        self.__dict__.update(_pending=options, _connecting=threading.RLock(), sources={}, loaded=set())

    def __getattr__(self, name: str) -> Any:
        """What the client has once it knows the nodes: asks them, if nobody did."""
        with self.__dict__["_connecting"]:
            pending = self.__dict__.pop("_pending", None)
            if name not in self.__dict__ and pending is None:
                raise AttributeError(name)
            if pending is not None:
                try:
                    with explained_as_redis_error():
                        super().__init__(**pending)
                except BaseException:
                    self.__dict__["_pending"] = pending
                    raise
        return getattr(self, name)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with explained_as_redis_error():
            if options.get("target_nodes") is not None or str(args[0]).upper().partition(" ")[0] in ON_ALL_NODES:
                return super().execute_command(*args, **options)
            parts = cluster_keys.split_by_slot(args)
            replies = [(places, self._run(part, slot, options)) for part, slot, places in parts]
            return cluster_keys.merge_replies(args, replies)

    def _run(self, command: Sequence[Any], slot: int | None, options: dict[str, Any]) -> Any:
        return super().execute_command(*command, target_nodes=self.node_of(slot), **options)

    def node_of(self, slot: int | None) -> ClusterNode:
        """The primary that has this slot; one of them where it matters not."""
        return self.nodes_manager.get_node_from_slot(slot) if slot is not None else self.get_default_node()

    def determine_slot(self, *args: Any) -> int | None:
        """By what we know of commands: redis-py would ask a node about each."""
        return cluster_keys.cluster_command(args)[1]

    def register_script(self, script: Any) -> Any:
        return ClusterScript(self, script)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> StorePipeline:
        """Commands that are sent together, each to its node. Never a transaction: there is none over nodes."""
        return StorePipeline(self)  # type: ignore[abstract]

    def look_again(self) -> None:
        """Asks the nodes who has which slots, after one has not answered; who begins anew knows no scripts."""
        self.loaded.clear()
        with suppress(RedisError, RedisClusterException, OSError):
            self.nodes_manager.initialize()

    def close(self) -> None:
        if "_pending" not in self.__dict__:
            super().close()


class ClusterScript:
    """A script, to be run where its keys are. A node that does not know it is told its text."""

    def __init__(self, client: StoreCluster, text: str) -> None:
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._client, self._text = client, text
        client.sources[self.sha] = text

    def __call__(self, keys: Sequence[str] = (), args: Sequence[Any] = (), client: Any = None) -> Any:
        target = self._client if client is None else client
        try:
            return target.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return target.eval(self._text, len(keys), *keys, *args)


class StorePipeline(CoreCommands):
    """Commands for the nodes of a cluster: all are sent, then all replies are read."""

    def __init__(self, cluster: StoreCluster) -> None:
        self._cluster = cluster
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> StorePipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True  # as an empty one of redis-py is

    def reset(self) -> None:  # type: ignore[override]
        self._commands = []

    def execute_command(self, *args: Any, **options: Any) -> StorePipeline:
        self._commands.append((args, options))
        return self

    def get_encoder(self) -> Any:
        return self._cluster.get_encoder()

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - as redis-py has it
        """The replies, in the order of the commands. A command of which no reply came is not sent again."""
        commands, self._commands = self._commands, []
        with explained_as_redis_error():
            parts = [
                (at, part, slot, places)
                for at, (args, _) in enumerate(commands)
                for part, slot, places in cluster_keys.split_by_slot(args)
            ]
            found = self._exchange([(part, slot, commands[at][1]) for at, part, slot, _ in parts])
        of_commands: dict[int, list[tuple[list[int], Any]]] = {}
        for (at, _, _, places), reply in zip(parts, found, strict=True):
            of_commands.setdefault(at, []).append((places, reply))
        replies = [cluster_keys.merge_replies(args, of_commands[at]) for at, (args, _) in enumerate(commands)]
        refusal = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if refusal is not None and raise_on_error:
            raise refusal
        return replies

    def _exchange(self, asked: list[tuple[list[Any], int | None, dict[str, Any]]]) -> list[Any]:
        of_nodes: dict[str, tuple[ClusterNode, list[int]]] = {}
        for at, (_, slot, _) in enumerate(asked):
            node = self._cluster.node_of(slot)
            of_nodes.setdefault(node.name, (node, []))[1].append(at)
        replies: dict[int, Any] = {}
        with self._connections([node for node, _ in of_nodes.values()]) as connections:
            loads = {
                name: self._unknown_scripts(name, [asked[at][0] for at in of]) for name, (_, of) in of_nodes.items()
            }
            for name, (_, numbers) in of_nodes.items():
                commands = [("SCRIPT", "LOAD", self._cluster.sources[sha]) for sha in loads[name]]
                commands += [tuple(asked[at][0]) for at in numbers]
                connections[name].send_packed_command(connections[name].pack_commands(commands))
            for name, (node, numbers) in of_nodes.items():
                client = self._cluster.get_redis_connection(node)
                for sha in loads[name]:
                    client.parse_response(connections[name], "SCRIPT LOAD")
                    self._cluster.loaded.add((name, sha))
                for at in numbers:
                    replies[at] = _read_reply(client, connections[name], asked[at][0], asked[at][2])
        return [self._follow(asked[at][0], asked[at][2], replies[at]) for at in range(len(asked))]

    def _unknown_scripts(self, node: str, commands: Sequence[Sequence[Any]]) -> list[str]:
        """The scripts among these that the node may not know. It is told them first: commands keep their order."""
        hashes = dict.fromkeys(command[1] for command in commands if command[0] == "EVALSHA")
        return [sha for sha in hashes if sha in self._cluster.sources and (node, sha) not in self._cluster.loaded]

    @contextmanager
    def _connections(self, nodes: Sequence[ClusterNode]) -> Iterator[dict[str, Any]]:
        """A connection to each node, which goes back into its pool; none that has a reply to be read yet."""
        taken: dict[str, tuple[ConnectionPool, Any]] = {}
        try:
            for node in nodes:
                pool = self._cluster.get_redis_connection(node).connection_pool
                taken[node.name] = pool, _take_connection(pool)
            yield {name: connection for name, (_, connection) in taken.items()}
        except BaseException as error:
            for _, connection in taken.values():
                connection.disconnect()
            if isinstance(error, RedisError | OSError):
                self._cluster.look_again()
            raise
        finally:
            for pool, connection in taken.values():
                pool.release(connection)

    def _follow(self, command: list[Any], options: dict[str, Any], reply: Any) -> Any:
        """The reply; that of another node, or to the script's text, where the first one only said so."""
        if not isinstance(reply, FOLLOWED):
            return reply
        if isinstance(reply, NoScriptError):
            if (text := self._cluster.sources.get(command[1])) is None:
                return reply
            command = ["EVAL", text, *command[2:]]
        try:
            return self._cluster.execute_command(*command, **options)
        except ResponseError as error:
            return error


def _take_connection(pool: ConnectionPool) -> Any:
    try:
        return pool.get_connection()
    except TypeError:  # an older redis-py wants to know what for
        return pool.get_connection("_")


def _read_reply(node: Redis, connection: Any, command: Sequence[Any], options: dict[str, Any]) -> Any:
    try:
        return node.parse_response(connection, command[0], **options)
    except ResponseError as error:
        return error


@contextmanager
def explained_as_redis_error() -> Iterator[None]:
    """Makes an error of redis-py's own kind of those that it has for clusters alone: everybody expects the former."""
    try:
        yield
    except RedisClusterException as error:
        raise exceptions.ConnectionError(str(error)) from error
