"""Rows that harm beats: real ones, several at a time, killed and stopped between the claim of a run and its message.

The ledger is the broker's queue, which the row itself empties.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kombu import Connection, Queue

from livectl.address import Address
from livectl.ops.processes import die_with_parent
from tests.faults import brokers
from tests.faults.frame import Limits, Mechanism, Outcome, Row
from tests.support.processes import Running
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.frame import Case

APP = """
import json
from celery import Celery
from celery.schedules import crontab

app = Celery("proj", broker=BROKER)
app.conf.update(task_ignore_result=True, beat_schedule={
    name: {"task": "t.note", "args": [name], "schedule": crontab(*when) if isinstance(when, list) else when}
    for name, when in json.loads(ENTRIES).items()
})

@app.task(name="t.note")
def note(name):
    pass
"""
SETTLE_S = 6.0  # before the first fault and after the last one: a dead beat's run is sent within five seconds
AWAKE_S = 1.5  # for a beat to look at what is due
MANY = 1_000
DIES = """
import os
from livectl.ops.beat import publisher
for kind in (publisher.AtomicPublisher, publisher.SequentialPublisher):
    kind.send = lambda self, jobs: os._exit(9) if jobs else None
"""
STOPS = """
import os, signal
from livectl.ops.beat import publisher
for kind in (publisher.AtomicPublisher, publisher.SequentialPublisher):
    def send(self, jobs, real=kind.send):
        if len(jobs) >= 100:
            os.kill(os.getpid(), signal.SIGSTOP)
        real(self, jobs)
    kind.send = send
"""
NO_TAKEOVER = "from livectl.ops.beat import run_store; run_store.RunStore.take_over = lambda self, stale: []"
NO_FENCE = """
from livectl.ops.beat import run_store
def commit(self, prepared, database):
    for run in prepared:
        for command in run.commands:
            self.store.execute_command(command.verb, command.key, command.value)
    return ["sent"] * len(prepared)
