"""What the history and the numbers of jobs cost: CPU a job of worker, server and exporter, against a worker without.

`none` neither counts nor keeps anything, `livectl` keeps it as it is by default, `events` keeps none and sends
Celery's events (`-E`) to a consumer that counts them as celery-exporter does: a State of Celery's, and a counter and a
histogram of Prometheus for each event. (celery-exporter itself could not be built here.) The systems take turns, so
that a machine that is busy with other things is as busy for each: what counts is the median of the ratios. Jobs come
at `--rate` a second, where that is not 0. `python -m benchmarks.history --rounds 9` asks for longer.

`--turns 24` asks more exactly: one worker notes its jobs and does not by turns, so that nothing else differs, and the
error of the mean is told beside it.

`--parts 100` says what it is made of: batches of jobs run through Celery's tracer in this process, one after the other
with no signal connected, with handlers that do nothing, and with those of the history, and other work between two jobs,
as a worker has it; CPU of this thread, and of the server. That is exact where a machine is busy, too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import redis

from benchmarks import run_process, run_valkey
from benchmarks.transport import FIRST_JOBS, PATIENCE_S, cpu_seconds, job_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

SYSTEMS = ("none", "livectl", "events")
MS = 1e3
BAR_PERCENT = 3.0  # of the CPU of a worker without
BATCH = 250  # jobs that are noted together, where a process ends 500 a second
STEP_S = 0.05  # jobs are sent so often

APP = """
import os
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.task_ignore_result = True
if os.environ.get("BENCH_COUNTS") != "1":
    from livectl.ops.jobs.job_recorder import JobEventRecorder
    JobEventRecorder.connect_signals = lambda self: None

@app.task
def work(size):
    return sum(hash(str(number)) for number in range(size))
"""

TURNING_APP = """
import os
from celery import Celery, signals
from livectl.ops.jobs.job_recorder import JobEventRecorder

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.task_ignore_result = True
connect, recorders, now = JobEventRecorder.connect_signals, [], {"at": 0, "notes": "yes"}

def remember(self):
    connect(self)
    recorders.append(self)

JobEventRecorder.connect_signals = remember

def turn(notes):
    now["notes"] = notes
    for signal, name in ((signals.task_prerun, "record_start"), (signals.task_postrun, "record_end")):
        handler, uid = getattr(recorders[0], name), f"livectl.{name}"
        signal.connect(handler, weak=False, dispatch_uid=uid) if notes == "yes" else signal.disconnect(dispatch_uid=uid)

@app.task
def work(size):
    at = os.stat("notes").st_mtime_ns
    if at != now["at"]:
        now["at"] = at
        if (notes := open("notes").read()) != now["notes"]:
            turn(notes)
    return sum(hash(str(number)) for number in range(size))
"""

EXPORTER = """
from bench import app
from prometheus_client import Counter, Histogram

counts = {kind: Counter(kind.replace("-", "_"), kind, ["name", "hostname", "queue_name"]) for kind in (
    "task-received", "task-started", "task-succeeded", "task-failed", "task-retried", "task-rejected", "task-revoked")}
runtime = Histogram("task_runtime", "runtime", ["name", "hostname", "queue_name"])
state = app.events.State(max_tasks_in_memory=10000)

def count(event):
    (kind, _), task = state.event(event)
    if event["type"] in counts and (task := state.tasks.get(event["uuid"])):
        labels = {"name": task.name, "hostname": event["hostname"], "queue_name": "celery"}
        counts[event["type"]].labels(**labels).inc()
        if event["type"] == "task-succeeded":
            runtime.labels(**labels).observe(task.runtime)

with app.connection() as connection:
    app.events.Receiver(connection, handlers={"*": count}).capture(limit=None, timeout=None, wakeup=True)
