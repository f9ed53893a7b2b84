"""livectl's own wing under faults: streamers who go live by plan, a receiver that is told, and `up` between the two.

The ledger lies outside the system: what the fakes showed and were asked, and what the receiver took.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.faults.frame import Outcome
from tests.support.alerts import Receiver
from tests.support.fake_platforms import Fakes
from tests.support.processes import children, commands_below, livectl
from tests.support.servers import free_port
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.faults.frame import Case
    from tests.support.processes import Running

SITE = "bilibili"  # thirty streamers a request
ASK_S = 1.0  # how often those who are not live are asked after here, and how often alerts are looked for
INTERVAL_S = 15.0  # how often livectl asks after them by default: who was not asked for so long was missed
EVERY_S = (3, 5)  # from fault to fault, in the short form and the whole one
DRAIN_S, RED_DRAIN_S = 60.0, 20.0  # after the last fault: who is not told by then is lost
SETTINGS = """
polling: {{mode: uniform, fastest: {ask}s, slowest: 60s}}
platforms: {{bilibili: {{budget: 6000/m}}}}
network: {{connect_to: {{{hosts}}}}}
alerts: {{hook: {{webhook: '{hook}', allow_private: true, timeout: 2s}}}}
web: {{port: {port}}}
"""
SCHEDULES = """
schedules:
  sweep: {task: livectl.sweep, every: 1s}
  deliver: {task: livectl.deliver, every: 1s}
"""
MEMBERS = {
    "worker": "livectl.celeryapp worker",
    "beat": "livectl.celeryapp beat",
    "broker": "valkey-server",
    "page": "--wait-for-store",
}
NOT_KILLED = re.compile(r"^up +\| \w+ ended \((?!SIGKILL)", re.MULTILINE)
SILENT = "has not answered for"


class TimedList(list[Any]):
    """Notes when each item came."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, item: Any) -> None:
        self.times.append(time.monotonic())
        super().append(item)

    @property
    def with_times(self) -> Iterator[tuple[float, Any]]:
        return zip(self.times, self, strict=False)  # one may be coming just now


@dataclass
class Told:
    """What the receiver was told of one streamer."""

    first_at: float
    keys: list[str] = field(default_factory=list)


