"""Rows that harm the embedded broker's data: the power goes, the disk is full, files are damaged."""

from __future__ import annotations

import os
import random
import re
import shutil
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from livectl.ops.processes import embedded_broker
from livectl.ops.processes.embedded_broker import EmbeddedBroker
from tests.faults.frame import Limits, Mechanism, Outcome, Row
from tests.faults.live_wing import live_wing
from tests.support.disks import fill, tiny_disk
from tests.support.processes import answer, children
from tests.support.servers import needed
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.frame import Case

WRITERS = 4  # clients that write at once
FULL_S = 8.0  # that the disk is full
# Runs the server under strace, which notes what it writes, what it has on the disk, and what it answers.
TRACED = """#!/bin/sh
[ "$1" = --version ] && exec {server} "$@"
exec strace -f -qq -y -s 0 -e signal=none -e trace=write,writev,sendto,fsync,fdatasync -o {trace} {server} "$@"
"""
CALL = re.compile(r"(\d+) +(\w+)\((\d+)<([^>]*)>.*?(?:= (-?\d+)|(<unfinished \.\.\.>))")
RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>.*= (-?\d+)")


class Trace:
    """What the server had written and what it knew to be on the disk, call by call."""

    def __init__(self) -> None:
        self.written: Counter[str] = Counter()
        self.synced: Counter[str] = Counter()
        self.answered_too_early = 0
        self._open: dict[str, tuple[str, str, int]] = {}  # calls that have begun, by thread

    def read(self, lines: list[str]) -> Trace:
        for line in lines:
            if match := CALL.match(line):
                thread, call, _, path, result, is_unfinished = match.groups()
                if is_unfinished:
                    self._open[thread] = (call, path, self.written[path])
                else:
                    self._take(call, path, int(result), self.written[path])
            elif (match := RESUMED.match(line)) and (begun := self._open.pop(match[1], None)):
                self._take(begun[0], begun[1], int(match[3]), begun[2])
        return self

    def _take(self, call: str, path: str, result: int, written_before: int) -> None:
        if path.endswith(".aof"):
            if call in {"fsync", "fdatasync"}:
                self.synced[path] = max(self.synced[path], written_before)
            elif result > 0:
                self.written[path] += result
        elif path.startswith(("socket:", "UNIX")) and result > 0:
            self.answered_too_early += any(self.written[file] > self.synced[file] for file in self.written)


def cut_the_power(case: Case) -> Outcome:
    """F8. What was not known to be on the disk is cut off; each write that was acknowledged has to be there."""
    rng, acknowledged, lost, early = random.Random(case.seed), 0, 0, 0
    for number in range(case.either(1, 5)):
        home = case.folder / f"home{number}"
        lists, trace = _write_until_the_cut(case, home, case.either(400, 2000) + rng.randrange(200))
        for path, written in trace.written.items():
            # What was written before this server began is on the disk.
            size = Path(path).stat().st_size
            os.truncate(path, size - (written - trace.synced[path]))
        early += trace.answered_too_early
        server = EmbeddedBroker(home)
        child = server.launch()
        while not server.is_ready():
            with suppress(Exception):
                server.repair(child.wait(0.02))
                child = server.launch()
        with _client(server.socket) as store:
            for name, count in lists.items():
                acknowledged += count
                lost += max(0, count - int(store.llen(name)))
        child.kill()
        child.wait(HANG_SECONDS)
    return Outcome(acknowledged, lost, missed=early, note="missed: answers before the disk had all")


def _client(socket: str) -> redis.Redis:
    return redis.Redis(unix_socket_path=socket, decode_responses=True, retry=Retry(NoBackoff(), 0))


