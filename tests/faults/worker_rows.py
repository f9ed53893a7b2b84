"""Rows that harm workers: their children, themselves, their whole tree; killed, told to stop, or stopped."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

from tests.faults.frame import Limits, Mechanism, Row
from tests.faults.workers import Sender, running_system, send_all, wait_for_work
from tests.support.processes import children
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.frame import Case, Outcome
    from tests.faults.workers import System, Worker

NO_SWEEP = "from livectl.ops.transport import leases; leases.sweep = lambda channel: 0"
NO_ORPHANS = "from livectl.ops.transport.orphans import Orphan; Orphan.listen = lambda orphan: None"
NO_MENDING = "from livectl.ops.transport import children; children.mend = lambda pool: None"
NO_CHILD_WATCH = (
    "from livectl.ops.transport.children import ChildWatch; ChildWatch.look = lambda watch, processes: None"
)
DEAF_TO_TERM = "from celery.apps import worker; worker.install_worker_term_handler = lambda *a, **k: None"
ONLY_IN_MEMORY = """
from livectl.ops.processes import embedded_broker as e
e.SERVER_OPTIONS = tuple("no" if word == "yes" else word for word in e.SERVER_OPTIONS)
"""
MAX_SET_ASIDE = 3  # of 400: that ran in three of the twenty kills
SLOW_END_S = 25.0  # a child of billiard's waits for 30 s for its last answers to be read
QUIET_PAUSED_S = 25.0  # a lease and two sweeps take half of it
POOLS = ("prefork", "threads", "gevent", "solo", "eventlet")
EVERYWHERE = ("redis plain prefork", "embedded own prefork", "rabbitmq plain prefork", "rabbitmq own prefork")
EVERY_POOL = tuple(f"redis plain {pool}" for pool in POOLS[1:])


def harm_again_and_again(
    case: Case, jobs: tuple[int, int], kills: tuple[int, int], harm: Callable[[System, Worker, list[float]], Worker]
) -> Outcome:
    """Harms a worker each time that it has begun some jobs; `harm` notes when it was over, and returns who works on."""
    rng, ends = random.Random(case.seed), list[float]()
    with running_system(case) as system:
        worker = system.start_worker()
        send_all(system, case.either(*jobs))
        for _ in range(case.either(*kills)):
            wait_for_work(system, rng.randint(2, 8))
            worker = harm(system, worker, ends)
        system.wait_until_done()
        return system.outcome(ends)


def kill_children(case: Case) -> Outcome:
    """F1. Two at a time work while one after another is killed."""

    def kill(_: System, worker: Worker, ends: list[float]) -> Worker:
        worker.kill_child()
        ends.append(time.monotonic())
        return worker

    return harm_again_and_again(case, (60, 500), (3, 20), kill)


def kill_first_children(case: Case) -> Outcome:
    """F1b. While the worker starts: Celery's ends then."""
    ends = []
    with running_system(case) as system:
        for turn in range(case.either(1, 5)):
            worker = system.start_worker(is_waited_for=False)
            wait_for_children(worker)
            worker.kill_child()
            worker.wait_until_ready()
            ends.append(time.monotonic())
            send_all(system, 10, prefix=f"turn{turn}-")
            system.wait_until_done()
            worker.signal(signal.SIGTERM)
            worker.wait()
        return system.outcome(ends)


def kill_workers(case: Case) -> Outcome:
    """F2. Its place is taken by a new one at once, as by a supervisor."""

    def kill(system: System, worker: Worker, ends: list[float]) -> Worker:
        worker.signal(signal.SIGKILL)
        ends.append(time.monotonic())
        worker.wait()
        return system.start_worker()

    return harm_again_and_again(case, (40, 400), (1, 20), kill)


