"""What reaches the broker: the same by both ways, and the same as from Celery's own beat."""

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
from kombu.transport import redis as transport

from livectl.models import Interval, Run, Schedule
from livectl.ops.beat import publisher
from livectl.ops.beat.entries import BeatEntry, ComputedDueTimes
from livectl.ops.beat.run_store import PENDING_KEY, DueRun, RunStore, StoreClock
from tests.support.beats import make_app, server
from tests.support.waiting import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

OTHER_EACH_TIME = ("expires", "celery_beat_task", "sent")
WAYS = ("together", "one by one")
NOON = 1_780_315_200_000


class Desk:
    """An app, a store, and one way between them."""

    def __init__(self, way: str, store_url: str, broker_url: str = "") -> None:
        self.app = make_app(broker_url or store_url)
        self.store = redis.Redis.from_url(store_url, decode_responses=True)
        self.broker = redis.Redis.from_url(broker_url or store_url, decode_responses=True)
        self.runs = RunStore(self.store, StoreClock())
        self.way = way
        self._sender: publisher.Publisher | None = None

    @property
    def sender(self) -> publisher.Publisher:
        if self._sender is None:
            plain = publisher.SequentialPublisher(self.app, self.runs)
            self._sender = publisher.open_publisher(self.app, self.runs) if self.way == "together" else plain
        return self._sender

    def job(self, **said: Any) -> publisher.ClaimedJob:
        name = said.pop("name", "e")
        self.runs.record_heartbeat("beat", {})
        dues = ComputedDueTimes(Schedule(name=name, task="", timing=Interval(60)))
        entry = BeatEntry(**{"name": name, "task": "t.note", "due_times": dues, "args": (name,), **said})
        (claim,) = self.runs.claim([DueRun(Run(name, NOON), 60_000)])
        return publisher.ClaimedJob(claim, entry, self.runs.task_id(claim.run))

    def queue(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(str(raw)) for raw in self.broker.lrange(name, 0, -1)]

    def close(self) -> None:
        self.sender.close()
        self.store.close()
        self.broker.close()
        self.app.close()


@pytest.fixture(params=WAYS)
def desk(request: pytest.FixtureRequest, store_url: str) -> Iterator[Desk]:
    made = Desk(request.param, store_url)
    yield made
    made.close()


def compared(message: dict[str, Any]) -> dict[str, Any]:
    """All of a message but what no two have alike, and the mark that beat leaves since Celery 5.7."""
    properties = {name: value for name, value in message["properties"].items() if name != "delivery_tag"}
    headers = {name: value for name, value in message["headers"].items() if name not in OTHER_EACH_TIME}
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
def test_every_option_arrives_as_from_celerys_own_beat(desk: Desk, queue: str, options: dict[str, Any]) -> None:
    bound = [Queue("routed", Exchange("direct"), "key"), Queue("every.log", Exchange("topics", "topic"), "log.*")]
    desk.app.conf.task_queues = [Queue("celery"), Queue("slow"), *bound]
    with desk.app.connection_for_write() as connection:
        for queue_bound in bound:
            queue_bound.bind(connection.default_channel).declare()
    before = deepcopy(options)
    job = desk.job(options=options, kwargs={"a": 1})
    desk.sender.send([job])
    (ours,) = desk.queue(queue)
    assert options == before, "an entry's options are used again for its next run"
    desk.broker.delete(queue)
    as_celery_sends(desk.app, job, options)
    (celerys,) = desk.queue(queue)
    assert compared(ours) == compared(celerys)
    assert ours["headers"]["celery_beat_task"] is True


def as_celery_sends(app: Celery, job: publisher.ClaimedJob, options: dict[str, Any]) -> None:
    scheduler = beat.Scheduler(app, lazy=True)
    given = {"task_id": job.task_id, **deepcopy(options)}
    entry = beat.ScheduleEntry(
        "e", "t.note", schedule=60, args=list(job.entry.args), kwargs=job.entry.kwargs, options=given, app=app
    )
    scheduler.apply_async(entry, producer=scheduler.producer, advance=False)
    scheduler.close()


def test_routes_and_keys_of_the_app_are_kept_to(desk: Desk) -> None:
    desk.app.conf.task_routes = {"t.*": {"queue": "routed", "priority": 3}}
    desk.app.conf.broker_transport_options = {"global_keyprefix": "app1:"}
    desk.sender.send([desk.job()])
    assert len(desk.queue("app1:routed\x06\x163")) == 1


def test_a_broadcast_reaches_every_listener(desk: Desk) -> None:
    everybody = Exchange("everybody", "fanout")
    with listening(desk, "/0.everybody*") as heard:
        desk.sender.send([desk.job(options={"exchange": everybody, "routing_key": "all", "declare": [everybody]})])
    assert json.loads(heard[0]["data"])["headers"]["task"] == "t.note"


@contextmanager
def listening(desk: Desk, topics: str) -> Iterator[list[dict[str, Any]]]:
    """What is published meanwhile, once that is over."""
    heard: list[dict[str, Any]] = []
    listener: Any = desk.broker.pubsub()  # type: ignore[no-untyped-call]
    listener.psubscribe(topics)
    assert listener.get_message(timeout=HANG_SECONDS)
    yield heard
    heard.append(listener.get_message(timeout=HANG_SECONDS))
    listener.close()


def test_a_task_unknown_here_is_sent_by_its_name(desk: Desk) -> None:
    desk.sender.send([desk.job(task="other.app")])
    assert [message["headers"]["task"] for message in desk.queue("celery")] == ["other.app"]