def _write_until_the_cut(case: Case, home: Path, writes: int) -> tuple[Counter[str], Trace]:
    needed(shutil.which("strace"), "strace")
    trace_file, script = case.folder / "trace", case.folder / "server"
    trace_file.unlink(missing_ok=True)
    script.write_text(TRACED.format(server=embedded_broker.locate_binary(), trace=trace_file))
    script.chmod(0o700)
    options = embedded_broker.SERVER_OPTIONS + (("--appendfsync", "everysec") if case.without else ())
    with (
        mock.patch.object(embedded_broker, "locate_binary", return_value=str(script)),
        mock.patch.object(embedded_broker, "SERVER_OPTIONS", options),
    ):
        server = EmbeddedBroker(home)
        child = server.launch()
    wait_for(server.is_ready, what="the broker under strace")
    lists: Counter[str] = Counter()
    enough = threading.Event()

    def write(name: str) -> None:
        with suppress(redis.ConnectionError), _client(server.socket) as store:
            while True:
                store.rpush(name, "x" * 20)
                lists[name] += 1
                if lists.total() >= writes:
                    enough.set()

    threads = [threading.Thread(target=write, args=(f"list{number}",)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    assert enough.wait(HANG_SECONDS), "too few writes"
    for pid in (*children(child.pid), child.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
    child.wait(HANG_SECONDS)
    for thread in threads:
        thread.join()
    return lists, Trace().read(trace_file.read_text().splitlines())


def fill_the_disk(case: Case) -> Outcome:
    """F9. Nothing can be written for a while, again and again; what is asked is answered, what is sent is refused."""
    if os.getuid():
        return Outcome(note="only root may mount a disk")
    refused, answered, wrong = 0, 0, list[str]()

    def fill_up() -> None:
        nonlocal refused, answered
        wing.wait_for_checks()
        wing.faults.append(time.monotonic())
        fill(disk / "ballast", spare=0)
        wait_for_word("is full: the broker answers reads")
        time.sleep(FULL_S)
        called = answer("call", "livectl.ping", "--force", cwd=case.folder, environ=wing.environ)
        shown = answer("live", cwd=case.folder, environ=wing.environ)
        refused, answered = refused + (called.returncode == 4), answered + (shown.returncode == 0)
        wrong.extend(each.stderr for each, code in ((called, 4), (shown, 0)) if each.returncode != code)
        (disk / "ballast").unlink()
        wait_for_word("there is room again")

    def wait_for_word(words: str) -> None:
        wait_for(lambda: wing.up.text.count(words) >= len(wing.faults), what=f"'{words}'")

    times = case.either(1, 4)
    with tiny_disk(case.folder / "disk", "size=24m") as disk:
        with live_wing(case, home=str(disk / "home")) as wing:
            wing.play([fill_up] * times)
            wing.drain()
        outcome = wing.outcome(hangs=None)
    assert (refused, answered) == (times, times), f"of {times}: {refused} refused, {answered} answered: {wrong}"
    return outcome


def damage_files(case: Case) -> Outcome:
    """F17. After a power cut a file is not as it was. Everything that was told or noted is there all the same."""

    def damage(number: int) -> None:
        wing.faults.append(time.monotonic())
        wing.end()
        folder = case.folder / "home" / "data" / "appendonlydir"
        DAMAGES[number](folder)
        wing.start()

    with live_wing(case) as wing:
        wing.play([partial(damage, number % len(DAMAGES)) for number in range(case.either(3, 10))])
        wing.drain()
    return wing.outcome()


def _to_newest(pattern: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = max(folder.glob(pattern), key=lambda file: file.stat().st_mtime)
        file.write_bytes(change(file.read_bytes()))

    return damage


DAMAGES: tuple[Callable[[Path], None], ...] = (
    _to_newest("*.incr.aof", lambda body: body + b"\0" * 4096),
    _to_newest("*.manifest", lambda body: b""),
    _to_newest("*.incr.aof", lambda body: body + b"*3\r\n$5\r\nRPUSH\r\n$4\r\nhalf"),
    _to_newest("*.manifest", lambda body: b"garbage\n"),
    _to_newest("*.incr.aof", lambda body: body + b"garbage" * 100),
)
NOT_MENDED = """
from livectl.ops.processes import broker_data
broker_data.BrokerData.look_over = lambda self: []
broker_data.BrokerData.mend = lambda self, *args: ""
"""
ENDS_ON_FULL = """
from livectl.ops.processes import embedded_broker
embedded_broker.EmbeddedBroker._heed_disk = lambda self: None
"""
ROWS = (
    Row(
        "F8",
        "power cut: what is not known to be on the disk is gone",
        cut_the_power,
        ("embedded",),
        Mechanism("appendfsync always"),
        short_setups=("embedded",),
    ),
    Row(
        "F9a",
        "the disk is full for 8 s, x4, while 200 of 500 go live",
        fill_the_disk,
        ("embedded own threads",),
        Mechanism("the broker is told to refuse writes", patch=ENDS_ON_FULL),
        limits=Limits(repeated=4, missed=2),
    ),
    Row(
        "F17a",
        "power cut and a damaged file, five kinds, x10, while 200 of 500 go live",
        damage_files,
        ("embedded own threads",),
        Mechanism("the good part of damaged data is kept", patch=NOT_MENDED),
        limits=Limits(repeated=10, missed=2),
    ),
)
