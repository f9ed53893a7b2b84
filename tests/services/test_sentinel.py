"""Behind Sentinel: messages are taken and leased as on a Redis alone, also after a replica has become the master."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu import Connection, Queue

from livectl.ops.transport import safe_transport
from tests.support.faulty_servers import redis_server, sentinel
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOBS = 20


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[int, int, int]]:
    """The ports of a master, of its replica, and of the sentinel that knows both."""
    with (
        redis_server(tmp_path / "one") as master,
        redis_server(tmp_path / "two", "--replicaof", f"127.0.0.1 {master}") as replica,
        sentinel(tmp_path, master) as port,
        redis.Redis(port=port, decode_responses=True) as asked,
    ):
        wait_for(lambda: asked.sentinel_slaves("shop"), what="the replica")
        yield master, replica, port


def connect(port: int) -> Connection:
    url, options = f"sentinel://127.0.0.1:{port}", {"master_name": "shop"}
    return Connection(url, transport="livectl.ops.transport:Transport", transport_options=options)


def work(connection: Connection, jobs: int) -> list[int]:
    """Takes and acknowledges that many, and holds one more."""
    done: list[int] = []

    def run(body: int, message: Any) -> None:
        if len(done) < jobs:
            done.append(body)
            message.ack()

    consumer = connection.Consumer([Queue("q")], callbacks=[run])
    consumer.qos(prefetch_count=1)
    consumer.consume()
    wait_for(lambda: drain(connection) and len(done) == jobs, what="the jobs")
    return done


def drain(connection: Connection) -> bool:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.1)
    return True


def test_the_master_dies_and_its_replica_goes_on(servers: tuple[int, int, int]) -> None:
    master, replica, port = servers
    with closing(connect(port)) as sender:
        for number in range(JOBS):
            sender.Producer().publish(number, routing_key="q")
    connection = connect(port)
    done = work(connection, JOBS // 2)
    with redis.Redis(port=master) as first, redis.Redis(port=replica) as other:
        wait_for(lambda: drain(connection) and first.hlen("unacked") == 1, what="one that is held")
        assert first.zcard("unacked_leases") == 1
        assert first.wait(1, 5_000) == 1  # the replica has all
        with suppress(redis.ConnectionError):
            first.shutdown(nosave=True, force=True)
        wait_for(lambda: other.role()[0] == b"master", what="another master")
        connection.collect()
        for tag in other.zrange("unacked_leases", 0, -1):
            other.zadd("unacked_leases", {str(tag, "ascii"): 0})
        with closing(connect(port)) as following:
            done += work(following, JOBS // 2)
            assert sorted(done) == list(range(JOBS))
            assert other.llen("q") == other.hlen("unacked") == 0


def test_the_line_for_the_settings_goes_with_sentinel() -> None:
    assert connect(1).get_transport_cls() is safe_transport.Transport
