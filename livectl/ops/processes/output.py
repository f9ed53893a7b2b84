"""Reads the output of several children line by line; writes lines to their logs, and to a screen with a status line."""

from __future__ import annotations

import os
import selectors
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, TextIO

from livectl.ops.processes import state_dir
from livectl.terminal import encodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


RESET_COLOUR = "\x1b[0m"
CLEAR_TO_END = "\x1b[J"
CURSOR_UP = "\x1b[{}A"


class StatusScreen:
    """Writes lines to a stream. Where that is a terminal, a status line stays below the last one and is redrawn.

    `columns` tells how wide the terminal is at this moment; without it there is no status line. Once the reader of the
    stream is gone, `on_closed` is called and the rest dropped. Any thread may write.
    """

    def __init__(
        self, stream: TextIO, *, columns: Callable[[], int] | None = None, on_closed: Callable[[], None] = lambda: None
    ) -> None:
        self._stream = stream
        self.columns = columns
        self._on_closed = on_closed
        self._is_closed = False
        self._lock = threading.RLock()
        self._status = ""
        self._status_cells = 0  # how wide it was drawn: a narrower terminal has broken it over several rows since

    def write(self, text: str) -> None:
        """Writes a line, or several, above the status line."""
        with self._lock:
            self._emit(f"{self._erasure()}{text}\n{self._status}")

    def show_status(self, status: str, cells: int) -> None:
        """Redraws the status line, which is so many cells wide, colours not counted."""
        with self._lock:
            if self.columns and (status != self._status or cells != self._status_cells):
                erasure, self._status, self._status_cells = self._erasure(), status, cells
                self._emit(f"{erasure}{status}")

    def close(self) -> None:
        """Takes the status line away, and leaves the cursor at the beginning of its row."""
        self.show_status("", 0)

    def _erasure(self) -> str:
        if not (self._status and self.columns):
            return ""
        rows_above = max(0, self._status_cells - 1) // max(1, self.columns())
        return f"\r{CURSOR_UP.format(rows_above) if rows_above else ''}{CLEAR_TO_END}"

    def _emit(self, text: str) -> None:
        if self._is_closed:
            return
        try:
            self._stream.write(encodable(text, self._stream.encoding))
            self._stream.flush()
        except OSError:  # the terminal was closed, or the program behind the pipe has ended
            self._is_closed = True
            self._on_closed()


class LogFiles:
    """Writes the lines of each member to its log. One that cannot be written, as on a full disk, costs its lines."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._files: dict[str, IO[bytes]] = {}

    def write(self, name: str, line: str) -> None:
        with suppress(OSError):
            file = self._files.get(name)
            if file is None or os.fstat(file.fileno()).st_size > state_dir.MAX_LOG_BYTES:
                file = self._reopen(name)
            os.write(file.fileno(), f"{line}\n".encode(errors="backslashreplace"))  # no buffer that a full disk fills

    def close(self) -> None:
        for name in list(self._files):
            self._close(name)

    def _reopen(self, name: str) -> IO[bytes]:
        self._close(name)
        file = self._files[name] = state_dir.open_log(self._home, name)
        return file

    def _close(self, name: str) -> None:
        with suppress(OSError):
            if file := self._files.pop(name, None):
                file.close()


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
