"""Who watches 100,000 jobs: CPU a job of worker, server and observer, the observer's memory, and what it missed.

One stock app, whose jobs do nothing, on a Valkey of its own for each arm, and one worker that takes all at once:

`none`     `celery worker`, watched by nobody: what the others are compared with
`livectl`  `livectl worker`, which notes its jobs itself: no observer, no events
`flower`   `celery worker -E`, and Flower as it is by default
`counter`  `celery worker -E`, and a reader that counts each event as celery-exporter does: Celery's Receiver and
           State, a counter and a histogram of Prometheus. It is played: celery-exporter 1.5.1, the newest in the
           package index, has no wheel, and its source needs a maturin before 0.14 and crates that were out of reach
`beat`     `celery worker -E`, and `livectl beat`, which reads the events into the same history

Memory is what is resident after a quarter of the jobs and after all. `kept` is what the server holds more, a job, when
all is done. `seen` is the share of the jobs whose end the observer told of: events that nobody reads in time are lost.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import redis

from benchmarks import run_process, run_valkey
from benchmarks.history import EXPORTER, run_jobs
from benchmarks.transport import FIRST_JOBS, PATIENCE_S, cpu_seconds
from livectl.models import JobState
from livectl.ops.jobs.numbers import NUMBERS_KEY, parse_series

if TYPE_CHECKING:
    from collections.abc import Sequence

ARMS = ("none", "livectl", "flower", "counter", "beat")
QUARTERS = 4
SETTLE_S = 4.0  # without anything new, after which an observer has seen what it will see
LOOK_S = 0.5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MB, MICROSECONDS = 1e6, 1e6
SUCCEEDED = re.compile(rb"^(?:task_succeeded_total\{|flower_events_total\{.*task-succeeded).* (\S+)$", re.MULTILINE)

APP = """
import os
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.task_ignore_result = True

@app.task
def work(size):
    pass
