"""The supervisor with real children: their lines, their deaths, their silence, and how they end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from livectl.errors import LivectlError, ServerError
from livectl.ops.processes.supervised_process import ChildSpec, spawn
from livectl.ops.processes.supervisor import MemberRequest, Supervisor, SupervisorTimings
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

FAST = SupervisorTimings(
    failed_start_within=0.4,
    works_after=0.4,
    max_failed_starts=3,
    first_pause=0.05,
    max_pause=0.2,
    stable_after=1.0,
    unhealthy_after=0.6,
    unhealthy_start_after=0.6,
    first_check_interval=0.05,
    check_interval=0.05,
    hurried_grace_seconds=0.3,
    quit_seconds=1.0,
)
EVERY_END_FAILS = msgspec.structs.replace(
    FAST, failed_start_within=HANG_SECONDS, works_after=HANG_SECONDS, stable_after=HANG_SECONDS
)
WAIT = "import time; time.sleep(300)"
LONG_ENOUGH = 1.0  # for a child to say on a busy machine which signal it got
# Prints the signals that it gets; ends a while after a signal that its arguments name.
ECHO = """
import os, signal, sys, time
def print_signal(number, frame):
    print(signal.Signals(number).name, flush=True)
    if signal.Signals(number).name in sys.argv[2:]:
        time.sleep(float(sys.argv[1])); print("ended", flush=True); os._exit(0)
for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT): signal.signal(number, print_signal)
print("up", flush=True)
while True: time.sleep(300)
"""


def child(name: str, script: str, *arguments: str, **options: object) -> ChildSpec:
    return ChildSpec(name=name, start=lambda: spawn([sys.executable, "-c", script, *arguments], os.environ), **options)  # type: ignore[arg-type]


class Clock:
    """Stands still until a test lets time pass."""

    def __init__(self) -> None:
        self._now = 1000.0

    def __call__(self) -> float:
        return self._now

    def pass_(self, seconds: float) -> None:
        self._now += seconds


class SupervisorRun:
    """Runs a supervisor in the main thread while conditions on its lines send it signals."""

    def __init__(
        self,
        children: Sequence[ChildSpec],
        timings: SupervisorTimings = FAST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lines: list[tuple[str, str]] = []
        self._supervisor = Supervisor(children, lambda name, line: self.lines.append((name, line)), timings, clock)

    def lines_of(self, name: str) -> list[str]:
        return [line for child_name, line in self.lines if child_name == name]

    def run(self, *steps: tuple[Callable[[], object], signal.Signals | Callable[[], object]]) -> int:
        """Each step: a condition, and the signal that is sent, or what is done, once it holds."""

        def follow() -> None:
            try:
                for condition, then in steps:
                    wait_for(condition)
                    os.kill(os.getpid(), then) if isinstance(then, signal.Signals) else then()
            except AssertionError:
                os.kill(os.getpid(), signal.SIGQUIT)

        threading.Thread(target=follow, daemon=True).start()
        return self._supervisor.run()

    def has(self, name: str, line: str, times: int = 1) -> Callable[[], bool]:
        return lambda: sum(line in written for written in self.lines_of(name)) >= times


@pytest.fixture(autouse=True)
def _no_endless_run() -> Iterator[None]:
    guard = threading.Timer(HANG_SECONDS, os.kill, (os.getpid(), signal.SIGQUIT))
    guard.start()
    yield
    guard.cancel()


def test_every_line_arrives_whole(tmp_path: Path) -> None:
    script = """
import os, sys, threading
def write(descriptor, start):
    for n in range(2000): os.write(descriptor, b"%s %d\\n" % (start, n))
