"""What programs expect of kombu's transport of Redis holds on livectl's as well: each behaviour is tried on both."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu import Connection, Exchange, Queue

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSPORTS = ("kombu.transport.redis:Transport", "livectl.ops.transport:Transport")


@pytest.fixture(params=TRANSPORTS, ids=["stock", "livectl"])
def connection(request: pytest.FixtureRequest, store_url: str) -> Iterator[Connection]:
    url = store_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    with closing(Connection(url)) as opened:
        opened.transport_cls = request.param
        yield opened


@pytest.fixture
def server(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as client:
        yield client


class Reader:
    """A consumer of some queues on a channel of its own."""

    def __init__(self, connection: Connection, *queues: str | Queue, prefetch: int = 0, **options: Any) -> None:
        self.connection, self.messages = connection, list[Any]()
        self.channel = connection.channel()
        self.consumer = connection.Consumer(
            [Queue(queue) if isinstance(queue, str) else queue for queue in queues],
            channel=self.channel,
            on_message=self.messages.append,
            **options,
        )
        self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()

    def read(self, number: int) -> list[Any]:
        wait_for(lambda: drain(self.connection) and len(self.messages) >= number, what="messages")
        return [message.payload for message in self.messages]


def drain(connection: Connection) -> bool:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.05)
    return True


def send(connection: Connection, *bodies: Any, to: str = "q", **options: Any) -> None:
    for body in bodies:
        connection.Producer().publish(body, routing_key=to, **options)


def test_a_higher_step_of_priority_comes_later(connection: Connection) -> None:
    for priority in (9, 0, 6, 3, 0):
        send(connection, priority, priority=priority)
    assert Reader(connection, "q").read(5) == [0, 0, 3, 6, 9]


def test_a_long_queue_holds_up_no_other(connection: Connection) -> None:
    send(connection, *range(20), to="long")
    send(connection, "a", "b", to="short")
    read = Reader(connection, "long", "short").read(6)[:6]
    assert {"a", "b"} <= set(read)


def test_a_full_prefetch_takes_no_more(connection: Connection, server: redis.Redis) -> None:
    send(connection, *range(5))
    reader = Reader(connection, "q", prefetch=2)
    assert reader.read(2) == [0, 1]
    drain(connection)
    assert server.llen("q") == 3
    reader.messages[0].ack()
    assert reader.read(3) == [0, 1, 2]


def test_what_is_rejected_is_gone_and_what_is_requeued_comes_again(connection: Connection, server: redis.Redis) -> None:
    send(connection, "bad", "again")
    reader = Reader(connection, "q")
    reader.read(2)
    reader.messages[0].reject()
    reader.messages[1].requeue()
    assert reader.read(3) == ["bad", "again", "again"]
    assert reader.messages[2].delivery_info["redelivered"]
    reader.messages[2].ack()
    assert not server.exists("q", "unacked", "unacked_index", "unacked_leases")


def test_what_is_not_acknowledged_is_back_when_its_channel_closes(connection: Connection, server: redis.Redis) -> None:
    send(connection, *range(4))
    reader = Reader(connection, "q")
    reader.read(4)
    reader.messages[0].ack()
    reader.channel.close()
    assert server.llen("q") == 3
    assert not server.exists("unacked", "unacked_leases")
    assert sorted(Reader(connection, "q").read(3)) == [1, 2, 3]


def test_a_message_can_be_acknowledged_after_its_channel_has_closed(connection: Connection) -> None:
    send(connection, "job")
    reader = Reader(connection, "q")
    reader.read(1)
    reader.channel.do_restore = False
    reader.channel.close()
    with suppress(AttributeError):  # stock may have let go of its connection by then
        reader.messages[0].ack()


def test_queues_are_added_and_cancelled_while_it_runs(connection: Connection, server: redis.Redis) -> None:
    reader = Reader(connection, "q")
    drain(connection)
    reader.consumer.add_queue(Queue("r"))
    reader.consumer.consume()
    send(connection, "to r", to="r")
    assert reader.read(1) == ["to r"]
    reader.consumer.cancel_by_queue("q")
    drain(connection)
    send(connection, "nobody's")
    send(connection, "to r again", to="r")
    assert reader.read(2) == ["to r", "to r again"]
    assert server.llen("q") == 1


def test_what_is_fanned_out_reaches_each(connection: Connection) -> None:
    news = Exchange("news", type="fanout")
    readers = [Reader(connection, Queue("news-1", news), no_ack=True)]
    drain(connection)
    send(connection, "hello", to="", exchange=news)
    assert [reader.read(1) for reader in readers] == [["hello"]]


def test_a_queue_is_measured_and_purged(connection: Connection, server: redis.Redis) -> None:
    channel = connection.default_channel
    queue = Queue("q", channel=channel)
    queue.declare()
    for priority in (0, 9):
        send(connection, *range(3), priority=priority)
    assert channel.queue_declare("q", passive=True).message_count == 6
    assert queue.purge() == 6
    assert not server.exists("q")


def test_one_message_is_got_at_a_time(connection: Connection) -> None:
    send(connection, "job")
    queue = Queue("q", channel=connection.default_channel)
    message = queue.get()
    assert message is not None
    assert message.payload == "job"
    message.ack()
    assert queue.get() is None


def test_no_acknowledgement_is_owed_where_none_is_wanted(connection: Connection, server: redis.Redis) -> None:
    send(connection, "job")
    assert Reader(connection, "q", no_ack=True).read(1) == ["job"]
    assert not server.exists("unacked", "unacked_leases")
