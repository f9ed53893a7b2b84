"""Signals as something to read: they wake a loop instead of interrupting what it does."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import FrameType

MAX_SIGNALS_READ = 64  # signals read in one go; what is left is read next time


class SignalReader:
    """The signals that came in; a selector can wait for it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> list[signal.Signals]:
        return [signal.Signals(number) for number in os.read(self._descriptor, MAX_SIGNALS_READ)]


@contextmanager
def capture_signals(numbers: Collection[signal.Signals]) -> Iterator[SignalReader]:
    """These signals go to an inbox for a while, and then where they went before. For the main thread only."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    handlers = {number: signal.signal(number, _ignore_signal) for number in numbers}
    previous_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        yield SignalReader(read_fd)
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(read_fd)
        os.close(write_fd)


def _ignore_signal(number: int, frame: FrameType | None) -> None:
    """Only a signal that has a handler is written to the pipe."""
