"""A file that one process at a time holds, and for as long as it lives."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOCK_RETRY_SECONDS = 0.05  # seconds between two tries while a holder is on its way out


def acquire_lock(path: Path, timeout: float = 0) -> int | None:
    """The descriptor to keep open; None when another still holds the file after so many seconds.

    A child that inherits the descriptor holds the file too: it is free when the last of them has ended, however.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + timeout
    while not _try_lock(descriptor):
        if time.monotonic() >= deadline:
            os.close(descriptor)
            return None
        time.sleep(LOCK_RETRY_SECONDS)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def read_lock_owner(path: Path) -> int | None:
    """The pid of whoever took it last."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
