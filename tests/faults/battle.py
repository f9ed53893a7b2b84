"""A long battle of random kills over many jobs, on livectl and on others: `make battle [MINUTES=30] [JOBS=200000]`.

Each system has a broker, two workers and a sender of its own; the same seed does the same harm to each. It prints what
was lost, what ran more than once, how soon work went on after each harm, and which workers ended by themselves.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import redis

from livectl.ops.jobs.dead_letters import DEAD_LETTERS_KEY
from livectl.ops.jobs.job_log import FAILED_KEY
from livectl.ops.processes import die_with_parent
from tests.faults import brokers
from tests.faults.frame import HANG_S, end_in_order
from tests.faults.ledger import Ledger
from tests.faults.workers import JOBS
from tests.support.processes import children
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.ledger import Entry

WORKERS = 2
CONCURRENCY = 2
JOB_S = 0.005
FIRST_HARM_S, HARM_PAUSE_S = 10.0, (3.0, 13.0)  # between two harms; on average every eight seconds
LAST_QUIET_S = 200.0  # without any job, before what is open counts as lost: longer than any system's time-out
KEPT_ENTRIES = 10_000
LAST_LINES = 15
MEETS_WITHIN_S = 3.0  # a harm meets no job that began longer before
GOES_ON_S = 1.0  # nor one that began longer after it: a child that stood still begins what it was handed before
SEEN_WITHIN_S = 60.0  # after a harm: then it is a hang, and is counted as that long

APP = """
import logging, os
from celery import Celery
IMPORTS
app = Celery("proj", broker=os.environ["PROJ_BROKER"])
app.conf.update(imports=["faults_jobs"], worker_log_color=False, task_ignore_result=True, **OPTIONS)
for name in ("celery.worker.strategy", "celery.app.trace"):
    logging.getLogger(name).setLevel(logging.WARNING)
"""

# Sends at a steady pace whatever happens, and notes what was taken.
SENDER = """
import sys, time
from proj import app
from faults_jobs import note, work
count, pause, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
began = time.monotonic()
for number in range(count):
    try:
        work.apply_async((f"j{number}", seconds), retry=False)
    except Exception as error:
        print(f"not sent: {error!r}", flush=True)
        time.sleep(0.2)
    else:
        note("acknowledged", f"j{number}")
    time.sleep(max(0.0, began + (number + 1) * pause - time.monotonic()))
