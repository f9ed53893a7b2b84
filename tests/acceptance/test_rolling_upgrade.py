"""Workers and senders of stock Celery and of livectl share one broker, and neither loses what the other handles."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu.utils.json import loads

from tests.support.celery_project import Project
from tests.support.processes import Running, livectl
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.acceptance

JOBS = 400
QUEUES = ("fast", "slow")
STEPS = ("", "\x06\x163", "\x06\x166", "\x06\x169")
OPTIONS: dict[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "broker_transport_options": {"visibility_timeout": 5},
}


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Iterator[Project]:
    celery_project = Project(tmp_path, store_url, store_url, **OPTIONS)
    yield celery_project
    celery_project.close()


@pytest.fixture
def server(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as client:
        yield client


def send_all(project: Project) -> set[str]:
    """Half of the jobs as stock Celery sends, half by livectl's transport; each of all priorities to both queues."""
    names = [f"job-{number}" for number in range(JOBS)]
    with project.app.connection_for_write() as stock, project.app.connection_for_write() as ours:
        ours.transport_cls = "livectl.ops.transport:Transport"
        for number, name in enumerate(names):
            producer = (stock, ours)[number % 2].Producer()
            job = project.app.amqp.as_task_v2(f"id-{number}", "proj.note", (name, 0.02), {})
            where = {"queue": QUEUES[number // 2 % 2], "priority": number // 4 % 10}
            project.app.amqp.send_task_message(producer, "proj.note", job, **where)
    return set(names)


def runs(project: Project) -> Counter[str]:
    ledger = project.folder / "ledger"
    return Counter(ledger.read_text().split()) if ledger.exists() else Counter()


def on_broker(server: redis.Redis) -> tuple[set[str], set[str]]:
    """The jobs that lie in queues, and those that workers hold."""
    pipe = server.pipeline()
    for queue in QUEUES:
        for step in STEPS:
            pipe.lrange(queue + step, 0, -1)
    *lists, held = (*pipe.execute(), server.hvals("unacked"))
    waiting = {_name(loads(item)) for items in lists for item in items}
    return waiting, {_name(loads(note)[0]) for note in held}


def _name(message: dict[str, Any]) -> str:
    return str(message["headers"]["argsrepr"]).split("'")[1]


def kill_when_all_is_seen(worker: Running, project: Project, server: redis.Redis, names: set[str]) -> set[str]:
    """Ends a stopped worker at a moment at which no job is in its memory alone. Returns what was held then."""
    held: set[str] = set()

    def is_seen() -> bool:
        os.kill(worker.process.pid, signal.SIGSTOP)
        waiting, taken = on_broker(server)
        held.update(taken)
        if taken and not names - waiting - taken - set(runs(project)):
            return True
        os.kill(worker.process.pid, signal.SIGCONT)
        held.clear()
        return False

    wait_for(is_seen, what="a worker that holds jobs, all of them noted")
    os.killpg(worker.process.pid, signal.SIGKILL)
    worker.wait()
    return held


def test_stock_and_ours_share_a_broker_while_each_is_killed(project: Project, server: redis.Redis) -> None:
    words = ("-A", "proj", "worker", "-c", "2", "-Q", ",".join(QUEUES), "-n")
    start_ours = lambda name: livectl(*words, name, cwd=project.folder, environ=project.environ)  # noqa: E731
    with start_ours("ours") as ours, project.worker("stock", "-c", "2", "-Q", ",".join(QUEUES)) as stock:  # type: ignore[no-untyped-call]
        ours.wait_for("ready.")
        # A question is heard by who has subscribed, and a worker does so a moment after it says that it is ready.
        wait_for(lambda: len(project.app.control.ping(timeout=1, limit=2)) == 2, what="both workers to answer")
        names = send_all(project)
        wait_for(lambda: len(runs(project)) > JOBS // 10, what="some jobs")
        for worker in (ours, stock):
            worker.wait_for("succeeded")
        server.set("unacked_mutex", "of a worker that died while it looked", ex=300)
        held = kill_when_all_is_seen(stock, project, server, names)
        held |= kill_when_all_is_seen(ours, project, server, names)
    with start_ours("next") as following:  # type: ignore[no-untyped-call]
        wait_for(lambda: set(runs(project)) == names and not server.exists("unacked"), what="every job")
        assert following.process.poll() is None
    assert {name for name, number in runs(project).items() if number > 1} <= held
