"""Jobs that wait for their time: they lie in the store, go back to their place when they are due, and can be found."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from math import inf
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import redis
from celery.worker import state
from celery.worker.request import Request
from kombu import Connection as KombuConnection
from kombu import Queue

from livectl import redis_client
from livectl.address import Address
from livectl.errors import LivectlError, UsageError
from livectl.ops.cluster import purge, queues
from livectl.ops.guarded_request import guarded_request
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.jobs.sender import JobSender
from livectl.ops.protocol import delayed, search
from livectl.ops.protocol.keys import KeyLayout
from livectl.ops.transport import delays, leases, safe_transport
from livectl.ops.transport.delays import DelayKeeper
from livectl.ops.transport.leases import LeasedQoS
from tests.services.test_taking import (
    JOBS,
    REPLIES_OF_A_CYCLE,
    drain,
    end_leases,
    guarded,
    local_url,
    publish,
    server,
    work_until_killed,
)
from tests.support.celery_project import Project
from tests.support.faulty_servers import CuttingProxy, port_that
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kombu import Connection

    from livectl.redis_client import RedisConnection

__all__ = ["server"]  # a fixture

HOUR = timedelta(hours=1)
HELD = ("unacked", "unacked_index", "unacked_leases")
WAITING = ("unacked_delayed", "unacked_delayed_messages", "unacked_delayed_ids", "unacked_delayed_counts")


class Worker:
    """A consumer that holds what it takes, moves it to the store, and is the keeper or not."""

    def __init__(self, url: str, **options: Any) -> None:
        self.held: list[Any] = []
        self.connection: Connection = guarded(local_url(url), **options)
        self.channel = self.connection.default_channel
        self.store = redis.Redis.from_url(url, decode_responses=True)
        consumer = self.connection.Consumer([Queue("q"), Queue("r")], on_message=self.held.append)
        consumer.qos(prefetch_count=0)
        consumer.consume()
        self.bring_back = partial(DelayKeeper().bring_back, self.store, self.channel)

    def take(self, number: int = 1) -> list[Any]:
        wait_for(lambda: drain(self.connection) and len(self.held) >= number, what="a message")
        taken, self.held[:] = list(self.held), []
        return taken

    def delay(self, message: Any, after: timedelta = HOUR) -> bool:
        return delays.delay(message, message.headers, datetime.now(UTC) + after)

    def close(self) -> None:
        self.store.close()
        self.connection.close()


@pytest.fixture
def worker(store_url: str) -> Iterator[Worker]:
    with closing(Worker(store_url)) as started:
        yield started


@pytest.fixture
def connection(store_url: str) -> Iterator[RedisConnection]:
    with redis_client.connect(Address.parse(store_url), 10) as connected:
        yield connected


def send(url: str, job: str = "", queue: str = "q", priority: int = 0, **options: Any) -> str:
    job = job or str(uuid4())
    headers = {"id": job, "task": "proj.note", "eta": (datetime.now(UTC) + HOUR).isoformat()}
    with (
        closing(KombuConnection(local_url(url), transport_options=options)) as connection,
        connection.Producer() as producer,
    ):
        producer.publish([[], {}, {}], routing_key=queue, priority=priority, headers=headers)
    return job


def make_due(store: Any, prefix: str = "") -> None:
    """Each a second after the other, the last a moment ago."""
    names = store.zrange(f"{prefix}unacked_delayed", 0, -1)
    for ago, name in enumerate(reversed(names)):
        store.zadd(f"{prefix}unacked_delayed", {name: time.time() - 0.1 - ago})


def first_is_due(store: Any, at: float) -> None:
    [name] = store.zrange("unacked_delayed", 0, 0)
    store.zadd("unacked_delayed", {name: at})


@pytest.mark.parametrize("prefix", ["", "{shop}:"])
def test_a_job_leaves_its_worker_and_is_next_when_it_is_due(store_url: str, server: redis.Redis, prefix: str) -> None:
    options = {"global_keyprefix": prefix} if prefix else {}
    with closing(Worker(store_url, **options)) as worker:
        send(store_url, priority=3, **options)
        lay = server.lrange(f"{prefix}q\x06\x163", 0, -1)
        [message] = worker.take()
        assert worker.delay(message)
        assert message.acknowledged
        assert not server.exists(*(prefix + key for key in HELD))
        assert server.exists(*(prefix + key for key in WAITING)) == len(WAITING)
        worker.connection.collect()  # it takes no more
        send(store_url, priority=3, **options)
        make_due(server, prefix)
        worker.bring_back()
        assert server.lrange(f"{prefix}q\x06\x163", -1, -1) == lay  # its text as it was: moving is no delivery
        assert not server.exists(*(prefix + key for key in WAITING))
        assert all(str(key).startswith(prefix) for key in worker.store.keys("*"))


def test_those_that_are_due_come_in_their_order(worker: Worker, server: redis.Redis, store_url: str) -> None:
    jobs = [send(store_url, queue=queue) for queue in "qqr"]
    for message, minutes in zip(worker.take(3), (1, 2, 3), strict=True):
        assert worker.delay(message, timedelta(minutes=minutes))
    make_due(server)
    assert worker.bring_back() > 1
    assert [message.headers["id"] for message in worker.take(3) if message.headers["id"] in jobs[:2]] == jobs[:2]


def test_who_moves_messages_to_the_store_is_the_keeper_before_who_only_returns_them(
    worker: Worker, connection: RedisConnection, store_url: str
) -> None:
    layout, keepers = KeyLayout(), [DelayKeeper(only_returns=True) for _ in range(2)]
    plain, other = (partial(keeper.bring_back, worker.store, worker.channel) for keeper in keepers)
    send(store_url)
    worker.delay(*worker.take())
    assert plain() < inf == other()
    assert delayed.has_keeper(connection, layout)
    assert not delayed.has_mover(connection, layout)
    assert worker.bring_back() < inf == plain()
    assert delayed.has_mover(connection, layout)


def test_the_keeper_wakes_when_the_next_is_due(worker: Worker, store_url: str) -> None:
    assert worker.bring_back() > HOUR.total_seconds()
    send(store_url)
    [message] = worker.take()
    worker.delay(message, timedelta(seconds=30))
    assert 29 < worker.bring_back() <= 30


def test_one_worker_is_the_keeper_until_it_is_gone(worker: Worker, server: redis.Redis, store_url: str) -> None:
    with closing(Worker(store_url)) as other:
        other.bring_back()
        send(store_url)
        wait_for(lambda: drain(worker.connection) and drain(other.connection) and (worker.held or other.held))
        [message] = worker.held or other.held
        assert worker.delay(message)
        make_due(server)
        worker.bring_back()
        assert server.zcard("unacked_delayed") == 1
        assert 0 < server.pttl("unacked_delayed_keeper") <= delays.KEEPER_TTL_MS
        server.delete("unacked_delayed_keeper")  # as the server does then
        worker.bring_back()
        assert server.zcard("unacked_delayed") == 0


def test_what_is_due_in_a_moment_and_what_is_held_no_more_stay(
    worker: Worker, server: redis.Redis, store_url: str
) -> None:
    send(store_url)
    [message] = worker.take()
    assert not worker.delay(message, timedelta(seconds=1))
    assert server.hlen("unacked") == 1
    message.taken_from = ""  # fanned out: there is no list to put it back into
    assert not worker.delay(message)
    message.taken_from = "q"
    worker.channel.qos.restore_by_tag(message.delivery_tag)  # its lease had run out
    assert worker.delay(message)  # whoever takes it now delays it
    assert server.zcard("unacked_delayed") == 0


def test_what_cannot_be_moved_or_put_back_holds_up_nothing(worker: Worker, server: redis.Redis, store_url: str) -> None:
    send(store_url, queue="q")
    send(store_url, queue="r")
    first, second = worker.take(2)
    server.set("unacked_delayed", "somebody else's")
    assert not worker.delay(first)
    assert server.hlen("unacked") == 2
    server.delete("unacked_delayed")
    assert worker.delay(first)
    assert worker.delay(second)
    server.set("q", "somebody else's")
    server.hset("unacked_delayed_messages", "odd", "no head")
    server.zadd("unacked_delayed", {"odd": 0})
    make_due(server)
    worker.bring_back()
    assert (server.llen("r"), server.zcard("unacked_delayed")) == (1, 1)
    server.delete("q")
    worker.bring_back()
    assert server.llen("q") == 1


def test_two_messages_of_one_tag_both_wait(worker: Worker, server: redis.Redis, store_url: str) -> None:
    job = send(store_url)
    [message] = worker.take()
    text = json.dumps(message._raw)
    worker.delay(message)
    server.rpush("q", text)
    [message] = worker.take()
    worker.delay(message)
    assert server.zcard("unacked_delayed") == server.zcard("unacked_delayed_ids") == 2
    make_due(server)
    worker.bring_back()
    assert [message.headers["id"] for message in worker.take(2)] == [job, job]
    assert not server.exists(*WAITING)


def test_a_revoked_job_is_held_again_and_those_of_unknown_tasks_stay(
    worker: Worker, server: redis.Redis, store_url: str
) -> None:
    job, other = send(store_url), send(store_url)
    for message in worker.take(2):
        worker.delay(message)
    assert delays.take_revoked(worker.channel, [job], lambda message: False) == []
    [message] = delays.take_revoked(worker.channel, [job, "nobody"], lambda message: True)
    assert message.headers["id"] == job
    assert server.hkeys("unacked") == server.zrange("unacked_leases", 0, -1) == [message.delivery_tag.encode()]
    assert [str(member).split()[0] for member in worker.store.zrange("unacked_delayed_ids", 0, -1)] == [other]
    worker.channel.qos.restore_by_tag(message.delivery_tag)  # noted as any other
    assert server.llen("q") == 1


@pytest.mark.parametrize(
    ("headers", "is_delayed"),
    [
        ({"eta": "2999-01-01T00:00:00"}, True),
        ({"eta": "2999-01-01T00:00:00+09:00", "expires": "2999-01-01T00:00:00"}, True),
        ({"eta": "2999-01-01T00:00:00", "expires": "2020-01-01T00:00:00"}, False),
        ({"eta": "2020-01-01T00:00:00"}, False),
        ({"eta": "2999-01-01T00:00:00", "id": "revoked"}, False),
        ({"eta": "soon"}, False),
    ],
)
def test_what_waits_in_the_store(headers: dict[str, str], is_delayed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "revoked", {"revoked"})
    assert (delays.due_time({"id": "job", **headers}) is not None) == is_delayed


def test_the_clock_of_the_server_counts(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    real_time = time.time
    monkeypatch.setattr("livectl.ops.transport.delays.time.time", lambda: real_time() + 7200)
    monkeypatch.setattr(LeasedQoS, "clock_offset_s", delays.clock_offset(worker.channel))
    eta = datetime.fromtimestamp(real_time(), UTC) + HOUR
    assert delays.due_time({"id": "job", "eta": eta.isoformat()}) == eta


@pytest.mark.parametrize(("offset_s", "ahead_s"), [(0.0, 0), (0.1, 0), (-3600.0, 3600), (3600.0, -3600)])
def test_a_job_is_due_by_a_clock_that_is_wrong(offset_s: float, ahead_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LeasedQoS, "clock_offset_s", offset_s)
    request: Any = object.__new__(guarded_request(Request, cast("Any", None)))
    request._eta = eta = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert (request.eta - eta.astimezone(UTC)).total_seconds() == ahead_s


def test_no_job_is_lost_or_doubled_whichever_reply_of_moving_it_is_cut(
    valkey: Path, store_url: str, server: redis.Redis
) -> None:
    publish(local_url(store_url), *range(JOBS))

    def work(body: int, message: Any) -> None:
        delays.delay(message, {"id": str(body)}, datetime.now(UTC) + HOUR)

    proxy, replies = CuttingProxy(str(valkey)), cycle(range(1, REPLIES_OF_A_CYCLE + 1))
    with port_that(proxy) as port, guarded(local_url(store_url)) as other:
        while server.llen("q") or server.hlen("unacked"):
            work_until_killed(f"redis://127.0.0.1:{port}/0", proxy, next(replies), work)
            end_leases(server)
            leases.sweep(other.default_channel)
    members: list[Any] = server.zrange("unacked_delayed_ids", 0, -1)
    assert sorted(int(member.split()[0]) for member in members) == list(range(JOBS))
    assert server.zcard("unacked_delayed") == server.hlen("unacked_delayed_messages") == JOBS


def test_a_job_may_be_sent_for_later_than_the_visibility_timeout_where_delays_are_kept(
    tmp_path: Path, server: redis.Redis, store_url: str
) -> None:
    with closing(Project(tmp_path, store_url, store_url)) as project:
        sender = JobSender(project.deployment, project.app, {})
        request = JobRequest(task="proj.note", eta=datetime.now(UTC) + 2 * HOUR)
        with pytest.raises(UsageError, match="visibility timeout"):
            sender._check_eta(request)
        server.set("unacked_delayed_keeper", "somebody")
        sender._check_eta(request)


def test_commands_know_what_waits(worker: Worker, tmp_path: Path, server: redis.Redis, store_url: str) -> None:
    project = Project(tmp_path, store_url, store_url)
    with closing(project):
        jobs = [send(store_url), send(store_url), send(store_url, queue="r")]
        for message in worker.take(3):
            worker.delay(message)
        worker.connection.collect()
        measured = queues.measure(project.deployment, ["q", "r"])
        assert [(queue.ready, queue.unacked, queue.eta) for queue in measured.queues] == [(0, 0, 2), (0, 0, 1)]
        assert not queues.is_empty(measured)
        purge_filter = purge.PurgeFilter(queue="q")
        assert purge.plan(project.deployment, purge_filter).delayed == 2
        assert purge.purge(project.deployment, purge_filter, tmp_path / "purged").delayed == 2
        saved = [json.loads(line)["id"] for line in (tmp_path / "purged").read_text().splitlines()]
        assert sorted(saved) == sorted(jobs[:2])
        assert queues.measure(project.deployment, ["q", "r"]).queues[1].eta == 1
        assert server.zcard("unacked_delayed") == 1


def test_the_way_back(
    worker: Worker, tmp_path: Path, server: redis.Redis, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due is next, the rest comes after all that lies there; no worker of livectl's may run."""
    project = Project(tmp_path, store_url, store_url)
    with closing(project):
        due, early, later = (send(store_url, job) for job in ("due", "early", "later"))
        for message, hours in zip(worker.take(3), (1, 2, 3), strict=True):
            worker.delay(message, hours * HOUR)
        worker.connection.collect()
        lies_there = send(store_url, "lies there")
        first_is_due(server, time.time() - 60)
        server.set("unacked_delayed_keeper", "somebody")
        monkeypatch.setattr(purge, "KEEPER_GOODBYE_S", 0)
        with pytest.raises(LivectlError, match="runs"):
            purge.restore_delayed(project.deployment)
        server.set("unacked_delayed_keeper", delayed.ONLY_RETURNS)  # a plain worker with our transport takes none out
        assert purge.restore_delayed(project.deployment) == 3
        order = [json.loads(text)["headers"]["id"] for text in reversed(server.lrange("q", 0, -1))]
        assert order == [due, lies_there, early, later]


