"""The board of `livectl up`: a line for each thing that matters, and a status line that is redrawn."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from livectl.errors import LivectlError
from livectl.models import BoardEvent, BoardReading, StatusPart
from livectl.ops.processes.output import RESET_COLOUR
from livectl.ops.processes.supervisor import OWN_NAME, READY_PREFIX, STOPPING_PREFIX
from livectl.redaction import hide_secrets
from livectl.render import Paragraph, TextFormat, cell_width, shorten_cells
from livectl.units import format_count, utc_datetime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.ops.processes.output import LogFiles, StatusScreen


INTERVAL_S = 1.0  # between two readings, of one source each, and at most between two looks of the status line
READY_S = 10.0  # after so long it reads, even if nobody has said that all is ready: not every worker can be asked
STOP_S = 3.0  # to wait for a reading that hangs, when the board ends
SEPARATOR, SHORT_SEPARATOR = "  ·  ", " · "
EVENT_CHARS = 8  # the width of the column that says what a line is about
READY_LINE = r"^\S+ \S+ +ready |\"event\":\"ready\""  # how such a line begins, as text and as JSON
ONE_LINE_EVENTS = frozenset({"live", "ended", "told", "failed"})  # cut in a terminal: their words are others'
COLOURS = {"live": 32, "told": 36, "failed": 31, "member": 33, "problem": 31, "mended": 32, "ready": 32}
STYLES = {"good": "\x1b[1;32m", "bad": "\x1b[1;31m", "": "\x1b[2m"}
ECHO_CELLS = 3  # a terminal shows Ctrl-C as ^C behind the status line, and some begin a new row after the last column
PROBLEM_RANK, MAX_PROBLEM_CELLS = 0, 40  # a line has told it in full


class Source(NamedTuple):
    """Where the board reads: what does so, and what is missing while it cannot."""

    name: str
    read: Callable[[float], BoardReading]


class LineFormat(NamedTuple):
    """How events are written."""

    json: bool = False
    colour: bool = False
    dated: bool = True  # a terminal is read at once, a log on another day
    timezone: str = "UTC"


class Board:
    """Tells events, and keeps the status line. `member_lines` shows the members' own lines as well."""

    def __init__(
        self,
        screen: StatusScreen | None,
        logs: LogFiles,
        line_format: LineFormat,
        members: Sequence[str],
        *,
        member_lines: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._screen = screen
        self._logs = logs
        self._format = line_format
        self._members = members
        self._member_lines = member_lines
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: dict[str, BoardReading] = {}
        self._problems: frozenset[str] = frozenset()
        self._is_ready = False
        self._stopping = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, name: str, line: str) -> None:
        """Takes a line of a member to its log, and one of `up` itself to the screen."""
        if name == OWN_NAME:
            self.tell(_own_event(line, self._members, self._clock()))
            self._is_ready = self._is_ready or line.startswith(READY_PREFIX)
            self._stopping = self._stopping or line.startswith(STOPPING_PREFIX)
            self.draw()
            return
        self._logs.write(name, line)
        if self._member_lines and self._screen:
            self._screen.write(f"{name:<{max(map(len, self._members))}} | {line}")

    def say(self, text: str) -> None:
        """Tells a remark, as of the embedded broker about its disk."""
        self.tell(BoardEvent(at=self._clock(), event="note", text=text))

    def tell(self, event: BoardEvent) -> None:
        if self._screen:
            width = self._screen.columns() if self._screen.columns else None
            self._screen.write(format_event(event, self._format, width))

    def watch(self, sources: Sequence[Source]) -> None:
        """Reads the sources in turn, one a second, in a thread: one that hangs holds up no member."""
        self._thread = threading.Thread(target=self._watch, args=(sources,), name="board", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(STOP_S)
        if self._screen:
            self._screen.close()
        self._logs.close()

    def _watch(self, sources: Sequence[Source]) -> None:
        turn, began = 0, time.monotonic()
        while not self._ended.wait(INTERVAL_S):
            self._is_ready = self._is_ready or time.monotonic() - began > READY_S
            if self._is_ready and not self._stopping and sources:
                self._read(sources[turn % len(sources)])
                turn += 1
            self.draw()

    def _read(self, source: Source) -> None:
        try:
            reading = source.read(self._clock())
        except LivectlError as error:
            reading = BoardReading(problems=(error.message,))
        except Exception as error:
            reading = BoardReading(problems=(f"{source.name} cannot be read: {type(error).__name__}: {error}",))
        if self._ended.is_set() or self._stopping:
            return
        for event in reading.events:
            self.tell(event)
        self._readings[source.name] = reading
        self._tell_problems()

    def _tell_problems(self) -> None:
        """Says once when something begins to be wrong, and once when it is well again."""
        problems = dict.fromkeys(problem for reading in self._readings.values() for problem in reading.problems)
        for problem in problems:
            if problem not in self._problems:
                self.tell(BoardEvent(at=self._clock(), event="problem", text=problem))
        for problem in sorted(self._problems - problems.keys()):
            self.tell(BoardEvent(at=self._clock(), event="mended", text=f"no longer: {problem}"))
        self._problems = frozenset(problems)

    def draw(self) -> None:
        """Redraws the status line, in a terminal."""
        if self._screen is None or self._screen.columns is None or self._ended.is_set():
            return
        with self._lock:
            width = self._screen.columns() - ECHO_CELLS
            text, cells = status_line(self._parts(), width, colour=self._format.colour)
            self._screen.show_status(text, cells)

    def _parts(self) -> list[StatusPart]:
        if self._stopping:
            return [StatusPart(("stopping; Ctrl-C stops at once", "stopping"), 1)]
        if not self._is_ready:
            return [StatusPart(("starting; Ctrl-C stops", "starting"), 1)]
        if not self._readings:
            return []
        parts = [part for reading in self._readings.values() for part in reading.parts]
        return [*parts, problem_part([problem for reading in self._readings.values() for problem in reading.problems])]


def _choose_words(parts: Sequence[StatusPart], width: int, gap: int) -> list[str]:
    """For each part the longest words that leave room for the others; what matters most chooses first."""
    chosen = [_printable(part.words[-1]) for part in parts]
    for at in sorted(range(len(parts)), key=lambda at: parts[at].rank):
        for words in map(_printable, parts[at].words):
            if _line_cells([*chosen[:at], words, *chosen[at + 1 :]], gap) <= width:
                chosen[at] = words
                break
    return chosen


def _line_cells(texts: Sequence[str], gap: int) -> int:
    shown = [text for text in texts if text]
    return sum(map(cell_width, shown)) + gap * max(0, len(shown) - 1)


def problem_part(problems: Sequence[str]) -> StatusPart:
    unique = list(dict.fromkeys(problems))
    if not unique:
        return StatusPart(("no problems", ""), PROBLEM_RANK)
    count = format_count(len(unique), "problem")
    return StatusPart(
        (f"{count}: {shorten_cells(unique[0], MAX_PROBLEM_CELLS)}", f"{count}: livectl doctor", count),
        PROBLEM_RANK,
        "bad",
    )


def _own_event(line: str, members: Sequence[str], now: float) -> BoardEvent:
    """A line of the supervisor as an event."""
    if line.startswith(READY_PREFIX):
        return BoardEvent(at=now, event="ready", text=line.removeprefix(READY_PREFIX))
    if line.startswith(STOPPING_PREFIX):
        return BoardEvent(at=now, event="stopping", text=line.removeprefix(STOPPING_PREFIX).strip(": "))
    member = line.partition(" ")[0]
    details = {"member": member} if member in members or member.startswith("worker-") else {}
    return BoardEvent(at=now, event="member" if details else "note", text=line, details=details)


def format_event(event: BoardEvent, line_format: LineFormat, width: int | None = None) -> str:
    """An event as a line: for a person, or as one JSON object. In a terminal of this width, others' words are cut."""
    text = hide_secrets(_printable(event.text))
    if line_format.json:
        fields: dict[str, Any] = {"at": utc_datetime(event.at), "event": event.event, "text": text}
        details = {
            name: hide_secrets(value) if isinstance(value, str) else value for name, value in event.details.items()
        }
        return msgspec.json.encode(fields | details).decode()
    moment = datetime.fromtimestamp(event.at, ZoneInfo(line_format.timezone))
    time_text = f"{moment:%Y-%m-%d %H:%M:%S}" if line_format.dated else f"{moment:%H:%M:%S}"
    lead = f"{time_text}  {event.event:<{EVENT_CHARS}}  "
    if width and event.event in ONE_LINE_EVENTS:
        text = shorten_cells(text.replace("\n", " "), max(width - len(lead), 1))
    elif width:
        text = "\n".join(Paragraph(text).lines(TextFormat(max(width - len(lead), 1))))
    text = text.replace("\n", f"\n{' ' * len(lead)}")
    if line_format.colour and (colour := COLOURS.get(event.event)):
        lead = f"{time_text}  \x1b[{colour}m{event.event:<{EVENT_CHARS}}{RESET_COLOUR}  "
    return lead + text


def status_line(parts: Sequence[StatusPart], width: int, *, colour: bool = False) -> tuple[str, int]:
    """The parts in one line of so many cells at most, and how many they take. What matters least is shortened first."""
    for separator in (SEPARATOR, SHORT_SEPARATOR):
        chosen = _choose_words(parts, width, len(separator))
        texts = [(text, part.style) for text, part in zip(chosen, parts, strict=True) if text]
        cells = _line_cells([text for text, _ in texts], len(separator))
        if all(text == part.words[0] for text, part in zip(chosen, parts, strict=True)):
            break
    if cells > width:
        text = shorten_cells(separator.join(text for text, _ in texts), max(width, 1))
        return text, cell_width(text)
    if colour:
        return f"{STYLES['']}{separator}{RESET_COLOUR}".join(
            f"{STYLES[style]}{text}{RESET_COLOUR}" for text, style in texts
        ), cells
    return separator.join(text for text, _ in texts), cells


def _printable(text: str) -> str:
    """Without what would move the cursor: streamers and servers wrote some of it."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
