"""Rows that harm workers: their children, themselves, their whole tree; killed, told to stop, or stopped."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

from tests.faults.frame import Limits, Mechanism, Row
from tests.faults.workers import running_system, send_all, wait_for_work

if TYPE_CHECKING:
    from tests.faults.frame import Case, Outcome

NO_SWEEP = "from livectl.ops.transport import leases; leases.sweep = lambda channel: 0"
POOLS = ("prefork", "threads", "gevent", "solo", "eventlet")
EVERYWHERE = ("redis plain prefork", "embedded own prefork", "rabbitmq plain prefork", "rabbitmq own prefork")
EVERY_POOL = tuple(f"redis plain {pool}" for pool in POOLS[1:])


def kill_children(case: Case) -> Outcome:
    """F1. Two at a time work while one after another is killed."""
    rng, ends = random.Random(case.seed), []
    with running_system(case) as system:
        worker = system.start_worker()
        send_all(system, case.either(60, 500))
        for _ in range(case.either(3, 20)):
            wait_for_work(system, rng.randint(2, 8))
            worker.kill_child()
            ends.append(time.monotonic())
        system.wait_until_done()
        return system.outcome(ends)


def kill_workers(case: Case) -> Outcome:
    """F2. Its place is taken by a new one at once, as by a supervisor."""
    rng, ends = random.Random(case.seed), []
    with running_system(case) as system:
        worker = system.start_worker()
        send_all(system, case.either(40, 400))
        for _ in range(case.either(1, 20)):
            wait_for_work(system, rng.randint(2, 8))
            worker.signal(signal.SIGKILL)
            ends.append(time.monotonic())
            worker.wait()
            worker = system.start_worker()
        system.wait_until_done()
        return system.outcome(ends)


ROWS = (
    Row(
        "F1",
        "kill -9 a child of the worker, x20",
        kill_children,
        (*EVERYWHERE, "redis plain threads"),
        Mechanism("late acknowledgement", settings="tasks: {'*': {acks: early}}"),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=20),
        short_limits=Limits(repeated=3),
    ),
    Row(
        "F2",
        "kill -9 the worker, x20",
        kill_workers,
        (*EVERYWHERE, *EVERY_POOL),
        Mechanism("the sweep for what dead workers held", patch=NO_SWEEP),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=40),
        short_limits=Limits(repeated=2),
    ),
)
