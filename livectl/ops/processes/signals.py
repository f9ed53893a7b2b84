"""Signals as something to read: they wake a loop instead of interrupting what it does."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import FrameType

MANY = 64  # signals read in one go; what is left is read next time


class Inbox:
    """The signals that came in; a selector can wait for it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> list[signal.Signals]:
        return [signal.Signals(number) for number in os.read(self._descriptor, MANY)]


@contextmanager
def caught(numbers: Collection[signal.Signals]) -> Iterator[Inbox]:
    """These signals go to an inbox for a while, and then where they went before. For the main thread only."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    handlers = {number: signal.signal(number, _nothing) for number in numbers}
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield Inbox(reader)
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Only a signal that has a handler is written to the pipe."""
