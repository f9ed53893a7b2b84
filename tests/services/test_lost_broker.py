"""A consumer whose broker dies: nothing that it holds is lost, and it can be closed."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu import Connection, Exchange, Queue
from kombu.transport import redis as kombu_redis

from livectl.ops.guard import GuardedConsumer
from livectl.ops.transport import broker_memory, leases
from livectl.ops.transport.guarded_channel import guarded_transport
from livectl.ops.transport.leases import LeaseKeeper
from tests.support.servers import LastingRedis, lasting_redis
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LastingRedis]:
    with lasting_redis(tmp_path) as started:
        yield started
    broker_memory._memories.clear()


@pytest.fixture
def store(server: LastingRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


class Worker:
    """The connections that a worker has one after another, and what keeps its leases."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leases, "_start_native_thread", lambda run: None)
        self.url = url
        self.running: list[str] = []
        self.keeper = LeaseKeeper(lambda: self.running, lasts=True)
        self.taken: list[Any] = []
        self.connect()

    def connect(self) -> None:
        self.connection = Connection(self.url)
        transport = guarded_transport(kombu_redis.Transport, lambda *what: None, keeper=self.keeper)
        self.connection.transport_cls = transport
        self.fanout = self.connection.channel()
        Queue("news", Exchange("news", type="fanout"), channel=self.fanout, auto_delete=True).consume()
        self.channel = self.connection.channel()
        consumer = self.connection.Consumer(Queue("jobs"), channel=self.channel, on_message=self.taken.append)
        consumer.consume()

    def send(self) -> None:
        with Connection(self.url) as connection:
            connection.SimpleQueue("jobs").put({"n": 1})

    def take(self) -> Any:
        self.send()
        self.connection.drain_events(timeout=5)
        return self.taken.pop()

    def lose(self) -> None:
        """As Celery does it."""
        self.connection.collect(socket_timeout=1)
        self.connection.close()


@pytest.fixture
def worker(server: LastingRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    started = Worker(server.url, monkeypatch)
    yield started
    started.lose()


def held(store: redis.Redis) -> tuple[int, int, int]:
    return store.llen("jobs"), store.hlen("unacked"), store.zcard("unacked_leases")


def ask(worker: Worker) -> None:
    """Has the worker wait for a message."""
    with pytest.raises(TimeoutError):
        worker.connection.drain_events(timeout=0.05)


def test_a_connection_can_be_closed_after_its_broker_died(server: LastingRedis, worker: Worker) -> None:
    worker.take()
    ask(worker)
    server.kill()
    worker.lose()
    assert worker.channel.closed


def test_what_no_job_runs_for_is_put_back_at_once(server: LastingRedis, worker: Worker, store: redis.Redis) -> None:
    running, _waiting = worker.take(), worker.take()
    worker.running = [running.delivery_tag]
    server.kill()
    worker.lose()
    server.start()
    worker.connect()
    assert held(store) == (1, 1, 1)
    running.ack()
    assert held(store) == (1, 0, 0)
    running.channel._pool.disconnect()


def test_a_message_that_nobody_has_any_more_is_known(worker: Worker) -> None:
    messages = [worker.take(), worker.take(), worker.take()]
    qos, first = worker.channel.qos, messages[0].delivery_tag
    messages[2].ack()
    assert qos.unclaimed() == set()
    del messages[0], messages[1:]
    assert qos.unclaimed() == {first}
    qos.reject(first, requeue=True)
    assert qos.unclaimed() == set()


def test_a_job_that_ends_meanwhile_does_not_run_again(server: LastingRedis, worker: Worker, store: redis.Redis) -> None:
    message = worker.take()
    server.kill()
    message.ack()
    worker.lose()
    server.start()
    worker.connect()
    assert held(store) == (0, 1, 1)
    worker.keeper.renew(store)
    assert held(store) == (0, 0, 0)


def test_a_message_that_cannot_be_noted_is_put_back(server: LastingRedis, worker: Worker, store: redis.Redis) -> None:
    worker.send()
    raw = store.rpop("jobs")
    server.kill()
    with pytest.raises(worker.connection.connection_errors):
        worker.connection.transport._deliver(kombu_redis.loads(raw), "jobs")
    worker.lose()
    server.start()
    worker.connect()
    assert held(store) == (1, 0, 0)


def test_a_message_that_has_come_and_was_not_read_is_put_back(
    server: LastingRedis, worker: Worker, store: redis.Redis
) -> None:
    ask(worker)
    worker.send()
    wait_for(lambda: kombu_redis._socket_readable(worker.channel.client.connection._sock), what="the message")
    server.kill()
    worker.lose()
    server.start()
    worker.connect()
    assert held(store) == (1, 0, 0)


def test_an_acknowledgement_outlives_the_loop_that_was_to_send_it() -> None:
    """Celery's loop forgets what it is to do soon when it is reset."""
    sent: list[str] = []
    consumer: Any = object.__new__(GuardedConsumer)
    vars(consumer).update(hub=SimpleNamespace(call_soon=lambda call: None), _lease_keeper=object(), _acks=deque())
    consumer.call_soon_ack(sent.append, "a message")
    assert sent == []
    consumer._send_acks()
    assert sent == ["a message"]


def test_the_prefetch_is_restored_where_messages_are_read_and_not_where_a_job_ends() -> None:
    """Another thread would wait for the answer of RabbitMQ that the reading one gets, and hold what that one wants."""
    soon: list[Any] = []
    consumer: Any = object.__new__(GuardedConsumer)
    vars(consumer).update(call_soon=lambda call, *args: soon.append((call.__name__, args)))
    consumer._restore_prefetch_count_after_connection_restart("acknowledged")
    assert soon == [("_restore_prefetch_count_after_connection_restart", ("acknowledged",))]


def test_what_one_broker_could_not_be_told_is_not_told_another(server: LastingRedis) -> None:
    with (
        Connection(server.url) as first,
        Connection(server.url.removesuffix("0") + "1") as second,
        first.clone() as again,
    ):
        channels = [connection.channel() for connection in (first, second, again)]
        memories = [leases.LeasedQoS(channel).memory for channel in channels]
    assert memories[0] is memories[2] is not memories[1]


@pytest.mark.parametrize(("away_s", "wait_s"), [(0.5, 0.0), (4.0, 0.0), (9.0, 4.5), (10_000.0, 11.5)])
def test_workers_have_the_time_to_come_back_before_anybody_sweeps(away_s: float, wait_s: float) -> None:
    memory = broker_memory.BrokerMemory()
    assert memory.may_sweep(0.0)  # a worker that has just started
    memory.note_renewal(100.0)
    back = 100.0 + away_s
    assert memory.may_sweep(back) is not bool(wait_s)  # before its own leases are renewed
    for after in range(int(wait_s) + 1):
        memory.note_renewal(back + after)
    assert memory.may_sweep(back + wait_s)
    assert not (wait_s and memory.may_sweep(back + wait_s - 0.1))
