"""Connects to a Redis, a cluster, or what is behind Sentinel: by redis-py for the store, else by a small client.

redis-py takes 150 ms to import, since it brings asyncio; a probe or a status is answered in less than that.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.address import Address
from livectl.errors import ServerAwayError, ServerError
from livectl.redis_cluster import connect_cluster
from livectl.redis_connection import (
    ANSWER_WITHIN_S,
    DATA_ERRORS,
    DISK_FULL,
    MIN_TIMEOUT_S,
    SERVER_TIMEOUT_S,
    TRIAL_WRITE_TOLERATED,
    RedisArgument,
    RedisConnection,
    closed_on_error,
    explain_error,
    log_in,
    open_connection,
)
from livectl.redis_replies import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

# Beside what is here: the connection, as its users know it.
__all__ = [
    "ANSWER_WITHIN_S",
    "DATA_ERRORS",
    "DISK_FULL",
    "MIN_TIMEOUT_S",
    "SERVER_TIMEOUT_S",
    "RedisArgument",
    "RedisConnection",
    "explain_error",
]

# Of the store's client. A healthy server replies within a millisecond; one that takes seconds is stuck.
REPLY_TIMEOUT_S = 5
HEALTH_CHECK_INTERVAL_S = 30  # a connection that was idle for longer is tried before it is trusted
RESP_VERSION = 2  # replies have the same shapes with every redis-py and every server


def open_store(
    address: Address | str,
    timeout_s: float = SERVER_TIMEOUT_S,
    *,
    trial_write: bool = True,
    reply_timeout_s: float = REPLY_TIMEOUT_S,
) -> Redis:
    """A redis-py client of this store. Raises ServerError within 3 s when the store cannot be reached or refuses us."""
    parsed = Address.parse_store(address) if isinstance(address, str) else address
    client = store_client(parsed, reply_timeout_s)
    check_redis(parsed, timeout_s, trial_write=trial_write)
    return client


def check_redis(
    address: Address, timeout_s: float = SERVER_TIMEOUT_S, *, trial_write: bool = True, reads_suffice: bool = True
) -> None:
    """ServerError for a server that cannot be used, as `connect` has it; of a cluster for one such node."""
    with connect(address, timeout_s, trial_write=trial_write, reads_suffice=reads_suffice) as connection:
        connection.check_nodes()


def store_client(address: Address, reply_timeout_s: float = REPLY_TIMEOUT_S, *, decodes: bool = True) -> Redis:
    """A redis-py client that connects with its first command, for those who can wait until the store is there."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {
        "decode_responses": decodes,
        "protocol": RESP_VERSION,
        "socket_connect_timeout": SERVER_TIMEOUT_S,
        "socket_timeout": reply_timeout_s,
        "health_check_interval": HEALTH_CHECK_INTERVAL_S,
        "retry": Retry(NoBackoff(), 0),  # the caller knows whether it is harmless to send a command twice
    }
    if address.is_single:
        return Redis.from_url(address.redis_url, **options)
    from livectl import store_cluster

    make = store_cluster.cluster_client if address.kind == "cluster" else store_cluster.sentinel_client
    return make(address, options)


def is_one_server(client: Any) -> bool:
    """Whether a client of redis-py speaks to the same server for ever; no cluster's does, nor one behind Sentinel."""
    return bool(getattr(client, "is_one_server", True))


@contextmanager
def using_store(address: Address, timeout_s: float = SERVER_TIMEOUT_S) -> Iterator[Redis]:
    """A redis-py client of this store for one command. Whatever goes wrong with the store is a ServerError."""
    with open_store(address, timeout_s, reply_timeout_s=timeout_s) as client, explained(address):
        yield client


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Makes a ServerError of whatever goes wrong with this server in the block."""
    try:
        yield
    except Exception as error:
        if server_error := explain_error(error, address.masked):
            raise server_error from error
        raise


def connect(
    address: Address, timeout: float = SERVER_TIMEOUT_S, *, trial_write: bool = True, reads_suffice: bool = True
) -> RedisConnection:
    """A connection that has logged in and may be used for `timeout` seconds. Raises ServerError if there is none.

    A server that takes nothing (a replica, a full one) counts as none; not without the trial write, for what only reads
    or makes room. One whose disk is full can be read all the same: it counts as none only where reads do not suffice.
    Of a cluster it is one to whichever node a command is for; behind Sentinel to the primary of now.
    """
    if address.kind == "cluster":
        return connect_cluster(address, timeout, trial_write=trial_write, reads_suffice=reads_suffice)
    deadline = time.monotonic() + timeout
    if address.kind == "sentinel":
        address = find_primary(address, timeout)
    timeout = max(MIN_TIMEOUT_S, deadline - time.monotonic())
    connection = open_connection(address, min(timeout, SERVER_TIMEOUT_S))
    tolerated = TRIAL_WRITE_TOLERATED + (DISK_FULL if reads_suffice else ())
    with closed_on_error(connection):
        log_in(connection, address, trial_write=trial_write, tolerated=tolerated)
    connection.deadline = deadline
    return connection


def find_primary(address: Address, timeout: float = SERVER_TIMEOUT_S) -> Address:
    """The server that the sentinels of this address call the primary now. ServerError where none of them says."""
    deadline, refusal = time.monotonic() + min(timeout, SERVER_TIMEOUT_S), None
    for host, port in address.nodes:
        sentinel = msgspec.structs.replace(
            address.at(host, port), user="", password=address.sentinel_password, database=0
        )
        try:
            connection = open_connection(sentinel, max(MIN_TIMEOUT_S, deadline - time.monotonic()))
            with connection:
                log_in(connection, sentinel, trial_write=False, tolerated=())
                found = connection.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
        except RedisReplyError as error:
            refusal = refusal or _no_sentinel(sentinel, error)
            continue
        except ServerError as error:
            refusal = refusal or error
            continue
        if found:
            return address.at(found[0].decode(), int(found[1]))
        refusal = ServerError(
            f"the sentinels of {address.masked} watch no server called {address.service}",
            "Write the name that `SENTINEL masters` there has at the end of its address.",
        )
    raise refusal or ServerAwayError(f"no sentinel answers at {address.masked}", "Start one, or mend its address.")


def _no_sentinel(address: Address, error: RedisReplyError) -> ServerError:
    if "unknown command" not in error.words.lower():
        return error
    return ServerError(f"{address.masked} is no sentinel", "Write redis:// for a server by itself.")
