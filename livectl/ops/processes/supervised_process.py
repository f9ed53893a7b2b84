"""Starts, checks and ends one child of `livectl up`, so that it loses no job."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from livectl.ops.processes import die_with_parent
from livectl.ops.processes.output import OutputStream
from livectl.ops.processes.process import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


MAX_LAST_LINES = 5  # kept to be shown when the supervisor gives the child up
LEAST_EFFORT = 0.05  # of a processor: who uses less is idle


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep running, and how."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    ready: Callable[[], bool] | None = None  # whether the children that need this one may start now
    check_health: Callable[[int], bool | None] | None = None  # whether it works, by its pid; None where nobody can tell
    repair: Callable[[int], str] | None = None  # after its end: returns what it repaired, or raises
    grace_seconds: float = 15.0  # that its running jobs get after SIGTERM
    requeues_on_quit: bool = False  # puts its jobs back on SIGQUIT; a child that would lose them then gets SIGKILL
    if_killed: str = ""  # what becomes of its jobs after SIGKILL


def spawn(command: list[str], environ: Mapping[str, str], pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Starts a command that dies with this process, in its own session: Ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(
        die_with_parent.command_line(os.getpid(), command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environ, "PYTHONUNBUFFERED": "1"},  # else a line is shown only once 8 kB have come together
        start_new_session=True,
        pass_fds=pass_fds,
    )


class SupervisedProcess:
    """One child, and everything that its supervisor remembers of it."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.popen: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0  # 0 before its first start
        self.last_not_unhealthy_at = 0.0  # the last check that it passed, or that could not tell
        self.last_healthy_at = 0.0  # the last check that it passed
        self.last_busy_at = 0.0  # the last look at which it had been busy since the one before
        self._effort: tuple[int, float, float] = 0, 0.0, 0.0  # of that look: its pid, CPU seconds, when it was
        self.restart_at: float | None = None
        self.restart_pause = 0.0  # seconds
        self.failed_starts = 0  # in a row
        self.has_worked = False  # ever: passed a health check, or ran for a while
        self.is_wanted = True  # False: it was told to end, and is not started again
        self.is_removed = False  # it is forgotten once it has ended
        self.is_replaced = False  # it was told to end in order to be started anew
        self.last_lines = deque[str](maxlen=MAX_LAST_LINES)
        self._escalation: list[tuple[float, signal.Signals]] | None = None  # signals to come, and when

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def was_healthy(self) -> bool:
        """Whether it has passed a health check since its start."""
        return self.last_healthy_at > self.started_at > 0

    @property
    def is_stopping(self) -> bool:
        return self._escalation is not None

    def start(self, now: float) -> list[OutputStream]:
        self.started_at, self.restart_at = now, None
        self.popen = popen = self.spec.start()
        return [OutputStream(self.name, pipe) for pipe in (popen.stdout, popen.stderr) if pipe]

    def poll_exit_code(self) -> int | None:
        """Its exit code, once: at the first call after its end."""
        if self.popen is None or (code := self.popen.poll()) is None:
            return None
        if code < 0:  # killed by a signal, so that it could not end its own children
            _signal_group(self.popen.pid, signal.SIGKILL)
        self.popen = None
        self._escalation = None
        return code

    def note_effort(self, pid: int, used: float, now: float) -> None:
        """Notes the seconds of CPU that it has used by now: one that starts on a busy machine is slow, not silent."""
        last_pid, last_used, last_look = self._effort
        self._effort = pid, used, now
        if pid == last_pid and used > last_used and used - last_used >= LEAST_EFFORT * (now - last_look):
            self.last_busy_at = now

    def stop(self, now: float, quit_seconds: float, grace: float | None = None) -> None:
        """Sends SIGTERM, and plans SIGQUIT and SIGKILL for when the grace is over. A second call plans them again."""
        if self.popen is None:
            return
        if not self.is_stopping:
            self.popen.terminate()
            self.popen.send_signal(signal.SIGCONT)  # one that somebody has stopped (SIGSTOP) could not end
        grace_ends_at = now + (self.spec.grace_seconds if grace is None else grace)
        if self.spec.requeues_on_quit:
            self._escalation = [(grace_ends_at, signal.SIGQUIT), (grace_ends_at + quit_seconds, signal.SIGKILL)]
        else:
            self._escalation = [(grace_ends_at, signal.SIGKILL)]

    def escalate(self, now: float) -> signal.Signals | None:
        """Sends the next signal if its time has come, and returns it."""
        if self.popen is None or not self._escalation or now < self._escalation[0][0]:
            return None
        _, number = self._escalation.pop(0)
        if number is signal.SIGKILL:
            self.kill()
        else:
            self.popen.send_signal(number)
        return number

    def kill(self) -> None:
        if self.popen:
            _signal_group(self.popen.pid, signal.SIGKILL)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter when only dead processes are left
        os.killpg(leader, number)


class HealthMonitor:
    """Checks the health of each child in a thread of its own: a check that hangs delays nothing else."""

    def __init__(self, first_interval: float, interval: float, clock: Callable[[], float]) -> None:
        self._first_interval = first_interval  # seconds between checks until the child passes one
        self._interval = interval
        self._clock = clock
        self._stopped = threading.Event()

    def watch(self, process: SupervisedProcess, check_health: Callable[[int], bool | None]) -> None:
        threading.Thread(
            target=self._check_repeatedly, args=(process, check_health), name=f"health of {process.name}", daemon=True
        ).start()

    def stop(self) -> None:
        self._stopped.set()

    def _check_repeatedly(self, process: SupervisedProcess, check_health: Callable[[int], bool | None]) -> None:
        pause, waited = min(self._first_interval, self._interval), 0.0
        while not self._stopped.wait(pause):
            waited += pause
            if process.was_healthy and waited < self._interval:
                continue  # one that is started anew meanwhile is asked soon
            asked_at, waited = self._clock(), 0.0
            popen = process.popen
            healthy = check_health(popen.pid) if popen else False
            if healthy:
                process.last_healthy_at = asked_at
                process.has_worked = True
            if healthy is not False:  # None, "nobody can tell", does not count against the child
                process.last_not_unhealthy_at = asked_at
            elif popen:
                process.note_effort(popen.pid, cpu_seconds(popen.pid), asked_at)
