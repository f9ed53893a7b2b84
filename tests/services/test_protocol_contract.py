"""What livectl knows of Celery's and kombu's formats, held against the Celery and kombu that are installed.

Celery does the real thing on a real Valkey, and livectl reads it back. `make test-contract` runs these tests on the
lowest Celery, kombu and redis-py that livectl allows.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery, chain
from celery.result import denied_join_result
from kombu import Exchange, Queue
from kombu.transport.redis import Channel

from livectl import redis_client
from livectl.address import Address
from livectl.models import JobState
from livectl.ops.cluster import broadcast, workers
from livectl.ops.protocol import (
    capturing_channel,
    keys,
    message,
    remote_control,
    result,
    search,
    unacked,
)
from livectl.ops.protocol.keys import Bindings
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.ops.protocol.result import SavedGroup
from livectl.ops.transport import guarded_channel, leases
from tests.support.celery_project import Project
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection

DEFAULTS: dict[str, Any] = {"result_extended": True}
ALL_RENAMED: dict[str, Any] = {
    "result_extended": True,
    "task_default_queue": "work",
    "control_exchange": "boss",
    "broker_transport_options": {
        "global_keyprefix": "shop:",
        "priority_steps": [0, 5],
        "sep": "|",
        "unacked_key": "in_hand",
        "unacked_index_key": "in_hand_since",
        "fanout_prefix": "/fan{db}.",  # kombu itself relies on the slash and the dot
    },
    "result_backend_transport_options": {"global_keyprefix": "shop"},
}
WORKER = "w1@h"

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's own


@pytest.fixture(scope="module", params=[DEFAULTS, ALL_RENAMED], ids=["defaults", "all renamed"])
def project(
    request: pytest.FixtureRequest, valkey: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """One app without its worker, on an empty server."""
    url = f"unix://{valkey}?db=3"
    with redis.Redis.from_url(url) as server:
        server.flushall()
    project = Project(tmp_path_factory.mktemp("contract"), url, url, **request.param)
    yield project
    project.close()


@pytest.fixture(scope="module")
def working_project(project: Project) -> Iterator[Project]:
    """The same app with its worker."""
    with project.worker(WORKER.partition("@")[0], "-c", "1", "-E"):
        yield project


@pytest.fixture(autouse=True)
def no_listening() -> Iterator[None]:
    """Without this, Celery's client listens for the end of every job, and goes on when the server has ended."""
    with denied_join_result():
        yield


@pytest.fixture
def layout(project: Project) -> KeyLayout:
    return project.deployment.layout


@pytest.fixture
def default_queue(project: Project) -> str:
    return str(project.app.conf.task_default_queue)


@pytest.fixture
def connection(project: Project) -> Iterator[RedisConnection]:
    broker = project.deployment.broker
    assert broker is not None
    with redis_client.connect(broker, 30.0) as connection:
        yield connection


@pytest.fixture
def server(project: Project) -> Iterator[Any]:
    url = Address.parse(project.environ["PROJ_BROKER"]).redis_url
    with redis.Redis.from_url(url) as server:
        yield server


# Keys


def test_the_defaults_are_those_of_kombu() -> None:
    assert tuple(Channel.priority_steps) == keys.PRIORITY_STEPS
    assert Channel.sep == keys.SEPARATOR
    assert Channel.visibility_timeout == keys.VISIBILITY_TIMEOUT
    assert Channel.keyprefix_fanout == keys.KeyLayout().fanout
    assert (Channel.unacked_key, Channel.unacked_index_key) == (
        keys.KeyLayout().unacked_key,
        keys.KeyLayout().unacked_index_key,
    )
    assert Channel.keyprefix_queue % "e" == keys.KeyLayout().bindings_key("e")


def test_the_defaults_are_those_of_celery() -> None:
    with Celery("defaults", set_as_current=False) as app:
        assert app.conf.task_default_queue == keys.DEFAULT_QUEUE
        assert app.conf.control_exchange == keys.KeyLayout().control
        assert app.conf.event_exchange == keys.EVENT_EXCHANGE


