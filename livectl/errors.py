"""Every error livectl raises on purpose, grouped by what the caller does about it.

The tree:

    LivectlError             1   something failed
    ├── UsageError           2   the words of the command line are off
    ├── SettingsError        3   mend a setting or a file
    │   ├── SecretUnsetError 3   ... or set the variable or the file that holds a secret
    │   └── FileError        3   ... with every mistake in it, each with its place
    ├── ServerError          4   start or reach the broker or the store
    │   └── ServerAwayError  4   ... of which nothing answers there at all
    ├── PlatformError        5   ask the platform again later
    └── UnfinishedError      6   wait: it is not done yet

The number is the exit code. Ctrl-C is 130. No Click in here: cli.py makes text of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_DONE = 0
EXIT_INTERRUPTED = 130
CUT = "…"  # ends a text that is shown in part
MAX_SHORTENED_CHARS = 40  # characters of a file or a command line in a message
MAX_MISTAKES_SHOWN = 100  # of a file; more are counted


class LivectlError(Exception):
    """Something failed; `hint` names the next step."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LivectlError):
    code = 2


class SettingsError(LivectlError):
    code = 3


class SecretUnsetError(SettingsError):
    """An `env:` that is not set, or a `file:` that cannot be read."""


class Mistake(NamedTuple):
    """One thing wrong in a file: its place, what it is, and how to write it. A warning leaves the file usable.

    Without a line, `file` names what else has the mistake, such as the schedule of an app; it may be empty.
    """

    file: str
    line: int
    column: int
    text: str
    hint: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        message = f"{place}{': ' if place else ''}{'warning: ' if self.warning else ''}{self.text}"
        return f"{message} ({self.hint})" if self.hint else message


def mistake_lines(mistakes: Sequence[Mistake]) -> list[str]:
    """A line for each mistake; after the first hundred, how many more there are."""
    lines = [str(mistake) for mistake in mistakes[:MAX_MISTAKES_SHOWN]]
    more = len(mistakes) - len(lines)
    return [*lines, f"{mistakes[0].file}: and {more:,} more like these"] if more else lines


class FileError(SettingsError):
    """A file that cannot be used, with all its mistakes at once."""

    def __init__(self, mistakes: list[Mistake], hint: str = "") -> None:
        super().__init__("\n".join(mistake_lines(mistakes)), hint)
        self.mistakes = mistakes


class ServerError(LivectlError):
    code = 4
    passes = False  # by itself: whoever tries again gets in, sooner or later


class ServerAwayError(ServerError):
    """Nothing takes the connection: no server is there. Any other ServerError is about one that is."""

    passes = True


class PlatformError(LivectlError):
    code = 5


class UnfinishedError(LivectlError):
    code = 6


def shorten(text: str, max_chars: int = MAX_SHORTENED_CHARS) -> str:
    """As much of a text as a message has room for."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}{CUT}"