threads = [threading.Thread(target=write, args=pair) for pair in ((1, b"out"), (2, b"err"))]
[t.start() for t in threads]; [t.join() for t in threads]
os.write(1, b"x" * 300_000 + b"\\n")
os.write(1, b"not \\xff utf-8\\r\\n\\nno end")
import time; time.sleep(300)
"""
    supervised = SupervisorRun([child("a", script)])
    assert supervised.run((lambda: "" in supervised.lines_of("a"), signal.SIGTERM)) == 0
    lines = supervised.lines_of("a")
    assert [line for line in lines if line.startswith("out")] == [f"out {n}" for n in range(2000)]
    assert [line for line in lines if line.startswith("err")] == [f"err {n}" for n in range(2000)]
    assert "x" * 300_000 in lines
    assert "not \\xff utf-8" in lines
    assert lines[-1] == "no end"


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    script = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
for _ in range(30): os.write(1, b"x" * 100_000)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
time.sleep(300)
"""
    supervised = SupervisorRun([child("a", script)])
    assert supervised.run((lambda: sum(map(len, supervised.lines_of("a"))) > 2_000_000, signal.SIGTERM)) == 0
    assert sum(map(len, supervised.lines_of("a"))) == 3_000_000


def test_what_its_own_child_writes_after_its_end_is_shown_too() -> None:
    script = """
import os, signal, sys, time
if os.fork() == 0: time.sleep(0.7); os.write(1, b"late\\n"); os._exit(0)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True); time.sleep(300)
"""
    supervised = SupervisorRun([child("a", script)])
    assert supervised.run((supervised.has("a", "up"), signal.SIGTERM)) == 0
    assert supervised.lines_of("a") == ["up", "late"]


def test_one_that_dies_is_started_again_after_a_growing_pause_until_it_is_given_up() -> None:
    supervised = SupervisorRun(
        [child("calm", ECHO, "0", "SIGTERM"), child("a", "print('sorry'); raise SystemExit(3)")], EVERY_END_FAILS
    )
    with pytest.raises(LivectlError) as given_up:
        supervised.run()
    assert given_up.value.code == 1
    assert given_up.value.message == "a ended right after its start 3 times in a row (exit code 3): given up"
    assert "sorry" in given_up.value.hint
    assert [line for line in supervised.lines_of("up") if line.startswith("a ended")] == [
        "a ended (exit code 3) and is started again in 0.05 s",
        "a ended (exit code 3) and is started again in 0.1 s",
    ]
    assert supervised.lines_of("calm")[-2:] == ["SIGTERM", "ended"]


def test_one_that_is_asked_and_never_answers_could_not_start_however_long_it_takes_to_end() -> None:
    timings = msgspec.structs.replace(EVERY_END_FAILS, failed_start_within=0, unhealthy_start_after=HANG_SECONDS)
    broken = child("a", "raise SystemExit(3)", check_health=lambda pid: False)
    with pytest.raises(LivectlError, match="ended right after its start 3 times in a row"):
        SupervisorRun([broken], timings).run()


def test_after_a_good_run_the_pause_is_short_again_and_nothing_is_given_up() -> None:
    timings = SupervisorTimings(
        failed_start_within=0.01,
        works_after=0.01,
        max_failed_starts=2,
        first_pause=0.05,
        max_pause=0.1,
        stable_after=0.05,
        unhealthy_after=60,
    )
    supervised = SupervisorRun([child("a", "print('hello', flush=True); import time; time.sleep(0.1)")], timings)
    assert supervised.run((supervised.has("a", "hello", 5), signal.SIGTERM)) == 0
    assert set(supervised.lines_of("up")[:4]) == {"a ended (exit code 0) and is started again in 0.05 s"}


def test_one_that_worked_is_not_given_up_however_soon_it_dies(tmp_path: Path) -> None:
    mark = tmp_path / "checked"
    fragile = f"""
import os, time
print('hello', flush=True)
while not os.path.exists({str(mark)!r}): time.sleep(0.01)
time.sleep(0.2)  # until it is known that it works
os.remove({str(mark)!r})
raise SystemExit(1)
"""

    def check(pid: int) -> bool:
        mark.touch()
        return True

    supervised = SupervisorRun([child("a", fragile, check_health=check)])
    assert supervised.run((supervised.has("a", "hello", FAST.max_failed_starts + 2), signal.SIGTERM)) == 0