def test_each_priority_has_its_list(project: Project, layout: KeyLayout, server: Any) -> None:
    ids = {priority: project.send("add", 1, queue="ranks", priority=priority) for priority in range(10)}
    for priority, job_id in ids.items():
        texts = server.lrange(layout.list_key("ranks", priority), 0, -1)
        assert job_id in [message.read(raw).id for raw in texts]
    list_keys = {key.decode() for key in server.keys(f"{layout.prefix}ranks*")}
    assert list_keys == set(layout.list_keys("ranks"))
    assert {layout.queue_of_list(key) for key in list_keys} == {"ranks"}


def test_queues_are_found_by_their_bindings(
    project: Project, layout: KeyLayout, connection: RedisConnection, server: Any
) -> None:
    exchange = Exchange("orders", type="direct")
    queue = Queue("paid-orders", exchange, routing_key="paid")
    with project.app.connection_for_write() as link, link.channel() as channel:
        queue(channel).declare()
        Queue("other.boss.pidbox", Exchange("boss.pidbox", type="fanout"))(channel).declare()
        Queue("celeryev.1", Exchange("celeryev", type="topic"), routing_key="#")(channel).declare()
    names = keys.list_queues(connection, layout)
    assert "paid-orders" in names
    assert not {"other.boss.pidbox", "celeryev.1"} & set(names)
    assert Bindings(connection, layout).queue_for("orders", "paid") == "paid-orders"
    project.app.send_task("proj.add", exchange=exchange, routing_key="paid", ignore_result=True)
    assert server.llen(layout.list_key("paid-orders", 0)) == 1


# Messages


def test_a_message_says_all_about_its_job(project: Project, layout: KeyLayout, server: Any) -> None:
    eta = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    project.app.send_task(
        "proj.add",
        (1, {"password": "hunter2"}),
        {"y": 2},
        queue="told",
        task_id="told-1",
        priority=layout.steps[1],
        eta=eta,
        retries=3,
        group_id="g1",
        headers={"sent": 1_700_000_000.5},
        ignore_result=True,
    )
    (raw,) = server.lrange(layout.list_key("told", layout.steps[1]), 0, -1)
    assert message.read(raw) == message.JobMessage(
        id="told-1",
        task="proj.add",
        args=[1, {"password": "***"}],
        kwargs={"y": 2},
        queue="told",
        priority=layout.steps[1],
        eta=eta,
        sent=datetime.fromtimestamp(1_700_000_000.5, UTC),
        retries=3,
        group="g1",
    )
    assert message.decode_arguments(message.decode(raw)) == ([1, {"password": "hunter2"}], {"y": 2})


def test_the_first_protocol_is_read_too(project: Project, layout: KeyLayout, server: Any) -> None:
    sent = project.app.amqp.as_task_v1("old-1", "proj.add", [1], {"y": 2}, retries=2)
    with project.app.producer_pool.acquire() as producer:
        project.app.amqp.send_task_message(producer, "proj.add", sent, queue="old")
    (raw,) = server.lrange(layout.list_key("old", 0), 0, -1)
    job_message = message.read(raw)
    assert (job_message.id, job_message.task, job_message.args, job_message.kwargs, job_message.retries) == (
        "old-1",
        "proj.add",
        [1],
        {"y": 2},
        2,
    )


def test_a_body_that_is_not_json_is_told_by_its_headers(project: Project, layout: KeyLayout, server: Any) -> None:
    project.app.send_task("proj.add", (1,), {"y": 2}, queue="pickled", serializer="pickle", ignore_result=True)
    (raw,) = server.lrange(layout.list_key("pickled", 0), 0, -1)
    job_message = message.read(raw)
    assert (job_message.args, job_message.kwargs) == ("(1,)", "{'y': 2}")


def test_a_message_is_found_in_its_queue_and_taken_out(
    project: Project, layout: KeyLayout, connection: RedisConnection
) -> None:
    first, second = (project.send("add", number, queue="search") for number in range(2))
    search_result = search.find(connection, layout, [first, second], ["search"])
    assert search_result.complete
    positions = {job_id: (location.queue, location.position) for job_id, location in search_result.locations.items()}
    assert positions == {first: ("search", 1), second: ("search", 2)}
    assert search.remove(connection, layout, search_result.locations[first])
    assert not search.remove(connection, layout, search_result.locations[first])
    assert list(search.find(connection, layout, [first, second], ["search"]).locations) == [second]