def test_arguments_that_are_told_late_are_told_for_each_run(desk: Desk) -> None:
    counted = iter(range(10))
    late = BeatLazyFunc(lambda: next(counted))
    desk.sender.send([desk.job(name="a", args=(late,), kwargs={"b": late}), desk.job(name="b", args=(late,))])
    told = sorted(message["headers"]["argsrepr"] for message in desk.queue("celery"))
    assert told == ["[0]", "[2]"]


def test_signals_and_events_go_out(desk: Desk) -> None:
    told: list[str] = []

    def before(sender: str, headers: dict[str, Any], **_: Any) -> None:
        told.append(f"before {sender}")
        headers["marked"] = True

    def after(sender: str, **_: Any) -> None:
        told.append(f"after {sender}")

    desk.app.conf.task_send_sent_event = True
    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    with listening(desk, "/0.celeryev*") as heard:
        desk.sender.send([desk.job()])
    signals.before_task_publish.disconnect(before)
    signals.after_task_publish.disconnect(after)
    assert told == ["before t.note", "after t.note"]
    assert desk.queue("celery")[0]["headers"]["marked"] is True
    assert heard[0]["channel"].endswith("task.sent")


def test_beat_listens_for_no_answers(desk: Desk) -> None:
    """Celery's own beat subscribes to the result of every job it sends, for as long as it lives."""
    desk.sender.send([desk.job(options={"ignore_result": False})])
    assert desk.broker.pubsub_numsub("celery-task-meta-" + desk.queue("celery")[0]["headers"]["id"])[0][1] == 0
    assert desk.app.backend.result_consumer._pubsub is None


def test_what_is_sent_is_settled(desk: Desk) -> None:
    desk.sender.send([desk.job(name=f"e{number}") for number in range(300)])
    assert len(desk.queue("celery")) == 300
    assert desk.store.zcard(PENDING_KEY) == 0


def test_an_entry_that_cannot_be_sent_is_named_and_the_rest_goes(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    jobs = [desk.job(name="bad", args=(object(),)), desk.job(name="good")]
    desk.sender.send(jobs)
    assert len(desk.queue("celery")) == 1
    assert desk.store.zcard(PENDING_KEY) == 0
    assert "Entry 'bad' cannot be sent" in caplog.text


def test_an_entry_with_a_connection_of_its_own_takes_that(desk: Desk, tmp_path: Any) -> None:
    with server() as own:
        other = make_app(own.url)
        with other.connection_for_write() as connection:
            desk.sender.send([desk.job(options={"connection": connection})])
        with redis.Redis.from_url(own.url) as broker:
            assert broker.llen("celery") == 1
        other.close()
    assert desk.store.zcard(PENDING_KEY) == 0


def test_a_queue_that_expires_is_kept_alive(desk: Desk) -> None:
    if not hasattr(transport.Channel, "_get_queue_expire"):
        pytest.skip("kombu 5.6 and later let queues expire")
    desk.app.conf.task_queues = [Queue("celery"), Queue("short", queue_arguments={"x-expires": 60_000})]
    desk.sender.send([desk.job(options={"queue": "short"})])
    assert 0 < desk.broker.pttl("short") <= 60_000


# --- which way


def test_one_server_is_found_to_be_one_whatever_it_is_called(store_url: str) -> None:
    desk = Desk("together", store_url, store_url.replace("db=0", "db=3"))
    assert isinstance(desk.sender, publisher.AtomicPublisher)
    desk.sender.send([desk.job()])
    assert len(desk.queue("celery")) == 1
    desk.close()


def test_two_servers_are_found_to_be_two(store_url: str) -> None:
    with server() as own:
        desk = Desk("together", store_url, own.url)
        assert isinstance(desk.sender, publisher.SequentialPublisher)
        desk.sender.send([desk.job()])
        assert len(desk.queue("celery")) == 1
        desk.close()


def test_a_broker_that_fails_over_is_not_taken_for_the_store(store_url: str) -> None:
    desk = Desk("together", store_url)
    desk.app.conf.broker_url = ";".join([desk.app.conf.broker_url] * 2)
    assert isinstance(desk.sender, publisher.SequentialPublisher)
    desk.close()


def test_another_kind_of_broker_is_sent_to_one_by_one(store_url: str) -> None:
    desk = Desk("together", store_url)
    desk.app.conf.broker_url = "memory://"
    assert isinstance(desk.sender, publisher.SequentialPublisher)
    desk.sender.send([desk.job()])
    assert desk.store.zcard(PENDING_KEY) == 0
    desk.close()


# --- faults


def test_what_could_not_be_sent_is_given_back(store_url: str) -> None:
    with server() as own:
        desk = Desk("one by one", store_url, own.url)
        desk.app.conf.task_publish_retry_policy = {"max_retries": 0}
        jobs = [desk.job(name="a"), desk.job(name="b")]
        desk.sender.connect()
        own.stop()
        with pytest.raises(publisher.BrokerUnavailableError):
            desk.sender.send(jobs)
        stale = desk.runs.record_heartbeat("beat", {})
        assert {claim.run.name for claim in stale} == {"a", "b"}
        own.start()
        taken = desk.runs.take_over(stale)
        desk.sender.send([publisher.ClaimedJob(claim, jobs[0].entry, "id") for claim in taken])
        assert len(desk.queue("celery")) == 2
        desk.close()


def test_a_claim_grown_old_is_left_to_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    if desk.way == "together":
        pytest.skip("there the fence is looked at in the same step")
    monkeypatch.setattr(desk.runs, "is_fresh", lambda _claim: False)
    desk.sender.send([desk.job()])
    assert desk.queue("celery") == []
    assert desk.store.zcard(PENDING_KEY) == 1


def test_the_log_tells_what_was_sent(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job = desk.job()
    desk.sender.send([job])
    assert f"Sent e (t.note) with id {job.task_id}" in caplog.text
