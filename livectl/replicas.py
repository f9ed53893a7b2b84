"""Waits for replicas before something follows from what was written that cannot be taken back, such as an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl import redis_client
from livectl.cluster_keys import cluster_key

if TYPE_CHECKING:
    from collections.abc import Iterable

WAIT_MS = 200  # a replica that is well has it in a millisecond or two; without one it is better to go on


def is_cluster(client: Any) -> bool:
    return hasattr(type(client), "get_node_from_key")


def confirm(client: Any, places: Iterable[str]) -> None:
    """Returns when a replica has what was written at these places, on a cluster or behind Sentinel; sooner where there
    is none, or none that answers.

    RedisError where a node is away: then nobody knows.
    """
    if redis_client.is_one_server(client):
        return
    for primary, place in _primaries(client, [cluster_key(place) for place in places]):
        if not primary.role()[2]:
            continue
        pipe = primary.pipeline(transaction=False)
        pipe.set(f"{place}confirmed", 1)  # a wait is for what its own connection wrote, and for all before that
        pipe.wait(1, WAIT_MS)
        pipe.execute()


def _primaries(client: Any, places: list[str]) -> list[tuple[Any, str]]:
    """A client of each server that has some of these places, with one of them."""
    if not is_cluster(client):
        return [(client, place) for place in places[:1]]
    nodes = {client.get_node_from_key(place): place for place in places}
    return [(client.get_redis_connection(node), place) for node, place in nodes.items()]
