"""A limit under kills: many jobs, four workers of any app, and the store's own log of who had a slot.

    python -m tests.faults.limits [--jobs 20000] [--most 8] [--seconds 0.2] [--kills 20] [--pool threads]

What the store was told is read with MONITOR and counted apart: how many had a slot at once, and how much of the slots
was used between the first job and the last. Without kills that is to be 98 % at least.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery

from tests.support.faulty_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = """
import os, time
from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"])
app.conf.task_ignore_result = True

@app.task
def mail(number, seconds):
    time.sleep(seconds)
    with open("ledger", "a") as ledger:
        ledger.write(f"{number}\\n")
"""
HELD = "livectl:limit:proj:proj.mail::held"
KILL_PAUSE_S = 6.0
MAX_SILENCE_S = 60.0  # without a job that ends: it hangs


class StoreLog:
    """Who has a slot, by the commands that the store was given."""

    def __init__(self) -> None:
        self.held: dict[str, float] = {}
        self.most = 0
        self.slot_seconds = 0.0
        self.first = self.last = 0.0

    def follow(self, port: int) -> None:
        with suppress(redis.RedisError, OSError), redis.Redis(port=port).monitor() as monitor:  # type: ignore[no-untyped-call]
            for command in monitor.listen():
                if command["client_type"] == "lua" and HELD in command["command"]:
                    self.note(float(command["time"]), shlex.split(command["command"]))

    def note(self, at: float, words: list[str]) -> None:
        if len(words) < 3 or words[1] != HELD:
            return
        name = words[0].upper()
        self.slot_seconds += len(self.held) * (at - self.last) if self.last else 0.0
        self.first, self.last = self.first or at, at
        if name == "ZADD":
            self.held[words[3]] = float(words[2])
        elif name == "ZREM":
            self.held.pop(words[2], None)
        elif name == "ZREMRANGEBYSCORE":
            self.held = {member: end for member, end in self.held.items() if end > float(words[3])}
        self.most = max(self.most, len(self.held))


class Workers:
    """Workers of the app, which are killed with all their children."""

    def __init__(self, folder: Path, port: int, pool: str) -> None:
        self._folder = folder
        self._pool = pool
        self._environ = {
            **os.environ,
            "PROJ_BROKER": f"redis://127.0.0.1:{port}/0",
            "LIVECTL_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        argv = [sys.executable, "-m", "livectl", "-A", "proj", "worker", "-n", name, "-P", self._pool, "-c", "8"]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                argv, cwd=self._folder, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        while any(b" ready." not in (self._folder / f"{name}.log").read_bytes() for name in self._running):
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        os.killpg(self._running[name].pid, signal.SIGKILL)
        self._running.pop(name).wait()

    def cpu_seconds(self) -> float:
        """Of those that run, with their children."""
        ticks = 0
        for started in self._running.values():
            group = subprocess.run(["pgrep", "-g", str(started.pid)], capture_output=True, text=True, check=False)
            for pid in group.stdout.split():
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        for name in [*self._running]:
            self.kill(name)


@contextmanager
def _project(most: int, folder: Path) -> Iterator[None]:
    (folder / "proj.py").write_text(APP)
    (folder / "livectl.yaml").write_text(json.dumps({"tasks": {"proj.mail": {"concurrency": most}} if most else {}}))
    (folder / "ledger").touch()
    yield


def _send(port: int, jobs: int, seconds: float) -> None:
    app = Celery("client", broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
    with app.producer_pool.acquire() as producer:
        for number in range(jobs):
            app.send_task("proj.mail", (number, seconds), producer=producer, ignore_result=True)
    app.close()


def play(options: argparse.Namespace) -> dict[str, Any]:
    """One run: what came of it."""
    chance = random.Random(options.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(redis_server(folder))
        stack.enter_context(_project(options.most, folder))
        log, workers = StoreLog(), Workers(folder, port, options.pool)
        stack.callback(workers.close)
        threading.Thread(target=log.follow, args=(port,), daemon=True).start()
        names = [f"w{number}" for number in range(options.workers)]
        for name in names:
            workers.start(name)
        workers.wait_until_ready()
        before, started = workers.cpu_seconds(), time.monotonic()
        _send(port, options.jobs, options.seconds)
        kills, done, changed_at = 0, 0, time.monotonic()
        kill_at = changed_at + KILL_PAUSE_S / 2
        while done < options.jobs and time.monotonic() - changed_at < MAX_SILENCE_S:
            time.sleep(0.1)
            now, seen = time.monotonic(), len(set((folder / "ledger").read_text().split()))
            changed_at, done = (now, seen) if seen != done else (changed_at, done)
            if kills < options.kills and now >= kill_at:
                name = chance.choice(names)
                workers.kill(name)
                workers.start(name)
                kills, kill_at = kills + 1, now + KILL_PAUSE_S
        elapsed = log.last - log.first
        return {
            "jobs": options.jobs,
            "done": done,
            "kills": kills,
            "most at once": log.most,
            "allowed": options.most,
            "used": round(log.slot_seconds / (elapsed * options.most), 4) if elapsed and options.most else None,
            "worked": round(options.jobs * options.seconds / (elapsed * options.most), 4) if elapsed else None,
            "seconds": round(elapsed or time.monotonic() - started, 1),
            "cpu ms a job": None if kills else round((workers.cpu_seconds() - before) / options.jobs * 1000, 3),
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.limits")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--pool", default="threads")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    outcome = play(options)
    print(json.dumps(outcome))
    return int(outcome["done"] < options.jobs or bool(options.most and outcome["most at once"] > options.most))


if __name__ == "__main__":
    sys.exit(main())