"""


def main() -> None:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaving no worker behind
    print(__doc__, flush=True)
    if options.turns or options.parts:
        _take_turns(options) if options.turns else _measure_parts(options.parts)
        return
    rounds = [{system: _measured(system, options) for system in SYSTEMS} for _ in range(options.rounds)]
    print(f"{'system':8} {'CPU µs/job':>11} {'of it worker':>13} {'server':>7} {'exporter':>9}   against none")
    for system in SYSTEMS:
        worker, server, exporter = (statistics.median(found[system][n] for found in rounds) for n in range(3))
        ratio = statistics.median(sum(found[system]) / sum(found["none"]) for found in rounds)
        extra = statistics.median(sum(found[system]) - sum(found["none"]) for found in rounds)
        print(
            f"{system:8} {worker + server + exporter:>11.0f} {worker:>13.0f} {server:>7.0f} {exporter:>9.0f}"
            f"   {ratio:.3f} x, {extra / 10:+.1f} % of a core at 1,000 jobs/s",
            flush=True,
        )
    print(f"\nBar: at most {BAR_PERCENT:.0f} % more CPU than a worker without.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history")
    parser.add_argument("--jobs", type=int, default=4_000)
    parser.add_argument("--rate", type=float, default=1_000.0, help="jobs a second; 0: all at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=0, help="of each kind, in one worker")
    parser.add_argument("--parts", type=int, default=0, help="batches of each kind, in this process")
    parser.add_argument("--size", type=int, default=0, help="how much a job does")
    parser.add_argument("--concurrency", type=int, default=2)
    return parser


def _measured(system: str, options: argparse.Namespace) -> tuple[float, float, float]:
    """Microseconds of CPU a job: of the worker, the server, the exporter."""
    with tempfile.TemporaryDirectory(prefix="lv-") as text:
        folder = Path(text)
        (folder / "bench.py").write_text(APP)
        (folder / "exporter.py").write_text(EXPORTER)
        (folder / "livectl.yaml").write_text("")
        with (
            run_valkey(folder) as (socket, server),
            _worker(system, options, folder) as worker,
            _process(folder, system, sys.executable, "exporter.py")
            if system == "events"
            else nullcontext() as exporter,
        ):
            pids = [worker, server, *((exporter,) if exporter else ())]
            store = redis.Redis(unix_socket_path=str(socket))
            run_jobs(store, FIRST_JOBS, 0.0, options.size)
            time.sleep(1.0)
            before = [cpu_seconds(pid) for pid in pids]
            run_jobs(store, options.jobs, options.rate, options.size)
            time.sleep(1.0)  # until the last is counted
            spent = [cpu_seconds(pid) - cpu for pid, cpu in zip(pids, before, strict=True)]
    worker_s, server_s, exporter_s = (*spent, 0.0)[:3]
    per_job = MS * MS / options.jobs
    return worker_s * per_job, server_s * per_job, exporter_s * per_job


def _take_turns(options: argparse.Namespace) -> None:
    spent: dict[str, list[list[float]]] = {"yes": [], "no": []}
    with tempfile.TemporaryDirectory(prefix="lv-") as text:
        folder, jobs = Path(text), options.jobs // 2
        (folder / "bench.py").write_text(TURNING_APP)
        (folder / "livectl.yaml").write_text("")
        (folder / "notes").write_text("yes")
        with run_valkey(folder) as (socket, server), _worker("livectl", options, folder) as worker:
            store = redis.Redis(unix_socket_path=str(socket))
            run_jobs(store, FIRST_JOBS, 0.0, options.size)
            for number in range(2 * options.turns):
                notes = ("yes", "no", "no", "yes")[number % 4]
                (folder / "notes").write_text(notes)
                run_jobs(store, FIRST_JOBS * options.concurrency, 0.0, options.size)  # each child hears of it
                time.sleep(1.0)  # until what these told is written
                before = [cpu_seconds(pid) for pid in (worker, server)]
                run_jobs(store, jobs, options.rate, options.size)
                time.sleep(1.0)
                after = [cpu_seconds(pid) for pid in (worker, server)]
                spent[notes].append([(now - then) * MS * MS / jobs for then, now in zip(before, after, strict=True)])
    for notes, rows in spent.items():
        worker_us, server_us = (statistics.median(row[n] for row in rows) for n in range(2))
        print(f"notes: {notes:4} CPU µs/job {worker_us + server_us:>6.0f}, of it worker {worker_us:.0f}", flush=True)
    ratios = [sum(yes) / sum(no) for yes, no in zip(spent["yes"], spent["no"], strict=True)]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("inf")
    total = sum(map(sum, spent["yes"])) / sum(map(sum, spent["no"]))
    print(f"against none: {total:.3f} x; mean of turns {statistics.mean(ratios):.3f}, its error {error:.3f}")
    print(f"\nBar: at most {BAR_PERCENT:.0f} % more CPU than a worker without.")


def _measure_parts(batches: int) -> None:
    from celery import Celery, signals
    from celery.app.trace import build_tracer

    from livectl.address import Address
    from livectl.ops.jobs.job_recorder import JobEventRecorder

    app = Celery("bench", broker="memory://", set_as_current=True)
    app.conf.task_ignore_result = True
    app.task(name="bench.work", shared=False)(_work)
    app.finalize()
    trace = build_tracer("bench.work", app.tasks["bench.work"], app=app, hostname="w@h")
    with tempfile.TemporaryDirectory(prefix="lv-") as folder, run_valkey(Path(folder)) as (socket, server):
        recorder = JobEventRecorder(Address.parse_store(f"unix://{socket}"), "bench")
        recorder._writer, recorder._is_awake = threading.current_thread(), True  # which writes when it is told to
        handlers: dict[str, tuple[Callable[..., None], ...]] = {
            "none": (),
            "signals": (lambda **_: None, lambda **_: None),
            "notes": (recorder.record_start, recorder.record_end),
        }
        spent: dict[str, list[float]] = {part: [] for part in (*handlers, "write", "server")}
        for _ in range(batches):
            for name, connected in handlers.items():
                for signal_sent, handler in zip((signals.task_prerun, signals.task_postrun), connected, strict=False):
                    signal_sent.connect(handler, weak=False, dispatch_uid="bench")
                spent[name].append(sum(_trace_one(trace) for _ in range(BATCH)) / BATCH)
                for signal_sent in (signals.task_prerun, signals.task_postrun):
                    signal_sent.disconnect(dispatch_uid="bench")
            before, server_before = time.thread_time(), _run_seconds(server)
            recorder.flush()
            spent["write"].append((time.thread_time() - before) / BATCH)
            spent["server"].append((_run_seconds(server) - server_before) / BATCH)
    us = {part: statistics.median(times) * MS * MS for part, times in spent.items()}
    parts = {
        "two signals of Celery's": us["signals"] - us["none"],
        "handing over what they tell": us["notes"] - us["signals"],
        "writing it, in batches": us["write"],
        "the server": us["server"],
    }
    for part, each in {**parts, "all": sum(parts.values())}.items():
        print(f"{part:28} {each:6.1f} µs a job", flush=True)


def _run_seconds(pid: int) -> float:
    """For how long the main thread of a process has run: told in nanoseconds, unlike its CPU."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / MS**3


