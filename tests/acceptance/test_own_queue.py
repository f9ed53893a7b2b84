"""livectl's own app beside somebody's plain one on one broker: each keeps its jobs and its queue."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest
import redis
from celery import Celery
from kombu import Connection, Exchange, Queue

from livectl.address import Address
from livectl.ops.processes import embedded_broker
from livectl.ops.processes.embedded_broker import EmbeddedBroker
from tests.support.celery_project import Project
from tests.support.processes import Running, answer, livectl
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.acceptance

# What Celery's delayed delivery calls its own on every RabbitMQ.
DELAYED_EXCHANGES = ("celery_delayed_27", "celery_delayed_0", "celery_delayed_delivery")


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, store_url: str, rabbitmq: RabbitMQ) -> str:
    return rabbitmq.vhost() if request.param == "rabbitmq" else store_url


def test_neither_takes_nor_breaks_what_is_the_others(tmp_path: Path, broker: str, store_url: str) -> None:
    """livectl comes first, so that whatever it declares is there when the plain app comes."""
    project = Project(tmp_path, broker, store_url)
    folder, own = tmp_path / "own", {"LIVECTL_BROKER": broker, "LIVECTL_STORE": store_url}
    own["LIVECTL_HOME"] = str(folder / "home")
    folder.mkdir()
    (folder / "schedules.yaml").write_text("schedules: {ping: {task: livectl.ping, every: 1s}}\n")
    with livectl("worker", "-P", "threads", "-c", "2", "-B", cwd=folder, environ=own) as worker:
        worker.wait_for("ready.")
        assert declared(broker) == ["livectl"]
        jobs = [project.send("add", number, 1) for number in range(20)]
        pinged = answer("call", "livectl.ping", "--in", "1s", "--wait", "--json", cwd=folder, environ=own)
        assert json.loads(pinged.stdout)["result"] == "pong", pinged.stderr
        worker.wait_for("Task livectl.ping")
        assert {project.app.backend.get_state(job) for job in jobs} == {"PENDING"}
        with project.worker("w1", "-P", "threads", "-c", "2"):
            for job in jobs:
                project.wait_for_state(job, "SUCCESS")
            assert declared(broker) == ["celery", "livectl"]
            found = {finding["id"] for finding in json.loads(project.livectl("doctor", "--json").stdout)}
            assert not found & {"visibility-differs", "queue-shared", "queue-refused", "unknown-task"}
    assert "unregistered" not in worker.text
    project.close()


def declared(broker: str) -> list[str]:
    """Which of the names in question are there."""
    if broker.startswith("unix:"):
        return sorted(queue for queue in ("celery", "livectl") if declares(broker, queue))
    names = [name for name in ("celery", "livectl") if exists(broker, name)]
    return names + [name for name in DELAYED_EXCHANGES if exists(broker, name, kind="topic")]


def declares(broker: str, queue: str) -> bool:
    with redis.Redis.from_url(broker) as client:
        return bool(client.exists(f"_kombu.binding.{queue}"))


def exists(broker: str, name: str, kind: str = "direct") -> bool:
    with Connection(broker) as connection, connection.channel() as channel:
        try:
            channel.exchange_declare(name, kind, passive=True)
        except connection.channel_errors:
            return False
        return True


STRANGER = """
import os
from celery import Celery
app = Celery("other", broker=os.environ["PROJ_BROKER"])

