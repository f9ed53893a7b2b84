"""Many go live while a primary of the cluster that is the store is killed: the target is told of each, and once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.support.alerts import running_receiver
from tests.support.lives_over_failovers import PLACES, LivesOverFailovers
from tests.support.redis_cluster import redis_cluster
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

FOLLOWED, LIVES, A_SECOND = 240, 120, 60.0


def test_a_primary_is_killed_while_many_go_live(tmp_path: Path) -> None:
    """By `python -m benchmarks.scale_cluster failover` a dozen are."""
    with redis_cluster(tmp_path / "nodes", replicas=1) as cluster, running_receiver() as receiver:
        world = LivesOverFailovers(cluster.url, receiver, FOLLOWED)
        with world.running(workers=2):
            begins = threading.Thread(target=world.go_live, args=(LIVES, A_SECOND))
            begins.start()
            wait_for(world.told, what="the first alert")
            cluster.lose_owner(PLACES[0])
            begins.join()
            world.wait_until_all_are_told()
        world.deliver_once_more()
    assert (world.lost, world.doubled, world.invented) == (set(), {}, set())
