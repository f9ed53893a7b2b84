"""Each script of the transport names the keys it touches, and a prefix with a hash tag keeps them in one slot.

A server in cluster mode refuses whatever does otherwise.
"""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Exchange, Queue

from livectl import redis_client
from livectl.address import Address
from livectl.ops import deployment as deployments
from livectl.ops.cluster import purge
from livectl.ops.jobs import dead_letters
from livectl.ops.limits import slots
from livectl.ops.limits.duplicates import UniqueClaim
from livectl.ops.limits.slots import Limit, LimitKeys, LimitStore, Woken
from livectl.ops.protocol import delayed, search
from livectl.ops.protocol.dead_letter import DeadLetter
from livectl.ops.transport import delays, leases, safe_transport
from livectl.settings import Settings
from tests.support.faulty_servers import redis_server
from tests.support.servers import free_port
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "{shop}:"
SLOTS = 16384
HOUR = timedelta(hours=1)
JOBS = 12


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a cluster of one server, which has all slots."""
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with redis_server(tmp_path_factory.mktemp("cluster"), *options) as port, redis.Redis(port=port) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_for(lambda: is_ready(client), what="the cluster")
        yield port


def is_ready(client: Any) -> bool:
    return "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO"))


@pytest.fixture
def url(node: int) -> str:
    return f"redis://127.0.0.1:{node}/0"


@pytest.fixture
def server(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        client.flushdb()
        yield client


def connect(url: str) -> Connection:
    connection = Connection(url, transport_options={"global_keyprefix": PREFIX})
    connection.transport_cls = safe_transport.Transport
    return connection


def send(url: str, prefix: str = PREFIX) -> None:
    with Connection(url, transport_options={"global_keyprefix": prefix}) as connection:
        connection.transport_cls = safe_transport.Transport
        news = Exchange("news", type="topic")
        producer = connection.Producer()
        for queue in ("q", "r"):
            Queue(queue, news, routing_key="news.#", channel=connection.default_channel).declare()
        for number in range(JOBS):
            headers = {"id": f"id-{number}", "task": "shop.add", "eta": str(datetime.now(UTC) + HOUR)}
            to = {"exchange": news, "routing_key": "news.x"} if number % 2 else {"routing_key": "q"}
            producer.publish([[], {}, {}], headers=headers, priority=number % 10, **to)


def take(connection: Connection, number: int) -> list[Any]:
    taken: list[Any] = []
    consumer = connection.Consumer([Queue("q"), Queue("r")], on_message=taken.append)
    consumer.qos(prefetch_count=number)
    consumer.consume()

    def has_come() -> bool:
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.1)
        return len(taken) == number

    wait_for(has_come, what="the messages")
    return taken


def count(server: redis.Redis, pattern: str) -> int:
    return sum(server.llen(key) for key in server.scan_iter(pattern, _type="LIST"))


def test_the_transport_runs_on_a_cluster(url: str, server: redis.Redis) -> None:
    send(url)
    everything = JOBS + JOBS // 2
    assert count(server, "{shop}:[qr]*") == everything
    with closing(connect(url)) as connection:
        channel = connection.default_channel
        held = take(connection, 6)
        held[0].ack()
        held[1].reject()
        held[2].requeue()
        assert delays.delay(held[3], held[3].headers, datetime.now(UTC) + HOUR)
        assert delays.delay(held[4], held[4].headers, datetime.now(UTC) + HOUR)
        [revoked] = delays.take_revoked(channel, [held[3].headers["id"]], lambda _: True)
        revoked.ack()
        [waiting] = server.zrange("{shop}:unacked_delayed", 0, -1)
        server.zadd("{shop}:unacked_delayed", {str(waiting): 1})
        wait_for(lambda: not server.exists("{shop}:unacked_delayed"), what="the keeper of the connection")
        connection.transport.keeper.renew(server)
        connection.transport.keeper.end()  # a worker that has died renews no lease
        server.zadd("{shop}:unacked_leases", {held[5].delivery_tag: 0})
        assert leases.sweep(channel) == 1
    assert count(server, "{shop}:[qr]*") == everything - 3
    keeper = delayed.keeper_key("{shop}:unacked")
    assert [key for key in server.scan_iter("*unacked*") if "_sent:" not in key] == [keeper]


def test_what_commands_do_with_messages_runs_on_a_cluster(url: str, server: redis.Redis, tmp_path: Path) -> None:
    send(url)
    app = Celery("shop", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": PREFIX}
    deployment = deployments.from_app(app, Settings(home=tmp_path, folder=tmp_path))
    with closing(connect(url)) as connection:
        held = take(connection, 2)
        assert delays.delay(held[0], held[0].headers, datetime.now(UTC) + HOUR)
        with redis_client.connect(Address.parse(url), 10) as asked:
            found = search.find(asked, deployment.layout, [f"id-{number}" for number in range(JOBS)], ["q", "r"])
            assert len(found.locations) == JOBS
            assert search.remove(asked, deployment.layout, found.locations[held[1].headers["id"]])
        server.delete("{shop}:unacked_delayed_keeper")
        assert purge.restore_delayed(deployment) == 1
    for queue in ("q", "r"):
        purge.purge(deployment, purge.PurgeFilter(queue=queue), tmp_path / f"{queue}.jsonl")
    assert count(server, "{shop}:[qr]*") == 0
    letter = DeadLetter(id="j", kind="message", reason="bad", at=datetime.now(UTC), task="t", payload={})
    assert dead_letters.add(server, letter)


def test_limits_run_on_a_cluster(url: str, server: redis.Redis) -> None:
    keys, one = LimitKeys(PREFIX, "shop"), Limit(name="mail", partition="ada", most=1, amount=9, window=60)
    worker, claim = LimitStore(server, keys, "w1", wakes=True), UniqueClaim("shop.sync", "[1]", "join", 60, True)
    assert [worker.enter(one, job, "q") for job in "abc"] == [None, 0, 1]
    assert worker.leave(one, "a") == [Woken("b", "q")]
    assert worker.missed(one, ["b"]) == [Woken("c", "q")]
    assert [worker.enter(one, job, "q") for job in "cb"] == [None, 0]
    worker.renew([(one, ["c"])])
    assert worker.pump(one)[0] == []
    assert worker.look()[1] == []
    assert worker.is_waiting(one, "b")
    assert [worker.claim(claim, job, "q")[0] for job in "xy"] == ["go", "join"]
    assert worker.mark(claim, "x", "ended", 20) == (True, [Woken("y", "q")])
    with redis_client.connect(Address.parse(url), 10) as connection:
        assert slots.find_waiting(connection, keys, ["b"])["b"].before == 0
        assert [state.waiting for state in slots.read_states(connection, keys)] == [1]
    with pytest.raises(redis.RedisError, match="slot"):
        LimitStore(server, LimitKeys("", "shop"), "w1", wakes=True).enter(one, "d")


def test_without_a_hash_tag_the_cluster_refuses(url: str) -> None:
    """What the tests above are worth."""
    with pytest.raises(redis.RedisError, match="slot"):
        send(url, prefix="shop:")
