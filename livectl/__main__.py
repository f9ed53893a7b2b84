"""Runs livectl as a process: takes the real arguments, ends with the exit code."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

from livectl.cli import main

NOT_ON_WINDOWS = "livectl: runs on Linux and macOS; on Windows start it in WSL or in Docker."


def run(platform: str = sys.platform) -> None:
    """Ends the process with the exit code of the command."""
    if platform == "win32":
        sys.exit(NOT_ON_WINDOWS)  # on stderr, with exit code 1: Celery's workers and our files need a POSIX system
    code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        drop_unread(stream)
    sys.exit(code)


READER_IS_GONE = (errno.EPIPE, errno.EIO)  # the program behind the pipe has ended, the terminal was closed


def drop_unread(stream: TextIO | None) -> None:
    """Drops what nobody reads any more: Python would end with 120, whatever the command did, as it cannot write it."""
    if stream is None:  # started without it
        return
    with suppress(ValueError):  # closed
        try:
            stream.flush()
        except OSError as error:
            if error.errno in READER_IS_GONE:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    run()
