"""A child: a process to keep running, and how it is ended so that it loses nothing."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


LAST_LINES = 5  # kept to be shown when it is given up


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep running."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    ready: Callable[[], bool] | None = None  # whether what needs it may start now
    check_health: Callable[[int], bool | None] | None = None  # whether it works, by its pid; None where nobody can tell
    repair: Callable[[int], str] | None = None  # after its end: what was mended, or raises what cannot be
    grace_seconds: float = 15.0  # seconds that its running jobs get after SIGTERM
    requeues_on_quit: bool = (
        False  # SIGQUIT then makes it put its jobs back; where that would lose them, only SIGKILL is left
    )
    if_killed: str = ""  # what becomes of its jobs then


def spawn(command: list[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The command on a tether to this process, in a session of its own: Ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(
        die_with_parent.command_line(os.getpid(), command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **environ,
            "PYTHONUNBUFFERED": "1",
        },  # a line is shown when it is written, not when 8 kB have come together
        start_new_session=True,
    )


class SupervisedProcess:
    """A child under supervision: its process, since when, and its luck so far."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.popen: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0  # 0 before its first start
        self.last_not_unhealthy_at = 0.0  # when its pulse was last good, or nobody could tell
        self.last_healthy_at = 0.0  # when its pulse was last good
        self.restart_at: float | None = None  # when to start it again
        self.restart_pause = 0.0
        self.failed_starts = 0
        self.last_lines = deque[str](maxlen=LAST_LINES)
        self._escalation: list[tuple[float, signal.Signals]] | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def was_healthy(self) -> bool:
        """Whether its pulse was good since it began."""
        return self.last_healthy_at > self.started_at

    @property
    def is_stopping(self) -> bool:
        return self._escalation is not None

    def start(self, now: float) -> list[OutputStream]:
        self.started_at, self.restart_at = now, None
        self.popen = popen = self.spec.start()
        return [OutputStream(self.name, pipe) for pipe in (popen.stdout, popen.stderr) if pipe]

    def poll_exit_code(self) -> int | None:
        """Its exit code, the first time that is asked after its end."""
        if self.popen is None or (code := self.popen.poll()) is None:
            return None
        if code < 0:  # it had no time to end its own children
            _signal_group(self.popen.pid, signal.SIGKILL)
        self.popen = None
        self._escalation = None
        return code

    def stop(self, now: float, quit_seconds: float, grace: float | None = None) -> None:
        """In order: it may end what it does, and is pressed harder as its grace runs out."""
        if self.popen is None:
            return
        if not self.is_stopping:
            self.popen.terminate()
        quit_step_at = now + (self.spec.grace_seconds if grace is None else grace)
        kill_step = (quit_step_at + quit_seconds, signal.SIGKILL)
        self._escalation = (
            [(quit_step_at, signal.SIGQUIT), kill_step]
            if self.spec.requeues_on_quit
            else [(quit_step_at, signal.SIGKILL)]
        )

    def kill(self) -> None:
        if self.popen:
            _signal_group(self.popen.pid, signal.SIGKILL)

    def escalate(self, now: float) -> signal.Signals | None:
        """The signal that it was sent just now, because its time was over."""
        if self.popen is None or not self._escalation or now < self._escalation[0][0]:
            return None
        _, number = self._escalation.pop(0)
        if number is signal.SIGKILL:
            self.kill()
        else:
            self.popen.send_signal(number)
        return number


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS answers the latter when only the dead are left
        os.killpg(leader, number)


class HealthMonitor:
    """One thread for each ward that has a pulse: what takes its time to answer holds up nothing else."""

    def __init__(self, first_interval: float, interval: float, clock: Callable[[], float]) -> None:
        self._first_interval = first_interval  # seconds, until a pulse was good once
        self._interval = interval
        self._clock = clock
        self._stopped = threading.Event()

    def watch(self, process: SupervisedProcess, check_health: Callable[[int], bool | None]) -> None:
        threading.Thread(
            target=self._check_repeatedly, args=(process, check_health), name=f"pulse of {process.name}", daemon=True
        ).start()

    def stop(self) -> None:
        self._stopped.set()

    def _check_repeatedly(self, process: SupervisedProcess, check_health: Callable[[int], bool | None]) -> None:
        while not self._stopped.wait(
            self._interval if process.last_not_unhealthy_at > process.started_at else self._first_interval
        ):
            asked_at = self._clock()
            popen = process.popen
            healthy = check_health(popen.pid) if popen else False
            if healthy:
                process.last_healthy_at = asked_at
            if healthy is not False:  # nobody can tell: that is nothing against it
                process.last_not_unhealthy_at = asked_at