"""
SERVE_COUNTS = (
    "import sys\nfrom prometheus_client import start_http_server\nstart_http_server(int(sys.argv[1]), '127.0.0.1')\n"
)


class Cost(NamedTuple):
    """What an arm took: microseconds a job, megabytes, bytes a job, a share."""

    worker: float
    server: float
    observer: float
    quarter_mb: float
    end_mb: float
    kept: float
    seen: float


def main() -> None:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaving no worker behind
    print(__doc__)
    print(f"{options.jobs:,} jobs, pool {options.pool}")
    print(
        f"{'arm':8} {'CPU µs/job':>10} {'of it worker':>13} {'server':>7} {'observer':>9} {'to none':>8} "
        f"{'MB at 1/4':>10} {'at end':>7} {'kept B/job':>11} {'seen':>7}"
    )
    none: Cost | None = None
    for arm in options.arms:
        cost = _measured(arm, options)
        none = none or cost
        print(_row(arm, cost, none), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observers")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=0.0, help="jobs a second; 0: a quarter of them at once")
    parser.add_argument("--pool", default="solo")
    parser.add_argument("--concurrency", type=int, default=2, help="of a pool other than solo")
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, default=ARMS, help="the first is what others are compared with"
    )
    return parser


def _row(arm: str, cost: Cost, none: Cost) -> str:
    total, base = sum(cost[:3]), sum(none[:3])
    memory = f"{cost.quarter_mb:>10.0f} {cost.end_mb:>7.0f}" if cost.end_mb else f"{'-':>10} {'-':>7}"
    seen = "-" if arm == "none" else f"{cost.seen:.1%}"
    return (
        f"{arm:8} {total:>10.0f} {cost.worker:>13.0f} {cost.server:>7.0f} {cost.observer:>9.0f} {total / base:>6.2f} x "
        f"{memory} {cost.kept:>11.0f} {seen:>7}"
    )


def _measured(arm: str, options: argparse.Namespace) -> Cost:
    with tempfile.TemporaryDirectory(prefix="lv-") as text, ExitStack() as running:
        folder, port = Path(text), _free_port()
        (folder / "bench.py").write_text(APP)
        (folder / "exporter.py").write_text(SERVE_COUNTS + EXPORTER)
        (folder / "livectl.yaml").write_text(f"history: {{jobs: {options.jobs * 2}}}\n")
        path, server = running.enter_context(run_valkey(folder))
        environ = _environ(folder)
        store = redis.Redis(unix_socket_path=str(path))
        pids = [
            running.enter_context(run_process([sys.executable, *argv], folder, environ, folder / f"{name}.log"))
            for name, argv in (("worker", _worker(arm, options)), ("observer", _observer(arm, port)))
            if argv
        ]
        return _watched(arm, store, port, [server, *pids], options)


def _watched(arm: str, store: redis.Redis, port: int, pids: Sequence[int], options: argparse.Namespace) -> Cost:
    """Runs the jobs. The pids are those of the server, the worker, and the observer if there is one."""
    _warm_up(arm, store, port)
    seen, kept = _seen(arm, store, port), _used_bytes(store)
    before = [cpu_seconds(pid) for pid in pids]
    resident: list[float] = []
    for _ in range(QUARTERS):
        run_jobs(store, options.jobs // QUARTERS, options.rate, 0)
        _settle(arm, store, port, seen + options.jobs // QUARTERS * (len(resident) + 1))
        resident.append(_resident_bytes(pids[2]) / MB if len(pids) > 2 else 0.0)
    jobs = options.jobs // QUARTERS * QUARTERS
    server, worker, observer = (*_spent(pids, before, jobs), 0.0)[:3]
    return Cost(
        worker=worker,
        server=server,
        observer=observer,
        quarter_mb=resident[0],
        end_mb=resident[-1],
        kept=(_used_bytes(store) - kept) / jobs,
        seen=(_seen(arm, store, port) - seen) / jobs,
    )


def _spent(pids: Sequence[int], before: Sequence[float], jobs: int) -> list[float]:
    return [(cpu_seconds(pid) - cpu) * MICROSECONDS / jobs for pid, cpu in zip(pids, before, strict=True)]


def _worker(arm: str, options: argparse.Namespace) -> list[str]:
    pool = ["-P", options.pool, *(["-c", str(options.concurrency)] if options.pool != "solo" else [])]
    further = ["--without-gossip", "--without-mingle"]
    if arm == "livectl":
        return ["-m", "livectl", "-A", "bench", "worker", *pool, "-l", "WARNING", "--", *further]
    events = ["-E"] if arm != "none" else []
    return ["-m", "celery", "-A", "bench", "worker", *pool, "-l", "WARNING", *further, *events]


def _observer(arm: str, port: int) -> list[str]:
    return {
        "flower": ["-m", "celery", "-A", "bench", "flower", "--address=127.0.0.1", f"--port={port}"],
        "counter": ["exporter.py", str(port)],
        "beat": ["-m", "livectl", "-A", "bench", "beat", "-l", "warning"],
    }.get(arm, [])


def _environ(folder: Path) -> dict[str, str]:
    path = folder / "v.sock"
    return os.environ | {
        "BENCH_BROKER": f"redis+socket://{path}",
        "LIVECTL_STORE": f"unix://{path}",
        "LIVECTL_HOME": str(folder / "home"),
        "PYTHONPATH": f"{Path.cwd()}:{folder}",
    }


def _warm_up(arm: str, store: redis.Redis, port: int) -> None:
    """Runs a few jobs again and again, until the observer tells of some: by then it listens."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        run_jobs(store, FIRST_JOBS, 0.0, 0)
        time.sleep(SETTLE_S / 2)
        if arm == "none" or _seen(arm, store, port):
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"{arm}: nobody hears of the jobs")
    _settle(arm, store, port)


def _settle(arm: str, store: redis.Redis, port: int, awaited: float = float("inf")) -> None:
    """Waits until so many jobs are seen, or nothing new any more."""
    if arm == "none":
        return
    seen, changed = _seen(arm, store, port), time.monotonic()
    while seen < awaited and time.monotonic() - changed < SETTLE_S:
        time.sleep(LOOK_S)
        if (now := _seen(arm, store, port)) != seen:
            seen, changed = now, time.monotonic()


def _seen(arm: str, store: redis.Redis, port: int) -> float:
    """The jobs of whose success the observer tells; where livectl is that, its numbers."""
    if arm in {"flower", "counter"}:
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                return sum(float(number) for number in SUCCEEDED.findall(answer.read()))
        except URLError:  # it has not begun yet
            return 0.0
    numbers: Any = store.hgetall(NUMBERS_KEY)
    return sum(series.fields.get(JobState.SUCCEEDED, 0) for series in parse_series(numbers, "bench")["job"])


def _used_bytes(store: redis.Redis) -> int:
    found: Any = store.info("memory")
    return int(found["used_memory"])


def _resident_bytes(pid: int) -> int:
    """Of a process and its children."""
    own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(_resident_bytes(int(child)) for child in children)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    main()
