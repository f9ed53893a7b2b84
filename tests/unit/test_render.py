"""A row of a table is a line of the terminal, whatever its width; without a terminal nothing is cut."""

from __future__ import annotations

import json

import pytest
from wcwidth import wcswidth

from livectl import render
from livectl.render import Column, Paragraph, TextFormat, View

JOB_ID = "0f5b1c1e-6d3e-4a86-9d1a-0123456789ab"
COLUMNS = (
    Column("streamer", "whole"),
    Column("state", "state"),
    Column("name", rank=1),
    Column("viewers", "number", rank=2),
    Column("title", rank=3),
)
PEOPLE = (
    ("bilibili/21452505", "live", "一起看英雄联盟", "123.5 k", "决赛 第三局 正在进行 " * 5),
    ("twitch/ada", "offline", "Ada e\u0301e\u0301", "", ""),
    ("douyu/9999", "not reached", "family 👨‍👩‍👧", "7", "x" * 300),
)
WIDTHS = (200, 120, 80, 60, 40, 25, 12, 5)


def text(view: render.View, width: int | None, *, colour: bool = False, wide: bool = False) -> str:
    return render.as_text(view, colour=colour, width=width, wide=wide)


def people(count: int = 3) -> render.View:
    return render.table(COLUMNS, [PEOPLE[number % 3] for number in range(count)], None, empty="nobody")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [3, 60])
def test_each_row_is_one_line_that_the_terminal_has_room_for(width: int, count: int) -> None:
    lines = text(people(count), width).splitlines()
    assert max(map(wcswidth, lines)) <= max(width, len("viewers,"))  # a note keeps its words whole
    rows = [
        line for line in lines if line.startswith(("bilibili/", "twitch/", "douyu/", "bili…", "…", "b…", "t…", "d…"))
    ]
    assert width < 25 or len(rows) == count


@pytest.mark.parametrize(
    ("width", "missing"), [(80, ""), (60, "title"), (44, "viewers, title"), (25, "name, viewers, title")]
)
def test_what_matters_least_goes_first_and_is_named(width: int, missing: str) -> None:
    out = text(people(), width)
    assert ("not shown" in out) == bool(missing)
    assert not missing or f"not shown: {missing};" in " ".join(out.split())
    assert "bilibili/21452505" in out


@pytest.mark.parametrize(("width", "wide"), [(None, False), (60, True)])
def test_nothing_is_cut_without_a_terminal_nor_where_it_is_to_be_wide(width: int | None, wide: bool) -> None:
    out = text(people(), width, wide=wide)
    assert "x" * 300 in out
    assert "…" not in out
    assert "not shown" not in out


def test_what_is_cut_ends_with_an_ellipsis_and_columns_stay_in_line() -> None:
    lines = text(people(), 80).splitlines()
    cut = [line for line in lines if line.endswith("…")]
    assert len(cut) == 2
    assert {wcswidth(line) for line in cut} <= {78, 79, 80}  # neither half a Chinese character nor a space at the end
    ends = {
        wcswidth(line[: line.index(cell) + len(cell)])
        for line, cell in zip(lines[2::2], ("123.5 k", "7  x"), strict=True)
    }
    assert ends == {
        wcswidth(lines[0][: lines[0].index("viewers") + 7]),
        wcswidth(lines[0][: lines[0].index("title") + 1]),
    }


@pytest.mark.parametrize("width", [200, 80, 60, 48])
def test_an_id_is_in_one_piece(width: int) -> None:
    columns = (Column("id", "whole"), Column("state", "state"), "task", Column("result", rank=1))
    row = (JOB_ID, "succeeded", "proj.tasks.send_all_the_letters", "x" * 60)
    assert JOB_ID in text(render.table(columns, [row], None, empty=""), width)


def test_states_have_a_colour_and_still_their_word() -> None:
    plain, coloured = text(people(), 80), text(people(), 80, colour=True)
    assert "\x1b[32mlive\x1b[0m" in coloured
    assert "\x1b[" not in plain
    assert {"live", "offline", "not reached"} == {word for word in render.STATE_COLOURS if f"  {word}  " in plain}


@pytest.mark.parametrize("cell", ["two\nlines", "a\x1b[31mred", "bell\x07 here", "right \u202eto left"])
def test_a_cell_moves_no_cursor_and_begins_no_line(cell: str) -> None:
    lines = text(render.table(("title",), [(cell,)], None, empty=""), 80).splitlines()
    assert len(lines) == 3
    assert lines[2].isprintable()


def test_a_column_without_a_word_takes_no_room() -> None:
    assert "name" not in text(render.table(("id", "name"), [("1", ""), ("2", "")], None, empty=""), 80)


@pytest.mark.parametrize(
    ("paragraph", "lines"),
    [
        (Paragraph("one two three four"), ["one two", "three four"]),
        (Paragraph("  one two three"), ["  one two", "  three"]),
        (Paragraph("one two three", hanging="  "), ["one two", "  three"]),
        (Paragraph("one two three", label="a "), ["a one two", "  three"]),
        (Paragraph("see https://example.test/long now"), ["see", "https://example.test/long", "now"]),
        (Paragraph("一起看 英雄"), ["一起看", "英雄"]),
        (Paragraph("a\nb"), ["a", "b"]),
    ],
)
def test_words_are_never_broken(paragraph: Paragraph, lines: list[str]) -> None:
    assert paragraph.lines(TextFormat(10)) == lines


def test_a_screen_gets_headings_rows_and_notes_apart() -> None:
    view = render.with_lines(people(), ["a note"])
    headings, rows, below = render.split_lines(view.to_renderable(), TextFormat(80))
    assert (len(headings), len(rows), below) == (2, 3, ["", "a note"])


def test_rows_are_put_into_an_object_piece_by_piece() -> None:
    view = View({"total": 3, "rows": [], "also": "x"}, str)
    pieces = list(render.json_around(view, "rows", iter(['{"a":1},{"a":2}', '{"a":3}'])))
    assert json.loads("".join(pieces)) == {"total": 3, "rows": [{"a": 1}, {"a": 2}, {"a": 3}], "also": "x"}
    assert json.loads("".join(render.json_around(view, "rows", iter([])))) == {"total": 3, "rows": [], "also": "x"}


def test_what_shows_the_rest_is_said_once() -> None:
    view = render.table(["name", Column("error")], [("a", "x" * 60)], [], empty="", if_cut=render.WIDE_SHOWS_ALL)
    assert render.as_text(view, colour=False, width=40).endswith("…\n--wide shows all\n")
    assert "--wide" not in render.as_text(view, colour=False, width=80)
    columns = [Column("name"), Column("error"), Column("much", rank=1, least=30)]
    view = render.table(columns, [("a", "x" * 60, "y" * 60)], [], empty="", if_cut=render.WIDE_SHOWS_ALL)
    assert render.as_text(view, colour=False, width=40).endswith("not shown: much; --wide shows all\n")
