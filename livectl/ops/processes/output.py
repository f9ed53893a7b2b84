"""The output of children: read without waiting, handed on in whole lines."""

from __future__ import annotations

import os
import selectors
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 65536  # bytes: what a pipe holds
LONGEST_LINE = 1_000_000  # bytes: a longer one is cut, so that a child that never ends its line cannot fill the memory


class Stream:
    """One stream of one child."""

    def __init__(self, name: str, pipe: IO[bytes]) -> None:
        self.name = name
        self.pipe = pipe
        self.ended = False
        self._begun = bytearray()
        os.set_blocking(pipe.fileno(), False)

    def lines(self) -> Iterator[str]:
        """Every whole line that is there now, and with its end what is left."""
        while not self.ended and (chunk := self._read()) is not None:
            self.ended = not chunk
            yield from self._cut(chunk)
        if self.ended:
            yield from self.rest()

    def rest(self) -> Iterator[str]:
        """A line that was begun and never ended."""
        if self._begun:
            yield _text(self._begun)
            self._begun.clear()

    def _read(self) -> bytes | None:
        try:
            return os.read(self.pipe.fileno(), CHUNK)
        except BlockingIOError:
            return None

    def _cut(self, chunk: bytes) -> Iterator[str]:
        *ends, begun = chunk.split(b"\n")
        for end in ends:
            yield _text(self._begun + end)
            self._begun.clear()
        self._begun += begun
        if len(self._begun) > LONGEST_LINE:
            yield from self.rest()


class Outputs:
    """Every stream of every child, until each has ended: a child's own children may write on after it."""

    def __init__(self, selector: selectors.BaseSelector, pass_on: Callable[[str, str], None]) -> None:
        self._selector = selector
        self._pass_on = pass_on
        self._streams: list[Stream] = []

    def add(self, stream: Stream) -> None:
        self._streams.append(stream)
        self._selector.register(stream.pipe, selectors.EVENT_READ, lambda: self._read(stream))

    def read(self, name: str) -> None:
        """All that this child has written so far."""
        for stream in [stream for stream in self._streams if stream.name == name]:
            self._read(stream)

    def close(self, seconds: float) -> None:
        """Waits for the ends, but no longer than this for what somebody else still holds open."""
        deadline = time.monotonic() + seconds
        while self._streams and (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                key.data()
        for stream in list(self._streams):
            self._read(stream)
            self._say(stream, stream.rest())
            if not stream.ended:
                self._drop(stream)

    def _read(self, stream: Stream) -> None:
        self._say(stream, stream.lines())
        if stream.ended:
            self._drop(stream)

    def _say(self, stream: Stream, lines: Iterator[str]) -> None:
        for line in lines:
            self._pass_on(stream.name, line)

    def _drop(self, stream: Stream) -> None:
        self._streams.remove(stream)
        self._selector.unregister(stream.pipe)
        stream.pipe.close()


def _text(line: bytes | bytearray) -> str:
    return line.rstrip(b"\r").decode(errors="backslashreplace")
