"""Writes a file in one step: a reader sees the old content or the new, and a crash leaves one of the two.

Who reads a file, changes it and writes it back does so while it is theirs (`locked`), so that two lose nothing.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW_FILE_MODE = 0o644
LOCK_WAIT_S = 5.0  # a change takes milliseconds
LOCK_PAUSE_S = 0.02


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a file against others who change it by livectl, until the block ends. TimeoutError if it stays theirs.

    It is the folder that is locked: the file itself is another one after each change, and nothing is left behind. A
    file system that knows no locks is written to without.
    """
    descriptor = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def changing(path: Path, name: str) -> Iterator[None]:
    """The file is ours to read, change and write meanwhile. SettingsError, which calls it `name`, if it cannot be."""
    try:
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{name} cannot be changed: {reason}", "Look at its folder and rights.") from error


def _lock(descriptor: int) -> None:
    give_up_at = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                raise TimeoutError("somebody else is changing it") from None
            time.sleep(LOCK_PAUSE_S)
        except OSError:
            return
        else:
            return


def write_file(path: Path, data: bytes | str, *, mode: int = NEW_FILE_MODE) -> None:
    """Replaces the content of a file, or creates the file with this mode. Raises OSError."""
    with replacing(path, mode=mode) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path, *, mode: int = NEW_FILE_MODE) -> Iterator[IO[bytes]]:
    """Takes what becomes the content of a file, piece by piece; the file has it once the block has ended well.

    A file that exists keeps its mode and its owner, and a symbolic link stays one. What is no plain file, such as a
    pipe or a device, is written to as it is. The name of the stream is where it lies meanwhile. Raises OSError.
    """
    path = path.resolve()
    if path.exists() and not (path.is_file() or path.is_dir()):
        with path.open("wb") as stream:
            yield stream
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            _copy_owner_and_mode(path, stream.fileno(), mode)
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy_owner_and_mode(path: Path, descriptor: int, new_file_mode: int) -> None:
    try:
        old = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, new_file_mode)
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with suppress(PermissionError):  # only root can give a file away
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o777)