# Messages that workers hold


def test_what_a_consumer_holds_is_seen_and_taken_away(
    project: Project, layout: KeyLayout, connection: RedisConnection, server: Any
) -> None:
    ids = [project.send("add", number, queue="held") for number in range(3)]
    with project.app.connection_for_read() as link, link.channel() as channel:
        taken = [channel.basic_get("held") for _ in ids]
        held = {message.from_envelope(held.envelope).id: held for held in unacked.scan(connection, layout)}
        assert set(ids) <= held.keys()
        assert [held[job_id].tag.decode() for job_id in ids] == [delivery.delivery_tag for delivery in taken]
        queue_bindings = Bindings(connection, layout)
        assert {queue_bindings.queue_for(held[job_id].exchange, held[job_id].routing_key) for job_id in ids} == {"held"}
        delivered = unacked.delivered_at(connection, layout, held[ids[0]].tag)
        assert delivered is not None
        assert abs(delivered - time.time()) < 600
        assert [held_message.tag for held_message in unacked.scan(connection, layout, [ids[1]])] == [held[ids[1]].tag]

        assert unacked.remove(connection, layout, held[ids[0]].tag)
        assert not unacked.remove(connection, layout, held[ids[0]].tag)
        pair = (held[ids[1]].tag, json.dumps(held[ids[1]].envelope).encode())
        assert unacked.move(connection, layout, "moved", [pair, pair]) == 1
        assert [message.read(raw).id for raw in server.lrange("moved", 0, -1)] == [ids[1]]
        assert server.zcard(layout.unacked_index_key) == server.hlen(layout.unacked_key) == 1
        taken[2].channel.basic_ack(taken[2].delivery_tag)  # what was taken away is not given back: only this is acked
    assert server.llen(layout.list_key("held", 0)) == 0


def test_a_worker_s_messages_are_searched(
    working_project: Project, layout: KeyLayout, connection: RedisConnection, default_queue: str
) -> None:
    job_id = working_project.send("add", 1, queue=default_queue, countdown=3600)

    def location() -> search.MessageLocation | None:
        message_location = search.find(connection, layout, [job_id], []).locations.get(job_id)
        return message_location if message_location and message_location.tag else None

    message_location = wait_for(location, what="the worker to hold its job")
    assert (message_location.queue, message_location.message.task) == (default_queue, "proj.add")
    assert search.remove(connection, layout, message_location)
    assert search.find(connection, layout, [job_id], []).locations == {}


# Remote control


def ask(project: Project, connection: RedisConnection, method: str, **arguments: Any) -> Any:
    command = ControlCommand(method=method, arguments=arguments)
    replies = wait_for(lambda: _replies(project, connection, command), what=f"a reply to {method}")
    return replies.by_worker[WORKER]


def _replies(project: Project, connection: RedisConnection, command: ControlCommand) -> Any:
    replies = broadcast.ask(project.deployment, connection, command)
    return replies if replies.by_worker else None


def test_a_worker_replies_and_nothing_stays(
    working_project: Project, layout: KeyLayout, connection: RedisConnection, server: Any
) -> None:
    replies = wait_for(
        lambda: _replies(working_project, connection, ControlCommand(method="ping")), what="a reply to ping"
    )
    assert (replies.pairs, replies.reached, replies.silent) == (((WORKER, {"ok": "pong"}),), 1, 0)
    assert server.keys(f"*{layout.reply_exchange}*") == []


def test_only_those_named_reply(working_project: Project, connection: RedisConnection) -> None:
    command = ControlCommand(method="ping", destination=("nobody@h",))
    assert broadcast.ask(working_project.deployment, connection, command, 0.3).pairs == ()


