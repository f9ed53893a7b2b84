"""Runs a command that dies with its parent: `python -m … PARENT_PID -- COMMAND…`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PARENT_CHECK_SECONDS = 0.5  # between two looks at the parent, where the kernel does not signal its death
ORPHANED_EXIT_CODE = 128 + signal.SIGKILL
NOT_RUN_EXIT_CODE = 127  # as a shell exits for a command that it cannot start
FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def command_line(parent: int, command: list[str]) -> list[str]:
    """The argv that runs the command until this parent dies. The parent has to start it itself."""
    return [sys.executable, "-m", __name__, str(parent), "--", *command]


def main(argv: list[str]) -> int:
    parent, command = int(argv[0]), argv[2:]
    try:
        if sys.platform != "linux":
            return run_and_watch(parent, command)
        _exec(parent, command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_RUN_EXIT_CODE


def _exec(parent: int, command: list[str]) -> NoReturn:
    """Becomes the command, after asking the kernel for SIGKILL when the thread that started this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:  # the parent died before the kernel was asked
        sys.exit(ORPHANED_EXIT_CODE)
    os.execvp(command[0], command)  # noqa: S606


def run_and_watch(parent: int, command: list[str]) -> int:
    """Runs the command as a child and forwards signals; kills its whole group, itself too, once the parent is gone."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    early: list[int] = []  # signals that came before there was a child

    def forward(number: int, _: FrameType | None) -> None:
        early.append(number)

    for number in FORWARDED_SIGNALS:
        signal.signal(number, forward)
    with subprocess.Popen(command, close_fds=False) as child:
        for number in FORWARDED_SIGNALS:
            signal.signal(number, lambda number, _: child.send_signal(number))
        for early_one in early:
            child.send_signal(early_one)
        while child.poll() is None:
            if os.getppid() != parent:
                os.killpg(0, signal.SIGKILL)
            time.sleep(PARENT_CHECK_SECONDS)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
