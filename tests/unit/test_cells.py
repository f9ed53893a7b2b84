"""Where in a cluster what is known of streamers lies."""

from __future__ import annotations

from collections import Counter

import pytest
from redis.crc import key_slot

from livectl import cluster_keys
from livectl.live import cells, platforms


@pytest.mark.parametrize("shards", [16, 32, 64])
@pytest.mark.parametrize("nodes", [3, 4, 6])
def test_the_cells_of_each_platform_are_shared_evenly(shards: int, nodes: int) -> None:
    for platform in platforms.names():
        slots = [key_slot(f"{cells.cell_place(platform, shard)}now".encode()) for shard in range(shards)]
        counts = Counter(slot * nodes // cluster_keys.SLOTS for slot in slots)
        assert max(counts.values()) <= shards / nodes * 1.25, platform


def test_a_cell_has_a_name_of_its_own_that_stays() -> None:
    names = {cells.cell_place(platform, shard) for platform in platforms.names() for shard in range(64)}
    assert len(names) == 64 * len(platforms.names())
    assert cells.cell_place("huya", 3) == "livectl:{huya:3.48}:"