def test_a_job_is_found_and_removed_by_its_id(
    worker: Worker, server: redis.Redis, store_url: str, connection: RedisConnection
) -> None:
    layout = KeyLayout(queues=("q",))
    job, longer = send(store_url, "job 1"), send(store_url, "job 1 2")
    for message in worker.take(2):
        worker.delay(message)
    location = search.find(connection, layout, [job, "nobody"], []).locations[job]
    assert (location.queue, location.position, location.tag) == ("q", None, "")
    assert search.remove(connection, layout, location)
    assert not search.remove(connection, layout, location)
    assert [stored.job_id for stored in delayed.find(connection, layout, [longer])] == [longer]
    make_due(server)
    assert delayed.find_overdue(connection, layout).count == 0  # a moment ago
    first_is_due(server, 0)
    assert delayed.find_overdue(connection, layout).count == 1


def test_workers_of_plain_celery_bring_back_what_others_left(store_url: str) -> None:
    job = send(store_url)
    with closing(Worker(store_url)) as worker:
        assert worker.delay(*worker.take())
        worker.store.zadd("unacked_delayed", {str(worker.store.zrange("unacked_delayed", 0, -1)[0]): 1.0})
    received: list[Any] = []
    with KombuConnection(local_url(store_url)) as connection:
        connection.transport_cls = safe_transport.Transport  # an address of a socket names its transport itself
        with connection.Consumer([Queue("q")], on_message=received.append):
            wait_for(lambda: drain(connection) and received, what="a delayed job")
        assert received[0].headers["id"] == job
        received[0].ack()
