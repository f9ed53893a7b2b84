"""What Celery promises of jobs, and of what is made of them, on a worker of livectl's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery, chain, chord, group, signature
from celery.exceptions import ChordError, TaskRevokedError, TimeLimitExceeded
from kombu import pools

from livectl.address import Address
from tests.support.processes import livectl
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.acceptance

PATIENCE_S = 60

MODULE = """
import os, time
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

app = Celery("canvas", broker=os.environ["CANVAS_BROKER"], backend=os.environ["CANVAS_BROKER"])
app.conf.result_expires = None

@app.task
def add(x, y=0):
    return x + y

@app.task
def total(numbers):
    return sum(numbers)

@app.task
def fail(*_):
    raise ValueError("no such thing")

def write(text):
    with open("ledger", "a") as ledger:
        ledger.write(text + "\\n")

@app.task
def caught(request, error, trace):
    write(f"caught {request.id}")

@app.task(bind=True, max_retries=2)
def again(self, countdown):
    write(f"try {self.request.id}")
    if self.request.retries < 2:
        raise self.retry(countdown=countdown)
    return self.request.retries

@app.task(ignore_result=True)
def quiet(name):
    write(name)

@app.task(rate_limit="5/s")
def limited(name):
    write(name)

@app.task
def nap(seconds):
    time.sleep(seconds)
    return seconds

@app.task(soft_time_limit=0.5)
def soft():
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "soft"

@app.task(time_limit=0.5)
def hard():
    time.sleep(30)
"""


SIZES = {"prefork": ("--", "--autoscale", "4,2", "--max-tasks-per-child", "10"), "threads": ("-c", "4")}


class Canvas:
    """The app as its client sees it, and its worker."""

    def __init__(self, folder: Path, url: str, pool: str) -> None:
        self.folder, self.url, self.pool = folder, url, pool
        (folder / "canvas.py").write_text(MODULE)
        broker = Address.parse(url).celery_url
        self.app = Celery("canvas", broker=broker, backend=broker, set_as_current=False)
        self.app.conf.result_expires = None
        environ = {"CANVAS_BROKER": broker, "LIVECTL_STORE": url, "HOME": str(folder)}
        self.worker = livectl("-A", "canvas", "worker", "-P", pool, *SIZES[pool], cwd=folder, environ=environ)

    def task(self, name: str, *args: Any, **options: Any) -> Any:
        return signature(f"canvas.{name}", args=args, app=self.app, **options)

    def ledger(self) -> list[str]:
        path = self.folder / "ledger"
        return path.read_text().split("\n") if path.exists() else []

    def close(self) -> None:
        self.app.close()
        pools.reset()


@pytest.fixture(params=list(SIZES))
def canvas(request: pytest.FixtureRequest, tmp_path: Path, store_url: str) -> Iterator[Canvas]:
    started = Canvas(tmp_path, store_url, request.param)
    with started.worker:
        started.worker.wait_for("ready.")
        yield started
    started.close()


# What is sent, by what makes it of the tasks, and what comes of it.
TABLE: dict[str, tuple[Callable[[Callable[..., Any]], Any], Any]] = {
    "chain": (lambda task: chain(task("add", 1, 2), task("add", 3), task("add", 4)), 10),
    "group": (lambda task: group(task("add", n, 1) for n in range(20)), list(range(1, 21))),
    "chord": (lambda task: chord([task("add", n, n) for n in range(20)], task("total")), 380),
    "group in a chain": (lambda task: chain(task("add", 1, 1), group(task("add", 1), task("add", 2))), [3, 4]),
    "chord of chains": (
        lambda task: chord([chain(task("add", n, 1), task("add", 1)) for n in range(5)], task("total")),
        20,
    ),
    "retry in the worker": (lambda task: task("again", 0.3), 2),
    "retry in the store": (lambda task: task("again", 2.5), 2),
    "countdown": (lambda task: task("add", 1, 2).set(countdown=2.5), 3),
}


def test_what_is_made_of_jobs_comes_to_its_end(canvas: Canvas) -> None:
    sent = {name: make(canvas.task).apply_async() for name, (make, _) in TABLE.items()}
    failing = canvas.task("fail").set(link_error=canvas.task("caught")).apply_async()
    broken = chord([canvas.task("add", 1), canvas.task("fail")], canvas.task("total"), app=canvas.app).apply_async()
    expired = canvas.task("add", 1).set(expires=datetime.now(UTC) - timedelta(seconds=5)).apply_async()
    late = canvas.task("add", 1).set(countdown=3600).apply_async()
    for number in range(5):
        canvas.task("limited", f"limited {number}").apply_async()
    canvas.task("quiet", "quiet").apply_async()
    assert {name: answer.get(timeout=PATIENCE_S) for name, answer in sent.items()} == {
        name: expected for name, (_, expected) in TABLE.items()
    }
    with pytest.raises(ValueError, match="no such thing"):
        failing.get(timeout=PATIENCE_S)
    with pytest.raises(ChordError, match="no such thing"):
        canvas.app.AsyncResult(broken.id).get(timeout=PATIENCE_S)  # without its parents, whose error comes first
    with pytest.raises(TaskRevokedError, match="expired"):
        expired.get(timeout=PATIENCE_S)
    late.revoke()
    with pytest.raises(TaskRevokedError, match="revoked"):
        late.get(timeout=PATIENCE_S)
    told = {f"caught {failing.id}", "quiet", *(f"limited {number}" for number in range(5))}
    wait_for(lambda: told <= set(canvas.ledger()), what="what jobs wrote")
    assert sorted(line for line in canvas.ledger() if line in told) == sorted(told)
    for name in ("retry in the worker", "retry in the store"):
        assert canvas.ledger().count(f"try {sent[name].id}") == 3
    if canvas.pool == "prefork":  # no other pool of Celery's ends what runs
        _check_ends(canvas)
    with redis.Redis.from_url(canvas.url) as store:
        wait_for(lambda: not store.exists("unacked", "celery", "unacked_delayed"), what="an empty broker")


def _check_ends(canvas: Canvas) -> None:
    soft, hard, nap = (canvas.task(*words).apply_async() for words in (("soft",), ("hard",), ("nap", 60)))
    assert soft.get(timeout=PATIENCE_S) == "soft"
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=PATIENCE_S)
    wait_for(lambda: f"canvas.nap[{nap.id}] received" in canvas.worker.text, what="a job that runs")
    nap.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        nap.get(timeout=PATIENCE_S)
