"""Lines of several processes on one page: each with the name of whoever says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COLOURS = (36, 33, 32, 35)  # cyan, yellow, green, magenta: readable on light and on dark
PLAIN = "\x1b[0m"


class Lines:
    """Writes them. Once nobody reads any more, it says so, and the rest goes nowhere."""

    def __init__(self, page: TextIO, names: Sequence[str], *, colour: bool, gone: Callable[[], None]) -> None:
        self._page = page
        self._gone = gone
        self._is_gone = False
        width = max(map(len, names))
        self._starts = {name: f"{name:<{width}} | " for name in names}
        if colour:
            tinted = zip(names, COLOURS * len(names), strict=False)
            self._starts |= {name: f"\x1b[{tint}m{self._starts[name]}{PLAIN}" for name, tint in tinted}

    def write(self, name: str, line: str) -> None:
        if self._is_gone:
            return
        try:
            self._page.write(f"{self._starts[name]}{line}\n")
            self._page.flush()
        except OSError:  # the terminal was closed, or the program behind the pipe has ended
            self._is_gone = True
            self._gone()