run_store.RunStore.commit = commit
run_store.RunStore.is_fresh = lambda self, claim: True
"""


class Sent(NamedTuple):
    at: float
    entry: str
    task_id: str
    due: float | None  # stock beat does not say


class Beats:
    """Beats of one app on a broker of the row's own, and all that they sent."""

    def __init__(self, case: Case, url: str, store_url: str, stack: ExitStack) -> None:
        self.case, self._stack = case, stack
        self._url, self._connect = url, Address.parse(url).celery_url
        self.environ = {"LIVECTL_HOME": str(case.folder / "home"), "LIVECTL_STORE": store_url}
        self.sent: list[Sent] = []
        self._running: list[Running] = []
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._collect, daemon=True)

    def write(self, entries: dict[str, float | list[str]]) -> None:
        """Writes the app: for each entry its seconds, or minute and hour."""
        text = APP.replace("BROKER", repr(self._connect)).replace("ENTRIES", repr(json.dumps(entries)))
        (self.case.folder / "proj.py").write_text(text)
        self.periods = {name: when for name, when in entries.items() if not isinstance(when, list)}
        self._reader.start()

    def start(self, patch: str = "") -> Running:
        without = self.case.without
        folder = self.case.folder / f"patch{len(list(self.case.folder.glob('patch*')))}"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(patch + "\n" + (without.patch if without else ""))
        environ = {**self.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        if without and without.is_stock:
            argv = [sys.executable, "-m", "celery", "-A", "proj", "beat", "-l", "INFO", "-s", "shelve"]
        else:
            argv = [sys.executable, "-m", "livectl", "-A", "proj", "beat"]
        beat = Running(*die_with_parent.command_line(os.getpid(), argv), cwd=self.case.folder, environ=environ)
        self._stack.enter_context(beat)
        self._running.append(beat)
        return beat

    def end_all(self) -> None:
        for beat in self._running:
            beat.send(signal.SIGKILL)
            beat.wait()
        self._running.clear()

    def start_working(self) -> Running:
        """Returns when it has sent something."""
        before, beat = len(self.sent), self.start()
        wait_for(lambda: len(self.sent) > before, what="a message of beat's")
        return beat

    def _collect(self) -> None:
        with Connection(self._connect) as connection, connection.channel() as channel:
            queue = Queue("celery", routing_key="celery")(channel)
            queue.declare()
            while not self._ended.is_set():
                if message := queue.get(no_ack=True):
                    (name, *_), _, _ = message.decode()
                    self.sent.append(Sent(time.monotonic(), name, message.headers["id"], message.headers.get("due")))
                else:
                    time.sleep(0.01)

    def close(self) -> None:
        self._ended.set()
        self._reader.join()

    def settled_outcome(self) -> Outcome:
        """That of the time after the last fault: what is late on a busy machine is not lost yet."""
        deadline = time.monotonic() + 3 * SETTLE_S
        while (outcome := self.outcome()).lost and time.monotonic() < deadline:
            time.sleep(AWAKE_S)
        return outcome

    def outcome(self) -> Outcome:
        """Holds what came of each entry against its period, between its first run and its last."""
        lost = doubled = 0
        worst = 0.0
        for name, period in self.periods.items():
            messages = [sent for sent in self.sent if sent.entry == name]
            times = [sent.at for sent in messages]
            # A message may come late, for a beat that died: which run it is for says how many there were to be.
            dues = sorted(sent.at if sent.due is None else sent.due for sent in messages)
            due = round((dues[-1] - dues[0]) / period) + 1 if dues else 0
            lost, doubled = lost + max(0, due - len(dues)), doubled + max(0, len(dues) - due)
            worst = max([worst, *(after - before - period for before, after in pairwise(times))])
        doubled += sum(times - 1 for times in Counter(sent.task_id for sent in self.sent).values())
        return Outcome(
            acknowledged=len(self.sent),
            lost=lost,
            doubled=doubled,
            missed=0,
            back_within_s=worst,
            note="over its period",
        )


@contextmanager
def beats_on(case: Case) -> Iterator[Beats]:
    """A broker, and a store beside it where it needs one; all is gone at the end."""
    with ExitStack() as stack:
        server = _start(stack, case.folder / "broker", case.setup.split()[0])
        store_url = _start(stack, case.folder / "store", "redis").url if server.url.startswith("amqp") else server.url
        beats = Beats(case, server.url, store_url, stack)
        stack.callback(beats.close)
        yield beats


def _start(stack: ExitStack, folder: Path, kind: str) -> brokers.Broker:
    folder.mkdir()
    server = brokers.KINDS[kind](folder)
    stack.callback(brokers.close, server)
    return server


def several(count: int) -> dict[str, float | list[str]]:
    return {f"e{number}": 2.0 + number % 5 for number in range(count)}


def three_beats(case: Case) -> Outcome:
    """F12."""
    with beats_on(case) as beats:
        beats.write(several(50))
        for _ in range(case.either(2, 3)):
            beats.start_working()
        beats.sent.clear()
        time.sleep(case.either(6, 40))
        return beats.outcome()


def kill_beats(case: Case) -> Outcome:
    """F13. Each dies between the claim of a run and its message, beside one that lives."""
    with beats_on(case) as beats:
        beats.write(several(50))
        beats.start_working()
        for _ in range(case.either(1, 20)):
            assert beats.start(DIES).wait() == 9
            # Else the next takes its runs over and dies as well, until they are too late for `catchup: once`.
            time.sleep(SETTLE_S)
        return beats.settled_outcome()


def stop_a_beat(case: Case) -> Outcome:
    """F14. Inside a tick of a thousand runs: another one sends them meanwhile, and when it wakes up, it sends nothing.

    All thousand are due at once because no beat ran at the full minute (F15): each entry is sent once.
    """
    lost = doubled = 0
    with beats_on(case) as beats:
        beats.write({f"e{number}": ["*", "*"] for number in range(MANY)})
        beats.start().wait_for("beat: Starting")
        time.sleep(SETTLE_S)
        beats.end_all()
        for _ in range(case.either(1, 3)):
            time.sleep(61 - time.time() % 60)
            beats.sent.clear()
            _stop_one_in_its_tick(beats)
            entries = Counter(sent.entry for sent in beats.sent)
            lost, doubled = lost + MANY - len(entries), doubled + len(beats.sent) - len(entries)
    return Outcome(acknowledged=MANY, lost=lost, doubled=doubled, missed=0)


def _stop_one_in_its_tick(beats: Beats) -> None:
    sleepy = beats.start(STOPS)
    wait_for(lambda: _state_of(sleepy.process.pid) == "T", what="the stop inside a tick")
    beats.start()
    wait_for(lambda: len(beats.sent) >= MANY, what="all runs, sent by the other beat")
    sleepy.send(signal.SIGCONT)
    time.sleep(SETTLE_S)
    beats.end_all()


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def restart_after_a_run(case: Case) -> Outcome:
    """F16. A daily entry runs; then beat is killed and started, again and again, within the minute and the next."""
    soon = datetime.now(UTC) + timedelta(seconds=75)
    with beats_on(case) as beats:
        beats.write({"daily": [str(soon.minute), str(soon.hour)]})
        beats.start()
        time.sleep(max(0.0, soon.replace(second=0).timestamp() - time.time()))
        wait_for(lambda: beats.sent, what="the daily run")
        for _ in range(20):
            beats.end_all()
            beats.start().wait_for("beat: Starting")
            time.sleep(AWAKE_S)
        return Outcome(acknowledged=1, lost=0, doubled=len(beats.sent) - 1)


STOCK = Mechanism("runs are claimed, and claims in a store, which stock beat lacks", is_stock=True)
SCHEDULER = "tests/services/test_scheduler.py"
TAKEN_OVER = Mechanism("another beat takes over what a dead one claimed", patch=NO_TAKEOVER)
FENCED = Mechanism("the fence of a claim", patch=NO_FENCE)
EVERYWHERE = ("redis plain", "embedded plain", "rabbitmq plain")
SHORT = ("redis plain",)
NONE_DOUBLED = Limits(doubled=0)
ROWS = (
    Row("F12", "three beats at once, 50 entries", three_beats, EVERYWHERE, STOCK, SHORT, NONE_DOUBLED),
    Row("F13", "a beat dies between claim and sending, x20", kill_beats, EVERYWHERE, TAKEN_OVER, SHORT, NONE_DOUBLED),
    Row(
        "F14b",
        "SIGSTOP of a beat inside a tick of 1,000 runs, after a time without any beat (F15)",
        stop_a_beat,
        EVERYWHERE,
        FENCED,
        limits=NONE_DOUBLED,
    ),
    Row(
        "F16", "beat killed and started after a daily run, x20", restart_after_a_run, SHORT, STOCK, limits=NONE_DOUBLED
    ),
)