@app.task
def other(): ...
"""


def test_a_queue_that_another_apps_workers_read_is_said(tmp_path: Path, store_url: str) -> None:
    project = Project(tmp_path, store_url, store_url)
    (tmp_path / "other.py").write_text(STRANGER)
    argv = ("-m", "celery", "-A", "other", "worker", "-P", "threads", "-c", "1", "-n", "stranger@%h", "-l", "INFO")
    with Running(sys.executable, *argv, cwd=tmp_path, environ=project.environ) as stranger:
        stranger.wait_for("ready")
        name = f"stranger@{socket.gethostname()}"
        refused = project.livectl("call", "proj.add", "1")
        assert refused.returncode == 2
        assert "no worker that reads the queue celery has the task proj.add" in refused.stderr
        assert_no_worker_of_livectls(tmp_path, store_url)
        with project.worker("w1", "-P", "threads", "-c", "1"):
            called = project.livectl("call", "proj.add", "1", "--json")
            assert (called.returncode, f"{name} read the queue celery too" in called.stderr) == (0, True)
            found = {row["id"]: row for row in json.loads(project.livectl("doctor", "--json").stdout)}
            assert f"{name} reads it and knows 0 of the" in found["queue-shared"]["evidence"]
    project.close()


def assert_no_worker_of_livectls(folder: Path, broker: str) -> None:
    """Though a worker of another app answers, and on this host."""
    own = {"LIVECTL_BROKER": broker, "LIVECTL_HOME": str(folder / "own")}
    checked = answer("check", "demo/ada", cwd=folder, environ=own)
    assert checked.stderr == "no worker runs: asking from here\n"
    probed = answer("health", "worker", cwd=folder, environ=own)
    assert (probed.returncode, "no worker on" in probed.stdout) == (1, True), probed.stdout


def test_a_queue_that_rabbitmq_has_otherwise_is_named(tmp_path: Path, store_url: str, rabbitmq: RabbitMQ) -> None:
    """As a livectl before 0.2 left it there."""
    project = Project(tmp_path, rabbitmq.vhost(), store_url)
    with Connection(project.environ["PROJ_BROKER"]) as connection, connection.channel() as channel:
        Queue("celery", Exchange("celery"), "celery", queue_arguments={"x-queue-type": "quorum"})(channel).declare()
    found = {row["id"]: row for row in json.loads(project.livectl("doctor", "--json").stdout)}
    assert "x-queue-type" in found["queue-refused"]["evidence"]
    called = project.livectl("call", "proj.add", "1", "--force")
    assert called.returncode == 4, called.stderr
    assert "x-queue-type" in called.stderr
    project.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose embedded broker runs."""
    server = EmbeddedBroker(tmp_path / "home")
    child = server.launch()
    try:
        wait_for(server.is_ready)
        yield tmp_path / "home"
    finally:
        child.kill()
        child.wait(HANG_SECONDS)


def send_as_before(client: redis.Redis, address: Address) -> None:
    """Three reports and another app's job in the queue celery; then a killed worker holds the oldest report."""
    with Celery(broker=address.celery_url, set_as_current=False) as app:
        for task, priority in (("livectl.report", 0), ("livectl.report", 0), ("livectl.report", 5), ("proj.add", 0)):
            app.send_task(task, priority=priority)
    held = json.loads(str(client.rpop("celery")))
    tag = held["properties"]["delivery_tag"]
    client.hset("unacked", tag, json.dumps([held, "celery", "celery"]))
    client.zadd("unacked_index", {tag: time.time()})


def test_jobs_of_an_earlier_livectl_are_run_on_its_own_broker(tmp_path: Path, home: Path) -> None:
    """They wait where it put them, in the queue celery. What is not livectl's stays there."""
    record = embedded_broker.find_running(home)
    assert record is not None
    with redis.Redis(unix_socket_path=record.socket, decode_responses=True) as client:
        send_as_before(client, Address.parse(f"unix://{record.socket}?db=0"))
        with livectl("worker", "-P", "threads", cwd=tmp_path, environ={"LIVECTL_HOME": str(home)}) as worker:
            worker.wait_for("3 jobs of an earlier livectl moved to the queue livectl")
            wait_for(lambda: len(re.findall(r"Task livectl.report.* succeeded", worker.text)) == 3, what="their ends")
            wait_for(lambda: not client.exists("livectl", "livectl:unacked"), what="the last acknowledgement")
        assert [json.loads(raw)["headers"]["task"] for raw in client.lrange("celery", 0, -1)] == ["proj.add"]
        assert not client.exists("unacked", "unacked_index", "celery\x06\x163")