"""


@dataclass(frozen=True)
class Fighter:
    """A system that is harmed."""

    name: str
    python: str = sys.executable
    is_stock: bool = True
    imports: str = ""
    scheme: str = "redis"
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Harm:
    """What was done, to which processes (none: to the broker), and when."""

    kind: str
    pids: frozenset[int]
    began: float
    ended: float

    def met(self, start: Entry) -> bool:
        """Whether it may have met a job that began there."""
        is_its = not self.pids or start.pid in self.pids
        return is_its and self.began - MEETS_WITHIN_S < start.at < self.ended + GOES_ON_S


# Stock Celery gives back after visibility_timeout, an hour: so long nobody waits here. Where it acknowledges late it is
# given the shortest one that is usual.
LATE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "broker_transport_options": {
        "visibility_timeout": 60,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
    },
}
PLUS_LATE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "broker_transport_options": {"visibility_timeout": 60},
}
FIGHTERS = {
    "livectl": Fighter("livectl -A proj worker", is_stock=False),
    "stock": Fighter("celery worker"),
    "late": Fighter("celery worker, late acknowledgement, time-out 60 s", options=LATE),
    "plus": Fighter("celery-redis-plus", imports="import celery_redis_plus", scheme="valkey", options=PLUS_LATE),
}


class Battle:
    """One system under harm."""

    def __init__(self, fighter: Fighter, folder: Path, stack: ExitStack) -> None:
        self.fighter, self.folder, self._stack = fighter, folder, stack
        (folder / "broker").mkdir()
        self.broker = brokers.RedisBroker(folder / "broker")
        stack.callback(self.broker.kill)
        (folder / "faults_jobs.py").write_text(JOBS)
        app = APP.replace("IMPORTS", fighter.imports).replace("OPTIONS", repr(dict(fighter.options)))
        (folder / "proj.py").write_text(app)
        self.ledger = Ledger(folder / "ledger")
        self.environ = {
            **os.environ,
            "PROJ_BROKER": self.broker.url.replace("redis:", f"{fighter.scheme}:"),
            "LEDGER": str(self.ledger.path),
            "LIVECTL_HOME": str(folder / "home"),
            "LIVECTL_STORE": self.broker.url,
        }
        self.exits, self.stuck, self.backs = 0, 0, list[float]()
        self.harms: list[Harm] = []
        self.workers = [self._start_worker(number) for number in range(WORKERS)]
        stack.callback(self._end)

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        argv = die_with_parent.command_line(os.getpid(), [self.fighter.python, *words])
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                argv, cwd=self.folder, env=self.environ, stdout=log, stderr=log, start_new_session=True
            )

    def _start_worker(self, number: int) -> subprocess.Popen[bytes]:
        options = ("-A", "proj", "worker", "-c", str(CONCURRENCY), "-n", f"w{number}")
        how = ("-m", "celery", *options, "-l", "INFO") if self.fighter.is_stock else ("-m", "livectl", *options)
        return self._start(f"worker-{number}", *how)

    def start_sender(self, jobs: int, seconds: float) -> subprocess.Popen[bytes]:
        (self.folder / "send.py").write_text(SENDER)
        return self._start("sender", "send.py", str(jobs), str(seconds / jobs), str(JOB_S))

    def read(self) -> Ledger:
        ledger = self.ledger.read()
        del ledger.entries[:-KEPT_ENTRIES]
        return ledger

    def replace_dead(self) -> None:
        for number, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.exits += 1
                self._show_end(number, f"ended by itself with {worker.returncode}")
                self.workers[number] = self._start_worker(number)

    def harm(self, rng: random.Random) -> None:
        """Does one harm, and waits until work goes on."""
        number = rng.randrange(WORKERS)
        harms = (self._kill_child, self._kill_worker, self._stop_worker, self._pause_worker, self._kill_broker)
        ended = rng.choice(harms)(number, rng)
        self.read()
        while (back := self.ledger.first_work_after(ended)) is None and time.monotonic() < ended + SEEN_WITHIN_S:
            self.replace_dead()
            time.sleep(0.02)
            self.read()
        self.backs.append(SEEN_WITHIN_S if back is None else back)

    def _show_end(self, number: int, what: str) -> None:
        """Says what a worker of livectl's wrote last: nobody killed it."""
        if not self.fighter.is_stock:
            lines = (self.folder / f"worker-{number}.log").read_text(errors="replace").splitlines()
            print(f"worker {number} {what}:\n", *lines[-LAST_LINES:], sep="\n  ", file=sys.stderr, flush=True)

    def _note(self, kind: str, began: float, *pids: int) -> float:
        """Notes a harm that is over. Returns when it began to be possible that work goes on."""
        self.harms.append(Harm(kind, frozenset(pids), began, time.monotonic()))
        return self.harms[-1].ended

    def _pids(self, number: int) -> list[int]:
        return [self.workers[number].pid, *children(self.workers[number].pid)]

    def set_aside(self) -> set[str]:
        """The jobs that are dead letters, which `livectl dead retry` puts back."""
        with redis.Redis.from_url(self.broker.url) as server:
            letters = _content(server, DEAD_LETTERS_KEY.encode())
        return {job for job in self.ledger.open_jobs if f'"{job}"' in letters}

    def show_lost(self) -> None:
        """Says of what livectl lost all that is known: what was noted, the broker's keys that mention it, failures."""
        open_jobs = set() if self.fighter.is_stock else self.ledger.open_jobs
        if not open_jobs:
            return
        lines = self.ledger.path.read_text().splitlines()
        with redis.Redis.from_url(self.broker.url) as server:
            for job in sorted(open_jobs)[:LAST_LINES]:
                noted = [line for line in lines if line.split()[1] == job]
                found = [key for key in server.scan_iter() if f'"{job}"' in _content(server, key)]
                print(f"{job}: {noted}, in {found}; harms {self.harms}", file=sys.stderr, flush=True)
            print(f"failures: {server.xrevrange(FAILED_KEY, count=LAST_LINES)}", file=sys.stderr, flush=True)
        for number in range(WORKERS):
            self._show_end(number, "wrote last")

    def _kill_child(self, number: int, rng: random.Random) -> float:
        began, victim = time.monotonic(), rng.choice(self._pids(number)[1:] or [0])
        if victim:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return self._note("child killed", began, victim)

    def _kill_worker(self, number: int, rng: random.Random) -> float:
        pids, began = self._pids(number), time.monotonic()
        self.workers[number].kill()
        ended = self._note("worker killed", began, *pids)
        self.workers[number].wait()
        self.workers[number] = self._start_worker(number)
        return ended

    def _stop_worker(self, number: int, rng: random.Random) -> float:
        pids, began = self._pids(number), time.monotonic()
        self.workers[number].terminate()
        with suppress(subprocess.TimeoutExpired):
            self.workers[number].wait(HANG_S)
        if self.workers[number].poll() is None:
            self.stuck += 1
            self._show_end(number, "did not end when it was told to")
            self.workers[number].kill()
            self.workers[number].wait()
        self._note("worker told to end", began, *pids)
        self.workers[number] = self._start_worker(number)
        return began

    def _pause_worker(self, number: int, rng: random.Random) -> float:
        pids, began = self._pids(number), time.monotonic()
        for sign, pause in ((signal.SIGSTOP, rng.uniform(2, 15)), (signal.SIGCONT, 0)):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            time.sleep(pause)
        self._note("worker stopped", began, *pids)
        return began

    def _kill_broker(self, number: int, rng: random.Random) -> float:
        began, ended = time.monotonic(), brokers.take_down(self.broker, rng.uniform(0.2, 5))
        self._note("broker killed", began)
        return ended

    def repeats_by_harm(self) -> str:
        """After which harm how many jobs were begun again, of them how many were done again."""
        begun, done = Counter[str](), Counter[str]()
        for start in self.ledger.repeats:
            kind = next((harm.kind for harm in self.harms if harm.met(start)), "other")
            begun[kind] += 1
            done[kind] += self.ledger.ends[start.job] > 1
        return ", ".join(f"{kind} {number} ({done[kind]})" for kind, number in begun.most_common())

    def wait_until_done(self) -> None:
        began = time.monotonic()
        while self.read().open_jobs and time.monotonic() - max(began, self.ledger.last_at) < LAST_QUIET_S:
            self.replace_dead()
            time.sleep(0.2)

    def _end(self) -> None:
        for worker in self.workers:
            for pid in (*children(worker.pid), worker.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            worker.wait()


def _content(server: redis.Redis, key: bytes) -> str:
    """All that lies under a key, with what is base64 in it decoded."""
    kind = cast(bytes, server.type(key))
    if kind == b"list":
        values = cast(list[bytes], server.lrange(key, 0, -1))
    else:
        values = cast(list[bytes], server.hvals(key)) if kind == b"hash" else []
    text = b"".join(values).decode(errors="replace")
    bodies = re.findall(r'"body\\?": ?\\?"([\w+/=]+)', text)
    return text + "".join(b64decode(body).decode(errors="replace") for body in bodies)


def fight(fighter: Fighter, seed: int, jobs: int, minutes: float) -> dict[str, object]:
    """The whole battle of one system; what came of it."""
    rng, folder = random.Random(seed), Path(tempfile.mkdtemp(prefix="lv-b-"))
    try:
        with ExitStack() as stack:
            battle = Battle(fighter, folder, stack)
            sender = battle.start_sender(jobs, minutes * 60)
            stack.callback(sender.wait)
            stack.callback(sender.kill)
            wait_for(lambda: battle.read().ends.total() > 0, what="the first job")
            next_at = time.monotonic() + FIRST_HARM_S
            while sender.poll() is None:
                battle.replace_dead()
                battle.read()
                if time.monotonic() >= next_at:
                    battle.harm(rng)
                    next_at = time.monotonic() + rng.uniform(*HARM_PAUSE_S)
                time.sleep(0.1)
            battle.wait_until_done()
            battle.show_lost()
            return result_of(battle)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def result_of(battle: Battle) -> dict[str, object]:
    ledger, backs, set_aside = battle.read(), battle.backs or [0.0], battle.set_aside()
    return {
        "system": battle.fighter.name,
        "acknowledged": len(ledger.acknowledged),
        "lost": len(ledger.open_jobs - set_aside),
        "set_aside": len(set_aside),
        "begun_twice": ledger.repeated,
        "done_twice": ledger.doubled,
        "begun_twice_after": battle.repeats_by_harm(),
        "harms": len(battle.backs),
        "back_median_s": round(statistics.median(backs), 2),
        "back_longest_s": round(max(backs), 2),
        "hangs": sum(back > HANG_S for back in backs),
        "exits": battle.exits,
        "stuck": battle.stuck,
    }


def line_of(found: dict[str, object]) -> str:
    return f"| {' | '.join(str(value) for value in found.values())} |"


def chosen(names: list[str], plus_python: str) -> list[Fighter]:
    fighters = [FIGHTERS[name] for name in names if name != "plus"]
    if "plus" in names and plus_python:
        fighters.append(Fighter(**{**vars(FIGHTERS["plus"]), "python": plus_python}))
    elif "plus" in names:
        print(
            "celery-redis-plus is left out: name a Python >= 3.13 that has celery-redis-plus[redis] with --plus-python"
        )
    return fighters


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.battle", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--systems", default=",".join(FIGHTERS), help=f"of {', '.join(FIGHTERS)}")
    parser.add_argument("--plus-python", default="", metavar="FILE", help="a Python that has celery-redis-plus[redis]")
    options = parser.parse_args(words)
    end_in_order()
    print(f"seed {options.seed}, {options.jobs} jobs in {options.minutes:g} minutes each\n", flush=True)
    lost = 0
    for number, fighter in enumerate(chosen(options.systems.split(","), options.plus_python)):
        found = fight(fighter, options.seed, options.jobs, options.minutes)
        if number == 0:
            print(f"| {' | '.join(found)} |\n|{' --- |' * len(found)}", flush=True)
        print(line_of(found), flush=True)
        lost += found["lost"] != 0 and not fighter.is_stock
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
