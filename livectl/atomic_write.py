"""Writes a file in one step: a reader sees the old content or the new, and a crash leaves one of the two."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

NEW_FILE_MODE = 0o644


def write_file(path: Path, data: bytes | str, *, mode: int = NEW_FILE_MODE) -> None:
    """Replaces the content of a file, or creates the file with this mode.

    A file that exists keeps its mode and its owner, and a symbolic link stays one. Raises OSError.
    """
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
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
