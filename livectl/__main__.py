"""Runs livectl as a process: takes the real arguments, ends with the exit code."""

from __future__ import annotations

import sys

from livectl.cli import main

NOT_ON_WINDOWS = "livectl: runs on Linux and macOS; on Windows start it in WSL or in Docker."


def run(platform: str = sys.platform) -> None:
    """Ends the process with the exit code of the command."""
    if platform == "win32":
        sys.exit(NOT_ON_WINDOWS)  # on stderr, with exit code 1: Celery's workers and our files need a POSIX system
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
