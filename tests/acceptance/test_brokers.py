"""Real workers, real beats, real brokers: what a user would see."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from tests.support.processes import livectl
from tests.support.servers import redis_over_tcp
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.acceptance

# An app of somebody's: `where` tells from inside a job whether the socket module has been patched; `note` keeps a
# ledger outside everything under test, one line a run.
APP = """
import os, socket, threading
from celery import Celery
app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_RESULTS"])
app.conf.update(broker_connection_retry_on_startup=True, worker_cancel_long_running_tasks_on_connection_loss=False)
if os.environ["PROJ_BROKER"].startswith("amqp"):
    app.conf.update(task_default_queue_type="quorum", broker_transport_options={"confirm_publish": True})

@app.task
def where():
    return {"socket": socket.socket.__module__, "pid": os.getpid(), "thread": threading.current_thread().name}

@app.task(bind=True)
def note(self, name):
    line = f"{name} {self.request.id}\\n".encode()
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, line)
    finally:
        os.close(ledger)
"""


@pytest.fixture(params=["valkey", pytest.param("redis", marks=pytest.mark.soak), "rabbitmq"])
def broker(request: pytest.FixtureRequest, store_url: str, tmp_path: Path, rabbitmq: RabbitMQ) -> Iterator[str]:
    """The embedded server's kind on a unix socket, Redis over TCP, RabbitMQ."""
    if request.param == "valkey":
        yield store_url.replace("unix://", "redis+socket://").replace("db=0", "virtual_host=0")
    elif request.param == "rabbitmq":
        yield rabbitmq.vhost()
    else:
        (tmp_path / "redis").mkdir()
        with redis_over_tcp(tmp_path / "redis") as url:
            yield url


@pytest.fixture
def project(tmp_path: Path, store_url: str, broker: str) -> dict[str, str]:
    """The environment of somebody's project, its app in the folder."""
    (tmp_path / "proj.py").write_text(APP)
    return {
        "LIVECTL_HOME": str(tmp_path / "home"),
        "LIVECTL_STORE": store_url,
        "PROJ_BROKER": broker,
        "PROJ_RESULTS": store_url.replace("unix://", "redis+socket://").replace("db=0", "virtual_host=0"),
        "LEDGER": str(tmp_path / "ledger"),
    }


def proj(environ: dict[str, str]) -> Celery:
    app = Celery("proj", broker=environ["PROJ_BROKER"], backend=environ["PROJ_RESULTS"])
    if environ["PROJ_BROKER"].startswith("amqp"):
        app.conf.update(task_default_queue_type="quorum", broker_transport_options={"confirm_publish": True})
    return app


@pytest.mark.parametrize("broker", ["valkey"], indirect=True)
@pytest.mark.parametrize(
    ("pool", "socket_of"),
    [
        ("prefork", "socket"),
        ("threads", "socket"),
        ("solo", "socket"),
        ("eventlet", "eventlet.greenio.base"),
        ("gevent", "gevent._socket3"),
    ],
)
def test_each_pool_runs_a_job(tmp_path: Path, project: dict[str, str], pool: str, socket_of: str) -> None:
    with livectl("-A", "proj", "worker", "-P", pool, "-n", f"w-{pool}", cwd=tmp_path, environ=project) as worker:
        worker.wait_for("ready.")
        with proj(project) as app:
            facts: dict[str, Any] = app.send_task("proj.where").get(timeout=HANG_SECONDS)
        assert facts["socket"] == socket_of
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0


def schedule_of(count: int) -> str:
    entries = {f"every-{n}": {"task": "proj.note", "every": "1s", "args": [f"every-{n}"]} for n in range(count)}
    return json.dumps({"schedules": entries})


class Ledger:
    """Which runs happened, by name and task id, as the worker wrote them down."""

    def __init__(self, path: str) -> None:
        self.path = path

    def runs(self) -> Counter[str]:
        if not os.path.exists(self.path):  # noqa: PTH110
            return Counter()
        with open(self.path) as ledger:  # noqa: PTH123
            return Counter(ledger.read().splitlines())


@pytest.mark.parametrize("seconds", [5, pytest.param(120, marks=pytest.mark.soak)])
def test_three_beats_send_every_run_once_though_one_is_killed(
    tmp_path: Path, project: dict[str, str], seconds: int
) -> None:
    """50 one-second entries: 50 runs a second, each once; give or take the seconds at both ends."""
    entries = 50
    (tmp_path / "schedules.yaml").write_text(schedule_of(entries))
    beat = ("-A", "proj", "beat")
    with (
        livectl("-A", "proj", "worker", "-P", "threads", "-c", "4", "-l", "WARNING", cwd=tmp_path, environ=project),
        livectl(*beat, cwd=tmp_path, environ=project),
        livectl(*beat, cwd=tmp_path, environ=project) as victim,
        livectl(*beat, cwd=tmp_path, environ=project),
    ):
        ledger = Ledger(project["LEDGER"])
        wait_for(lambda: ledger.runs().total() > entries * seconds / 3, what="a third of the runs")
        victim.send(signal.SIGKILL)
        wait_for(lambda: ledger.runs().total() > entries * seconds, what="the rest of the runs")
        runs = ledger.runs()
    repeats = runs.total() - len(runs)
    # Where broker and store are two servers, the run that a killed beat has published and not yet noted is repeated.
    is_one_server = project["PROJ_BROKER"].startswith("redis+socket")
    assert repeats <= (0 if is_one_server else 1), [run for run, times in runs.items() if times > 1]
    per_entry = Counter(run.split()[0] for run in runs)
    assert len(per_entry) == entries
    assert max(per_entry.values()) - min(per_entry.values()) <= 2, "an entry missed runs that the others had"
