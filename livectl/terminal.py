"""Knows the terminal: its width, its colours and its keys; draws what is watched, and what is in progress."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, TextIO

from livectl.errors import LivectlError
from livectl.render import (
    DEFAULT_WIDTH_CHARS,
    DIM,
    Paragraph,
    SplitLines,
    TextFormat,
    shorten_cells,
    split_lines,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType, TracebackType

    from livectl.render import View

PLAIN_MARKS = str.maketrans("─…·", "-~.")  # for an encoding that lacks ours
DEFAULT_HEIGHT_LINES = 24
CLOCK_INTERVAL_S = 1.0
QUIT_KEYS = {"q", "Q"}
STEPS = {"j": 1, "\x1b[B": 1, "\x1bOB": 1, "k": -1, "\x1b[A": -1, "\x1bOA": -1}  # the letters, and the arrows
PAGES = {" ": 1, "\x1b[6~": 1, "b": -1, "\x1b[5~": -1}
KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO.|.", re.DOTALL)  # one sends several bytes, or one
MAX_KEY_BYTES = 64
FOOTER_LINES = 2
# Escape sequences: the other screen, no cursor, no line that wraps; and back.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, ERASE_LINE, ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
BEGIN_FRAME, END_FRAME = "\x1b[?2026h", "\x1b[?2026l"  # shown at once, by terminals that know these
PROGRESS_AFTER_S = 1.0  # what takes less needs no word
PROGRESS_INTERVAL_S = 0.25
BAR_CHARS = 24


def is_terminal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether somebody looks at it on a terminal that can move its cursor."""
    return stream.isatty() and environ.get("TERM") != "dumb"


def has_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to write in colour there: NO_COLOR and FORCE_COLOR decide, else a terminal has it."""
    if environ.get("NO_COLOR"):
        return False
    forced = environ.get("FORCE_COLOR", "")
    return forced not in {"", "0"} or is_terminal(stream, environ)


def find_width(stream: TextIO, environ: Mapping[str, str]) -> int | None:
    """The cells of a line: what COLUMNS says, else what the terminal has. None for a file or a pipe: without end."""
    if (columns := environ.get("COLUMNS", "")).isdecimal() and int(columns):
        return int(columns)
    return _terminal_size(stream).columns if stream.isatty() else None


def is_too_long(text: str, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a terminal has too few lines to show it all at once."""
    return is_terminal(stream, environ) and text.count("\n") >= _terminal_size(stream).lines


def _terminal_size(stream: TextIO) -> os.terminal_size:
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except OSError:
        columns, lines = 0, 0
    return os.terminal_size((columns or DEFAULT_WIDTH_CHARS, lines or DEFAULT_HEIGHT_LINES))


