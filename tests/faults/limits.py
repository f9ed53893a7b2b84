"""A limit under kills: many jobs, four workers of any app, and the store's own log of who had a slot.

    python -m tests.faults.limits [--jobs 20000] [--most 40] [--seconds 0.5] [--kills 20] [--pool threads]

What the store was told is read with MONITOR and counted apart, from the moment at which all slots were taken until the
last job began: how many had a slot at once, how much of the slots was taken (98 % at least), for how much of them a job
ran, and when a slot was free whose worker was killed (within 10 s). `nice` before it counts for all that it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery

from tests.support.faulty_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

APP = """
import os, time
from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"])
app.conf.task_ignore_result = True

@app.task(bind=True)
def mail(self, number, seconds):
    begin = time.time()
    with open("begun", "a") as ledger:
        ledger.write(f"{self.request.id} {os.getpgid(0)}\\n")
    time.sleep(seconds)
    with open("ended", "a") as ledger:
        ledger.write(f"{number} {begin} {time.time()}\\n")
"""
HELD = "livectl:limit:proj:proj.mail::held"
KILL_PAUSE_S = 6.0
MAX_SILENCE_S = 60.0  # without a job that ends: it hangs
MAX_FREE_S, LEAST_USED = 10.0, 0.98  # the bars


class StoreLog:
    """Who has a slot, by the commands that the store was given."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.held: dict[str, float] = {}
        self.most = 0
        self.expired: list[tuple[str, str, float]] = []  # job, worker, when its lease was over
        self.owners: set[tuple[str, str]] = set()  # each job that had a slot, and its worker
        self._steps: list[tuple[float, int]] = []  # how many had one from then on
        self._full_at = self._begun_at = 0.0

    def follow(self, port: int) -> None:
        with suppress(redis.RedisError, OSError), redis.Redis(port=port, socket_timeout=None).monitor() as monitor:  # type: ignore[no-untyped-call]
            for command in monitor.listen():
                if command["client_type"] == "lua" and HELD in command["command"]:
                    self.note(float(command["time"]), command["command"].replace('"', "").split(" "))

    def note(self, at: float, words: list[str]) -> None:
        if len(words) < 3 or words[1] != HELD:
            return
        name, before = words[0].upper(), len(self.held)
        if words[2] == "XX":  # a lease that is renewed, of a job that has not ended
            words = [word for word in words if word != "XX"]
            name = name if " ".join(words[3:]) in self.held else ""
        if name == "ZADD":
            self.held[" ".join(words[3:])] = float(words[2])
            self.owners.add((words[3], words[4]))
        elif name == "ZREM":
            self.held.pop(" ".join(words[2:]), None)
        elif name == "ZREMRANGEBYSCORE":
            over = [member for member, end in self.held.items() if end <= float(words[3])]
            self.expired += [(*member.split(" "), at) for member in over]  # type: ignore[misc]
            for member in over:
                del self.held[member]
        if len(self.held) > before:
            self._begun_at = at
        if len(self.held) != before:
            self._steps.append((at, len(self.held)))
        if len(self.held) == self._slots:
            self._full_at = self._full_at or at
        self.most = max(self.most, len(self.held))

    @property
    def window(self) -> tuple[float, float]:
        """From when all slots were taken until the last job began."""
        return self._full_at, self._begun_at

    def used(self) -> float:
        """How much of the slots was taken."""
        begin, end = self.window
        spent = sum(
            count * max(0.0, min(until, end) - max(at, begin))
            for (at, count), (until, _) in zip(self._steps, self._steps[1:], strict=False)
        )
        return spent / (self._slots * (end - begin)) if end > begin else 0.0


class Workers:
    """Workers of the app, which are killed with all their children."""

    def __init__(self, folder: Path, port: int, pool: str, threads: int) -> None:
        self._folder = folder
        self._pool = ("-P", pool, "-c", str(threads))
        self.killed_at: dict[int, float] = {}
        self._environ = {
            **os.environ,
            "PROJ_BROKER": f"redis://127.0.0.1:{port}/0",
            "LIVECTL_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        argv = [sys.executable, "-m", "livectl", "-A", "proj", "worker", "-n", name, *self._pool]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                argv, cwd=self._folder, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        be_as_nice(self._running[name].pid)

    def wait_until_ready(self) -> None:
        while any(b" ready." not in (self._folder / f"{name}.log").read_bytes() for name in self._running):
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        os.killpg(self._running[name].pid, signal.SIGKILL)
        self.killed_at[self._running[name].pid] = time.time()
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


def be_as_nice(pid: int) -> None:
    """Linux may weigh sessions against each other, and niceness within one alone."""
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(os.nice(0)))


