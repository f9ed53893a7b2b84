"""Turns values into tables, sentences and JSON; writes nothing."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType

    from livectl.errors import LivectlError

DEFAULT_WIDTH_CHARS = 80
UNBROKEN_COLUMN = "id"  # an id is copied as a whole
MIN_COLUMN_CHARS = 6  # narrower columns are no longer read
COLUMN_GAP_CHARS = 2  # between two columns


class View(NamedTuple):
    """An answer in both forms: the value for programs, and what people see, which is made only if it is shown."""

    data: Any
    to_renderable: Callable[[], RenderableType]


def sentence(text: str, data: Any) -> View:
    return View(data, lambda: text)


class Table:
    """Rows under headings. Where the columns would be cut, each row is shown as lines instead: nothing is hidden.

    A column in which no row says anything takes no room from the others.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        filled = [number for number in range(len(columns)) if any(row[number] for row in rows)]
        self._columns = [columns[number] for number in filled]
        self._rows = [[row[number] for number in filled] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self._as_table() if self._narrowest() <= options.max_width else self._as_lines()

    def _narrowest(self) -> int:
        """The width below which a column would be cut, or squeezed to less than a word of it."""
        widths = []
        for number, column in enumerate(self._columns):
            widest = max(len(column), *(len(row[number]) for row in self._rows))
            widths.append(widest if column == UNBROKEN_COLUMN else max(len(column), min(widest, MIN_COLUMN_CHARS)))
        return sum(widths) + COLUMN_GAP_CHARS * (len(widths) - 1)

    def _as_table(self) -> RenderableType:
        from rich import box
        from rich.table import Table as RichTable

        rich_table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for column in self._columns:
            rich_table.add_column(column, overflow="fold", min_width=len(column), no_wrap=column == UNBROKEN_COLUMN)
        for row in self._rows:
            rich_table.add_row(*row)
        return rich_table

    def _as_lines(self) -> RenderableType:
        return "\n\n".join(
            "\n".join(f"{column}: {cell}" for column, cell in zip(self._columns, row, strict=True) if cell)
            for row in self._rows
        )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], data: Any, *, empty: str) -> View:
    """Rows under headings; `empty` is the sentence in their place when there are none."""
    all_rows = list(rows)
    return View(data, lambda: Table(columns, all_rows) if all_rows else empty)


def with_lines(view: View, lines: Sequence[str]) -> View:
    """The view, and below it these lines for people."""

    def to_renderable() -> RenderableType:
        from rich.console import Group

        return Group(view.to_renderable(), "", *lines)

    return View(view.data, to_renderable) if lines else view


def as_json(view: View) -> str:
    return msgspec.json.encode(view.data, order="deterministic").decode() + "\n"


def as_text(view: View, *, colour: bool, width: int | None = None) -> str:
    renderable = view.to_renderable()
    if isinstance(renderable, str):
        return renderable + "\n"
    from rich.console import Console

    buffer = io.StringIO()
    console = Console(file=buffer, width=width or terminal_width(), force_terminal=colour, no_color=not colour)
    console.print(renderable, markup=False, highlight=False)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def fit_rows(build: Callable[[int], View], rows: int, *, width: int, height: int) -> tuple[View, int]:
    """The view with as many of its rows, from the first, as fit into so many lines; and how many those are."""
    fewest, most = min(1, rows), min(rows, max(1, height))
    while fewest < most:
        middle = (fewest + most + 1) // 2
        lines = as_text(build(middle), colour=False, width=width).count("\n")
        fewest, most = (middle, most) if lines <= height else (fewest, middle - 1)
    return build(fewest), fewest


def error_json(error: LivectlError) -> str:
    fields = {"code": error.code, "message": error.message, "hint": error.hint}
    return msgspec.json.encode({"error": fields}).decode() + "\n"


def terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size((DEFAULT_WIDTH_CHARS, 24)).columns
