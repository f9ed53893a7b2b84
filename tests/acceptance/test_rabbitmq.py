"""RabbitMQ: what is sent is there, what cannot be handled is kept, what is there already is taken as it is."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from amqp.channel import Channel
from celery import Celery
from celery.worker import state
from kombu import Connection, Queue, pools

from livectl import redis_client, settings
from livectl.address import Address
from livectl.celeryapp import create_app
from livectl.doctor import collect_app, collect_state
from livectl.doctor.facts import RabbitFacts
from livectl.errors import LivectlError
from livectl.live.store import Store
from livectl.ops import deployment as deployments
from livectl.ops.cluster import move, purge, queues
from livectl.ops.cluster.purge import PurgeFilter
from livectl.ops.cluster.queues import QueueDepths
from livectl.ops.jobs import dead_letters
from livectl.ops.protocol.dead_letter import DeadLetter
from livectl.ops.transport import dead_queue, rabbitmq, rabbitmq_held
from livectl.ops.transport.dead_queue import BrokerKeeper
from livectl.ops.transport.rabbitmq import Line
from livectl.ops.transport.rabbitmq_held import Delays, StandIns
from livectl.web import data, job_data
from tests.support.celery_project import Project
from tests.support.processes import livectl
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.rabbitmq import RabbitMQ
    from tests.support.redis_cluster import RedisCluster

pytestmark = pytest.mark.acceptance

FOLLOWED = 60


@pytest.fixture(scope="module")
def shared(rabbitmq: RabbitMQ) -> str:
    """A virtual host for the tests that leave no queue of theirs behind."""
    return rabbitmq.vhost()


@pytest.fixture
def line(shared: str) -> Iterator[Line]:
    opened = Line(lambda: Connection(shared))
    yield opened
    opened.close()


def letter(letter_id: str) -> DeadLetter:
    return DeadLetter(id=letter_id, kind="message", reason="no task", at=datetime.now(UTC))


def ids(line: Line) -> list[str]:
    def read(channel: Any) -> list[str]:
        with dead_queue.reading(channel) as letters:
            return sorted(each.letter.id for each in letters)

    return line.ask(read)


def test_an_app_without_a_store_has_its_dead_letters_on_rabbitmq(
    tmp_path: Path, rabbitmq: RabbitMQ, store_url: str
) -> None:
    """And a job that kills its worker is counted there. With a store they are there from then on."""
    project = Project(tmp_path, rabbitmq.vhost(), "redis://127.0.0.1:1")
    del project.environ["LIVECTL_STORE"]
    (tmp_path / "proj.py").write_text(
        (tmp_path / "proj.py").read_text().replace(', backend=os.environ["PROJ_RESULTS"]', "")
    )
    with livectl("-A", "proj", "worker", "-c", "1", "-n", "w1", cwd=tmp_path, environ=project.environ) as worker:
        worker.wait_for("ready.")
        stranger, killer = project.send("nothing", kwargs={"password": "hush"}), project.send("kill")
        wait_for(lambda: f"dead letter proj.kill[{killer}]" in worker.text, what="a dead letter")
        assert (tmp_path / "starts").read_text() == "xxx"
        listed = json.loads(project.livectl("dead", "--json").stdout)
        assert {row["id"]: row["reason"] for row in listed} == {
            stranger: "no task proj.nothing here",
            killer: "its worker died each of the 3 times it was started",
        }
        assert "hush" not in project.livectl("dead", "show", stranger).stdout
        assert project.livectl("dead", "retry", stranger).returncode == 0
        wait_for(lambda: worker.text.count(f"dead letter proj.nothing[{stranger}]") == 2, what="the same letter again")
        assert "forgotten" in project.livectl("dead", "drop", killer).stdout
    project.environ["LIVECTL_STORE"] = store_url
    assert project.livectl("dead").stdout == "No dead letters.\n"
    with livectl("-A", "proj", "worker", "-P", "solo", "-n", "w1", cwd=tmp_path, environ=project.environ) as worker:
        worker.wait_for("1 dead letter moved from RabbitMQ to the store")
        assert [row["id"] for row in json.loads(project.livectl("dead", "--json").stdout)] == [stranger]
    del project.environ["LIVECTL_STORE"]
    assert project.livectl("dead").stdout == "No dead letters.\n"
    project.close()


def test_the_page_shows_how_deep_the_queues_were(tmp_path: Path, shared: str, line: Line, store_url: str) -> None:
    """Without Celery, and whatever else lies there."""
    found = settings.load(
        {"LIVECTL_BROKER": shared, "LIVECTL_STORE": store_url, "LIVECTL_HOME": str(tmp_path)}, tmp_path
    )
    deployment = deployments.own_deployment(found)
    assert data.read_jobs(deployment).queues.value == QueueDepths(queues=())
    line.ask(lambda channel: channel.queue_declare("livectl", auto_delete=False))
    with Connection(shared) as connection:
        connection.Producer().publish({}, routing_key="livectl")
        wait_for(lambda: queues.measure_ready(deployment) == {"livectl": 1}, what="the message")
    now = time.time()
    for ago in (60, 30):
        job_data.sample_depths(deployment, now - ago)
    assert job_data.read_depths(deployment, now)["livectl"].depths[-3:-1] == (1, 1)
    assert data.read_jobs(deployment).queues.value == QueueDepths(
        queues=(queues.Queue(name="livectl", ready=1, consumers=0),), notes=("nobody reads livectl, which has 1 ready",)
    )
    line.ask(lambda channel: channel.queue_delete("livectl"))
    away = msgspec.structs.replace(deployment, broker=Address.parse("amqp://127.0.0.1:1//"))
    assert data.read_jobs(away).queues.why.startswith("no server answers at amqp://127.0.0.1:1")


def test_a_cluster_is_the_store_beside_rabbitmq(
    tmp_path: Path, rabbitmq: RabbitMQ, cluster: RedisCluster, store_url: str
) -> None:
    """A worker with a beat in it: what that sends by RabbitMQ fills all nodes."""
    (tmp_path / "livectl.yaml").write_text(
        f"broker: {rabbitmq.vhost()}\nstore: {cluster.url}\nresults: {store_url}\nfollows: follows.txt\n"
    )
    (tmp_path / "schedules.yaml").write_text("schedules: {sweep: {task: livectl.sweep, every: 1s}}\n")
    (tmp_path / "follows.txt").write_text("".join(f"demo/{number}\n" for number in range(FOLLOWED)))
    environ = {"LIVECTL_HOME": str(tmp_path / "home")}
    with (
        redis_client.store_client(Address.parse_store(cluster.url)) as client,
        livectl("worker", "-P", "threads", "-c", "1", "-B", cwd=tmp_path, environ=environ),
    ):
        store = Store(client)
        wait_for(lambda: sum(record.seen is not None for record in store.all_streamers()) == FOLLOWED, what="answers")
        assert len({cluster.owner(place) for place in store.cell_places()}) == len(cluster.primaries)


def test_letters_are_bounded_and_one_that_is_forgotten_stays_so(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dead_queue.ARGUMENTS, "x-max-length", 2)
    assert ids(line) == []
    keeper = BrokerKeeper(line)
    kept = [keeper.add(letter(str(number))) for number in range(6)]
    assert kept[:2] == [True, True]
    assert not kept[-1]
    assert ids(line) == ids(line) == [str(number) for number, is_kept in enumerate(kept) if is_kept]

    def forget_first(channel: Any) -> None:
        with dead_queue.reading(channel) as letters:
            next(each for each in letters if each.letter.id == "0").forget()

    line.ask(forget_first)
    assert "0" not in ids(line)
    line.ask(lambda channel: channel.queue_delete(dead_queue.QUEUE))


def test_starts_are_counted_from_the_second_on(line: Line) -> None:
    keeper = BrokerKeeper(line)
    assert (keeper.note_start("j", is_repeat=False), keeper.starts("j")) == (0, 0)
    assert (keeper.note_start("j", is_repeat=True), keeper.starts("j")) == (2, 2)
    assert (keeper.note_start("j", is_repeat=True), keeper.starts("other")) == (3, 0)
    keeper.note_end("j")
    assert keeper.starts("j") == 0


@pytest.mark.parametrize(("seconds", "step"), [(2.0, 2), (3.9, 2), (60, 32), (2400, 2048), (10**9, 2**21)])
def test_a_job_waits_for_the_longest_step_that_is_not_too_long(seconds: float, step: int) -> None:
    assert rabbitmq_held.step_for(seconds) == step


class HoldingConsumer:
    """As much of Celery's as takes messages of a queue and holds them."""

    pool = None

    def __init__(self, connection: Connection, queue: str) -> None:
        connection.transport_cls = rabbitmq_held.patient_transport(connection.get_transport_cls())
        self._connection = connection
        self._queue = queue
        self.messages: list[Any] = []
        self.task_consumer = connection.Consumer([Queue(queue)], on_message=self.messages.append)
        self.task_consumer.consume()

    def queue_of(self, _message: Any) -> str:
        return self._queue

    def call_soon(self, call: Any) -> None:
        call()

    def take(self) -> Any:
        while not self.messages:
            self._connection.drain_events(timeout=HANG_SECONDS)
        return self.messages.pop()