def test_the_reply_reaches_who_asks_through_celery_too(working_project: Project) -> None:
    replies = wait_for(lambda: _replies(working_project, None, ControlCommand(method="ping")))  # type: ignore[arg-type]
    assert replies.pairs == ((WORKER, {"ok": "pong"}),)


def test_a_worker_describes_itself(working_project: Project, connection: RedisConnection, default_queue: str) -> None:
    replies = {
        method: ask(working_project, connection, method)
        for method in ("stats", "active", "reserved", "active_queues", "report", "registered", "memsample")
    }
    assert remote_control.is_worker_stats(replies["stats"])
    status = remote_control.worker_status(
        WORKER, *(replies[method] for method in ("stats", "active", "reserved", "active_queues", "report"))
    )
    assert (status.pool, status.concurrency, status.active, status.queues) == ("prefork", 1, 0, (default_queue,))
    assert status.version == working_project.python("import celery; print(celery.__version__)").strip()
    assert status.memory
    assert status.age is not None
    assert "proj.add" in remote_control.task_names(replies["registered"])


def test_a_worker_names_the_jobs_that_it_runs_and_keeps(
    working_project: Project, connection: RedisConnection, default_queue: str
) -> None:
    later = working_project.send("add", 1, queue=default_queue, countdown=3600)
    running = working_project.send("nap", 2, queue=default_queue)

    def jobs() -> dict[str, Any] | None:
        worker_jobs, _ = workers.find_jobs(working_project.deployment, connection, [later, running])
        worker_jobs |= workers.find_scheduled_jobs(working_project.deployment, connection, [later])
        return (
            worker_jobs if {later, running} <= worker_jobs.keys() and worker_jobs[running].state == "active" else None
        )

    worker_jobs = wait_for(jobs, what="both jobs to be with the worker")
    assert (worker_jobs[running].worker, worker_jobs[running].task, worker_jobs[running].args) == (
        WORKER,
        "proj.nap",
        [2],
    )
    assert worker_jobs[running].queue == default_queue
    assert worker_jobs[running].started is not None
    assert (worker_jobs[later].state, worker_jobs[later].task) == ("scheduled", "proj.add")
    assert worker_jobs[later].eta is not None
    working_project.wait_for_state(running, "SUCCESS")


def test_a_revoked_job_is_not_run(working_project: Project, connection: RedisConnection, default_queue: str) -> None:
    assert "ok" in ask(working_project, connection, "revoke", task_id=["gone-1"])
    working_project.app.send_task("proj.add", (1,), task_id="gone-1", queue=default_queue)
    working_project.wait_for_state("gone-1", "REVOKED")


def test_heartbeats_tell_the_time(working_project: Project, connection: RedisConnection) -> None:
    skews = wait_for(lambda: workers.measure_skews(working_project.deployment, connection, [WORKER]))
    assert abs(skews[WORKER]) < 1.0


# Results


def read_result(project: Project, job_id: str) -> result.JobResult:
    layout, address = project.deployment.layout, project.deployment.results
    assert address is not None
    with redis_client.connect(address) as connection:
        job_result = result.parse(connection.execute("GET", layout.result_key(job_id)))
    assert job_result is not None
    return job_result


def test_a_result_is_read(working_project: Project, default_queue: str) -> None:
    job_id = working_project.send("add", 1, 2, queue=default_queue)
    working_project.wait_for_state(job_id, "SUCCESS")
    job_result = read_result(working_project, job_id)
    assert (job_result.id, job_result.state, job_result.result) == (job_id, JobState.SUCCEEDED, 3)
    assert (job_result.task, job_result.args, job_result.kwargs) == ("proj.add", [1, 2], {})
    assert (job_result.worker, job_result.queue, job_result.retries) == (WORKER, default_queue, 0)
    assert job_result.finished is not None
    assert abs((job_result.finished - datetime.now(UTC)).total_seconds()) < 600


def test_a_failure_is_read(working_project: Project, default_queue: str) -> None:
    job_id = working_project.send("fail", queue=default_queue)
    working_project.wait_for_state(job_id, "FAILURE")
    job_result = read_result(working_project, job_id)
    assert (job_result.state, job_result.error) == (JobState.FAILED, "ValueError: no such thing")
    assert "Traceback" in job_result.traceback