def encodable(text: str, encoding: str | None) -> str:
    """The text as a stream of this encoding can take it; what it lacks is replaced."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return text.translate(PLAIN_MARKS).encode(encoding or "utf-8", "replace").decode(encoding or "utf-8")
    return text


class Watched(NamedTuple):
    """An answer as it is now, and notes below it. When it has ended, nothing will change."""

    view: View
    notes: Sequence[str] = ()
    has_ended: bool = False


class Frame(NamedTuple):
    """What a screen shows: of the rows those from `offset` on, `page` of them at most."""

    lines: list[str]
    offset: int
    page: int

    def scroll(self, key: str) -> int:
        """The first row to show after this key."""
        return max(0, self.offset + STEPS.get(key, 0) + self.page * PAGES.get(key, 0))


def build_frame(
    parts: SplitLines, text_format: TextFormat, height: int, offset: int, clock: str, keys: str | None
) -> Frame:
    """As many rows as there is room for between the headings and what stands below; the last line counts the others.

    `keys` says which there are besides those that scroll and quit; None that there is no keyboard.
    """
    below = parts.below[: max(0, height // 2 - FOOTER_LINES)]
    page = max(1, height - len(parts.headings) - len(below) - FOOTER_LINES)
    offset = min(offset, max(0, len(parts.rows) - page))
    shown = parts.rows[offset : offset + page]
    more = len(parts.rows) - offset - len(shown)
    counts = [f"{offset} above"] * bool(offset) + [f"{more} more"] * bool(more)
    scroll = ["j k scroll"] if counts else []
    words = ["Ctrl-C quits"] if keys is None else ["q quit", *scroll, *filter(None, [keys])]
    footer = shorten_cells("  ".join([clock, *counts, *words]), text_format.width or 0)
    return Frame([*parts.headings, *shown, *below, "", text_format.painted(footer, DIM)][-height:], offset, page)


def draw_until_quit(
    read: Callable[[], Watched],
    screen: FullScreen,
    *,
    interval_s: float,
    on_key: Callable[[str], str] = lambda _: "",
) -> Watched | None:
    """Fills the terminal with what `read` answers, again and again, until q is pressed or it has ended.

    An error is shown in place of the answer: watching goes on through an outage. `on_key` takes a key that neither
    quits nor scrolls ("" at first), and says in a few words which keys there are.
    """
    watched: Watched | LivectlError | None = None
    offset, next_read, keys = 0, 0.0, on_key("")
    with screen:
        while True:
            if watched is None or time.monotonic() >= next_read:
                watched, next_read = _read_or_error(read), time.monotonic() + interval_s
            answer = watched if isinstance(watched, Watched) else None
            if answer and answer.has_ended:
                return answer
            frame = screen.draw(watched, offset, keys)
            key = screen.read_key(min(CLOCK_INTERVAL_S, max(0.0, next_read - time.monotonic())))
            if key in QUIT_KEYS:
                return answer
            offset = frame.scroll(key)
            if key and (changed := on_key(key)) != keys:
                keys, next_read = changed, 0.0


def _read_or_error(read: Callable[[], Watched]) -> Watched | LivectlError:
    try:
        return read()
    except LivectlError as error:
        return error


class FullScreen:
    """The whole terminal, while it is entered: the other screen, and keys one by one. Afterwards all is as it was."""

    def __init__(self, out: TextIO, keys: TextIO, environ: Mapping[str, str], *, wide: bool = False) -> None:
        self._out = out
        self._keys = keys if keys.isatty() else None
        self._environ = environ
        self._wide = wide
        self._handlers: dict[int, object] = {}
        self._pressed: list[str] = []  # and not handled yet

    def __enter__(self) -> FullScreen:
        import termios

        self._saved = termios.tcgetattr(self._keys) if self._keys else None
        self._handlers = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, signal.default_int_handler),
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._suspend),
        }
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._give_back()

    def draw(self, watched: Watched | LivectlError | None, offset: int, keys: str) -> Frame:
        """Draws over what is there, so that nothing flickers."""
        width, height = find_width(self._out, self._environ), _terminal_size(self._out).lines
        text_format = TextFormat(width, has_colour(self._out, self._environ), self._wide)
        parts, clock = _parts(watched, text_format), time.strftime("%H:%M:%S")
        frame = build_frame(parts, text_format, height, offset, clock, keys if self._keys else None)
        text = f"{ERASE_LINE}\n".join(frame.lines) + ERASE_LINE
        self._write(f"{BEGIN_FRAME}{HOME}{text}{ERASE_BELOW}{END_FRAME}")
        return frame

    def read_key(self, seconds: float) -> str:
        """The key that is pressed within so many seconds; "" if none is."""
        import select

        if self._keys is None:
            time.sleep(seconds)
            return ""
        if not self._pressed and select.select([self._keys], [], [], seconds)[0]:
            typed = os.read(self._keys.fileno(), MAX_KEY_BYTES).decode(errors="replace")
            self._pressed = KEY.findall(typed) or ["q"]  # nothing to read: the terminal is gone
        return self._pressed.pop(0) if self._pressed else ""

    def _take(self) -> None:
        import termios
        import tty

        if self._keys:
            tty.setcbreak(self._keys, termios.TCSADRAIN)
        self._write(ENTER)

    def _give_back(self) -> None:
        import termios

        self._write(LEAVE)
        if self._keys and self._saved:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._saved)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z gives the terminal back meanwhile."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def _write(self, text: str) -> None:
        self._out.write(encodable(text, self._out.encoding))
        self._out.flush()


def _parts(watched: Watched | LivectlError | None, text_format: TextFormat) -> SplitLines:
    if isinstance(watched, LivectlError):
        return SplitLines(Paragraph(f"{watched.message}\n  {watched.hint}").lines(text_format), [], [])
    if watched is None:
        return SplitLines([], [], [])
    parts = split_lines(watched.view.to_renderable(), text_format)
    notes = [line for note in watched.notes for line in Paragraph(note).lines(text_format)]
    return parts._replace(below=[*parts.below, *([""] if notes else []), *notes])


class Progress:
    """One line on a terminal that says what is waited for, once that takes more than a second.

    The line goes when it is over, or before something else is written; a bar that was shown stays above the answer.
    """

    def __init__(self, err: TextIO, environ: Mapping[str, str], text: str) -> None:
        self._err = err
        self._environ = environ
        self._text = text
        self._began = time.monotonic()
        self._count = ""
        self._is_shown = False
        self._is_over = threading.Event()
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="progress")
        self._thread.start()

    def advance(self, done: float, total: float) -> None:
        """Shows how far it is."""
        filled = int(BAR_CHARS * min(1.0, done / total if total else 1.0))
        self._count = f"[{'#' * filled}{'.' * (BAR_CHARS - filled)}] {done:g} of {total:g}"

    def clear(self) -> None:
        """Makes room for another line."""
        with self._lock:
            if self._is_shown:
                self._write(f"\r{ERASE_LINE}")
            self._is_shown = False

    def end(self) -> None:
        self._is_over.set()
        with self._lock:
            if self._is_shown and self._count:
                self._draw()
                self._write("\n")
                self._is_shown = False
            self.clear()

    def _run(self) -> None:
        pause = PROGRESS_AFTER_S
        while not self._is_over.wait(pause):
            pause = PROGRESS_INTERVAL_S
            with self._lock:
                if not self._is_over.is_set():
                    self._draw()

    def _draw(self) -> None:
        words = [self._text, self._count, f"{time.monotonic() - self._began:.0f} s"]
        width = find_width(self._err, self._environ) or DEFAULT_WIDTH_CHARS
        self._write(f"\r{shorten_cells('  '.join(filter(None, words)), width - 1)}{ERASE_LINE}")
        self._is_shown = True

    def _write(self, text: str) -> None:
        self._err.write(encodable(text, self._err.encoding))
        self._err.flush()
