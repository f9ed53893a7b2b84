"""Both publishers send the messages that Celery's own beat would send."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import beat, signals
from celery.beat import BeatLazyFunc
from kombu import Exchange, Queue
from kombu.transport import redis as redis_transport

from livectl.models import Interval, Run, Schedule
from livectl.ops.beat import publisher
from livectl.ops.beat.entries import BeatEntry, ComputedDueTimes
from livectl.ops.beat.run_store import PENDING_KEY, DueRun, RunStore, StoreClock
from tests.support.beats import make_app, server
from tests.support.waiting import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

CHANGING_HEADERS = ("expires", "celery_beat_task", "sent", "due", "schedule")
KINDS = ("atomic", "sequential")
NOON = 1_780_315_200_000


class Bench:
    """An app, a store, and a publisher."""

    def __init__(self, kind: str, store_url: str, broker_url: str = "") -> None:
        self.app = make_app(broker_url or store_url)
        self.store = redis.Redis.from_url(store_url, decode_responses=True)
        self.broker = redis.Redis.from_url(broker_url or store_url, decode_responses=True)
        self.runs = RunStore(self.store, StoreClock())
        self.kind = kind
        self._sender: publisher.Publisher | None = None

    @property
    def sender(self) -> publisher.Publisher:
        if self._sender is None:
            is_atomic = self.kind == "atomic"
            open_publisher = publisher.open_publisher if is_atomic else publisher.SequentialPublisher
            self._sender = open_publisher(self.app, self.runs)
        return self._sender

    def job(self, **fields: Any) -> publisher.ClaimedJob:
        name = fields.pop("name", "e")
        self.runs.record_heartbeat("beat", {})
        due_times = ComputedDueTimes(Schedule(name=name, task="", timing=Interval(60)))
        entry = BeatEntry(**{"name": name, "task": "t.note", "due_times": due_times, "args": (name,), **fields})
        (claim,) = self.runs.claim([DueRun(Run(name, NOON), 60_000)])
        return publisher.ClaimedJob(claim, entry, self.runs.task_id(claim.run))

    def queue(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(str(raw)) for raw in self.broker.lrange(name, 0, -1)]

    def close(self) -> None:
        self.sender.close()
        self.store.close()
        self.broker.close()
        self.app.close()


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, store_url: str) -> Iterator[Bench]:
    bench = Bench(request.param, store_url)
    yield bench
    bench.close()


def comparable(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what differs each time, and without the mark that beat leaves since Celery 5.7."""
    properties = {name: value for name, value in message["properties"].items() if name != "delivery_tag"}
    headers = {name: value for name, value in message["headers"].items() if name not in CHANGING_HEADERS}
    return {**message, "properties": properties, "headers": headers}


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("celery", {}),
    ("slow", {"queue": "slow"}),
    ("celery\x06\x166", {"priority": 7}),
    ("celery", {"expires": 30}),
    ("celery", {"expires": 30.5, "headers": {"tenant": "a"}}),
    ("celery", {"eta": "2030-01-01T00:00:00+00:00"}),
    ("celery", {"time_limit": 10, "soft_time_limit": 5, "ignore_result": False}),
    ("celery", {"serializer": "yaml", "compression": "gzip"}),
    ("celery", {"shadow": "another name", "retry": True, "retry_policy": {"max_retries": 1}}),
    ("celery", {"link": [], "reply_to": "someone", "task_id": "chosen"}),
    ("routed", {"exchange": "direct", "routing_key": "key"}),
    ("every.log", {"queue": "every.log", "routing_key": "log.error"}),
]


@pytest.mark.parametrize(("queue", "options"), OPTIONS, ids=[str(options) for _, options in OPTIONS])
def test_every_option_arrives_as_from_celerys_own_beat(bench: Bench, queue: str, options: dict[str, Any]) -> None:
    bound = [Queue("routed", Exchange("direct"), "key"), Queue("every.log", Exchange("topics", "topic"), "log.*")]
    bench.app.conf.task_queues = [Queue("celery"), Queue("slow"), *bound]
    with bench.app.connection_for_write() as connection:
        for queue_bound in bound:
            queue_bound.bind(connection.default_channel).declare()
    before = deepcopy(options)
    job = bench.job(options=options, kwargs={"a": 1})
    bench.sender.send([job])
    (sent,) = bench.queue(queue)
    assert options == before, "an entry's options are used again for its next run"
    bench.broker.delete(queue)
    send_with_celery(bench.app, job, options)
    (sent_by_celery,) = bench.queue(queue)
    assert comparable(sent) == comparable(sent_by_celery)
    assert sent["headers"]["celery_beat_task"] is True
    assert sent["headers"]["due"] == job.claim.run.due / 1000