def test_a_retry_is_read(working_project: Project, connection: RedisConnection, default_queue: str) -> None:
    job_id = working_project.send("again", queue=default_queue)
    working_project.wait_for_state(job_id, "RETRY")
    job_result = read_result(working_project, job_id)
    assert (job_result.state, job_result.error) == (JobState.RETRYING, "RuntimeError: later")
    ask(working_project, connection, "revoke", task_id=[job_id])


def test_states_of_the_app_s_own_are_read(project: Project) -> None:
    project.app.backend.store_result("steps-1", {"current": 1, "total": 3}, "PROGRESS")
    job_result = read_result(project, "steps-1")
    assert (job_result.state, job_result.result) == (JobState.RUNNING, {"current": 1, "total": 3})


# Celery's results of groups listen for the ends of their jobs, so they are made in a program that ends.


def test_a_saved_group_is_read_by_livectl(project: Project, layout: KeyLayout, server: Any) -> None:
    group_id, *members = project.python(
        "from celery import group\n"
        "from proj import add\n"
        "saved = group(add.s(number).set(queue='grouped') for number in range(2)).apply_async()\n"
        "saved.save()\n"
        "print(saved.id, *(member.id for member in saved.results))"
    ).split()
    assert len(members) == 2
    assert result.parse_group(server.get(layout.group_key(group_id))) == tuple(members)
    assert result.parse_group(None) is None


def test_a_group_that_livectl_saved_is_read_by_celery(project: Project, layout: KeyLayout, server: Any) -> None:
    project.app.backend.save_group("g2", SavedGroup("g2", ["a", "b"]))
    assert result.parse_group(server.get(layout.group_key("g2"))) == ("a", "b")
    restored = project.python(
        "from celery.result import GroupResult\n"
        "from proj import app\n"
        "print(*(member.id for member in GroupResult.restore('g2', backend=app.backend).results))"
    )
    assert restored.split() == ["a", "b"]


def test_children_are_read(project: Project) -> None:
    project.python(
        "from types import SimpleNamespace\n"
        "from proj import app\n"
        "family = app.GroupResult('family-1', [app.AsyncResult('m-1'), app.AsyncResult('m-2')])\n"
        "request = SimpleNamespace(children=[app.AsyncResult('child-1'), family])\n"
        "app.backend.store_result('parent-1', None, 'SUCCESS', request=request)"
    )
    assert read_result(project, "parent-1").children == ("child-1", "family-1")


# What is captured instead of being sent


def captured_and_sent(project: Project, server: Any, **options: Any) -> tuple[list[Any], dict[str, bytes]]:
    """The commands that are captured of a sending, and the lists that the same sending really fills."""
    with project.app.connection_for_write() as link:
        channel = capturing_channel.open_channel(link)
        publish(project.app, channel, options)
        commands = channel.commands
        assert server.keys(f"*{options['queue'].name}*") == [], "something was sent that should have been captured"
        with link.channel() as real_channel:
            publish(project.app, real_channel, options)
        lists = {key.decode(): server.lindex(key, 0) for key in server.keys(f"*{options['queue'].name}*")}
        channel.close()
    return commands, lists


def publish(app: Celery, channel: Any, options: dict[str, Any]) -> None:
    producer = app.amqp.Producer(channel, auto_declare=False)
    app.send_task("proj.add", (1,), task_id="same-1", producer=producer, retry=False, ignore_result=True, **options)


def without_tag(raw: bytes | str) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(raw)
    del envelope["properties"]["delivery_tag"]
    envelope["headers"].pop("sent", None)  # an app of livectl's that lives in this process notes when each was sent
    return envelope


@pytest.mark.parametrize("priority", [0, 9])
def test_what_is_captured_is_what_kombu_would_have_sent(project: Project, server: Any, priority: int) -> None:
    queue = Queue(f"captured-{priority}")
    commands, lists = captured_and_sent(project, server, queue=queue, priority=priority)
    assert [command.verb for command in commands] == ["LPUSH"]
    assert {command.key: without_tag(command.value) for command in commands} == {
        key: without_tag(raw) for key, raw in lists.items()
    }


