"""On a terminal: what is watched fits the window and leaves no trace, and what takes its time says so."""

from __future__ import annotations

import io
import os
import pty
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from livectl import render, terminal
from livectl.context import CommandContext
from livectl.errors import ServerError
from livectl.render import SplitLines, TextFormat
from livectl.terminal import FullScreen, Watched
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRON = {"TERM": "xterm", "COLUMNS": "60"}
ROWS = [f"streamer {number}" for number in range(60)]


class Window(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no file")


def frame(height: int, offset: int = 0, below: int = 0) -> list[str]:
    parts = SplitLines(["name", "----"], ROWS, ["note"] * below)
    return terminal.build_frame(parts, TextFormat(60), height, offset, "10:00:00", "s sort").lines


@pytest.mark.parametrize(
    ("height", "offset", "below", "first", "shown", "counts"),
    [
        (24, 0, 0, 0, 20, "40 more"),
        (24, 7, 0, 7, 20, "7 above  33 more"),
        (24, 99, 0, 40, 20, "40 above"),
        (24, 0, 30, 0, 10, "50 more"),
        (80, 5, 0, 0, 60, ""),
        (5, 0, 3, 0, 1, "59 more"),
    ],
)
def test_what_does_not_fit_is_counted(
    height: int, offset: int, below: int, first: int, shown: int, counts: str
) -> None:
    lines = frame(height, offset, below)
    assert len(lines) <= height
    assert [line for line in lines if line.startswith("streamer")] == ROWS[first : first + shown]
    scroll = "  j k scroll" if counts else ""
    assert lines[-1] == "  ".join(filter(None, ["10:00:00", counts, f"q quit{scroll}", "s sort"]))


def test_without_a_keyboard_there_are_no_keys() -> None:
    lines = terminal.build_frame(SplitLines([], ROWS, []), TextFormat(60), 9, 0, "10:00:00", None).lines
    assert lines[-1] == "10:00:00  53 more  Ctrl-C quits"


@pytest.fixture
def keyboard() -> Iterator[tuple[int, TextIO]]:
    """A terminal: the end at which keys are pressed, and the one that livectl reads."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as keys:
        yield ours, keys
    os.close(ours)


def people(rows: int = 60) -> Watched:
    return Watched(render.table(("name",), [(row,) for row in ROWS[:rows]], None, empty=""), ["a note"])


@pytest.mark.parametrize(
    ("pressed", "first"), [("q", 0), ("jjq", 2), ("jkq", 0), ("\x1b[Bq", 1), (" q", 18), (" bq", 0), ("xQ", 0)]
)
def test_keys_scroll_and_q_leaves_the_terminal_as_it_was(
    pressed: str, first: int, keyboard: tuple[int, TextIO]
) -> None:
    ours, keys = keyboard
    before = termios.tcgetattr(keys)
    os.write(ours, pressed.encode())
    window = Window()
    terminal.draw_until_quit(people, FullScreen(window, keys, ENVIRON), interval_s=9.0)
    last = window.getvalue().rpartition(terminal.HOME)[2]
    assert next(line for line in last.split("\x1b[K\n") if line.startswith("streamer")) == ROWS[first]
    assert window.getvalue().startswith(terminal.ENTER)
    assert window.getvalue().endswith(terminal.LEAVE)
    assert termios.tcgetattr(keys) == before


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_it_leaves_the_terminal_as_it_was(
    raised: type[BaseException], keyboard: tuple[int, TextIO]
) -> None:
    def read() -> Watched:
        raise raised

    before, window = termios.tcgetattr(keyboard[1]), Window()
    with pytest.raises(raised):
        terminal.draw_until_quit(read, FullScreen(window, keyboard[1], ENVIRON), interval_s=9.0)
    assert window.getvalue() == terminal.ENTER + terminal.LEAVE
    assert termios.tcgetattr(keyboard[1]) == before


def test_an_outage_is_shown_and_what_has_ended_is_handed_back(keyboard: tuple[int, TextIO]) -> None:
    answers: list[Watched | None] = [None, people(3)._replace(has_ended=True)]

    def read() -> Watched:
        if (answer := answers.pop(0)) is None:
            raise ServerError("gone", "Start it.")
        return answer

    window = Window()
    last = terminal.draw_until_quit(read, FullScreen(window, keyboard[1], ENVIRON), interval_s=0.0)
    assert last is not None
    assert last.has_ended
    assert "gone\x1b[K\n  Start it." in window.getvalue()


def test_another_key_changes_what_is_read(keyboard: tuple[int, TextIO]) -> None:
    os.write(keyboard[0], b"ssq")
    order, window = 0, Window()

    def on_key(key: str) -> str:
        nonlocal order
        order += key == "s"
        return f"order {order}"

    terminal.draw_until_quit(
        lambda: people(order + 1), FullScreen(window, keyboard[1], ENVIRON), interval_s=9.0, on_key=on_key
    )
    last = window.getvalue().rpartition(terminal.HOME)[2]
    assert "streamer 2" in last
    assert "order 2" in last


def test_what_takes_longer_than_a_second_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "PROGRESS_AFTER_S", 0.01)
    window = Window()
    progress = terminal.Progress(window, ENVIRON, "asking")
    progress.advance(3, 4)
    wait_for(lambda: "asking  [##################......] 3 of 4  0 s" in window.getvalue())
    progress.end()
    assert window.getvalue().endswith("3 of 4  0 s\x1b[K\n")  # the answer comes below it


def test_what_is_said_meanwhile_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "PROGRESS_AFTER_S", 0.01)
    window = Window()
    context = CommandContext(ENVIRON, Path.cwd(), io.StringIO(), window)
    with context.working("asking"):
        wait_for(lambda: "asking  0 s" in window.getvalue())
        context.say("a remark")
        assert "\r\x1b[Ka remark\n" in window.getvalue()
        with context.working("asking more") as advance:  # within another, it is that one's
            advance(1, 2)
    context.show(render.sentence("done", None))
    assert "more" not in window.getvalue()
    assert context.out.getvalue() == "done\n"  # type: ignore[attr-defined]


def test_without_a_terminal_nobody_is_told_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "Progress", None)
    for err, quiet in ((io.StringIO(), False), (Window(), True)):
        context = CommandContext(ENVIRON, Path.cwd(), io.StringIO(), err)
        context.quiet = quiet
        with context.working("asking") as advance:
            advance(1, 2)
        assert err.getvalue() == ""


def test_a_line_without_a_bar_goes_and_what_is_quick_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = Window(), Window()
    terminal.Progress(quick, ENVIRON, "asking").end()
    monkeypatch.setattr(terminal, "PROGRESS_AFTER_S", 0.01)
    progress = terminal.Progress(slow, ENVIRON, "asking")
    wait_for(lambda: "asking  0 s" in slow.getvalue())
    progress.end()
    shown = slow.getvalue()
    time.sleep(0.01)
    assert (quick.getvalue(), slow.getvalue()) == ("", shown)
    assert shown.endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("environ", "on_terminal", "colour"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_colour_is_for_terminals_unless_the_environment_decides(
    environ: dict[str, str], on_terminal: bool, colour: bool
) -> None:
    assert terminal.has_colour(Window() if on_terminal else io.StringIO(), environ) is colour


@pytest.mark.parametrize(
    ("environ", "on_terminal", "width"),
    [
        ({}, False, None),
        ({}, True, 80),
        ({"COLUMNS": "50"}, False, 50),
        ({"COLUMNS": "x"}, False, None),
        ({"COLUMNS": "0"}, True, 80),
    ],
)
def test_a_pipe_has_no_width_unless_columns_says_one(
    environ: dict[str, str], on_terminal: bool, width: int | None
) -> None:
    assert terminal.find_width(Window() if on_terminal else io.StringIO(), environ) == width


@pytest.mark.parametrize(
    ("encoding", "text"), [("utf-8", "─ 一起 …"), ("ascii", "- ?? ~"), ("latin-1", "- ?? ~"), (None, "─ 一起 …")]
)
def test_a_stream_gets_what_it_can_take(encoding: str | None, text: str) -> None:
    assert terminal.encodable("─ 一起 …", encoding) == text