def send_with_celery(app: Celery, job: publisher.ClaimedJob, options: dict[str, Any]) -> None:
    scheduler = beat.Scheduler(app, lazy=True)
    celery_options = {"task_id": job.task_id, **deepcopy(options)}
    entry = beat.ScheduleEntry(
        "e", "t.note", schedule=60, args=list(job.entry.args), kwargs=job.entry.kwargs, options=celery_options, app=app
    )
    scheduler.apply_async(entry, producer=scheduler.producer, advance=False)
    scheduler.close()


def test_routes_and_keys_of_the_app_are_kept_to(bench: Bench) -> None:
    bench.app.conf.task_routes = {"t.*": {"queue": "routed", "priority": 3}}
    bench.app.conf.broker_transport_options = {"global_keyprefix": "app1:"}
    bench.sender.send([bench.job()])
    assert len(bench.queue("app1:routed\x06\x163")) == 1


def test_a_broadcast_reaches_every_listener(bench: Bench) -> None:
    fanout = Exchange("everybody", "fanout")
    with published(bench, "/0.everybody*") as messages:
        bench.sender.send([bench.job(options={"exchange": fanout, "routing_key": "all", "declare": [fanout]})])
    assert json.loads(messages[0]["data"])["headers"]["task"] == "t.note"


@contextmanager
def published(bench: Bench, topics: str) -> Iterator[list[dict[str, Any]]]:
    """The first message that is published in the block, once the block is over."""
    messages: list[dict[str, Any]] = []
    listener: Any = bench.broker.pubsub()  # type: ignore[no-untyped-call]
    listener.psubscribe(topics)
    assert listener.get_message(timeout=HANG_SECONDS)
    yield messages
    messages.append(listener.get_message(timeout=HANG_SECONDS))
    listener.close()


def test_a_task_unknown_here_is_sent_by_its_name(bench: Bench) -> None:
    bench.sender.send([bench.job(task="other.app")])
    assert [message["headers"]["task"] for message in bench.queue("celery")] == ["other.app"]


def test_lazy_arguments_are_evaluated_for_each_run(bench: Bench) -> None:
    counted = iter(range(10))
    late = BeatLazyFunc(lambda: next(counted))
    bench.sender.send([bench.job(name="a", args=(late,), kwargs={"b": late}), bench.job(name="b", args=(late,))])
    arguments = sorted(message["headers"]["argsrepr"] for message in bench.queue("celery"))
    assert arguments == ["[0]", "[2]"]


def test_signals_and_events_go_out(bench: Bench) -> None:
    received: list[str] = []

    def before(sender: str, headers: dict[str, Any], **_: Any) -> None:
        received.append(f"before {sender}")
        headers["marked"] = True

    def after(sender: str, **_: Any) -> None:
        received.append(f"after {sender}")

    bench.app.conf.task_send_sent_event = True
    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    with published(bench, "/0.celeryev*") as messages:
        bench.sender.send([bench.job()])
    signals.before_task_publish.disconnect(before)
    signals.after_task_publish.disconnect(after)
    assert received == ["before t.note", "after t.note"]
    assert bench.queue("celery")[0]["headers"]["marked"] is True
    assert messages[0]["channel"].endswith("task.sent")


def test_beat_listens_for_no_results(bench: Bench) -> None:
    """Celery's own beat subscribes to the result of every job it sends, for as long as it lives."""
    bench.sender.send([bench.job(options={"ignore_result": False})])
    assert bench.broker.pubsub_numsub("celery-task-meta-" + bench.queue("celery")[0]["headers"]["id"])[0][1] == 0
    assert bench.app.backend.result_consumer._pubsub is None


