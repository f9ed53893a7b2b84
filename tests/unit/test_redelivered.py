"""A message that comes again for a job that its worker runs, or has run, begins no second one."""

from __future__ import annotations

import time
from collections import OrderedDict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest
from celery.bootsteps import CLOSE
from celery.worker import state
from kombu.message import Message

from livectl.ops import guarded_request
from livectl.ops.guard import GuardedConsumer
from livectl.ops.transport import consumer as consumers

if TYPE_CHECKING:
    from collections.abc import Iterator


class Channel:
    """Notes what it is told."""

    no_ack_consumers = None

    def __init__(self) -> None:
        self.told: list[Any] = []

    def basic_ack(self, tag: int, **_: Any) -> None:
        self.told.append(tag)

    def basic_reject(self, tag: int, **_: Any) -> None:
        self.told.append(("back", tag))


class PlainRequest:
    """What Celery's request does to its message."""

    _already_cancelled = _already_revoked = acknowledged = False

    def __init__(self, message: Message, consumer: GuardedConsumer) -> None:
        self._message, self.id, self.consumer = message, message.headers["id"], consumer
        self.task = SimpleNamespace(acks_late=True)
        self._on_ack: Any = message.ack_log_error
        self._on_reject: Any = message.reject_log_error

    @property
    def message(self) -> Message:
        return self._message

    def acknowledge(self) -> None:
        self._on_ack(consumers.logger, ())
        self.acknowledged = True

    def reject(self, requeue: bool = False) -> None:
        self._on_reject(consumers.logger, (), requeue)
        self.acknowledged = True


class Request(guarded_request.GuardedRequest, PlainRequest):
    """As guarded_request makes it."""


@pytest.fixture
def consumer() -> Iterator[GuardedConsumer]:
    made = GuardedConsumer.__new__(GuardedConsumer)
    made._begun, made._ended, made._lost_at = WeakSet(), OrderedDict(), float("inf")
    made.connection_errors = ()
    made.hub = made._lease_keeper = None
    yield made
    state.active_requests.clear()


def message(channel: Channel, tag: int, **headers: Any) -> Message:
    known = {"id": "a", "task": "proj.add", "retries": 0}
    return Message(channel=channel, delivery_tag=tag, headers=known | headers, delivery_info={"redelivered": tag != 1})


def test_a_job_that_runs_takes_the_message_for_its_own(consumer: GuardedConsumer) -> None:
    before, now = Channel(), Channel()
    request = Request(message(before, 1), consumer)
    state.active_requests.add(request)
    assert consumer.adopt(message(now, 2))
    assert (before.told, now.told) == ([], [])
    request.acknowledge()
    assert (before.told, now.told) == ([], [2])


def test_one_that_dies_afterwards_gives_it_back(consumer: GuardedConsumer) -> None:
    now = Channel()
    request = Request(message(Channel(), 1), consumer)
    consumer._begun.add(request)
    assert consumer.adopt(message(now, 2))
    request.reject(requeue=True)
    assert now.told == [("back", 2)]
    assert not consumer.adopt(message(now, 3))


@pytest.mark.parametrize(
    ("headers", "cancelled"),
    [({"retries": 1}, False), ({"sent": 5.0}, False), ({"id": "b"}, False), ({"eta": "later"}, False), ({}, True)],
    ids=str,
)
def test_another_try_or_sending_of_it_is_a_job_of_its_own(
    consumer: GuardedConsumer, headers: dict[str, Any], *, cancelled: bool
) -> None:
    request = Request(message(Channel(), 1), consumer)
    request._already_cancelled = cancelled
    state.active_requests.add(request)
    assert not consumer.adopt(message(Channel(), 2, **headers))


@pytest.mark.parametrize(
    ("lost_after_s", "adopted"),
    [(None, False), (-1.0, True), (5.0, True), (consumers.DOUBTFUL_S + 5, False)],
    ids=["never lost", "lost before", "just lost", "long since"],
)
def test_one_that_ended_is_acknowledged_where_that_may_have_got_lost(
    consumer: GuardedConsumer, lost_after_s: float | None, *, adopted: bool
) -> None:
    now = Channel()
    Request(message(Channel(), 1), consumer).acknowledge()
    if lost_after_s is not None:
        consumer._lost_at = time.monotonic() + lost_after_s
    assert consumer.adopt(message(now, 2)) is adopted
    assert now.told == ([2] if adopted else [])


@pytest.mark.parametrize(("again", "is_same"), [("7c1b.unread-4", True), ("9a3f", False), ("9a3f.unread-4", False)])
def test_on_redis_a_job_sent_again_by_its_id_is_told_by_its_tag(
    consumer: GuardedConsumer, again: Any, *, is_same: bool
) -> None:
    first: Any = "7c1b"
    consumer._lost_at = time.monotonic()
    Request(message(Channel(), first), consumer).acknowledge()
    assert consumer.adopt(message(Channel(), again)) is is_same


def test_a_worker_that_ends_looks_for_no_forgotten_jobs(consumer: GuardedConsumer) -> None:
    """Its loop does at the end what it was to do soon, acknowledgements among it; the pool is gone by then."""
    consumer.blueprint = SimpleNamespace(state=CLOSE)
    consumer.pool = SimpleNamespace(uses_semaphore=True, _pool=None)
    consumer._look_for_forgotten()


def test_one_that_ends_while_it_takes_over_acknowledges_both(consumer: GuardedConsumer) -> None:
    now = Channel()
    request = Request(message(Channel(), 1), consumer)
    state.active_requests.add(request)
    request._on_ack = lambda *_: consumer.adopt(message(now, 2))
    request.acknowledge()
    assert now.told == [2]
