"""Runs a long command for a worker that does not wait for it: ends it in time, and logs how it ended.

command_target.py starts it as `python -m livectl.live.alerts.command_runner NAME SECONDS PROGRAM [ARGUMENT]...`
"""

from __future__ import annotations

import os
import sys

from livectl.live.alerts.command_target import run_command


def main(argv: list[str]) -> int:
    """Returns at once in the parent. The command's output goes where ours goes: to the log of the worker."""
    if os.fork():
        return 0
    name, seconds, command = argv[0], float(argv[1]), argv[2:]
    try:
        exit_code = run_command(command, seconds, sys.stderr.fileno(), dict(os.environ))
    except OSError as error:
        ending = f"cannot be run: {error.strerror}"
    else:
        ending = "was ended: its time was over" if exit_code is None else f"ended with {exit_code}"
    print(f"{name}: {command[0]} {ending}", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
