"""A consumer that takes nothing although its queue holds something is cured step by step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.bootsteps import RUN
from celery.worker import state

from livectl.ops.transport import deafness
from livectl.ops.transport.deafness import DeafnessWatch
from livectl.ops.transport.leases import LeasedQoS


class Queues:
    """A client of Redis that knows one length, whatever it is asked."""

    def __init__(self, length: int) -> None:
        self.length = length

    def pipeline(self, **options: Any) -> Queues:
        return self

    def llen(self, key: str) -> None:
        pass

    def execute(self) -> list[int]:
        return [self.length]


class Watched:
    """A consumer, what was done to it, and a clock that only tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cures, self.queues = 100.0, [], Queues(3)  # type: tuple[float, list[str], Queues]
        self.is_full = False
        qos = SimpleNamespace(can_consume=lambda: not self.is_full)
        names: dict[str, Any] = {"global_keyprefix": "", "priority_steps": [0], "active_queues": ["celery"]}
        self.channel = SimpleNamespace(**names, closed=False, qos=qos, connection=None, _q_for_pri=lambda name, _: name)
        self.consumer = SimpleNamespace(
            task_consumer=SimpleNamespace(channel=self.channel),
            blueprint=SimpleNamespace(state=RUN),
            hub=SimpleNamespace(call_soon=lambda call: self.cures.append("connects anew")),
            pool=SimpleNamespace(),
        )
        monkeypatch.setattr(LeasedQoS, "taken_at", 0.0)
        monkeypatch.setattr(state, "should_stop", None)
        self.watch = DeafnessWatch(self.consumer, lambda: self.now, lambda code: self.cures.append(f"ends with {code}"))

    def pass_time(self, seconds: float) -> list[str]:
        for _ in range(int(seconds / 2)):
            self.now += 2
            self.watch.look(self.queues)  # type: ignore[arg-type]
        return self.cures


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_a_deaf_consumer_connects_anew_then_stops_then_is_ended(watched: Watched) -> None:
    assert watched.pass_time(28) == []
    assert watched.pass_time(6) == ["connects anew"]
    watched.pass_time(30)
    assert state.should_stop == deafness.EXIT_CODE
    assert watched.pass_time(300) == ["connects anew", "ends with 4"]


def test_a_new_connection_is_no_sign_that_it_hears(watched: Watched) -> None:
    watched.pass_time(34)
    for is_closed in (True, False):
        watched.channel.closed = is_closed
        watched.pass_time(10)
    watched.pass_time(20)
    assert state.should_stop == deafness.EXIT_CODE


def test_one_that_hears_again_is_left_alone(watched: Watched) -> None:
    for _ in range(10):
        watched.pass_time(24)
        LeasedQoS.taken_at = watched.now
    assert watched.cures == []


def test_one_that_can_take_nothing_is_not_deaf(watched: Watched) -> None:
    watched.is_full = True
    assert watched.pass_time(300) == []


def test_one_with_an_empty_queue_is_not_deaf(watched: Watched) -> None:
    watched.queues = Queues(0)
    assert watched.pass_time(300) == []


def test_one_that_is_being_stopped_is_left_alone(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", 0)
    assert watched.pass_time(300) == []


def test_a_job_that_runs_where_messages_are_taken_is_no_deafness(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.consumer.pool.is_green = True
    monkeypatch.setattr(state, "active_requests", {"a job"})
    assert watched.pass_time(300) == []
