"""Waits for replicas before something follows from what was written that cannot be taken back, such as an alert."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from livectl import redis_client
from livectl.cluster_keys import cluster_key

if TYPE_CHECKING:
    from collections.abc import Iterable

WAIT_MS = 200  # a replica that is well has it in a millisecond or two
# A primary that its replica does not hear from may be none any more. Nodes and sentinels know within this time: then
# it is the replica that is ill, and it is better to go on without.
ALONE_S = 20.0

_alone_since: dict[str, float] = {}  # servers whose replicas did not answer when they were last waited for


def is_cluster(client: Any) -> bool:
    return hasattr(type(client), "get_node_from_key")


def confirm(client: Any, places: Iterable[str]) -> None:
    """Returns when a replica has what was written at these places, on a cluster or behind Sentinel; at once where
    there is none.

    RedisError where a node is away, and for a while where no replica answers that should: then nobody knows.
    """
    if redis_client.is_one_server(client):
        return
    for name, primary, place in _primaries(client, [cluster_key(place) for place in places]):
        if not _knows_replicas(client, primary, place):
            _alone_since.pop(name, None)
            continue
        pipe = primary.pipeline(transaction=False)
        pipe.set(f"{place}confirmed", 1)  # a wait is for what its own connection wrote, and for all before that
        pipe.wait(1, WAIT_MS)
        if pipe.execute()[1]:
            _alone_since.pop(name, None)
        elif time.monotonic() - _alone_since.setdefault(name, time.monotonic()) < ALONE_S:
            raise lost_error()


def lost_error() -> Exception:
    """What says that something written may be lost, or is: the store counts as away, and whoever insists writes it
    again.
    """
    from redis.exceptions import ConnectionError as AwayError

    return AwayError("another server has taken over, or is about to, without all that was written")


def _primaries(client: Any, places: list[str]) -> list[tuple[str, Any, str]]:
    """The name and a client of each server that has some of these places, with one of them."""
    if not is_cluster(client):  # asked for now: the server that it has spoken to may be a replica since
        return [(str(client.connection_pool.get_master_address()), client, place) for place in places[:1]]
    nodes = {client.get_node_from_key(place): place for place in places}
    return [(node.name, client.get_redis_connection(node), place) for node, place in nodes.items()]


def _knows_replicas(client: Any, primary: Any, place: str) -> bool:
    """Whether the primary, or a sentinel, knows of a replica that is up."""
    if is_cluster(client):
        slot, spans = client.keyslot(place), primary.execute_command("CLUSTER SLOTS")
        return any(first <= slot <= last and replicas for first, last, _, *replicas in spans)
    from redis.exceptions import RedisError

    pool = client.connection_pool
    for sentinel in pool.sentinel_manager.sentinels:
        with suppress(RedisError):
            known = sentinel.sentinel_slaves(pool.service_name)
            return not all(each["is_sdown"] or each["is_odown"] or each["is_disconnected"] for each in known)
    return True
