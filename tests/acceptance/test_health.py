"""Probes: healthy, not healthy, cannot tell; and nothing heavy is imported for them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import redis

from livectl.address import Address
from livectl.ops.beat import run_store
from livectl.ops.protocol.keys import KeyLayout
from livectl.ops.services import health
from livectl.ops.services.health import Probe, ProbeResult
from tests.support.celery_project import Project
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.rabbitmq import RabbitMQ

NOBODY_THERE = Address.parse("redis://127.0.0.1:1/0")
CALLERS = ("worker", "beat")


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Iterator[Project]:
    celery_project = Project(tmp_path, store_url, store_url)
    yield celery_project
    celery_project.close()


def wait_until_healthy(project: Project, **options: object) -> None:
    """A worker on a busy machine may miss the second that a probe waits for it; not every second."""
    wait_for(lambda: probe(project, **options).healthy, what="a healthy answer")


def probe(project: Project, **options: object) -> ProbeResult:
    deployment = project.deployment
    wanted = Probe(**{"part": "worker", "host": "h", **options})  # type: ignore[arg-type]
    return health.run_probe(wanted, deployment.broker, deployment.store, deployment.layout)


@pytest.mark.acceptance
def test_a_worker_is_healthy_while_it_answers(project: Project) -> None:
    assert probe(project).healthy is False
    with project.worker("w1", "-c", "1") as worker:
        wait_until_healthy(project)
        wait_until_healthy(project, name="w1")
        wait_until_healthy(project, name="w1@h")
        assert probe(project, name="w2").healthy is False
        assert probe(project, host="elsewhere").healthy is False
        project.send("nap", 600)
        project.send("nap", 600)
        wait_until_healthy(project)
        worker.send(signal.SIGSTOP)
        assert probe(project).healthy is False
        worker.send(signal.SIGCONT)


@pytest.mark.acceptance
def test_connected_but_not_consuming_is_not_healthy(project: Project) -> None:
    with project.worker("w1", "-c", "1"):
        wait_for(lambda: project.app.control.cancel_consumer("celery", reply=True), what="the worker's answer")
        wait_for(lambda: "reads no queue" in probe(project).reason, what="the reason")
        wait_for(lambda: project.app.control.add_consumer("celery", reply=True), what="the worker's answer")
        wait_until_healthy(project)


@pytest.mark.acceptance
def test_an_idle_worker_beside_a_queue_that_stands_still_is_found_out(
    project: Project, tmp_path_factory: pytest.TempPathFactory, store_url: str
) -> None:
    """It answers and has nothing to do, but looks into one list of the queue only, while a message lies in another."""
    folder = tmp_path_factory.mktemp("blind")
    blind = Project(folder, store_url, store_url, broker_transport_options={"priority_steps": [0]})
    with blind.worker("w1", "-c", "1"):
        wait_until_healthy(project)
        project.send("add", 1, priority=9)
        wait_for(lambda: "takes nothing from celery" in probe(project).reason, what="the reason")
        assert not probe(project).healthy
    blind.close()


@pytest.mark.parametrize("part", ["broker", "store"])
def test_servers_are_healthy_when_they_take_what_is_written(project: Project, store_url: str, part: str) -> None:
    wait_until_healthy(project, part=part)
    with redis.Redis.from_url(store_url) as server:
        server.config_set("maxmemory", "1mb")
        server.config_set("maxmemory-policy", "noeviction")
        try:
            result = probe(project, part=part)
        finally:
            server.config_set("maxmemory", "0")
    assert result.healthy is False
    assert "OOM" in result.reason


@pytest.mark.parametrize(("broker_down", "code"), [(None, 2), ("ok", 0), ("fail", 1)])
@pytest.mark.parametrize("part", CALLERS)
def test_a_broker_that_is_away_says_what_one_wants_of_a_worker(part: str, broker_down: str | None, code: int) -> None:
    away = Probe(part=part, host="h", broker_down=broker_down)  # type: ignore[arg-type]
    assert health.run_probe(away, NOBODY_THERE, NOBODY_THERE, KeyLayout()).exit_code == code


def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address.parse(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        result = health.probe_server("broker", address, 0.3)
    assert (result.healthy, "no answer in time" in result.reason) == (False, True)


@pytest.mark.parametrize(
    ("age", "claimed", "healthy"),
    [(1, None, True), (20, None, True), (40, None, False), (1, 5, True), (1, 30, False)],
)
def test_a_beat_is_healthy_when_it_looked_in_and_sent_what_is_due(
    project: Project, store_url: str, age: float, claimed: float | None, healthy: bool
) -> None:
    now = int(time.time() * 1000)
    with redis.Redis.from_url(store_url) as store:
        heartbeat = {"at": now - age * 1000, "host": "h", "pid": 1, "entries": 3}
        store.hset(run_store.HEARTBEATS_KEY, "h:1", json.dumps(heartbeat))
        if claimed:
            store.zadd(run_store.PENDING_KEY, {f"{now} sweep": now - claimed * 1000})
    assert probe(project, part="beat").healthy is healthy
    assert probe(project, part="beat", host="other").healthy is False
    with redis.Redis.from_url(store_url) as store:
        store.delete(run_store.HEARTBEATS_KEY)
    alone = probe(project, part="beat", job_targets=("ops",))
    assert (alone.healthy, alone.reason) == (False, "no beat on h has looked in; nobody watches for alerts: ops")


def test_nothing_heavy_is_imported_for_a_probe(store_url: str) -> None:
    code = (
        "import sys\n"
        "from livectl.cli import main\n"
        "main(['health', 'worker']); main(['health', 'beat']); main(['health', 'store'])\n"
        "main(['status', '8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1'])\n"
        "print(sorted({'celery', 'kombu', 'redis', 'wcwidth', 'asyncio', 'yaml'} & set(sys.modules)))"
    )
    environ = {**os.environ, "LIVECTL_BROKER": store_url}
    ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("[]\n"), ran.stdout


@pytest.mark.acceptance
def test_workers_on_rabbitmq_are_asked_too(tmp_path: Path, store_url: str, rabbitmq: RabbitMQ) -> None:
    broker = rabbitmq.vhost()
    project = Project(tmp_path, broker, store_url)
    wait_until_healthy(project, part="broker")
    assert probe(project).healthy is False
    with project.worker("w1", "-c", "1"):
        wait_until_healthy(project)
    project.close()