@pytest.fixture
def consumer(shared: str, line: Line) -> Iterator[HoldingConsumer]:
    line.ask(lambda channel: channel.queue_declare("held", durable=True, auto_delete=False))
    with Connection(shared) as connection:
        yield HoldingConsumer(connection, "held")
    line.ask(lambda channel: channel.queue_delete("held"))


def send(line: Line, **headers: Any) -> None:
    headers = {"id": "j1", "task": "proj.add", **headers}
    line.ask(lambda channel: rabbitmq.publish(channel, b"[]", routing_key="held", headers=headers, priority=3))


def test_a_job_waits_for_its_time_in_no_worker(line: Line, consumer: HoldingConsumer) -> None:
    """From a step to the next; what it was sent with stays with it."""
    began, now = time.monotonic(), 1_800_000_000.0
    send(line, eta=datetime.fromtimestamp(now + 100, UTC).isoformat())
    held = consumer.take()
    assert Delays(line, lambda: now).delay(held, held.headers, "held")
    assert line.ask(rabbitmq_held.count_waiting) == 1
    line.ask(lambda channel: channel.queue_purge("livectl.delay.64"))
    send(line, eta=datetime.fromtimestamp(now + 3.2, UTC).isoformat())
    waits: list[datetime | None] = []
    for passed in (0.0, 2.0):
        held = consumer.take()
        waits.append(Delays(line, lambda: now + passed).delay(held, held.headers, "held"))  # noqa: B023 - asked at once
    assert (list(map(bool, waits)), held.properties["priority"], held.body) == ([True, False], 3, b"[]")
    assert (line.ask(rabbitmq_held.count_waiting), time.monotonic() - began >= 2) == (0, True)
    held.ack()