def test_what_is_captured_for_a_queue_that_expires_lets_it_expire(project: Project, server: Any) -> None:
    queue = Queue("short-lived", expires=60.0)
    with project.app.connection_for_write() as link:
        channel = capturing_channel.open_channel(link)
        queue(channel).declare()
        publish(project.app, channel, {"queue": queue})
        capturing_channel.send_captured(channel)
        captured_ttl = server.pttl(f"{channel.global_keyprefix}short-lived")
        channel.close()
        server.delete(f"{channel.global_keyprefix}short-lived")
        with link.channel() as real_channel:
            queue(real_channel).declare()
            publish(project.app, real_channel, {"queue": queue})
        real_ttl = server.pttl(f"{channel.global_keyprefix}short-lived")
    assert (captured_ttl > 0) == (real_ttl > 0)


def test_what_is_captured_for_a_fan_out_reaches_the_same_channel(project: Project, server: Any) -> None:
    exchange = Exchange("news", type="fanout")
    listener = server.pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("*news*")
    listener.get_message(timeout=1.0)
    with project.app.connection_for_write() as link:
        channel = capturing_channel.open_channel(link)
        Queue("news-readers", exchange)(channel).declare()
        options = {"exchange": exchange, "routing_key": "all"}
        publish(project.app, channel, options)
        (command,) = channel.commands
        assert command.verb == "PUBLISH"
        capturing_channel.send_captured(channel)
        captured = next_message(listener)
        channel.close()
        with link.channel() as real_channel:
            Queue("news-readers", exchange)(real_channel).declare()
            publish(project.app, real_channel, options)
        sent = next_message(listener)
    listener.close()
    assert captured["channel"] == sent["channel"]
    assert without_tag(captured["data"]) == without_tag(sent["data"])


def next_message(listener: Any) -> Any:
    return wait_for(lambda: listener.get_message(timeout=0.1), what="a published message")


def test_captured_messages_reach_a_worker(working_project: Project, default_queue: str) -> None:
    with working_project.app.connection_for_write() as link:
        channel = capturing_channel.open_channel(link)
        producer = working_project.app.amqp.Producer(channel, auto_declare=False)
        for number in range(3):
            job_id = f"captured-{number}"
            working_project.app.send_task(
                "proj.add", (number, 1), task_id=job_id, producer=producer, queue=default_queue
            )
        assert capturing_channel.database_of(channel) == 3
        capturing_channel.send_captured(channel)
        channel.close()
    for number in range(3):
        working_project.wait_for_state(f"captured-{number}", "SUCCESS")
        assert read_result(working_project, f"captured-{number}").result == number + 1


def test_whether_a_connection_leads_to_a_redis_is_known(project: Project) -> None:
    with project.app.connection_for_write() as link:
        assert capturing_channel.is_redis(link)
    with Celery("elsewhere", broker="memory://", set_as_current=False) as app, app.connection_for_write() as link:
        assert not capturing_channel.is_redis(link)


def test_nothing_is_published_where_nobody_listens(project: Project, layout: KeyLayout) -> None:
    """Another control exchange is another world."""
    broker = project.deployment.broker
    assert broker is not None
    elsewhere = keys.layout_from_settings({"control_exchange": "elsewhere"})
    with redis_client.connect(broker) as connection:
        assert remote_control.publish(connection, elsewhere, broker.database, ControlCommand(method="ping")) == 0
    assert layout.control != "elsewhere"


# Guarded channels and leases


@pytest.fixture
def lonely_project(project: Project, tmp_path: Path, valkey: Path) -> Iterator[Project]:
    """The same app on a database of its own, where no worker takes its messages."""
    url = f"unix://{valkey}?db=4"
    with redis.Redis.from_url(url) as server:
        server.flushdb()
    options = {key: project.app.conf[key] for key in ALL_RENAMED}
    lonely = Project(tmp_path, url, url, **options)
    yield lonely
    lonely.close()


