"""A plain Celery project, as anybody writes one, with real workers of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery import Celery
from kombu import pools

from livectl import settings
from livectl.address import Address
from livectl.ops import deployment
from tests.support.processes import Running, answer
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.ops.deployment import Deployment

MODULE = """
import os, time
from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_RESULTS"])
app.conf.update(OPTIONS)

@app.task
def add(x, y=0):
    return x + y

@app.task
def fail(password=None):
    raise ValueError("no such thing")

@app.task
def nap(seconds):
    time.sleep(seconds)

@app.task(acks_late=True)
def late(seconds):
    time.sleep(seconds)

@app.task
def note(name, seconds):
    time.sleep(seconds)
    with open("ledger", "a") as ledger:
        ledger.write(f"{name}\\n")

@app.task(acks_late=True, reject_on_worker_lost=True)
def kill(parent=False):
    with open("starts", "a") as starts:
        starts.write("x")
    os.kill(os.getppid() if parent else os.getpid(), 9)

@app.task(bind=True, max_retries=5)
def again(self):
    raise self.retry(countdown=60, exc=RuntimeError("later"))

@app.task(bind=True)
def steps(self):
    for step in range(1, 4):
        self.update_state(state="PROGRESS", meta={"current": step, "total": 3})
        while not os.path.exists(f"step-{step}"):
            time.sleep(0.05)
"""


class Project:
    """Its folder, its app as a client, its workers, and livectl run on it."""

    def __init__(self, folder: Path, broker: str, results: str, **options: Any) -> None:
        self.folder = folder
        self.environ = {
            "PROJ_BROKER": Address.parse(broker).celery_url,
            "PROJ_RESULTS": Address.parse(results).celery_url,
            "LIVECTL_STORE": results,
            "LIVECTL_HOME": str(folder / "home"),
        }
        (folder / "proj.py").write_text(MODULE.replace("OPTIONS", repr(options)))
        self.app = Celery(
            "client", broker=self.environ["PROJ_BROKER"], backend=self.environ["PROJ_RESULTS"], set_as_current=False
        )
        self.app.conf.update(options)

    @property
    def deployment(self) -> Deployment:
        return deployment.from_app(self.app, settings.load(self.environ, self.folder))

    def send(self, task: str, *args: Any, **options: Any) -> str:
        """Sent as by another program; no result object stays here that would listen for its end."""
        job = str(uuid4())
        with self.app.producer_pool.acquire() as producer:
            message = self.app.amqp.as_task_v2(job, f"proj.{task}", args, **_part(options, "kwargs", "countdown"))
            queue = options.pop("queue", "celery")
            self.app.amqp.send_task_message(producer, f"proj.{task}", message, queue=queue, **options)
        return job

    def livectl(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return answer("-A", "proj", *words, cwd=self.folder, environ={**self.environ, **environ})

    @contextmanager
    def worker(self, name: str = "w1", *words: str) -> Iterator[Running]:
        """A stock worker, once it answers."""
        words = ("-n", f"{name}@h", "-l", "INFO", "--without-gossip", "--without-mingle", *words)
        argv = ("-m", "celery", "-A", "proj", "worker", *words)
        with Running(sys.executable, *argv, cwd=self.folder, environ=self.environ) as worker:
            worker.wait_for("ready")
            wait_for(lambda: self._is_asked(f"{name}@h"), what=f"{name} to hear questions")
            yield worker

    def _is_asked(self, name: str) -> bool:
        """Whether a worker hears questions: it subscribes a moment after it says that it is ready."""
        return bool(self.app.control.ping(destination=[name], timeout=1, limit=1))

    @contextmanager
    def beat(self, *words: str) -> Iterator[Running]:
        """A stock beat, once it is connected."""
        argv = ("-m", "celery", "-A", "proj", "beat", "-l", "INFO", "-s", str(self.folder / "beat.db"), *words)
        with Running(sys.executable, *argv, cwd=self.folder, environ=self.environ) as beat:
            beat.wait_for("pidbox: Connected" if "--enable-remote-control" in words else "Starting")
            yield beat

    def wait_for_state(self, job: str, state: str) -> None:
        wait_for(lambda: self.app.backend.get_state(job) == state, what=f"{job} to be {state}")

    def python(self, code: str) -> str:
        """What a program of the project's own prints."""
        environ = {**os.environ, **self.environ}
        argv = [sys.executable, "-c", code]
        return subprocess.run(argv, cwd=self.folder, env=environ, capture_output=True, text=True, check=True).stdout

    def close(self) -> None:
        """kombu keeps its connections, with what was declared on them, for whoever comes next to this address."""
        self.app.close()
        pools.reset()


def _part(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those of the options, taken out."""
    return {name: options.pop(name) for name in names if name in options}
