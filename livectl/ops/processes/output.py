"""Reads the output of several children line by line, and writes each line with the name of its child."""

from __future__ import annotations

import os
import selectors
import time
from typing import IO, TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


COLOURS = (36, 33, 32, 35)  # cyan, yellow, green, magenta: readable on light and on dark
RESET_COLOUR = "\x1b[0m"


class LineWriter:
    """Writes lines to a stream. Once the reader of the stream is gone, it calls `on_closed` and drops the rest."""

    def __init__(self, stream: TextIO, names: Sequence[str], *, colour: bool, on_closed: Callable[[], None]) -> None:
        self._stream = stream
        self._on_closed = on_closed
        self._is_closed = False
        width = max(map(len, names))
        self._prefixes = {name: f"{name:<{width}} | " for name in names}
        if colour:
            tinted = zip(names, COLOURS * len(names), strict=False)
            self._prefixes |= {name: f"\x1b[{tint}m{self._prefixes[name]}{RESET_COLOUR}" for name, tint in tinted}

    def write(self, name: str, line: str) -> None:
        if self._is_closed:
            return
        try:
            self._stream.write(f"{self._prefixes[name]}{line}\n")
            self._stream.flush()
        except OSError:  # the terminal was closed, or the program behind the pipe has ended
            self._is_closed = True
            self._on_closed()


CHUNK_BYTES = 65536  # what a pipe holds
MAX_LINE_BYTES = 1_000_000  # a longer line is cut, so that a child that never ends its line cannot fill the memory


class OutputStream:
    """The standard output or the standard error of one child."""

    def __init__(self, name: str, pipe: IO[bytes]) -> None:
        self.name = name
        self.pipe = pipe
        self.ended = False
        self._partial_line = bytearray()
        os.set_blocking(pipe.fileno(), False)

    def read_lines(self) -> Iterator[str]:
        """Every whole line that is there now; at the end of the stream also the rest."""
        while not self.ended and (chunk := self._read()) is not None:
            self.ended = not chunk
            yield from self._split_lines(chunk)
        if self.ended:
            yield from self.take_partial_line()

    def take_partial_line(self) -> Iterator[str]:
        """The beginning of a line whose end has not come."""
        if self._partial_line:
            yield _decode_line(self._partial_line)
            self._partial_line.clear()

    def _read(self) -> bytes | None:
        try:
            return os.read(self.pipe.fileno(), CHUNK_BYTES)
        except BlockingIOError:
            return None

    def _split_lines(self, chunk: bytes) -> Iterator[str]:
        *line_ends, partial = chunk.split(b"\n")
        for line_end in line_ends:
            yield _decode_line(self._partial_line + line_end)
            self._partial_line.clear()
        self._partial_line += partial
        if len(self._partial_line) > MAX_LINE_BYTES:
            yield from self.take_partial_line()


class OutputReader:
    """Reads every stream of every child to its end: the children of a child may write on when it has ended."""

    def __init__(self, selector: selectors.BaseSelector, on_line: Callable[[str, str], None]) -> None:
        self._selector = selector
        self._on_line = on_line
        self._streams: list[OutputStream] = []

    def add(self, stream: OutputStream) -> None:
        self._streams.append(stream)
        self._selector.register(stream.pipe, selectors.EVENT_READ, lambda: self._read(stream))

    def read(self, name: str) -> None:
        """Reads all that this child has written so far."""
        for stream in [stream for stream in self._streams if stream.name == name]:
            self._read(stream)

    def close(self, seconds: float) -> None:
        """Waits for the end of each stream, but no longer than this: another process may hold one open."""
        deadline = time.monotonic() + seconds
        while self._streams and (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                key.data()
        for stream in list(self._streams):
            self._read(stream)
            self._emit_lines(stream, stream.take_partial_line())
            if not stream.ended:
                self._remove(stream)

    def _read(self, stream: OutputStream) -> None:
        self._emit_lines(stream, stream.read_lines())
        if stream.ended:
            self._remove(stream)

    def _emit_lines(self, stream: OutputStream, lines: Iterator[str]) -> None:
        for line in lines:
            self._on_line(stream.name, line)

    def _remove(self, stream: OutputStream) -> None:
        self._streams.remove(stream)
        self._selector.unregister(stream.pipe)
        stream.pipe.close()


def _decode_line(line: bytes | bytearray) -> str:
    return line.rstrip(b"\r").decode(errors="backslashreplace")