@pytest.fixture
def guarded(lonely_project: Project) -> Iterator[tuple[Any, list[tuple[str, str]]]]:
    """A connection of the app's with livectl's channels, and what was set aside on it."""
    project = lonely_project
    set_aside: list[tuple[str, str]] = []
    connection = project.app.connection_for_read()
    connection.transport_cls = guarded_channel.guarded_transport(
        connection.get_transport_cls(),
        lambda queue, raw, reason: set_aside.append((queue, reason)),
    )
    with connection:
        yield connection, set_aside


def consume(connection: Any, queue: str, number: int) -> list[Any]:
    """That many messages of a queue; none is acknowledged."""
    received: list[Any] = []
    with connection.Consumer([Queue(queue)], on_message=received.append, prefetch_count=0):
        wait_for(lambda: drain(connection) and len(received) >= number, what="messages")
    return received


def drain(connection: Any) -> bool:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.1)
    return True


def test_what_is_no_message_is_set_aside_and_the_next_one_arrives(
    lonely_project: Project, guarded: tuple[Any, list[tuple[str, str]]]
) -> None:
    connection, set_aside = guarded
    queue = str(lonely_project.app.conf.task_default_queue)
    with redis.Redis.from_url(lonely_project.environ["LIVECTL_STORE"]) as server:
        server.lpush(lonely_project.deployment.layout.list_key(queue, 0), b"hello", b"{}", b"[]")
    job = lonely_project.send("add", 1, 2, queue=queue)
    assert [received.headers["id"] for received in consume(connection, queue, 1)] == [job]
    assert set_aside == [
        (queue, "the message is no valid JSON"),
        (queue, "the message has no properties"),
        (queue, "the message is a list, not an object"),
    ]


def test_a_message_that_is_held_has_a_lease_and_is_back_when_it_ran_out(
    lonely_project: Project, guarded: tuple[Any, list[tuple[str, str]]]
) -> None:
    connection, _ = guarded
    layout, queue = lonely_project.deployment.layout, str(lonely_project.app.conf.task_default_queue)
    lonely_project.send("add", 1, 2, queue=queue)
    channel = connection.default_channel
    received = consume(connection, queue, 1)[0]
    key = layout.prefix + leases.leases_key(channel)
    with redis.Redis.from_url(lonely_project.environ["LIVECTL_STORE"]) as server:
        assert leases.sweep(channel) == 0
        assert server.zscore(key, received.delivery_tag) is not None
        server.zadd(key, {received.delivery_tag: 0})
        keeper = leases.LeaseKeeper()
        keeper._channels = [channel]
        keeper.renew(server)
        assert leases.sweep(channel) == 0
        server.zadd(key, {received.delivery_tag: 0})
        assert leases.sweep(channel) == 1
        assert server.zcard(key) == server.hlen(layout.unacked_key) == 0
        assert server.llen(layout.list_key(queue, 0)) == 1


def test_an_acknowledgement_ends_the_lease(lonely_project: Project, guarded: tuple[Any, list[tuple[str, str]]]) -> None:
    connection, _ = guarded
    layout, queue = lonely_project.deployment.layout, str(lonely_project.app.conf.task_default_queue)
    lonely_project.send("add", 1, 2, queue=queue)
    consume(connection, queue, 1)[0].ack()
    with redis.Redis.from_url(lonely_project.environ["LIVECTL_STORE"]) as server:
        assert server.zcard(layout.prefix + leases.leases_key(connection.default_channel)) == 0
        assert server.hlen(layout.unacked_key) == 0


def test_what_a_job_follows_is_read_from_the_chain_in_the_message_of_the_first(store_url: str) -> None:
    app = Celery("client", broker=Address.parse(store_url).celery_url, set_as_current=False)
    steps = [app.signature(f"proj.{name}", task_id=name) for name in ("a", "b", "c")]
    chain(*steps, app=app).apply_async()
    with redis_client.connect(Address.parse(store_url)) as connection:
        layout = keys.layout_from_settings({})
        assert [search.find_ahead(connection, layout, name) for name in ("c", "b", "a", "d")] == [
            ["a", "b"],
            ["a"],
            [],
            [],
        ]
    app.close()
