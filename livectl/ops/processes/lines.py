"""Lines of several processes on one page: each with the name of whoever says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COLOURS = (36, 33, 32, 35)  # cyan, yellow, green, magenta: readable on light and on dark
RESET_COLOUR = "\x1b[0m"


class LineWriter:
    """Writes them. Once nobody reads any more, it says so, and the rest goes nowhere."""

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
