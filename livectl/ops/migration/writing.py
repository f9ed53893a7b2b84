"""The writing of changed files: each whole or not at all, as they were in mode and ownership, with a backup."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from livectl.errors import FileError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterable

    from livectl.ops.migration.plan import PlannedFile

WRITE_BITS = 0o222
GIT_TIMEOUT_SECONDS = 10.0  # git answers in milliseconds; one that hangs is no reason to


def write_files(files: Iterable[PlannedFile]) -> list[Path]:
    """Puts every file in place; the backups made. A file that is read-only or changed meanwhile stops all of it."""
    files = list(files)
    mistakes = [mistake for file in files if (mistake := _write_problem(file)) is not None]
    if mistakes:
        raise FileError(mistakes, "Nothing was written.")
    backups = []
    for file in files:
        path = file.source.path
        if not is_committed(path):
            backups.append(back_up(path))
        replace_file(path, file.after)
    return backups


def _write_problem(file: PlannedFile) -> Mistake | None:
    path = file.source.path
    if not path.stat().st_mode & WRITE_BITS or not os.access(path.parent, os.W_OK):
        return Mistake(str(path), 1, 1, "read-only", "make it writable, or leave it out")
    if path.read_bytes() != file.source.data:
        return Mistake(str(path), 1, 1, "changed while it was being read", "run again")
    return None


def replace_file(path: Path, data: bytes) -> None:
    """The file gets its new content in one step: whoever looks sees the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        _copy_owner(path, temporary)
        shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy_owner(path: Path, temporary: Path) -> None:
    wanted_stat, made_stat = path.stat(), temporary.stat()
    if (wanted_stat.st_uid, wanted_stat.st_gid) != (made_stat.st_uid, made_stat.st_gid):
        os.chown(temporary, wanted_stat.st_uid, wanted_stat.st_gid)


def back_up(path: Path) -> Path:
    """A copy beside the file, with the first number that is free: an earlier backup is never overwritten."""
    number = 1
    while True:
        backup = path.with_name(f"{path.name}.{number}.bak")
        try:
            handle = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, path.stat().st_mode & 0o777)
        except FileExistsError:
            number += 1
            continue
        with os.fdopen(handle, "wb") as stream:
            stream.write(path.read_bytes())
        shutil.copymode(path, backup)
        return backup


def is_committed(path: Path) -> bool:
    """Whether git has this very content: then git is the backup."""
    git = shutil.which("git")
    if git is None:
        return False
    try:
        listed = _run_git(git, path, "ls-files", "--error-unmatch")
        return listed.returncode == 0 and _run_git(git, path, "status", "--porcelain").stdout == b""
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run_git(git: str, path: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    argv = [git, "-C", str(path.parent), *arguments, "--", path.name]
    return subprocess.run(argv, capture_output=True, check=False, timeout=GIT_TIMEOUT_SECONDS)
