"""How messages are taken off Redis: in one step, at once, and in the order of kombu."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis
from kombu import Connection, Exchange, Queue

from livectl.ops.transport import broker_memory, leases
from livectl.ops.transport.guarded_channel import guarded_transport
from tests.support.faulty_servers import NEVER, CuttingProxy, port_that
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JOBS = 200
REPLIES_OF_A_CYCLE = 14  # greetings, tracking, look for dead workers, take, acknowledge, take, acknowledge, and some
HOUR_S = 3600


@pytest.fixture
def server(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as client:
        yield client


def guarded(url: str, set_aside: Callable[[str, Any, str], bool] = lambda *_: True, **options: Any) -> Connection:
    connection = Connection(url, transport_options=options)
    connection.transport_cls = guarded_transport(connection.get_transport_cls(), set_aside)
    return connection


def local_url(store_url: str) -> str:
    return store_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")


def end_leases(server: redis.Redis) -> None:
    for tag in server.zrange("unacked_leases", 0, -1):
        server.zadd("unacked_leases", {str(tag, "ascii"): 0})  # type: ignore[arg-type]


def publish(url: str, *bodies: Any, queue: str = "q", priority: int = 0, **options: Any) -> None:
    with Connection(url, transport_options=options) as connection, connection.Producer() as producer:
        for body in bodies:
            producer.publish(body, routing_key=queue, priority=priority)


def drain(connection: Connection) -> bool:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.1)
    return True


def test_no_job_is_lost_whichever_reply_of_a_cycle_is_cut(valkey: Path, store_url: str, server: redis.Redis) -> None:
    publish(local_url(store_url), *range(JOBS))
    proxy, done = CuttingProxy(str(valkey)), set[int]()

    def work(body: int, message: Any) -> None:
        done.add(body)
        message.ack()

    replies = cycle(range(1, REPLIES_OF_A_CYCLE + 1))
    with port_that(proxy) as port, guarded(local_url(store_url)) as other:
        while server.llen("q") or server.hlen("unacked"):
            work_until_killed(f"redis://127.0.0.1:{port}/0", proxy, next(replies), work)
            end_leases(server)
            leases.sweep(other.default_channel)
    assert done == set(range(JOBS))


def work_until_killed(url: str, proxy: CuttingProxy, replies: int, work: Callable[[int, Any], None]) -> None:
    """A worker that dies with the N-th reply it would get: it neither gives back nor acknowledges anything after."""
    connection = guarded(url)
    connection.default_channel.do_restore = False
    with suppress(*connection.connection_errors, *connection.channel_errors):
        connection.Consumer([Queue("q")], callbacks=[work]).consume()
        proxy.left = replies
        while proxy.left > 0:
            drain(connection)
    proxy.cut()
    proxy.left = NEVER
    connection.collect()
    broker_memory._memories.clear()  # its memory


@contextmanager
def consuming(connection: Connection, *queues: str) -> Iterator[list[Any]]:
    received: list[Any] = []
    with closing(connection), connection.Consumer([Queue(queue) for queue in queues], on_message=received.append):
        yield received


@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "shop:"}], ids=["plain", "prefixed"])
def test_a_worker_that_waits_is_told_of_a_job(store_url: str, options: dict[str, Any]) -> None:
    connection = guarded(local_url(store_url), **options)
    channel = connection.default_channel
    channel.brpop_timeout = HOUR_S  # it does not ask again by itself
    with consuming(connection, "q", "r") as received:
        for number, (queue, priority) in enumerate([("q", 0), ("r", 9), ("q", 3)]):
            wait_for(lambda: drain(connection) and channel._is_waiting, what="a wait")
            publish(local_url(store_url), number, queue=queue, priority=priority, **options)
            wait_for(lambda: drain(connection) and len(received) > number, what="the job")  # noqa: B023


def test_jobs_come_in_the_order_of_kombu(store_url: str, server: redis.Redis) -> None:
    def order(connection: Connection) -> list[int]:
        server.flushdb()
        with Connection(local_url(store_url)) as sender, sender.Producer() as producer:
            for number in range(40):
                producer.publish(number, routing_key="qrs"[number % 3], priority=number % 10)
        with consuming(connection, "q", "r", "s") as received:
            wait_for(lambda: drain(connection) and len(received) == 40, what="all jobs")
        return [message.payload for message in received]

    assert order(guarded(local_url(store_url))) == order(Connection(local_url(store_url)))


def test_a_note_is_that_of_kombu_which_puts_it_back(store_url: str, server: redis.Redis) -> None:
    def note(connection: Connection) -> Any:
        server.flushdb()
        publish(local_url(store_url), {"name": "Zoë"}, priority=3)
        raw = json.loads(server.lindex("q\x06\x163", 0) or "")
        with consuming(connection, "q") as received:
            wait_for(lambda: drain(connection) and received, what="the job")
            (tag, text), *others = server.hgetall("unacked").items()
            assert not others
            assert received[0].delivery_tag.encode() == tag == raw["properties"]["delivery_tag"].encode()
            assert json.loads(text)[0] == raw
            with Connection(local_url(store_url)) as stock:
                stock.default_channel.qos.restore_by_tag(received[0].delivery_tag)
            assert server.llen("q\x06\x163") == 1
        return json.loads(text)[1:]

    assert note(guarded(local_url(store_url))) == note(Connection(local_url(store_url))) == ["", "q"]


def test_copies_for_several_queues_are_held_each_for_itself(store_url: str, server: redis.Redis) -> None:
    """kombu gives them one tag, by which the first acknowledgement would end the note of the others."""
    news = Exchange("news", type="topic")
    queues = [Queue(name, news, routing_key="news.#") for name in ("q", "r", "s")]
    with Connection(local_url(store_url)) as stock:
        for queue in queues:
            queue(stock.default_channel).declare()
        stock.Producer().publish("once", exchange=news, routing_key="news.today")
    connection = guarded(local_url(store_url))
    with consuming(connection, "q", "r", "s") as received:
        wait_for(lambda: drain(connection) and len(received) == 3, what="the copies")
        assert server.hlen("unacked") == 3
        received[0].ack()
        received[1].requeue()
        assert server.hlen("unacked") == server.zcard("unacked_leases") == 1
    assert sum(server.llen(queue.name) for queue in queues) == 2


def test_what_cannot_be_read_nor_set_aside_is_back_as_it_was(store_url: str, server: redis.Redis) -> None:
    texts = [b"no \xff JSON", b'{"properties": {}}', b"[" * 2000 + b"]" * 2000]
    server.rpush("q", *texts)
    connection = guarded(local_url(store_url), lambda *_: False)
    with consuming(connection, "q"):
        wait_for(lambda: drain(connection) and server.hlen("unacked") == len(texts), what="notes")
    end_leases(server)
    with guarded(local_url(store_url)) as other:
        assert leases.sweep(other.default_channel) == len(texts)
    assert sorted(server.lrange("q", 0, -1)) == sorted(texts)
    assert server.hlen("unacked") == server.zcard("unacked_index") == server.zcard("unacked_leases") == 0


def test_what_has_no_place_to_say_that_it_comes_again_comes_again(store_url: str, server: redis.Redis) -> None:
    publish(local_url(store_url), 1)
    whole = json.loads(cast("bytes", server.rpop("q")))
    server.rpush("q", json.dumps(whole | {"headers": None}))
    connection = guarded(local_url(store_url), lambda *_: False)
    with consuming(connection, "q"):
        wait_for(lambda: drain(connection) and server.hlen("unacked") == 1, what="a note")
        connection.transport.keeper.end()  # a worker that has died renews no lease
        end_leases(server)
        with guarded(local_url(store_url)) as other:
            assert leases.sweep(other.default_channel) == 1
    assert json.loads(cast("bytes", server.rpop("q"))) == whole | {"headers": None}


def test_a_worker_that_holds_enough_takes_no_more(store_url: str, server: redis.Redis) -> None:
    publish(local_url(store_url), *range(5))
    connection = guarded(local_url(store_url))
    with consuming(connection, "q") as received:
        connection.default_channel.basic_qos(0, 2, False)
        wait_for(lambda: drain(connection) and len(received) == 2, what="two jobs")
        drain(connection)
        assert (server.llen("q"), server.hlen("unacked")) == (3, 2)
        received[0].ack()
        wait_for(lambda: drain(connection) and len(received) == 3, what="the third")
    assert server.llen("q") == 4  # what it held is back


def test_a_server_that_does_not_tell_of_changes_is_asked_with_brpop(
    store_url: str, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    server.execute_command("ACL", "SETUSER", "default", "-client|tracking")  # type: ignore[no-untyped-call]
    try:
        connection = guarded(local_url(store_url))
        with consuming(connection, "q") as received:
            publish(local_url(store_url), "job")
            wait_for(lambda: drain(connection) and received, what="the job")
            assert server.hlen("unacked") == server.zcard("unacked_leases") == 1
        assert "cannot take and note in one step" in caplog.text
    finally:
        server.execute_command("ACL", "SETUSER", "default", "+client|tracking")  # type: ignore[no-untyped-call]
