"""Rows that harm the broker: killed under load, away for minutes, its replies cut, its results away."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.faults import brokers
from tests.faults.frame import Limits, Mechanism, Row
from tests.faults.worker_rows import EVERY_POOL, EVERYWHERE
from tests.faults.workers import Sender, running_system

if TYPE_CHECKING:
    from tests.faults.frame import Case, Outcome


def kill_broker(case: Case) -> Outcome:
    """F6. While jobs are sent and done, 30 a second."""
    rng, ends = random.Random(case.seed), []
    kills = case.either(3, 20)
    with running_system(case) as system:
        system.start_worker()
        sender = Sender(system, 100_000, per_second=30)
        sender.start()
        for _ in range(kills):
            sender.wait_for_work(rng.randint(10, 40))
            ends.append(brokers.take_down(system.broker, rng.uniform(0.2, case.either(1, 5))))
            system.replace_dead()
        sender.wait_for_work(10)
        sender.finish()
        system.wait_until_done()
        return system.outcome(ends)


ROWS = (
    Row(
        "F6",
        "kill -9 the broker under load, 0.2-5 s down, x20",
        kill_broker,
        (*EVERYWHERE, *EVERY_POOL),
        Mechanism("the guard's consumer: leases, taking in one step, reconnecting", settings="worker: {guard: false}"),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=40),
        short_limits=Limits(repeated=6),
    ),
)