def _write_project(most: int, folder: Path) -> None:
    (folder / "proj.py").write_text(APP)
    (folder / "livectl.yaml").write_text(json.dumps({"tasks": {"proj.mail": {"concurrency": most}} if most else {}}))
    for name in ("begun", "ended"):
        (folder / name).touch()


def _send(port: int, jobs: int, seconds: float, chance: random.Random) -> None:
    """Jobs of many lengths, so that they do not end all at once."""
    app = Celery("client", broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
    with app.producer_pool.acquire() as producer:
        for number in range(jobs):
            arguments = (number, seconds * chance.uniform(0.5, 1.5))
            app.send_task("proj.mail", arguments, producer=producer, ignore_result=True)
    app.close()


def _rows(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()]


def _worked(rows: Iterable[Sequence[str]], window: tuple[float, float], slots: int) -> float:
    """For how much of the slots a job ran."""
    begin, end = window
    spent = sum(max(0.0, min(float(until), end) - max(float(since), begin)) for _, since, until in rows)
    return spent / (slots * (end - begin)) if end > begin else 0.0


def _seconds_until_free(log: StoreLog, begun: Iterable[Sequence[str]], killed_at: dict[int, float]) -> list[float]:
    """For each slot that a killed worker had, how long after that it was free."""
    ran_by: dict[str, list[int]] = {}
    for job, pid in begun:
        ran_by.setdefault(job, []).append(int(pid))
    processes: dict[str, Counter[int]] = {}  # of an owner: a job may have begun in several, most have not
    for job, owner in log.owners:
        processes.setdefault(owner, Counter()).update(ran_by.get(job, ()))
    pids = {owner: found.most_common(1)[0][0] for owner, found in processes.items() if found}
    killed = {owner: killed_at[pid] for owner, pid in pids.items() if pid in killed_at}
    return [at - killed[owner] for _, owner, at in log.expired if owner in killed]


def play(options: argparse.Namespace) -> dict[str, Any]:
    """One run: what came of it."""
    chance = random.Random(options.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(redis_server(folder))
        _write_project(options.most, folder)
        _send(port, options.jobs, options.seconds, chance)
        log, workers = StoreLog(options.most), Workers(folder, port, options.pool, options.threads)
        stack.callback(workers.close)
        threading.Thread(target=log.follow, args=(port,), daemon=True).start()
        names = [f"w{number}" for number in range(options.workers)]
        for name in names:
            workers.start(name)
        workers.wait_until_ready()
        before, started = workers.cpu_seconds(), time.monotonic()
        kills, done, changed_at = 0, 0, time.monotonic()
        kill_at = changed_at + KILL_PAUSE_S / 2
        while done < options.jobs and time.monotonic() - changed_at < MAX_SILENCE_S:
            time.sleep(0.1)
            now, seen = time.monotonic(), len({row[0] for row in _rows(folder / "ended")})
            changed_at, done = (now, seen) if seen != done else (changed_at, done)
            if kills < options.kills and now >= kill_at:
                name = chance.choice(names)
                workers.kill(name)
                workers.start(name)
                kills, kill_at = kills + 1, now + KILL_PAUSE_S
        freed = _seconds_until_free(log, _rows(folder / "begun"), workers.killed_at)
        return {
            "jobs": options.jobs,
            "done": done,
            "kills": kills,
            "most at once": log.most,
            "allowed": options.most,
            "used": round(log.used(), 4) if options.most else None,
            "worked": round(_worked(_rows(folder / "ended"), log.window, options.most), 4) if options.most else None,
            "slots of killed workers": len(freed),
            "free after s, at most": round(max(freed), 2) if freed else None,
            "seconds": round(time.monotonic() - started, 1),
            "cpu ms a job": None if kills else round((workers.cpu_seconds() - before) / options.jobs * 1000, 3),
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.limits")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a job, on average")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=16, help="of each worker")
    parser.add_argument("--pool", default="threads")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaving no worker behind
    outcome = play(options)
    print(json.dumps(outcome))
    is_kept = outcome["done"] == options.jobs and (outcome["free after s, at most"] or 0.0) <= MAX_FREE_S
    if options.most:
        is_kept = is_kept and outcome["most at once"] <= options.most and outcome["used"] >= LEAST_USED
    return int(not is_kept)


if __name__ == "__main__":
    sys.exit(main())