class LiveWing:
    """An `up` on an embedded broker, and the world that it watches, as one row wants them."""

    def __init__(self, case: Case, pool: str, jobs: int) -> None:
        streamers, self._go_lives = case.either(150, 500), case.either(60, 200)
        self.case, self._options = case, ("-P", pool, "-c", str(jobs))
        self.dice = random.Random(case.seed)
        self.ids = [str(1000 + number) for number in range(streamers)]
        self._to_come = self.dice.sample(self.ids, self._go_lives)
        self.shown: dict[str, float] = {}
        self.faults: list[float] = []
        self.fakes, self.receiver = Fakes(), Receiver()
        self.asked = self.fakes.log = TimedList()
        self.taken = self.receiver.taken = TimedList()
        self._exits = self._silences = 0
        self.up: Running

    def prepare(self, home: str = "") -> None:
        """Writes what `up` reads."""
        for streamer_id in self.ids:
            self.fakes.plan.show(SITE, streamer_id, "offline")
        hosts = ", ".join(f"{host}: {url}" for host, url in self.fakes.connect_to.items())
        text = SETTINGS.format(ask=ASK_S, hosts=hosts, hook=self.receiver.url, port=free_port())
        folder, without = self.case.folder, self.case.without
        (folder / "livectl.yaml").write_text(text + (without.settings if without else ""))
        (folder / "schedules.yaml").write_text(SCHEDULES)
        (folder / "follows.yaml").write_text(json.dumps({"follows": [f"{SITE}/{one}" for one in self.ids]}))
        self.environ = {"LIVECTL_HOME": home or str(folder / "home")}
        if without and without.patch:
            self.patch(without.patch)

    def patch(self, source: str) -> None:
        """What every Python process of `up` runs before anything else."""
        folder = self.case.folder / "patch"
        folder.mkdir(exist_ok=True)
        with (folder / "sitecustomize.py").open("a") as file:
            file.write(source + "\n")
        self.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

    def start(self, *, waits: bool = True) -> None:
        """Starts `up`; returns when it asks after streamers."""
        self.up = livectl("up", *self._options, cwd=self.case.folder, environ=self.environ)
        if waits:
            self.up.wait_for("at work")
            self.wait_for_checks()

    def wait_for_checks(self) -> None:
        """Until everybody may have been asked after again."""
        wanted = len(self.asked) + len(self.ids) // 10
        wait_for(lambda: len(self.asked) > wanted, what="checks")

    def end(self, *, in_order: bool = False) -> None:
        """Ends `up`: all its processes at once, as a power cut does, or in order."""
        pids = [self.up.process.pid, *children(self.up.process.pid)]
        if in_order:
            self.up.send(signal.SIGTERM)
            self.up.wait()
        for pid in [] if in_order else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.up.__exit__(None, None, None)
        self._exits += len(NOT_KILLED.findall(self.up.text))
        self._silences += self.up.text.count(SILENT)

    def member(self, name: str) -> int:
        """Its process; 0 while there is none."""
        below = commands_below(self.up.process.pid)
        return next((pid for pid, command in below.items() if MEMBERS[name] in command), 0)

    def signal(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Does it to the member, as soon as there is one."""
        with suppress(ProcessLookupError):
            os.kill(wait_for(lambda: self.member(name), what=name), number)
        self.faults.append(time.monotonic())

    def play(self, faults: Sequence[Callable[[], object]], every_s: float = 0.0) -> None:
        """Does one fault after another; streamers go live all the while, and a little longer."""
        every_s = every_s or self.case.either(*EVERY_S)
        began, per_second = time.monotonic(), self._go_lives / ((len(faults) + 1) * every_s)
        ended = threading.Event()

        def show_all() -> None:
            for number, streamer_id in enumerate(self._to_come):
                if not ended.wait(max(0.0, began + number / per_second - time.monotonic())):
                    self.show_live(streamer_id)

        showing = threading.Thread(target=show_all)
        showing.start()
        try:
            for number, fault in enumerate(faults):
                at = began + (number + self.dice.uniform(0.6, 1.4)) * every_s
                time.sleep(max(0.0, at - time.monotonic()))
                fault()
        except BaseException:
            ended.set()
            raise
        finally:
            showing.join()

    def show_live(self, streamer_id: str) -> None:
        self.fakes.plan.show(SITE, streamer_id, "live", started=int(time.time()))
        self.shown[streamer_id] = time.monotonic()

    def drain(self) -> None:
        """Until everybody has been told of, or the time for that is over."""
        deadline = time.monotonic() + (RED_DRAIN_S if self.case.without else DRAIN_S)
        while self.shown.keys() - self.told().keys() and time.monotonic() < deadline:
            time.sleep(0.1)

    def told(self) -> dict[str, Told]:
        by_id: dict[str, Told] = {}
        for at, payload in self.taken.with_times:
            for change in payload["changes"]:
                by_id.setdefault(change["id"], Told(at)).keys.append(payload["key"])
        return by_id

    def outcome(self, **counts: Any) -> Outcome:
        """What the receiver and the fakes say. Call it when all is done, and `up` has ended."""
        told = self.told()
        latest = max((told[one].first_at - at for one, at in self.shown.items() if one in told), default=0.0)
        whole = {
            "acknowledged": len(self.shown),
            "lost": len(self.shown.keys() - told.keys()),
            "repeated": len(self.taken) - len({payload["key"] for payload in self.taken}),  # alerts, with the same key
            "doubled": sum(len(set(one.keys)) > 1 for one in told.values()),
            "missed": int(self.longest_gap() // INTERVAL_S),
            "back_within_s": self.longest_silence(),
            "exits": self._exits,
            "hangs": self._silences,
            "note": f"told after {latest:.1f} s at most",
            **counts,
        }
        return Outcome(**whole)

    def longest_gap(self) -> float:
        """The longest time for which somebody who was not live was not asked after."""
        last: dict[str, float] = defaultdict(lambda: 0.0)
        longest = 0.0
        for at, request in self.asked.with_times:
            for streamer_id in request.get_all("uids[]"):
                if last[streamer_id] and at < self.shown.get(streamer_id, at + 1):
                    longest = max(longest, at - last[streamer_id])
                last[streamer_id] = at
        return longest

    def longest_silence(self) -> float | None:
        """The longest time, from the first fault on, in which the site was asked nothing at all."""
        if not self.faults:
            return None
        moments = [self.faults[0], *(at for at in self.asked.times if at > self.faults[0])]
        return max((after - before for before, after in pairwise(moments)), default=None)


@contextmanager
def live_wing(
    case: Case, *, pool: str = "threads", jobs: int = 2, home: str = "", patch: str = "", waits: bool = True
) -> Iterator[LiveWing]:
    """An `up`, which asks after streamers by now unless nobody waits for that; all is gone at the end."""
    wing = LiveWing(case, pool, jobs)
    with ExitStack() as stack:
        stack.enter_context(wing.fakes)
        stack.enter_context(_serving(wing.receiver))
        wing.prepare(home)
        if patch:
            wing.patch(patch)
        wing.start(waits=waits)
        try:
            yield wing
        finally:
            wing.end(in_order=wing.up.process.poll() is None)


@contextmanager
def _serving(receiver: Receiver) -> Iterator[None]:
    thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        receiver.closing.set()
        receiver.shutdown()
        thread.join()
        receiver.server_close()
