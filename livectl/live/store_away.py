"""Goes on with what has to be written though the store is away for a moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")


def write_when_back(write: Callable[[], T], seconds: float, pause: float, errors: tuple[type[Exception], ...]) -> T:
    """Writes, again and again while these errors say that the store is away, for so many seconds at most.

    It must be harmless to write the same twice: an answer may be lost after the store has done it.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return write()
        except errors:
            if time.monotonic() >= deadline:
                raise
            time.sleep(pause)
