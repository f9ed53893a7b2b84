"""The board of `livectl up`: values in, lines out."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING

import pytest

from livectl.errors import ServerError
from livectl.models import BoardEvent, BoardReading, StatusPart
from livectl.ops.processes import state_dir
from livectl.ops.processes.output import LogFiles, StatusScreen
from livectl.ops.services import board
from livectl.ops.services.board import Board, LineFormat, Source
from livectl.render import cell_width
from tests.support.terminals import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT = 1_795_881_600.0  # 2026-11-28 16:00:00 UTC
PERSON, LOG, JSON = LineFormat(dated=False), LineFormat(), LineFormat(json=True)
MEMBERS = ("broker", "page", "worker", "beat")


def event(text: str, kind: str = "live", **details: object) -> BoardEvent:
    return BoardEvent(at=AT, event=kind, text=text, details=details)


@pytest.mark.parametrize(
    ("told", "line_format", "width", "line"),
    [
        (event("Ada: tea"), PERSON, 80, "16:00:00  live      Ada: tea"),
        (event("Ada: tea"), LOG, None, "2026-11-28 16:00:00  live      Ada: tea"),
        (event("Ada: a long title"), PERSON, 30, "16:00:00  live      Ada: a lo…"),
        (event("直播间标题很长"), PERSON, 30, "16:00:00  live      直播间标…"),
        (event("Ada: \x1b[2J\r\x07tea"), LOG, None, "2026-11-28 16:00:00  live      Ada:  [2J  tea"),
        (event("at redis://:hush@h/0", "note"), LOG, None, "2026-11-28 16:00:00  note      at redis://:***@h/0"),
        (
            event("worker ended and is started again", "member"),
            PERSON,
            40,
            "16:00:00  member    worker ended and is\n                    started again",
        ),
        (
            event("Ada", platform="demo", viewers=None),
            JSON,
            None,
            '{"at":"2026-11-28T16:00:00Z","event":"live","text":"Ada","platform":"demo","viewers":null}',
        ),
    ],
)
def test_an_event_is_a_line(told: BoardEvent, line_format: LineFormat, width: int | None, line: str) -> None:
    assert board.format_event(told, line_format, width) == line


PARTS = [
    StatusPart(("2 live: Ada, 令和", "2 live of 60", "2 live"), 3, "good"),
    StatusPart(("next demo/grace in 12 s", "next in 12 s", ""), 5),
    StatusPart(("0 queued", ""), 4),
    StatusPart(("52 jobs a minute", "52/min", ""), 6),
    StatusPart(("no problems", ""), 0),
]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (119, "2 live: Ada, 令和  ·  next demo/grace in 12 s  ·  0 queued  ·  52 jobs a minute  ·  no problems"),
        (79, "2 live: Ada, 令和 · next demo/grace in 12 s · 0 queued · 52/min · no problems"),
        (59, "2 live: Ada, 令和 · next in 12 s · 0 queued · no problems"),
        (39, "2 live: Ada, 令和 · no problems"),
        (20, "2 live · no problems"),
        (19, "2 live: Ada, 令和"),
        (5, "2 li…"),
    ],
)
def test_the_status_line_is_as_long_as_there_is_room(width: int, line: str) -> None:
    assert board.status_line(PARTS, width) == (line, cell_width(line))
    coloured, cells = board.status_line(PARTS, width, colour=True)
    assert cells == cell_width(line) <= width
    assert ("\x1b[" in coloured) == (width > 5)


def test_problems_are_named_and_counted() -> None:
    assert board.problem_part([]).words[0] == "no problems"
    assert board.problem_part(["b", "a", "b"]).words == ("2 problems: b", "2 problems: livectl doctor", "2 problems")


def test_lines_come_above_the_status_line_and_nothing_is_left_of_it() -> None:
    stream, columns = io.StringIO(), [40]
    screen = StatusScreen(stream, columns=lambda: columns[0])
    screen.show_status("one", 3)
    screen.write("first")
    screen.show_status("two", 3)
    screen.write("second")
    assert rows_of(stream.getvalue(), 40) == ["first", "second", "two"]
    screen.show_status("x" * 39, 39)
    columns[0] = 15  # the terminal breaks the line over three rows
    screen.write("third")
    screen.close()
    assert rows_of(stream.getvalue(), 15) == ["first", "second", "third", ""]


def test_without_a_terminal_there_is_no_status_line() -> None:
    stream = io.StringIO()
    screen = StatusScreen(stream)
    screen.show_status("one", 3)
    screen.write("first")
    screen.close()
    assert stream.getvalue() == "first\n"


def test_a_screen_that_is_gone_is_said_once() -> None:
    class Gone(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    said: list[str] = []
    screen = StatusScreen(Gone(), on_closed=lambda: said.append("gone"))
    screen.write("a")
    screen.write("b")
    assert said == ["gone"]


def make_board(folder: Path, stream: io.StringIO, line_format: LineFormat = PERSON, *, verbose: bool = False) -> Board:
    state_dir.make_state_dir(folder)
    return Board(StatusScreen(stream), LogFiles(folder), line_format, MEMBERS, member_lines=verbose, clock=lambda: AT)


@pytest.mark.parametrize("verbose", [False, True])
def test_members_write_to_their_logs_and_up_to_the_screen(tmp_path: Path, *, verbose: bool) -> None:
    stream = io.StringIO()
    made = make_board(tmp_path, stream, verbose=verbose)
    for name, line in (
        ("worker", "Task a succeeded"),
        ("up", "ready: broker, worker at work"),
        ("up", "worker ended (SIGKILL) and is started again in 1 s"),
        ("up", "stopping: running jobs end first"),
    ):
        made.write(name, line)
    made.close()
    lines = [line.removeprefix("16:00:00  ") for line in stream.getvalue().splitlines()]
    assert lines[1 if verbose else 0 :] == [
        "ready     broker, worker at work",
        "member    worker ended (SIGKILL) and is started again in 1 s",
        "stopping  running jobs end first",
    ]
    assert ("worker | Task a succeeded" in lines) == verbose
    log = tmp_path / "log" / "worker.log"
    assert (log.read_text(), log.stat().st_mode & 0o777) == ("Task a succeeded\n", 0o600)


def test_what_is_wrong_is_told_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    stream = io.StringIO()
    made = make_board(tmp_path, stream, JSON)
    answers: Iterator[tuple[str, ...] | ServerError] = iter([("a",), ("a", "b"), ServerError("no store"), ()])

    def read(now: float) -> BoardReading:
        answer = next(answers)
        if isinstance(answer, ServerError):
            raise answer
        return BoardReading(problems=answer)

    for _ in range(4):
        made._read(Source("live", read))
    made.close()
    told = [(json.loads(line)["event"], json.loads(line)["text"]) for line in stream.getvalue().splitlines()]
    assert told == [
        ("problem", "a"),
        ("problem", "b"),
        ("problem", "no store"),
        ("mended", "no longer: a"),
        ("mended", "no longer: b"),
        ("mended", "no longer: no store"),
    ]


def test_a_log_is_set_aside_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_dir, "MAX_LOG_BYTES", 10)
    state_dir.make_state_dir(tmp_path)
    logs = LogFiles(tmp_path)
    for number in range(12):
        logs.write("worker", f"line {number:02}")
    logs.close()
    kept = {path.name: path.read_text().split() for path in (tmp_path / "log").iterdir()}
    assert set(kept) == {"worker.log", *(f"worker.log.{number}" for number in range(1, state_dir.KEPT_LOGS + 1))}
    assert kept["worker.log"] == ["line", "10", "line", "11"]
    assert kept["worker.log.3"] == ["line", "04", "line", "05"]


def test_a_log_that_cannot_be_written_costs_its_lines_only(tmp_path: Path) -> None:
    state_dir.make_state_dir(tmp_path)
    (tmp_path / "log" / "beat.log").mkdir()
    logs = LogFiles(tmp_path)
    logs.write("beat", "lost")
    logs.write("worker", "kept")
    logs.close()
    assert (tmp_path / "log" / "worker.log").read_text() == "kept\n"


def test_the_board_reads_by_itself_and_ends_with_its_process(tmp_path: Path) -> None:
    stream, read_at = io.StringIO(), []

    def read(now: float) -> BoardReading:
        read_at.append(now)
        return BoardReading(events=(event("Ada"),))

    made = make_board(tmp_path, stream)
    made.write("up", "ready: worker at work")
    made.watch([Source("live", read)])
    deadline = time.monotonic() + 30
    while not read_at and time.monotonic() < deadline:
        time.sleep(0.01)
    made.close()
    assert "live      Ada" in stream.getvalue()
