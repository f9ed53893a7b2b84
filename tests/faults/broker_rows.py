"""Rows that harm the broker: killed under load, away for minutes, its replies cut, its results away."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import redis

from tests.faults import brokers
from tests.faults.frame import Limits, Mechanism, Row
from tests.faults.worker_rows import EVERY_POOL, EVERYWHERE
from tests.faults.workers import Sender, running_system, send_all, wait_for_work
from tests.support.faulty_servers import NEVER, CuttingProxy, port_that
from tests.support.processes import answer
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.faults.frame import Case, Outcome
    from tests.faults.workers import System

SHORT_OUTAGE_S = 10.0
YOUNG_JOBS = 300  # a quorum queue that is seconds old when RabbitMQ 3.10 is killed may come back without a leader
LAST_RESULTS_S = 10.0
TAKE_IN_TWO_STEPS = """
from livectl.ops.transport.taking import TakingChannel
TakingChannel.prepare_to_take = lambda channel, connection: setattr(channel, "takes", False)
"""
GIVE_UP_SOON = """
from celery import signals

@signals.worker_init.connect(weak=False)
def give_up_soon(sender, **_):
    sender.app.conf.broker_connection_max_retries = 2
"""
TRY_ONCE = "from livectl.ops import guard; guard.keep_results = lambda app: None"


def kill_broker(case: Case) -> Outcome:
    """F6. While jobs are sent and done, 30 a second."""
    rng, ends = random.Random(case.seed), []
    kills = case.either(3, 20)
    with running_system(case) as system:
        system.start_worker()
        sender = Sender(system, 100_000, per_second=30)
        sender.start()
        if not system.on_redis:
            sender.wait_for_work(YOUNG_JOBS)
        for _ in range(kills):
            sender.wait_for_work(rng.randint(10, 40))
            ends.append(brokers.take_down(system.broker, rng.uniform(0.2, case.either(1, 5))))
            system.replace_dead()
        sender.wait_for_work(10)
        sender.finish()
        system.wait_until_done()
        return system.outcome(ends)


def take_broker_away(case: Case) -> Outcome:
    """F7. For minutes; `missed` counts commands that did not say so with exit code 4."""
    with running_system(case) as system:
        system.start_worker()
        send_all(system, 100)
        wait_for_work(system, 4)
        system.broker.kill()
        until = time.monotonic() + (SHORT_OUTAGE_S if case.is_short else case.minutes * 60)
        silent = sum(not says_away(system) for _ in range(2))
        while time.monotonic() < until:
            system.replace_dead()
            time.sleep(0.2)
        system.broker.start()
        ends = [time.monotonic()]
        send_all(system, 20, prefix="after-")
        system.wait_until_done()
        return system.outcome(ends, missed=silent)


def says_away(system: System) -> bool:
    """Whether a command says in one line that the broker is away."""
    app = () if system.is_own else ("-A", "proj")
    told = answer(*app, "call", "--force", "faults.work", cwd=system.folder, environ=system.environ)
    return told.returncode == 4 and "Traceback" not in told.stderr


def cut_replies(case: Case) -> Outcome:
    """F10. The connections of a worker are cut before the first reply, then before the second, and so on."""
    with running_system(case) as system:
        proxy, ends = CuttingProxy(port_of(system.broker)), []
        with port_that(proxy) as port:
            system.go_through(port)
            system.start_worker()
            for number in range(1, case.either(8, 40) + 1):
                proxy.left = number
                sent = send_all(system, 12, prefix=f"cut{number}-")
                wait_for(lambda: proxy.left <= 0 or not system.ledger.read().open_jobs, what=f"reply {number}")
                ends.append(time.monotonic())
                proxy.left = NEVER
                wait_for_work(system, len(sent) // 2)
            system.wait_until_done()
            found = system.outcome(ends)
            system.end_workers()
    return found


def port_of(broker: brokers.Broker) -> int | str:
    """Where it listens: a port, or the path of a socket."""
    found = urlsplit(broker.url)
    return found.port or found.path


def take_results_away(case: Case) -> Outcome:
    """F23. The server of the results is down while jobs end; `lost` counts jobs without a result as well."""
    folder = case.folder / "results"
    folder.mkdir()
    results = brokers.RedisBroker(folder)
    try:
        with running_system(case, results=results.url) as system:
            system.start_worker()
            ids = send_all(system, case.either(100, 600), task="faults.answer", args=[0.1])
            wait_for_work(system, 4)
            ends = [brokers.take_down(results, case.either(4, 60))]
            system.wait_until_done()
            lost = len(system.ledger.open_jobs) + without_result(results.url, ids)
            return system.outcome(ends, lost=lost)
    finally:
        results.kill()


def without_result(url: str, ids: list[str]) -> int:
    """How many of the jobs never get a result; the last ones may take their time."""
    keys = [f"celery-task-meta-{job}" for job in ids]
    with redis.Redis.from_url(url) as client:
        until = time.monotonic() + LAST_RESULTS_S
        while (found := cast(int, client.exists(*keys))) < len(keys) and time.monotonic() < until:
            time.sleep(0.1)
    return len(keys) - found


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
    Row(
        "F7",
        "broker down for minutes",
        take_broker_away,
        EVERYWHERE,
        Mechanism("to look for a broker for as long as it takes", patch=GIVE_UP_SOON),
        short_setups=("embedded own prefork",),
        limits=Limits(repeated=10),
    ),
    Row(
        "F10",
        "each reply of the broker cut in turn",
        cut_replies,
        ("redis plain prefork", "embedded plain prefork", "rabbitmq plain prefork"),
        Mechanism("taking a message and noting it in one step", patch=TAKE_IN_TWO_STEPS),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=80),
        short_limits=Limits(repeated=16),
    ),
    Row(
        "F23",
        "results' server down 60 s",
        take_results_away,
        ("redis plain prefork", "redis own prefork", "rabbitmq own prefork"),
        Mechanism("trying again until a result is kept", patch=TRY_ONCE),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=10),
    ),
)