def test_one_that_gives_no_answer_is_started_again() -> None:
    silent = child("a", "print('hello', flush=True);" + WAIT, check_health=lambda pid: False)
    clock = Clock()
    supervised = SupervisorRun([silent], clock=clock)
    steps = [
        (supervised.has("a", "hello"), partial(clock.pass_, 1)),
        (supervised.has("up", "is started again in"), partial(clock.pass_, 1)),
    ]
    assert supervised.run(*steps, (supervised.has("a", "hello", 2), signal.SIGTERM)) == 0
    assert "a has not answered for 0.6 s and is started again" in supervised.lines_of("up")


def test_one_that_is_busy_with_its_start_is_slow_and_not_silent() -> None:
    clock = Clock()
    busy = child("a", "print('hello', flush=True)\nwhile True: pass", check_health=lambda pid: False)
    supervised = SupervisorRun([busy], msgspec.structs.replace(FAST, longest_start=2.5), clock)
    (member,) = supervised._supervisor._processes

    def is_seen_at_work() -> bool:
        return supervised.has("a", "hello")() and member.last_busy_at == clock()

    passes = [(is_seen_at_work, partial(clock.pass_, 0.5))] * 5
    is_left_alone = (is_seen_at_work, lambda: supervised.lines.append(("up", "2.5 s are over")))
    too_long = (supervised.has("up", "2.5 s are over"), partial(clock.pass_, 0.7))
    assert (
        supervised.run(*passes, is_left_alone, too_long, (supervised.has("up", "has not answered"), signal.SIGTERM))
        == 0
    )
    said = supervised.lines_of("up")
    assert said.index("2.5 s are over") < said.index("a has not answered for 0.6 s and is started again")


def test_one_that_somebody_stopped_ends_in_order_when_it_is_started_again() -> None:
    """SIGSTOP: it could hear SIGTERM only after SIGCONT."""
    stopped: list[int] = []

    def check_health(pid: int) -> bool:
        if not stopped and supervised.lines_of("a"):
            stopped.append(pid)
            os.kill(pid, signal.SIGSTOP)
        return pid not in stopped

    supervised = SupervisorRun([child("a", ECHO, "0", "SIGTERM", check_health=check_health)])
    assert supervised.run((supervised.has("a", "up", 2), signal.SIGTERM)) == 0
    assert supervised.lines_of("a")[:4] == ["up", "SIGTERM", "ended", "up"]
    assert not supervised.has("up", "was killed")()


@pytest.mark.parametrize("answer", [True, None], ids=["it answers", "nobody can tell"])
def test_one_that_has_nothing_against_it_runs_on(answer: bool | None) -> None:
    checked_pids: list[int] = []
    clock = Clock()

    def check_health(pid: int) -> bool | None:
        checked_pids.append(pid)
        return answer

    good = child("a", "print('hello', flush=True);" + WAIT, check_health=check_health)
    supervised = SupervisorRun([good, child("b", WAIT)], clock=clock)

    def checked_again(step: int) -> bool:
        """By a check that began after time last passed."""
        return len(checked_pids) >= 2 * step + 2 and bool(supervised.lines_of("a"))

    passes = [(partial(checked_again, step), partial(clock.pass_, FAST.unhealthy_after / 2)) for step in range(6)]
    is_ready = supervised.has("up", "ready") if answer else partial(checked_again, len(passes))
    assert supervised.run(*passes, (is_ready, signal.SIGTERM)) == 0
    assert supervised.lines_of("a") == ["hello"]
    assert len(set(checked_pids)) == 1
    # Only what has answered is called ready.
    assert ("ready: a at work; b started" in supervised.lines_of("up")) == bool(answer)


