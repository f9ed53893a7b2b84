"""Waits for replicas before something follows from what was written that cannot be taken back, such as an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

WAIT_MS = 200  # a replica that is well has it in a millisecond or two; without one it is better to go on


def is_cluster(client: Any) -> bool:
    return hasattr(type(client), "get_node_from_key")


def has_replicas(client: Any, place: str) -> bool:
    """Whether the keys of this place have a replica, which may take over one day."""
    return is_cluster(client) and len(client.nodes_manager.slots_cache.get(client.keyslot(place), ())) > 1


def confirm(client: Any, places: Iterable[str]) -> None:
    """Returns when a replica has what was written at these places; sooner where there is none, or none that answers.

    RedisError where a node is away: then nobody knows.
    """
    nodes = {client.get_node_from_key(place): place for place in places if has_replicas(client, place)}
    for node, place in nodes.items():
        pipe = client.get_redis_connection(node).pipeline(transaction=False)
        pipe.set(f"{place}confirmed", 1)  # a wait is for what its own connection wrote, and for all before that
        pipe.wait(1, WAIT_MS)
        pipe.execute()
