"""Measures `health` and `status` beside Celery's own commands: one worker, one job that has ended, a Valkey.

Each command is a process of its own, livectl and celery in turn, so that both meet the same machine. Time is wall time;
CPU is what the process takes (user and system).
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import run_valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 15
WAIT_TIMEOUT_S = 60.0  # seconds until the worker has to be there
NODE = "bench@here"
PROJECT = """
import os
from celery import Celery
app = Celery("proj", broker=os.environ["URL"], backend=os.environ["URL"])
@app.task
def add(x, y):
    return x + y
"""
SEND_CODE = "import proj; sent = proj.add.delay(1, 2); sent.get(timeout=60); print(sent.id)"


class Cost(NamedTuple):
    """What one process took, in milliseconds."""

    wall: float
    cpu: float


def main() -> None:
    print(__doc__)
    with tempfile.TemporaryDirectory(prefix="lv-") as name, _project(Path(name)) as (folder, environ):
        job = subprocess.run(
            [sys.executable, "-c", SEND_CODE], cwd=folder, env=environ, capture_output=True, text=True, check=True
        ).stdout.strip()
        url = environ["URL"]
        _compare(
            "health worker", ["livectl", "health", "worker", "-n", NODE],
            "celery inspect ping", ["celery", "-b", url, "inspect", "ping", "-d", NODE], folder, environ, 0.25,
        )  # fmt: skip
        _compare(
            "status ID", ["livectl", "status", job],
            "celery result ID", ["celery", "-A", "proj", "result", job], folder, environ, 0.5,
        )  # fmt: skip


def _compare(
    livectl_label: str, livectl_command: list[str], celery_label: str, celery_command: list[str],
    folder: Path, environ: dict[str, str], limit: float | None,
) -> None:  # fmt: skip
    costs = [(_run(livectl_command, folder, environ), _run(celery_command, folder, environ)) for _ in range(ROUNDS)]
    for name, index in ((livectl_label, 0), (celery_label, 1)):
        wall = statistics.median(pair[index].wall for pair in costs)
        cpu = statistics.median(pair[index].cpu for pair in costs)
        print(f"{name:22} {wall:>8.1f} ms {cpu:>8.1f} CPU-ms")
    wall = statistics.median(pair[0].wall / pair[1].wall for pair in costs)
    cpu = statistics.median(pair[0].cpu / pair[1].cpu for pair in costs)
    print(f"{'ratio':22} {wall:>8.2f} x  {cpu:>8.2f} x CPU{f'   (bar: {limit} x CPU)' if limit else ''}\n", flush=True)


def _run(arguments: list[str], folder: Path, environ: dict[str, str]) -> Cost:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    argv = [sys.executable, "-m", *arguments]
    subprocess.run(argv, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall * 1000, (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000)


@contextmanager
def _project(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A plain app with a server and a worker, all of them gone at the end."""
    (folder / "proj.py").write_text(PROJECT)
    path = folder / "v.sock"
    root = str(Path(__file__).parent.parent)
    environ = {
        **os.environ,
        "PYTHONPATH": root,
        "URL": f"redis+socket://{path}?virtual_host=0",
        "LIVECTL_BROKER": f"unix://{path}?db=0",
        "LIVECTL_HOME": str(folder / "home"),
    }
    worker = [sys.executable, "-m", "celery", "-A", "proj", "worker", "-c", "1", "-n", NODE]
    with (
        run_valkey(folder),
        subprocess.Popen(
            worker, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as worker_process,
    ):
        try:
            _wait_for_worker(folder, environ)
            yield folder, environ
        finally:
            worker_process.terminate()
            worker_process.wait(30)


def _wait_for_worker(folder: Path, environ: dict[str, str]) -> None:
    argv = [sys.executable, "-m", "livectl", "health", "worker", "-n", NODE]
    until = time.monotonic() + WAIT_TIMEOUT_S
    while subprocess.run(argv, cwd=folder, env=environ, capture_output=True, check=False).returncode:
        if time.monotonic() > until:
            raise SystemExit("the worker did not start")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