def test_a_health_check_that_hangs_holds_up_no_line() -> None:
    end = threading.Event()

    def hang(pid: int) -> bool:
        return end.wait(600)

    ticking = "import time\nwhile True: print('tick', flush=True); time.sleep(0.05)"
    supervised = SupervisorRun([child("a", ticking, check_health=hang)], SupervisorTimings())
    assert supervised.run((supervised.has("a", "tick", 20), signal.SIGTERM)) == 0
    end.set()


def test_they_end_one_after_the_other_the_last_started_first() -> None:
    names = ("first", "second", "third")
    supervised = SupervisorRun([child(name, ECHO, "0.3", "SIGTERM") for name in names])
    assert supervised.run((lambda: all(supervised.lines_of(name) for name in names), signal.SIGINT)) == 0
    written = [(name, line) for name, line in supervised.lines if name != "up" and line != "up"]
    assert written == [(name, line) for name in reversed(names) for line in ("SIGTERM", "ended")]


@pytest.mark.parametrize(
    ("requeues", "lines", "message"),
    [
        (True, ["SIGTERM", "SIGQUIT", "ended"], "a has not ended yet: it is told to put its jobs back"),
        (False, ["SIGTERM"], "a did not end and was killed; its jobs run again"),
    ],
)
def test_one_that_takes_too_long_is_pressed_as_loses_it_least(requeues: bool, lines: list[str], message: str) -> None:
    slow = child(
        "a", ECHO, "0", "SIGQUIT", grace_seconds=LONG_ENOUGH, requeues_on_quit=requeues, if_killed="its jobs run again"
    )
    supervised = SupervisorRun([slow])
    assert supervised.run((supervised.has("a", "up"), signal.SIGTERM)) == 0
    assert supervised.lines_of("a")[1:] == lines
    assert message in supervised.lines_of("up")


def test_one_that_does_not_even_quit_is_killed() -> None:
    supervised = SupervisorRun([child("a", ECHO, "0", grace_seconds=LONG_ENOUGH, requeues_on_quit=True)])
    assert supervised.run((supervised.has("a", "up"), signal.SIGTERM)) == 0
    assert supervised.lines_of("a") == ["up", "SIGTERM", "SIGQUIT"]
    assert supervised.lines_of("up")[-1] == "a did not end and was killed"


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGQUIT]]
)
def test_a_second_time_stops_at_once_and_still_in_order(signals: list[signal.Signals]) -> None:
    names = ("broker", "worker")
    broker = child("broker", ECHO, "0", "SIGTERM")
    supervised = SupervisorRun(
        [broker, child("worker", ECHO, "0.3", "SIGQUIT", requeues_on_quit=True)],
        SupervisorTimings(hurried_grace_seconds=1.0),
    )
    steps = [(lambda: all(supervised.lines_of(name) for name in names), signals[0])]
    steps += [(supervised.has("worker", "SIGTERM"), number) for number in signals[1:]]
    assert supervised.run(*steps) == 130
    written = [(name, line) for name, line in supervised.lines if name != "up" and line != "up"]
    assert written == [
        ("worker", "SIGTERM"),
        ("worker", "SIGQUIT"),
        ("worker", "ended"),
        ("broker", "SIGTERM"),
        ("broker", "ended"),
    ]


def test_a_third_time_kills_all() -> None:
    supervised = SupervisorRun(
        [child(name, ECHO, "0", requeues_on_quit=True) for name in ("a", "b")],
        SupervisorTimings(quit_seconds=600),
    )
    code = supervised.run(
        (lambda: supervised.lines_of("a") and supervised.lines_of("b"), signal.SIGINT),
        (supervised.has("b", "SIGTERM"), signal.SIGINT),
        (supervised.has("b", "SIGQUIT"), signal.SIGINT),
    )
    assert code == 130


