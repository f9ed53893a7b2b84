"""A cluster as `store:`: the nodes that share the slots, and what goes wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.redis_cluster import RedisCluster


def test_each_node_has_its_share_of_the_keys(cluster: RedisCluster) -> None:
    owners = {cluster.owner(f"key{number}").port for number in range(20)}
    assert owners == {node.port for node in cluster.primaries}
