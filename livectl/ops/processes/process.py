"""Identifies a process by its pid and its start, so that livectl never signals another with the same pid."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import signal


EXIT_CHECK_SECONDS = 0.02  # between two looks at a process that is about to end


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A pid and when its process started. Pids are used again; the two together are not."""

    pid: int
    started: str


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has this pid now; None when there is none, or only its exit code is left."""
    started = _start_time_from_proc(pid) if sys.platform == "linux" else _start_time_from_ps(pid)
    return ProcessIdentity(pid, started) if started else None


def is_alive(process: ProcessIdentity) -> bool:
    return identify(process.pid) == process


def send_signal(process: ProcessIdentity, number: signal.Signals) -> bool:
    """Sends the signal if the process is still the same one; False when it is gone."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_for_exit(process: ProcessIdentity, seconds: float) -> bool:
    """True once the process has ended; False when it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(EXIT_CHECK_SECONDS)
    return True


def _start_time_from_proc(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    state, ticks = fields[0], fields[19]
    return "" if state in "ZX" else f"{boot}+{ticks}"


def _start_time_from_ps(pid: int) -> str:
    completed = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = completed.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()