def kill_mains(case: Case) -> Outcome:
    """F2b. As F2, while its children run jobs of half a second: these end there, and are begun nowhere else."""
    ends = []
    with running_system(case) as system:
        worker = system.start_worker()
        for turn in range(case.either(1, 10)):
            send_all(system, 4, prefix=f"turn{turn}-", args=[0.5])
            wait_for_start(system, 1)
            worker.signal(signal.SIGKILL)
            ends.append(time.monotonic())
            worker.wait()
            worker = system.start_worker()
            system.wait_until_done()
        return system.outcome(ends)


def kill_trees(case: Case) -> Outcome:
    """F3. Workers and broker at once, as by a power cut; then they are started again, by `up` or by hand."""

    def kill(system: System, worker: Worker, ends: list[float]) -> Worker:
        worker.kill_tree()
        system.broker.kill()
        worker.wait()
        if not worker.runs_broker:
            system.broker.start()  # RabbitMQ takes half a minute to open its port on a busy machine
        ends.append(time.monotonic())
        return system.start_worker()

    return harm_again_and_again(case, (40, 400), (1, 20), kill)


def stop_workers(case: Case) -> Outcome:
    """F4. SIGTERM while long jobs run, and short ones come in: what runs ends, the rest is given back.

    `missed` counts exit codes other than 0; a hang is an end that takes half a minute longer than the job.
    """
    ends, failed, hangs = [], 0, 0
    with running_system(case) as system:
        worker, seconds = system.start_worker(), case.either(1, 8)
        sender = Sender(system, 100_000, per_second=40, args=[0.002])  # a busy machine does no more
        sender.start()
        for turn in range(case.either(1, 8)):
            sender.wait_for_work(30)
            send_all(system, turn % 2 + 1, prefix=f"long{turn}-", args=[seconds])  # of its two processes
            wait_for_job(system, f"long{turn}-j1")
            began = time.monotonic()
            worker.signal(signal.SIGTERM)
            failed += worker.wait() != 0
            hangs += time.monotonic() - began > seconds + SLOW_END_S
            ends.append(time.monotonic())
            worker = system.start_worker()
        sender.finish()
        system.wait_until_done()
        return system.outcome(ends, missed=failed, hangs=hangs)


def hurry_workers(case: Case) -> Outcome:
    """F5. SIGQUIT, and Ctrl-C twice: running jobs are cut, and run again."""
    ends = []
    with running_system(case) as system:
        worker = system.start_worker()
        send_all(system, case.either(6, 12), args=[case.either(1, 6)])
        for signals in ((signal.SIGQUIT,), (signal.SIGINT, signal.SIGINT)):
            wait_for_start(system, 2)
            for number in signals:
                worker.signal(number)
                time.sleep(0.5)
            worker.wait()
            ends.append(time.monotonic())
            worker = system.start_worker()
        system.wait_until_done()
        return system.outcome(ends)


def pause_worker(case: Case) -> Outcome:
    """F14. One of two stands still, children too, for longer than its leases; `missed` is what nobody did meanwhile."""
    ends, missed = [], 0
    with running_system(case) as system:
        paused, _other = system.start_worker("w1"), system.start_worker("w2")
        for turn in range(case.either(1, 10)):
            send_all(system, 40, prefix=f"turn{turn}-")
            wait_for_work(system, 4)
            ends.append(time.monotonic())
            os.killpg(paused.pid, signal.SIGSTOP)
            system.wait_until_done(QUIET_PAUSED_S)
            time.sleep(case.either(0, 8))
            missed += len(system.ledger.read().open_jobs)
            os.killpg(paused.pid, signal.SIGCONT)
        sender, since = Sender(system, 100_000, per_second=30), time.monotonic()
        sender.start()
        wait_for(lambda: system.did_work(paused, since), what="work of the worker that stood still")
        sender.finish()
        system.wait_until_done()
        return system.outcome(ends, missed=missed)


