"""Tables hide nothing: neither a column in a narrow terminal, nor a row without a word about it."""

from __future__ import annotations

import pytest

from livectl import render

LETTERS = "abcdefghij"
JOB_ID = "0f5b1c1e-6d3e-4a86-9d1a-0123456789ab"


def text(view: render.View, width: int) -> str:
    return render.as_text(view, colour=False, width=width)


@pytest.mark.parametrize("width", [200, 80, 60, 40, 20, 12])
def test_a_narrow_terminal_cuts_no_column(width: int) -> None:
    """Each cell is twelve times its letter, which is nowhere else."""
    rows = [[letter * 12 for letter in LETTERS]] * 3
    out = text(render.table([f"{number}" for number in range(10)], rows, rows, empty=""), width)
    assert max(map(len, out.splitlines())) <= width
    assert {letter: out.count(letter) for letter in LETTERS} == dict.fromkeys(LETTERS, 36)


@pytest.mark.parametrize("width", [200, 80, 60, 44, 40])
def test_an_id_is_in_one_piece_wherever_it_has_room(width: int) -> None:
    row = (JOB_ID, "succeeded", "proj.tasks.send_all_the_letters", "3 min", "x" * 60)
    out = text(render.table(("id", "state", "task", "ago", "result"), [row], None, empty=""), width)
    assert JOB_ID in out
    assert out.count("x") == 60


def test_headings_are_in_one_piece() -> None:
    columns = ("worker", "pool", "active", "reserved", "done", "age", "memory", "celery", "skew", "queues")
    row = ("mail-123456@host", "prefork 4", "0", "0", "12", "1.00 h", "62 MB", "5.7.0", "0", "celery, mail, slow")
    heading = text(render.table(columns, [row], None, empty=""), 80).splitlines()[0]
    assert heading.split() == list(columns)


@pytest.mark.parametrize(("height", "shown"), [(1, 1), (3, 1), (5, 3), (12, 10), (13, 10)])
def test_as_many_rows_are_taken_as_fit(height: int, shown: int) -> None:
    rows = [(f"streamer {number}",) for number in range(10)]
    view, count = render.fit_rows(
        lambda most: render.table(("name",), rows[:most], rows, empty=""), len(rows), width=80, height=height
    )
    assert count == shown
    assert text(view, 80).count("streamer") == shown