def test_a_job_that_runs_for_long_is_held_by_its_stand_in(
    line: Line, consumer: HoldingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged, it is gone; given back, it is there at once; not renewed, it is there after a while."""
    stand_ins = StandIns(line, consumer)
    send(line)
    for end in ("ack", "requeue", ""):
        held: Any = consumer.take()
        monkeypatch.setattr(state, "active_requests", {Request(held)})
        stand_ins.look(held.taken_at + 599)
        early = held.stand_in
        assert early is None
        stand_ins.look(held.taken_at + 601)
        name = held.stand_in._name
        if not end:
            monkeypatch.setattr(rabbitmq_held, "LEASE_S", 1.0)
        stand_ins.look(held.taken_at + 903)
        assert (held.stand_in._name != name, not held.acknowledged) == (True, True)
        name = held.stand_in._name
        if end:
            getattr(held, end)()
            assert (held.acknowledged, line.ask(partial(rabbitmq.exists, queue=name))) == (True, False)
        if end == "ack":
            assert line.ask(lambda channel: channel.queue_declare("held", passive=True)).message_count == 0
            send(line)
    assert consumer.take().headers["redelivered"]
    held.ack()


class Request(NamedTuple):
    """As much of Celery's as holds a message."""

    message: Any
    acknowledged: bool = False


def test_a_message_that_was_held_for_too_long_costs_the_connection_and_not_the_worker(shared: str) -> None:
    with Connection(shared) as connection:
        connection.transport_cls = rabbitmq_held.patient_transport(connection.get_transport_cls())
        text = (
            "delivery acknowledgement on channel 1 timed out. Timeout value used: 90000 ms. This timeout value can be"
        )
        with pytest.raises(ConnectionResetError, match="held for too long"):
            connection.default_channel._on_close(406, text, (60, 80))
    assert StandIns.held_s == 30
    StandIns.held_s = rabbitmq_held.HELD_S


def test_doctor_knows_what_an_app_can_lose(shared: str, line: Line) -> None:
    app = Celery("proj", broker=shared, set_as_current=False)
    queues = {
        "plain": {},
        "typed": {"x-queue-type": "classic"},
        "safe": {"x-queue-type": "quorum"},
        "by-default": {},  # as a virtual host has it whose queues are quorum queues by default
    }
    app.conf.task_queues = [Queue(name, queue_arguments=arguments) for name, arguments in queues.items()]
    app.conf.task_queues += [Queue("gone", durable=False), Queue("nowhere")]
    app.conf.update(worker_detect_quorum_queues=False, task_default_delivery_mode="transient")
    for name, arguments in {**queues, "by-default": queues["safe"]}.items():
        line.ask(partial(_declare, name=name, arguments=arguments))
    assert collect_state.find_classic_queues(app) == ("plain", "typed")
    facts = collect_app.read_rabbitmq(app)
    assert facts == RabbitFacts(sends_transient=True, transient_queues=("gone",), globally_prefetched=("safe",))
    for name in queues:
        line.ask(partial(_delete, name=name))
    app.close()


def _declare(channel: Any, name: str, arguments: dict[str, str]) -> None:
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)