def test_the_next_starts_when_the_one_before_is_ready(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    first = child("first", f"import time; time.sleep(0.5); open({str(mark)!r}, 'w'); " + WAIT, ready=mark.exists)
    second = child("second", f"import os; print(os.path.exists({str(mark)!r}), flush=True); " + WAIT)
    supervised = SupervisorRun([first, second])
    assert supervised.run((supervised.has("second", ""), signal.SIGTERM)) == 0
    assert supervised.lines_of("second") == ["True"]


def test_a_repair_is_reported_and_the_child_starts_again() -> None:
    repairs = iter(["mended once", "mended twice", ""])
    supervised = SupervisorRun(
        [child("a", "print('hello', flush=True); import time; time.sleep(0.5)", repair=lambda code: next(repairs, ""))]
    )
    assert supervised.run((supervised.has("a", "hello", 3), signal.SIGTERM)) == 0
    assert {"mended once", "mended twice"} <= set(supervised.lines_of("up"))


def test_what_cannot_be_repaired_ends_all_in_order_with_its_own_error() -> None:
    def repair(code: int) -> str:
        raise ServerError(f"no room ({code})")

    def is_calm() -> bool:
        return bool(supervised.lines_of("calm"))

    calm = child("calm", ECHO, "0", "SIGTERM", ready=is_calm)
    supervised = SupervisorRun([calm, child("a", "raise SystemExit(4)", repair=repair)], EVERY_END_FAILS)
    with pytest.raises(ServerError, match=r"no room \(4\)"):
        supervised.run()
    assert supervised.lines_of("calm")[-1] == "ended"


def test_one_that_worked_once_is_parked_and_the_others_go_on(tmp_path: Path) -> None:
    """It says so once, with its last lines, and is tried again at growing pauses until it works."""
    mark, end = tmp_path / "mark", tmp_path / "end"
    works_once = f"""
import os, time
if os.path.exists({str(mark)!r}): print("sorry", flush=True); raise SystemExit(3)
print("hello", flush=True)
while not os.path.exists({str(end)!r}): time.sleep(0.01)
open({str(mark)!r}, "w"); raise SystemExit(3)
"""
    patient = msgspec.structs.replace(EVERY_END_FAILS, unhealthy_start_after=HANG_SECONDS)
    once = child("a", works_once, check_health=lambda pid: not mark.exists())
    supervised = SupervisorRun([child("calm", ECHO, "0", "SIGTERM"), once], patient)
    _, member = supervised._supervisor._processes
    many = FAST.max_failed_starts + 3
    well, parks = (lambda: member.was_healthy, end.touch), (supervised.has("a", "sorry", many), mark.unlink)
    assert supervised.run(well, parks, (supervised.has("a", "hello", 2), signal.SIGTERM)) == 0
    parked = [line for line in supervised.lines_of("up") if "tried again at growing pauses" in line]
    assert len(parked) == 1
    assert "sorry" in parked[0]
    assert supervised.lines_of("calm") == ["up", "SIGTERM", "ended"]


def test_what_cannot_be_repaired_later_on_is_tried_again_until_it_can(tmp_path: Path) -> None:
    room = tmp_path / "room"

    def repair(code: int) -> str:
        if not room.exists():
            raise ServerError("no room")
        return ""

    def start() -> subprocess.Popen[bytes]:
        if supervised.lines_of("a") and not room.exists():
            raise OSError("no space left on device")
        return spawn([sys.executable, "-c", "print('hello', flush=True); import time; time.sleep(0.6)"], os.environ)

    supervised = SupervisorRun([ChildSpec(name="a", start=start, repair=repair)])
    is_full = supervised.has("up", "cannot be started: no space left on device", 2)
    assert supervised.run((is_full, room.touch), (supervised.has("a", "hello", 2), signal.SIGTERM)) == 0
    assert any("cannot be started: no room" in line for line in supervised.lines_of("up"))


def test_one_that_is_killed_by_somebody_else_waits_no_longer_each_time() -> None:
    """Also when it is killed soon after its start: it is asked soon, and not when the last one would have been."""
    seldom = msgspec.structs.replace(
        FAST,
        works_after=HANG_SECONDS,
        stable_after=HANG_SECONDS,
        check_interval=HANG_SECONDS,
        unhealthy_after=2 * HANG_SECONDS,  # one that is asked so seldom answers as seldom
        unhealthy_start_after=HANG_SECONDS,
    )
    pids: list[int] = []

    def check(pid: int) -> bool:
        pids.append(pid)
        return True

    supervised = SupervisorRun([child("a", "print('hello', flush=True);" + WAIT, check_health=check)], seldom)
    (member,) = supervised._supervisor._processes

    def works(time_: int) -> Callable[[], bool]:
        return lambda: supervised.has("a", "hello", time_)() and len(set(pids)) == time_ and member.was_healthy

    steps = [(works(time_), lambda: os.kill(pids[-1], signal.SIGKILL)) for time_ in (1, 2, 3)]
    assert supervised.run(*steps, (works(4), signal.SIGTERM)) == 0
    pauses = [line.rpartition("again in ")[2] for line in supervised.lines_of("up") if "again in" in line]
    assert pauses == ["0.05 s"] * 3


def test_what_cannot_start_ends_all() -> None:
    def start() -> subprocess.Popen[bytes]:
        raise ServerError("no binary")

    with pytest.raises(ServerError, match="no binary"):
        SupervisorRun([ChildSpec(name="a", start=start)]).run()


def test_ctrl_c_in_the_terminal_reaches_only_the_supervisor() -> None:
    supervised = SupervisorRun([child("a", "import os; print(os.getpgrp() == os.getpid(), flush=True);" + WAIT)])
    assert supervised.run((supervised.has("a", "True"), signal.SIGINT)) == 0
    assert supervised.lines_of("a") == ["True"]


def test_signals_go_where_they_went_before() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    supervised = SupervisorRun([child("a", ECHO, "0", "SIGTERM")])
    supervised.run((supervised.has("a", "up"), signal.SIGTERM))
    assert {number: signal.getsignal(number) for number in before} == before


def test_one_child_is_stopped_started_anew_added_and_removed_while_the_others_go_on(tmp_path: Path) -> None:
    lines: list[str] = []
    asked: list[MemberRequest] = []
    starts = tmp_path / "starts"

    def counted(name: str, text: str) -> ChildSpec:
        script = f"open({str(starts)!r}, 'a').write({text!r} + ' '); print('up', flush=True); {WAIT}"
        return child(name, script)

    def take() -> list[MemberRequest]:
        taken, asked[:] = list(asked), []
        return taken

    def started() -> list[str]:
        return sorted(starts.read_text().split()) if starts.exists() else []

    supervisor = Supervisor(
        [counted("one", "one"), counted("two", "two")], lambda _, line: lines.append(line), FAST, requests=take
    )

    def ask_one_after_the_other() -> None:
        wait_for(lambda: started() == ["one", "two"])
        asked.append(MemberRequest(action="restart", name="two", spec=counted("two", "two-anew")))
        wait_for(lambda: started() == ["one", "two", "two-anew"])
        asked.append(MemberRequest(action="stop", name="two"))
        wait_for(lambda: "two has ended" in lines)
        asked.append(MemberRequest(action="restart", name="two", spec=counted("two", "two-later"), wakes=False))
        asked.append(MemberRequest(action="restart", name="two"))
        asked.append(MemberRequest(action="add", name="three", spec=counted("three", "three")))
        wait_for(lambda: started() == ["one", "three", "two", "two-anew", "two-later"])
        asked.append(MemberRequest(action="remove", name="three"))
        wait_for(lambda: "three has ended" in lines)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask_one_after_the_other)
    thread.start()
    assert supervisor.run() == 0
    thread.join()
    assert started() == ["one", "three", "two", "two-anew", "two-later"]
