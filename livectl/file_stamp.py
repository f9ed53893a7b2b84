"""Tells whether a file has changed, and whether somebody may still be writing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

MIN_FILE_AGE_S = 1.0  # an editor may still be writing a younger file


class FileStamp(NamedTuple):
    """What differs after every change of a file."""

    placed_at: float  # seconds since the epoch: when it was written, or moved to its place
    modified_ns: int
    size: int
    inode: int

    def is_settled(self, now: float) -> bool:
        """Whether it is old enough to be whole. One from the future, by another machine's clock, is."""
        return not 0 <= now - self.placed_at < MIN_FILE_AGE_S


def read_stamp(path: Path) -> FileStamp | None:
    """The stamp of a file, through links; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileStamp(status.st_ctime, status.st_mtime_ns, status.st_size, status.st_ino)