def test_what_is_sent_is_no_longer_claimed(bench: Bench) -> None:
    for part in range(10):  # claims grow old: a slow machine does not send many in time
        bench.sender.send([bench.job(name=f"e{part}.{number}") for number in range(20)])
    assert len(bench.queue("celery")) == 200
    assert bench.store.zcard(PENDING_KEY) == 0


def test_an_entry_that_cannot_be_sent_is_named_and_holds_up_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [bench.job(name="bad", args=(object(),)), bench.job(name="good")]
    bench.sender.send(jobs)
    assert len(bench.queue("celery")) == 1
    assert bench.store.zcard(PENDING_KEY) == 0
    assert "Entry 'bad' cannot be sent" in caplog.text


def test_an_entry_with_a_connection_of_its_own_takes_that(bench: Bench, tmp_path: Any) -> None:
    with server() as own:
        other = make_app(own.url)
        with other.connection_for_write() as connection:
            bench.sender.send([bench.job(options={"connection": connection})])
        with redis.Redis.from_url(own.url) as broker:
            assert broker.llen("celery") == 1
        other.close()
    assert bench.store.zcard(PENDING_KEY) == 0


def test_a_queue_that_expires_is_kept_alive(bench: Bench) -> None:
    if not hasattr(redis_transport.Channel, "_get_queue_expire"):
        pytest.skip("kombu 5.6 and later let queues expire")
    bench.app.conf.task_queues = [Queue("celery"), Queue("short", queue_arguments={"x-expires": 60_000})]
    bench.sender.send([bench.job(options={"queue": "short"})])
    assert 0 < bench.broker.pttl("short") <= 60_000


# --- which way


def test_one_server_is_one_whatever_its_addresses_are(store_url: str) -> None:
    bench = Bench("atomic", store_url, store_url.replace("db=0", "db=3"))
    assert isinstance(bench.sender, publisher.AtomicPublisher)
    bench.sender.send([bench.job()])
    assert len(bench.queue("celery")) == 1
    bench.close()


def test_two_servers_are_two(store_url: str) -> None:
    with server() as own:
        bench = Bench("atomic", store_url, own.url)
        assert isinstance(bench.sender, publisher.SequentialPublisher)
        bench.sender.send([bench.job()])
        assert len(bench.queue("celery")) == 1
        bench.close()


def test_a_broker_that_fails_over_is_not_taken_for_the_store(store_url: str) -> None:
    bench = Bench("atomic", store_url)
    bench.app.conf.broker_url = ";".join([bench.app.conf.broker_url] * 2)
    assert isinstance(bench.sender, publisher.SequentialPublisher)
    bench.close()


def test_another_kind_of_broker_is_sent_to_one_by_one(store_url: str) -> None:
    bench = Bench("atomic", store_url)
    bench.app.conf.broker_url = "memory://"
    assert isinstance(bench.sender, publisher.SequentialPublisher)
    bench.sender.send([bench.job()])
    assert bench.store.zcard(PENDING_KEY) == 0
    bench.close()


# --- faults


def test_what_could_not_be_sent_is_given_back(store_url: str) -> None:
    with server() as own:
        bench = Bench("sequential", store_url, own.url)
        bench.app.conf.task_publish_retry_policy = {"max_retries": 0}
        jobs = [bench.job(name="a"), bench.job(name="b")]
        bench.sender.connect()
        own.stop()
        with pytest.raises(publisher.BrokerUnavailableError):
            bench.sender.send(jobs)
        stale = bench.runs.record_heartbeat("beat", {})
        assert {claim.run.name for claim in stale} == {"a", "b"}
        own.start()
        taken = bench.runs.take_over(stale)
        bench.sender.send([publisher.ClaimedJob(claim, jobs[0].entry, "id") for claim in taken])
        assert len(bench.queue("celery")) == 2
        bench.close()


def test_a_claim_grown_old_is_left_to_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    if bench.kind == "atomic":
        pytest.skip("there the fence is looked at in the same step")
    monkeypatch.setattr(bench.runs, "is_fresh", lambda _claim: False)
    bench.sender.send([bench.job()])
    assert bench.queue("celery") == []
    assert bench.store.zcard(PENDING_KEY) == 1


def test_the_log_says_what_was_sent(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job = bench.job()
    bench.sender.send([job])
    assert f"Sent e (t.note) with id {job.task_id}" in caplog.text