def _work() -> None:
    pass


def _trace_one(trace: Callable[..., object]) -> float:
    """The CPU seconds of one job, after some other work."""
    job_id, now = str(uuid4()), time.time()
    request = {
        "id": job_id,
        "hostname": "w@h",
        "delivery_info": {"routing_key": "celery"},
        "retries": 0,
        "sent": now,
        "taken": now,
        "ignore_result": True,
    }
    json.loads(json.dumps([request] * 20))
    before = time.thread_time()
    trace(job_id, (), {}, request)
    return time.thread_time() - before


def _worker(system: str, options: argparse.Namespace, folder: Path) -> AbstractContextManager[int]:
    words = ("-m", "livectl", "-A", "bench", "worker", "-c", str(options.concurrency), "-l", "WARNING")
    return _process(folder, system, sys.executable, *words, *(("-E",) if system == "events" else ()))


@contextmanager
def _process(folder: Path, system: str, *argv: str) -> Iterator[int]:
    path = folder / "v.sock"
    environ = os.environ | {
        "BENCH_BROKER": f"redis+socket://{path}",
        "LIVECTL_STORE": f"unix://{path}",
        "BENCH_COUNTS": str(int(system == "livectl")),
        "LIVECTL_HOME": str(folder / "home"),
        "PYTHONPATH": f"{Path.cwd()}:{folder}",
    }
    with run_process(argv, folder, environ, folder / f"{Path(argv[-1]).stem}.log") as pid:
        yield pid


def run_jobs(store: redis.Redis, jobs: int, rate: float, size: int) -> None:
    """Puts jobs into the queue, at a rate, and waits until all are done."""
    messages = [job_message("bench.work", size) for _ in range(jobs)]
    step = max(1, round(rate * STEP_S)) if rate else jobs
    begin = time.monotonic()
    for first in range(0, jobs, step):
        store.lpush("celery", *messages[first : first + step])
        if rate:
            time.sleep(max(0.0, begin + (first + step) / rate - time.monotonic()))
    deadline = time.monotonic() + PATIENCE_S
    while store.exists("celery", "unacked"):
        if time.monotonic() > deadline:
            raise SystemExit("the worker does not come to an end")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