def _delete(channel: Any, name: str) -> None:
    channel.queue_delete(name)


def own_app(url: str, tmp_path: Path) -> Celery:
    environ = {"LIVECTL_BROKER": url, "LIVECTL_STORE": "redis://127.0.0.1:1", "LIVECTL_HOME": str(tmp_path)}
    return create_app(settings.load(environ, tmp_path))


def test_the_queue_of_livectls_own_app_is_a_quorum_queue_or_whatever_is_there(tmp_path: Path, shared: str) -> None:
    app = own_app(shared, tmp_path)
    for there in ({"x-queue-type": "classic"}, {"x-max-priority": 5}, {}):
        with Connection(shared) as connection, connection.channel() as channel:
            if there:
                channel.queue_declare("livectl", durable=True, auto_delete=False, arguments=there)
            app.send_task("livectl.ping", ignore_result=True)
            app.send_task("livectl.ping", queue="mail", ignore_result=True)
            counts = [channel.queue_declare(queue, passive=True).message_count for queue in ("livectl", "mail")]
            assert counts == [1, 1]
            if not there:  # the same declaration as it is there is no error
                quorum = {"x-queue-type": "quorum"}
                channel.queue_declare("livectl", durable=True, auto_delete=False, arguments=quorum)
            for queue in ("livectl", "mail"):
                channel.queue_delete(queue)
        pools.reset()
        app._pool = app.amqp._producer_pool = None
    app.close()


def test_what_livectl_sends_is_confirmed_unless_the_app_says_otherwise(shared: str) -> None:
    for options, confirms in (({}, True), ({"confirm_publish": False}, False), ({"client_properties": {}}, True)):
        app = Celery("proj", broker=shared, set_as_current=False)
        app.conf.broker_transport_options = dict(options)
        assert not app.pool.connection.transport_options.get("confirm_publish")  # which was made too early
        rabbitmq.confirm_messages(app)
        with app.producer_pool.acquire() as producer:
            assert bool(producer.connection.default_channel.connection.confirm_publish) is confirms
            assert not rabbitmq.unconfirmed(app.connection_for_write()).transport_options.get("confirm_publish")
        app.close()
        pools.reset()


def test_a_message_goes_back_to_no_queue_that_is_gone(tmp_path: Path, shared: str, line: Line) -> None:
    project = Project(tmp_path, shared, "redis://127.0.0.1:1")
    message = {"body": "", "properties": {}, "headers": {}}
    lost = DeadLetter(**{**_fields(letter("j1")), "payload": {"queue": "gone", "message": message}})
    BrokerKeeper(line).add(lost)
    project.app.conf.result_backend = None
    with pytest.raises(LivectlError, match="there is no queue gone any more"):
        dead_letters.requeue(project_deployment(project), "j1")
    assert ids(line) == ["j1"]
    line.ask(lambda channel: channel.queue_delete(dead_queue.QUEUE))
    project.close()


def _fields(dead_letter: DeadLetter) -> dict[str, Any]:
    return {name: getattr(dead_letter, name) for name in dead_letter.__struct_fields__}


def project_deployment(project: Project) -> Any:
    del project.environ["LIVECTL_STORE"]
    return project.deployment