def stop_child(case: Case) -> Outcome:
    """F14c. One child stands still for good, with the job that it was handed; the rest of its worker goes on."""
    ends = []
    with running_system(case) as system:
        worker = system.start_worker()
        for turn in range(case.either(1, 3)):
            os.kill(children(worker.pid)[0], signal.SIGSTOP)
            ends.append(time.monotonic())
            send_all(system, 20, prefix=f"turn{turn}-")
            system.wait_until_done()
        return system.outcome(ends)


def wait_for_children(worker: Worker) -> None:
    wait_for(lambda: len(children(worker.pid)) == worker.concurrency, what="children")


def wait_for_job(system: System, job: str) -> None:
    """Until it has begun."""
    wait_for(lambda: system.ledger.read().starts[job] > 0, what=f"the start of {job}")


def wait_for_start(system: System, jobs: int) -> None:
    """Until so many jobs have begun."""
    wanted = system.ledger.read().starts.total() + jobs
    wait_for(lambda: system.ledger.read().starts.total() >= wanted, what="jobs to run")


ROWS = (
    Row(
        "F1",
        "kill -9 a child of the worker, x20",
        kill_children,
        EVERYWHERE,
        Mechanism("late acknowledgement", settings="tasks: {'*': {acks: early}}"),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=20),
        short_limits=Limits(repeated=3),
    ),
    Row(
        "F1b",
        "kill -9 a child while the worker starts, x5",
        kill_first_children,
        ("redis plain prefork", "rabbitmq plain prefork"),
        Mechanism("a pool that replaces it", patch=NO_MENDING),
        limits=Limits(repeated=0, doubled=0),
    ),
    Row(
        "F2",
        "kill -9 the worker, x20",
        kill_workers,
        (*EVERYWHERE, *EVERY_POOL),
        Mechanism("the sweep for what dead workers held", patch=NO_SWEEP),
        short_setups=("redis plain gevent",),  # of prefork, tests/acceptance/test_leases.py does it
        limits=Limits(repeated=40, set_aside=MAX_SET_ASIDE),
        short_limits=Limits(repeated=2),
    ),
    Row(
        "F2b",
        "kill -9 the worker's main process while its children run jobs, x10",
        kill_mains,
        ("redis plain prefork", "embedded own prefork"),
        Mechanism("children that end their job and acknowledge it themselves", patch=NO_ORPHANS),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=0, doubled=0),
    ),
    Row(
        "F3",
        "kill -9 worker and broker at once, x20",
        kill_trees,
        ("embedded own up", "redis plain prefork", "rabbitmq plain prefork"),
        Mechanism("data on the disk before the answer", patch=ONLY_IN_MEMORY),
        short_setups=("embedded own up",),
        limits=Limits(repeated=60, set_aside=MAX_SET_ASIDE),  # RabbitMQ may not have written the last acknowledgements
        short_limits=Limits(repeated=4),
    ),
    Row(
        "F4",
        "SIGTERM while long and short jobs run",
        stop_workers,
        EVERYWHERE,
        Mechanism("the warm shutdown", patch=DEAF_TO_TERM),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=0, doubled=0),
    ),
    Row(
        "F5",
        "SIGQUIT; Ctrl-C twice",
        hurry_workers,
        EVERYWHERE,
        Mechanism("late acknowledgement", settings="tasks: {'*': {acks: early}}"),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=4),
    ),
    Row(
        "F14",
        "SIGSTOP one of two workers beyond its leases, x10",
        pause_worker,
        ("redis plain prefork", "embedded own prefork", "redis plain threads"),
        Mechanism("the sweep for what a silent worker held", patch=NO_SWEEP),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=30),  # the two jobs that run when it stands still, and one that ended in this moment
        short_limits=Limits(repeated=3),
    ),
    Row(
        "F14c",
        "SIGSTOP a child of a worker for good, x3",
        stop_child,
        ("redis plain prefork", "rabbitmq plain prefork"),
        Mechanism("the end of a child that does not begin its job", patch=NO_CHILD_WATCH),
        limits=Limits(repeated=0, doubled=0),
    ),
)
