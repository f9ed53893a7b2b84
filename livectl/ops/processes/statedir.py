"""The state directory: everything that livectl keeps on this machine, for its user alone."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from livectl.errors import ServerError

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = 0o700
LOG_LIMIT = 10_000_000  # bytes; a longer log is set aside at the next start
FOLDERS = ("run", "log", "data")


def make(home: Path) -> None:
    """Its folders, private even where they were there already."""
    try:
        home.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        for name in FOLDERS:
            (home / name).mkdir(mode=PRIVATE, exist_ok=True)
            (home / name).chmod(PRIVATE)
    except OSError as error:
        raise unusable(home, error) from error


def unusable(home: Path, error: OSError) -> ServerError:
    return ServerError(
        f"the state directory {home} cannot be used: {error.strerror}",
        "Make room or give the rights there, or name another folder with LIVECTL_HOME.",
    )


def log_file(home: Path, name: str) -> Path:
    return home / "log" / f"{name}.log"


def open_log(home: Path, name: str) -> IO[bytes]:
    """The log, to write on at its end; a long one is set aside first."""
    path = log_file(home, name)
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")
