"""A child: a process to keep running, and how it is ended so that it loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from livectl.ops.processes import tether
from livectl.ops.processes.output import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LAST_LINES = 5  # kept to be shown when it is given up


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep running."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    ready: Callable[[], bool] | None = None  # whether what needs it may start now
    pulse: Callable[[int], bool | None] | None = None  # whether it works, by its pid; None where nobody can tell
    mend: Callable[[int], str] | None = None  # after its end: what was mended, or raises what cannot be
    grace: float = 15.0  # seconds that its running jobs get after SIGTERM
    quits: bool = False  # SIGQUIT then makes it put its jobs back; where that would lose them, only SIGKILL is left
    if_killed: str = ""  # what becomes of its jobs then


def spawn(command: list[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The command on a tether to this process, in a session of its own: Ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(
        tether.tethered(os.getpid(), command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **environ,
            "PYTHONUNBUFFERED": "1",
        },  # a line is shown when it is written, not when 8 kB have come together
        start_new_session=True,
    )


class Ward:
    """A child under supervision: its process, since when, and its luck so far."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.begun = 0.0  # 0 before its first start
        self.heard = 0.0  # when its pulse was last good, or nobody could tell
        self.answered = 0.0  # when its pulse was last good
        self.start_at: float | None = None  # when to start it again
        self.pause = 0.0
        self.deaths_at_once = 0
        self.last = deque[str](maxlen=LAST_LINES)
        self._escalation: list[tuple[float, signal.Signals]] | None = None

    @property
    def name(self) -> str:
        return self.child.name

    @property
    def worked(self) -> bool:
        """Whether its pulse was good since it began."""
        return self.answered > self.begun

    @property
    def stopping(self) -> bool:
        return self._escalation is not None

    def begin(self, now: float) -> list[Stream]:
        self.begun, self.start_at = now, None
        self.process = process = self.child.start()
        return [Stream(self.name, pipe) for pipe in (process.stdout, process.stderr) if pipe]

    def ended(self) -> int | None:
        """Its exit code, the first time that is asked after its end."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        if code < 0:  # it had no time to end its own children
            _signal_group(self.process.pid, signal.SIGKILL)
        self.process = None
        self._escalation = None
        return code

    def stop(self, now: float, quit_seconds: float, grace: float | None = None) -> None:
        """In order: it may end what it does, and is pressed harder as its grace runs out."""
        if self.process is None:
            return
        if not self.stopping:
            self.process.terminate()
        pressed = now + (self.child.grace if grace is None else grace)
        killed = (pressed + quit_seconds, signal.SIGKILL)
        self._escalation = [(pressed, signal.SIGQUIT), killed] if self.child.quits else [(pressed, signal.SIGKILL)]

    def kill(self) -> None:
        if self.process:
            _signal_group(self.process.pid, signal.SIGKILL)

    def press(self, now: float) -> signal.Signals | None:
        """The signal that it was sent just now, because its time was over."""
        if self.process is None or not self._escalation or now < self._escalation[0][0]:
            return None
        _, number = self._escalation.pop(0)
        if number is signal.SIGKILL:
            self.kill()
        else:
            self.process.send_signal(number)
        return number


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS answers the latter when only the dead are left
        os.killpg(leader, number)
