"""Makes and locks the state directory, where livectl keeps everything that it has on this machine."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from livectl.errors import ServerError

if TYPE_CHECKING:
    from pathlib import Path


PRIVATE_MODE = 0o700
PRIVATE_FILE_MODE = 0o600
MAX_LOG_BYTES = 10_000_000  # a longer log is set aside: by `up` at once, by others at their next start
KEPT_LOGS = 3  # that were set aside, for each name: .log.1 is the latest
STATE_FOLDERS = ("run", "log", "data")
LOCK_RETRY_SECONDS = 0.05  # between two tries while the holder of a lock is ending


def make_state_dir(home: Path) -> None:
    """Makes the directory and its folders, and takes the rights of others away where they exist already."""
    try:
        home.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
        home.chmod(PRIVATE_MODE)
        for name in STATE_FOLDERS:
            (home / name).mkdir(mode=PRIVATE_MODE, exist_ok=True)
            (home / name).chmod(PRIVATE_MODE)
            _close_files(home / name)
        for path in home.glob("*.json"):
            path.chmod(PRIVATE_FILE_MODE)
    except OSError as error:
        raise state_dir_error(home, error) from error


def _close_files(folder: Path) -> None:
    """Takes the rights of others away from the files of a folder. A link leads elsewhere, and stays as it is."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a process that ends takes its files along
            if stat.S_ISREG(path.lstat().st_mode):
                path.chmod(PRIVATE_FILE_MODE)


def state_dir_error(home: Path, error: OSError) -> ServerError:
    return ServerError(
        f"the state directory {home} cannot be used: {error.strerror}",
        "Make room or give the rights there, or name another folder with LIVECTL_HOME.",
    )


def log_folder(home: Path) -> Path:
    return home / "log"


def log_path(home: Path, name: str) -> Path:
    return log_folder(home) / f"{name}.log"


def up_lock_path(home: Path) -> Path:
    """The file that `livectl up` of this home holds while it runs."""
    return home / "run" / "up.lock"


def open_log(home: Path, name: str) -> IO[bytes]:
    """Opens the log of a process to append to it; sets a long one aside first."""
    path = log_path(home, name)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        _set_aside(path)
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, PRIVATE_FILE_MODE))


def _set_aside(path: Path) -> None:
    """Renames a log to `.log.1`, that to `.log.2` and so on; the last one is dropped."""
    for number in range(KEPT_LOGS, 0, -1):
        older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))


def acquire_lock(path: Path, timeout: float = 0) -> int | None:
    """Locks the file. Returns the descriptor to keep open; None when another process holds the file for so long.

    A child that inherits the descriptor holds the file too: it is free once the last holder has ended, however.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    deadline = time.monotonic() + timeout
    while not _try_lock(descriptor):
        if time.monotonic() >= deadline:
            os.close(descriptor)
            return None
        time.sleep(LOCK_RETRY_SECONDS)
    with suppress(OSError):  # a full disk, which must not keep the lock from the next try
        owner = str(os.getpid()).encode()
        os.pwrite(descriptor, owner, 0)
        os.ftruncate(descriptor, len(owner))
    return descriptor


def read_lock_owner(path: Path) -> int | None:
    """The pid of the process that locked the file last."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
