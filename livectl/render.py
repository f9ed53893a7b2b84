"""Values to tables and JSON; no I/O of its own."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import RenderableType

    from livectl.errors import LivectlError

WIDTH = 80


class View(NamedTuple):
    """An answer both ways: the value that programs get, and what people see, made only if it is people who look."""

    data: Any
    people: Callable[[], RenderableType]


def sentence(text: str, data: Any) -> View:
    return View(data, lambda: text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], data: Any, *, empty: str) -> View:
    """Rows under headings; `empty` is the sentence in their place when there are none."""

    def people() -> RenderableType:
        from rich import box
        from rich.table import Table

        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for column in columns:
            drawn.add_column(column, overflow="fold", no_wrap=column == "id")  # an id is copied as a whole
        for row in rows:
            drawn.add_row(*row)
        return drawn if drawn.row_count else empty

    return View(data, people)


def as_json(view: View) -> str:
    return msgspec.json.encode(view.data, order="deterministic").decode() + "\n"


def as_text(view: View, *, colour: bool, width: int | None = None) -> str:
    people = view.people()
    if isinstance(people, str):
        return people + "\n"
    from rich.console import Console

    page = io.StringIO()
    console = Console(file=page, width=width or _terminal_width(), force_terminal=colour, no_color=not colour)
    console.print(people, markup=False, highlight=False)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"


def error_json(error: LivectlError) -> str:
    said = {"code": error.code, "message": error.message, "hint": error.hint}
    return msgspec.json.encode({"error": said}).decode() + "\n"


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size((WIDTH, 24)).columns
