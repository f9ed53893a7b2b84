"""Rates of queues, as two measurements tell them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from livectl.commands import queues as queue_commands
from livectl.ops.cluster import queues
from livectl.ops.cluster.queues import Queue, QueueDepths, QueueRate


@pytest.mark.parametrize(
    ("before", "after", "inward", "outward"),
    [
        (Queue(name="q", ready=10), Queue(name="q", ready=30), 20.0, 10.0),
        (Queue(name="q", ready=30), Queue(name="q", ready=10), 0.0, 10.0),
        (Queue(name="q", ready=5, unacked=5), Queue(name="q", ready=0, unacked=0), 5.0, 10.0),
    ],
)
def test_rates_are_what_was_done_and_how_the_queue_grew(
    before: Queue, after: Queue, inward: float, outward: float
) -> None:
    reads: dict[str, tuple[str, ...]] = {"w1": ("q",)}
    first = QueueDepths(queues=(before,), processed={"w1": 100}, reads=reads)
    second = QueueDepths(queues=(after,), processed={"w1": 120}, reads=reads)
    rate = queues.rates_between(first, second, 2.0)["q",]
    assert (rate.inward, rate.outward) == (inward, outward)


def test_queues_with_a_reader_of_several_have_their_rates_together() -> None:
    reads: dict[str, tuple[str, ...]] = {"w1": ("q", "r"), "w2": ("r",), "w3": ("s",)}
    first, second, alone = Queue(name="q", ready=10), Queue(name="r", ready=0), Queue(name="s", ready=0)
    before = QueueDepths(queues=(first, second, alone), processed={"w1": 0, "w2": 0, "w3": 0}, reads=reads)
    grown = msgspec.structs.replace(first, ready=20)
    after = QueueDepths(queues=(grown, second, alone), processed={"w1": 4, "w2": 6, "w3": 2}, reads=reads)
    rates = queues.rates_between(before, after, 2.0)
    assert rates == {("q", "r"): QueueRate(10.0, 5.0), ("s",): QueueRate(1.0, 1.0)}
    (note,) = queues.rate_notes(rates, reads)
    assert note == "q, r together: 10.0 in/s, 5.0 out/s; not told apart, since w1, w2 read them"


def test_rates_are_not_made_up_where_a_reader_was_silent() -> None:
    reads: dict[str, tuple[str, ...]] = {"w1": ("q",)}
    depths = QueueDepths(queues=(Queue(name="q", ready=1),), processed={"w1": 1}, reads=reads)
    silent = QueueDepths(queues=(Queue(name="q", ready=1),), reads=reads)
    assert queues.rates_between(depths, silent, 1.0)["q",] == QueueRate(None, None)


def test_a_queue_of_a_redis_behind_sentinel_is_named_though_nothing_waits_there() -> None:
    found = queues._with_empty_queues([Queue(name="a", ready=3)], ["a", "b"], {"w1": ["a", "b"], "w2": ["b"]})
    assert [(queue.name, queue.ready, queue.consumers) for queue in found] == [("a", 3, 1), ("b", 0, 2)]


@pytest.mark.parametrize(
    ("on_rabbitmq", "unacked", "count"), [(True, True, 1), (True, False, 0), (False, True, 0), (False, False, 0)]
)
def test_that_a_worker_on_rabbitmq_keeps_what_it_holds_is_said_to_who_asks_for_it(
    on_rabbitmq: bool, unacked: bool, count: int
) -> None:
    said: list[str] = []
    context: Any = SimpleNamespace(deployment=SimpleNamespace(on_rabbitmq=on_rabbitmq), say=said.append)
    queue_commands._say_what_stays(context, unacked=unacked)
    assert said == [queue_commands.HELD_ON_RABBITMQ] * count
