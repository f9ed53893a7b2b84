"""Workers on livectl's transport beside stock Celery's: jobs a second, CPU a job, a job's wait when all is idle.

Each system runs one worker against a fresh Valkey on a unix socket, in turn, so that a machine that is busy with other
things is as busy for each: what counts is the median of the ratios, beside the lowest and the highest of the rounds.
`late` is stock Celery with `task_acks_late`, which is what livectl's workers do.
`python -m benchmarks.transport --pool gevent --sleep 0.05` asks other pools.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import redis
from celery import Celery
from kombu.utils.json import dumps

from benchmarks import run_process, run_valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEMS = ("stock", "late", "livectl")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 180.0
LOOKS = 60  # at an idle worker
RATE_BAR, CPU_BAR = 0.9, 1.15
FIRST_JOBS = 50  # so that whatever is loaded late is there

as_task = Celery(set_as_current=False).amqp.as_task_v2

APP = """
import os, time
from celery import Celery

broker = os.environ["BENCH_BROKER"]
app = Celery("bench", broker=broker)
app.conf.task_ignore_result = True
app.conf.task_acks_late = app.conf.task_reject_on_worker_lost = os.environ["BENCH_SYSTEM"] == "late"

@app.task
def work(seconds):
    if seconds:
        time.sleep(seconds)

@app.task
def look(sent):
    import redis
    redis.Redis.from_url(os.environ["BENCH_STORE"]).rpush("waited", time.time() - sent)
"""


def main() -> None:
    options = _parser().parse_args()
    print(__doc__)
    print(f"{'system':8} {'jobs/s':>8} {'CPU ms/job':>11} {'server ms/job':>14} {'idle p50 ms':>12}   against stock")
    rounds = [{system: _measured(system, options) for system in SYSTEMS} for _ in range(options.rounds)]
    for system in SYSTEMS:
        rows = [found[system] for found in rounds]
        ratios = [[row[system][n] / row["stock"][n] for row in rounds] for n in range(4)]
        rate, cpu, server, wait = (statistics.median(row[n] for row in rows) for n in range(4))
        against = [f"{statistics.median(each):.2f} x ({min(each):.2f}-{max(each):.2f})" for each in ratios]
        print(
            f"{system:8} {rate:>8.0f} {cpu:>11.3f} {server:>14.3f} {wait:>12.2f}   "
            f"jobs/s {against[0]}, CPU {against[1]}, idle {against[3]}",
            flush=True,
        )
    print(f"\nBars of livectl against stock: at least {RATE_BAR} x its jobs/s, at most {CPU_BAR} x its CPU a job.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport")
    parser.add_argument("--pool", default="prefork")
    parser.add_argument("--jobs", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds that a job takes")
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--prefetch", type=int, default=4)
    return parser


def _measured(system: str, options: argparse.Namespace) -> tuple[float, float, float, float]:
    """Jobs a second; milliseconds of CPU of worker and of server a job, and of the median wait in an idle queue."""
    with tempfile.TemporaryDirectory(prefix="lv-") as text:
        folder = Path(text)
        (folder / "bench.py").write_text(APP)
        with run_valkey(folder) as (socket, server), _worker(system, options, folder) as worker:
            store = redis.Redis(unix_socket_path=str(socket))
            _run(store, FIRST_JOBS, 0.0)
            before, server_before, start = cpu_seconds(worker), cpu_seconds(server), time.monotonic()
            _run(store, options.jobs, options.sleep)
            seconds, cpu = time.monotonic() - start, cpu_seconds(worker) - before
            server_cpu = cpu_seconds(server) - server_before
            waits = _look(store)
    return options.jobs / seconds, cpu * 1e3 / options.jobs, server_cpu * 1e3 / options.jobs, waits * 1e3


@contextmanager
def _worker(system: str, options: argparse.Namespace, folder: Path) -> Iterator[int]:
    path = folder / "v.sock"
    environ = os.environ | {
        "BENCH_BROKER": f"redis+socket://{path}",
        "BENCH_STORE": f"unix://{path}",
        "BENCH_SYSTEM": system,
        "LIVECTL_STORE": f"unix://{path}",
        "LIVECTL_HOME": str(folder / "home"),
        "PYTHONPATH": f"{Path.cwd()}:{folder}",
    }
    module = ("livectl", "-A", "bench", "worker") if system == "livectl" else ("celery", "-A", "bench", "worker")
    pool = ["-P", options.pool, *(("-c", str(options.concurrency)) if options.pool != "solo" else ())]
    further = ["--prefetch-multiplier", str(options.prefetch), "--without-gossip", "--without-mingle"]
    argv = [sys.executable, "-m", *module, *pool, "-l", "WARNING", *(["--"] if system == "livectl" else []), *further]
    with run_process(argv, folder, environ, folder / "log") as pid:
        yield pid


def _run(store: redis.Redis, jobs: int, seconds: float) -> None:
    """Puts jobs into the queue in one go, as stock Celery writes them, and waits until all are done."""
    messages = [job_message("bench.work", seconds) for _ in range(jobs)]
    store.lpush("celery", *messages)
    deadline = time.monotonic() + PATIENCE_S
    while store.exists("celery", "unacked"):
        if time.monotonic() > deadline:
            raise SystemExit("the worker does not come to an end")
        time.sleep(0.005)


def _look(store: redis.Redis) -> float:
    for number in range(LOOKS):
        time.sleep(0.02)
        store.lpush("celery", job_message("bench.look", time.time()))
        deadline = time.monotonic() + PATIENCE_S
        while store.llen("waited") <= number and time.monotonic() < deadline:
            time.sleep(0.001)
    return statistics.median(float(text) for text in store.lrange("waited", 0, -1))


def job_message(task: str, *args: Any) -> str:
    """A job as Celery writes it."""
    job = as_task(str(uuid4()), task, args, {})
    where = {"exchange": "", "routing_key": "celery"}
    properties = {"delivery_info": where, "delivery_tag": str(uuid4()), "priority": 0, "body_encoding": "base64"}
    message = dumps(
        {
            "body": b64encode(dumps(job.body).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": job.headers,
            "properties": job.properties | properties,
        }
    )
    return str(message)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children, those that ended included."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, words[11:15])) / CLOCK_TICKS
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


if __name__ == "__main__":
    main()