def test_messages_are_moved_to_and_from_rabbitmq_and_purged(
    tmp_path: Path, shared: str, line: Line, store_url: str
) -> None:
    """With headers and priorities; those that do not fit stay, and what was purged is in the file."""
    project = Project(tmp_path, shared, store_url)
    try:
        for queue in ("move-a", "move-b"):
            line.ask(partial(Channel.queue_declare, queue=queue, durable=True, auto_delete=False))
        jobs = [project.send("add", number, queue="move-a", priority=3, headers={"n": number}) for number in range(4)]
        project.send("nap", 1, queue="move-a")
        way = move.MoveRequest(source="move-a", target="move-b", task="proj.add", limit=3)
        *_, result = move.move(project.deployment, way)
        assert (result.tasks, result.repeats) == ({"proj.add": 3}, True)
        redis_address = Address.parse(store_url)
        over = move.MoveRequest(source="move-b", target="celery", to_broker=redis_address, create=True)
        *_, result = move.move(project.deployment, over)
        assert (result.moved, result.repeats) == (3, False)
        other = Project(tmp_path, store_url, store_url)
        messages = purge.peek(other.deployment, "celery", 5)
        assert [(each.id, each.priority) for each in messages] == [(job, 3) for job in jobs[:3]]
        back = move.MoveRequest(source="celery", target="move-b", to_broker=Address.parse(shared))
        *_, result = move.move(other.deployment, back)
        assert (result.moved, result.repeats) == (3, True)
        other.close()
        taken = line.ask(lambda channel: channel.basic_get("move-b", no_ack=True))
        assert (taken.headers["id"], taken.headers["n"], taken.properties["priority"]) == (jobs[0], 0, 3)
        purged = purge.purge(project.deployment, PurgeFilter(queue="move-a", task="proj.a*"), tmp_path / "saved")
        assert (purged.tasks, len((tmp_path / "saved").read_text().splitlines())) == ({"proj.add": 1}, 1)
        assert purge.plan(project.deployment, PurgeFilter(queue="move-a")).total == 1
    finally:
        project.close()
        for queue in ("move-a", "move-b"):
            line.ask(partial(Channel.queue_delete, queue=queue))


def test_jobs_that_wait_for_their_time_are_moved_and_purged_with_their_queue(
    tmp_path: Path, shared: str, line: Line, store_url: str
) -> None:
    """They lie in queues that all apps there share: those of other queues go on to wait, and come in time."""
    project = Project(tmp_path, shared, store_url)

    def let_wait(queue: str, task: str, seconds: float) -> None:
        headers = {"id": f"{queue}-{task}", "task": f"proj.{task}"}
        line.ask(lambda channel: rabbitmq.publish(channel, b"[]", routing_key=queue, headers=headers))
        held = line.ask(lambda channel: channel.message_to_python(channel.basic_get(queue)))
        assert Delays(line).wait(held, seconds, queue)

    def ready(queue: str) -> int:
        return int(line.ask(lambda channel: channel.queue_declare(queue, passive=True)).message_count)

    try:
        for queue in ("wait-a", "wait-b", "wait-c"):
            line.ask(partial(Channel.queue_declare, queue=queue, durable=True, auto_delete=False))
        let_wait("wait-a", "add", 600)
        let_wait("wait-a", "nap", 600)
        let_wait("wait-c", "add", 5)
        plan = purge.plan(project.deployment, PurgeFilter(queue="wait-a", task="proj.a*"))
        assert (plan.tasks, plan.delayed) == ({"proj.add": 1}, 1)
        request = move.MoveRequest(source="wait-a", target="wait-b", task="proj.add")
        assert move.count(project.deployment, request) == {"proj.add": 1}
        *_, result = move.move(project.deployment, request)
        assert (result.tasks, ready("wait-b")) == ({"proj.add": 1}, 1)
        purged = purge.purge(project.deployment, PurgeFilter(queue="wait-a"), tmp_path / "saved")
        assert (purged.tasks, purged.delayed) == ({"proj.nap": 1}, 1)
        wait_for(lambda: ready("wait-c") == 1)
        assert line.ask(rabbitmq_held.count_waiting) == 0
    finally:
        project.close()
        for queue in ("wait-a", "wait-b", "wait-c"):
            line.ask(partial(Channel.queue_delete, queue=queue))
