"""Turns values into tables, sentences and JSON; writes nothing."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

from livectl.errors import CUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from livectl.errors import LivectlError

DEFAULT_WIDTH_CHARS = 80
COLUMN_GAP = "  "
LEAST_TEXT_CHARS = 10  # a column of text that is narrower says nothing
LEAST_STATE_CHARS = 14  # of the longest state, "not understood"; what follows it may go
LEAST_CUT_CHARS = 2  # where even the columns that have to be there do not fit
WIDE_SHOWS_ALL = "--wide shows all"
HEADING_LINES = 2  # of a table: the headings and the rule below them

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"  # those that a terminal's theme chooses
STATE_COLOURS = {
    **dict.fromkeys(("live", "succeeded", "well", "healthy", "yes", "ok", "taken"), GREEN),
    **dict.fromkeys(("failed", "failing", "banned", "blocked", "no valid key", "NO", "bad", "not healthy"), RED),
    **dict.fromkeys(("gave one up", "secret unset", "could not ask"), RED),
    **dict.fromkeys(("not reached", "not understood", "rate limited", "not found", "restricted", "warn"), YELLOW),
    **dict.fromkeys(("dead", "missed"), RED),
    **dict.fromkeys(("retrying", "redelivery", "paused", "left out"), YELLOW),
    **dict.fromkeys(("running", "received", "queued", "eta", "upcoming"), CYAN),
    **dict.fromkeys(("offline", "replay", "not asked yet", "unknown", "revoked", "off", "not live"), DIM),
}


class TextFormat(NamedTuple):
    """For what kind of reader a text is made. Without a width nothing is cut or broken."""

    width: int | None = None  # cells of the terminal
    colour: bool = False
    wide: bool = False  # tables may be wider than that

    def painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour and colour and text else text


class Block(Protocol):
    """Something that becomes lines of text."""

    def lines(self, text_format: TextFormat) -> list[str]: ...


Renderable = str | Block  # a str is shown as it is, however long its lines are


class View(NamedTuple):
    """An answer in both forms: the value for programs, and what people see, which is made only if it is shown."""

    data: Any
    to_renderable: Callable[[], Renderable]


class GrowingTable:
    """A table that is shown in pages, as its rows are found."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._last: Table | None = None

    def page(self, rows: Sequence[Sequence[str]], data: Sequence[Any]) -> View:
        """The next rows."""

        def grow() -> Table:
            self._last = Table(self._columns, rows, above=self._last)
            return self._last

        return View(data, grow)


class Paragraph(NamedTuple):
    """Text that is broken at words; a word that is wider than the terminal, such as an address, stays whole.

    A line goes on where it began; `label` stands before the first one, and the others begin below its end.
    """

    text: str
    label: str = ""
    hanging: str = ""  # before each further line, besides
    colour: str = ""
    label_colour: str = ""

    def lines(self, text_format: TextFormat) -> list[str]:
        lines: list[str] = []
        label, shown_label = self.label, text_format.painted(self.label, self.label_colour)
        for text in self.text.split("\n"):
            words = text.lstrip(" ")
            begin = " " * (len(text) - len(words))
            width = None if text_format.width is None else text_format.width - cell_width(label) - len(begin)
            first, *rest = _break_at_words(words, width, cell_width(self.hanging))
            lines.append(f"{shown_label}{begin}{text_format.painted(first, self.colour)}".rstrip())
            label = shown_label = " " * cell_width(label)
            lines += [f"{label}{begin}{self.hanging}{text_format.painted(line, self.colour)}" for line in rest]
        return lines


class Stack:
    """One below the other."""

    def __init__(self, *parts: Renderable) -> None:
        self.parts = parts

    def lines(self, text_format: TextFormat) -> list[str]:
        return [line for part in self.parts for line in block_lines(part, text_format)]


class Column(NamedTuple):
    """What a table knows of a column.

    Numbers are aligned right, states coloured by their words; `whole` is copied as a whole, so it is shortened last.
    Where a terminal is narrow, the column of the highest rank goes first; one of rank 0 stays.
    """

    heading: str
    kind: Literal["text", "number", "state", "whole"] = "text"
    rank: int = 0
    least: int = LEAST_TEXT_CHARS

    def least_width(self, natural: int) -> int:
        if self.kind in {"number", "whole"}:
            return natural
        return min(natural, max(cell_width(self.heading), LEAST_STATE_CHARS if self.kind == "state" else self.least))

    def to_cell(self, text: str, width: int, text_format: TextFormat) -> str:
        """The text in so many cells. Its colour adds nothing to what its words say."""
        shown = shorten_cells(text, width)
        padding = " " * (width - cell_width(shown))
        if self.kind == "state":
            shown = text_format.painted(shown, STATE_COLOURS.get(text.partition(":")[0], ""))
        return f"{padding}{shown}" if self.kind == "number" else f"{shown}{padding}"


class Table:
    """Rows under headings, each row one line.

    Columns are shortened from the right; where that is not enough, those that matter least are left out, and named
    below. A column in which no row says anything takes no room from the others. `if_cut` says, where something is
    shortened, what shows all of it. `above` is the table that this one goes on with: no column gets narrower.
    """

    def __init__(
        self,
        columns: Sequence[str | Column],
        rows: Sequence[Sequence[str]],
        if_cut: str = "",
        above: Table | None = None,
    ) -> None:
        self._if_cut = if_cut
        widths_above: dict[int, int] = above.natural_widths if above else {}
        filled = [
            number for number in range(len(columns)) if number in widths_above or any(row[number] for row in rows)
        ]
        self._columns = [Column(column) if isinstance(column, str) else column for column in columns]
        self._columns = [self._columns[number] for number in filled]
        self._rows = [[one_line(row[number]) for number in filled] for row in rows]
        self._widths = [
            max(cell_width(column.heading), widths_above.get(given, 0), *(cell_width(row[at]) for row in self._rows))
            for at, (given, column) in enumerate(zip(filled, self._columns, strict=True))
        ]
        self.natural_widths: dict[int, int] = dict(
            zip(filled, self._widths, strict=True)
        )  # of the columns that say something

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def lines(self, text_format: TextFormat) -> list[str]:
        width = None if text_format.wide else text_format.width
        widths = dict(enumerate(self._widths)) if width is None else self._fitting_widths(width)
        headings = COLUMN_GAP.join(
            self._columns[number]
            ._replace(kind=self._heading_kind(number))
            .to_cell(self._columns[number].heading, widths[number], text_format)
            for number in widths
        )
        rule = "─" * (sum(widths.values()) + len(COLUMN_GAP) * (len(widths) - 1))
        rows = [
            COLUMN_GAP.join(
                self._columns[number].to_cell(row[number], widths[number], text_format) for number in widths
            )
            for row in self._rows
        ]
        lines = [text_format.painted(headings.rstrip(), BOLD), text_format.painted(rule, DIM)]
        return [*lines, *(row.rstrip() for row in rows), *self._left_out_lines(widths, text_format)]

    def _heading_kind(self, number: int) -> Literal["text", "number"]:
        return "number" if self._columns[number].kind == "number" else "text"

    def _left_out_lines(self, shown: Mapping[int, int], text_format: TextFormat) -> list[str]:
        names = [column.heading for number, column in enumerate(self._columns) if number not in shown]
        is_cut = names or any(shown[number] < width for number, width in enumerate(self._widths))
        notes = [f"not shown: {', '.join(names)}; {WIDE_SHOWS_ALL}"] if names else []
        notes += [self._if_cut] if self._if_cut and is_cut and self._if_cut not in "".join(notes) else []
        return [line for note in notes for line in Paragraph(note, colour=DIM).lines(text_format)]

    def _fitting_widths(self, width: int) -> dict[int, int]:
        """Column -> cells, for the columns that this width has room for."""
        shown = list(range(len(self._columns)))
        least = [column.least_width(self._widths[number]) for number, column in enumerate(self._columns)]
        while _line_width(least[number] for number in shown) > width:
            ranked = [number for number in shown if self._columns[number].rank]
            if not ranked:
                break
            shown.remove(max(ranked, key=lambda number: (self._columns[number].rank, number)))
        widths = {number: self._widths[number] for number in shown}
        _narrow(widths, width, lambda number: least[number])
        _narrow(widths, width, lambda number: min(LEAST_CUT_CHARS, self._widths[number]))
        return widths


def _narrow(widths: dict[int, int], width: int, least: Callable[[int], int]) -> None:
    """Shortens columns, from the right, until a line fits, none to less than its least."""
    for number in sorted(widths, reverse=True):
        excess = max(0, _line_width(widths.values()) - width)
        widths[number] = max(min(widths[number], least(number)), widths[number] - excess)


def _line_width(widths: Iterable[int]) -> int:
    cells = list(widths)
    return sum(cells) + len(COLUMN_GAP) * (len(cells) - 1)


def one_line(text: str) -> str:
    """The text without what would begin a new line or move the cursor."""
    return (
        text
        if text.isprintable()
        else " ".join("".join(c if c.isprintable() or c in JOINERS else " " for c in text).split())
    )


JOINERS = "\u200c\u200d"  # inside words and pictures of several characters


def cell_width(text: str) -> int:
    """How many cells of a terminal a text fills: two for a Chinese character, none for a combining one."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # 30 ms, and ASCII does without

    width: int = wcswidth(text)
    return len(text) if width < 0 else width  # it holds a control character


def shorten_cells(text: str, width: int) -> str:
    """As much of the text as so many cells have room for; what is cut ends with an ellipsis."""
    if cell_width(text) <= width:
        return text
    kept = bisect_right(range(len(text) + 1), width - 1, key=lambda length: cell_width(text[:length])) - 1
    return f"{text[:kept].rstrip(f' {JOINERS}')}{CUT}"


def _break_at_words(text: str, width: int | None, hanging: int = 0) -> list[str]:
    """The lines of a text; those after the first are narrower by what hangs before them."""
    if width is None or cell_width(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        room = width - (hanging if len(lines) > 1 else 0)
        if lines[-1] and cell_width(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


class SplitLines(NamedTuple):
    """The lines of an answer, apart: the headings of its table, its rows, and what stands below them."""

    headings: list[str]
    rows: list[str]
    below: list[str]


def split_lines(renderable: Renderable, text_format: TextFormat) -> SplitLines:
    """The lines, for a screen on which the rows have to share what room there is."""
    first, *others = renderable.parts if isinstance(renderable, Stack) else (renderable,)
    below = [line for part in others for line in block_lines(part, text_format)]
    lines = block_lines(first, text_format)
    if not isinstance(first, Table):
        return SplitLines([], lines, below)
    last = HEADING_LINES + first.row_count
    return SplitLines(lines[:HEADING_LINES], lines[HEADING_LINES:last], [*lines[last:], *below])


def block_lines(renderable: Renderable, text_format: TextFormat) -> list[str]:
    return renderable.split("\n") if isinstance(renderable, str) else renderable.lines(text_format)


def sentence(text: str, data: Any) -> View:
    """Words for people, broken at words where the terminal ends."""
    return View(data, lambda: Paragraph(text))


def table(
    columns: Sequence[str | Column], rows: Iterable[Sequence[str]], data: Any, *, empty: str, if_cut: str = ""
) -> View:
    """Rows under headings; `empty` is the sentence in their place when there are none."""
    all_rows = list(rows)
    return View(data, lambda: Table(columns, all_rows, if_cut) if all_rows else Paragraph(empty))


def with_lines(view: View, lines: Sequence[str]) -> View:
    """The view, and below it these lines for people."""
    return View(view.data, lambda: Stack(view.to_renderable(), "", *map(Paragraph, lines))) if lines else view


def as_json(view: View) -> str:
    return msgspec.json.encode(view.data, order="deterministic").decode() + "\n"


def as_text(view: View, *, colour: bool, width: int | None = None, wide: bool = False) -> str:
    """The view for people; without a width, for a pipe or a file, nothing is cut."""
    return "\n".join(block_lines(view.to_renderable(), TextFormat(width, colour, wide))) + "\n"


def json_pieces(pages: Iterable[View]) -> Iterator[str]:
    """One array of all that the pages have, piece by piece."""
    yield "["
    comma = ""
    for page in pages:
        if rows := as_json(page).strip()[1:-1]:
            yield comma + rows
            comma = ","
    yield "]\n"


def json_around(view: View, field: str, rows: Iterable[str]) -> Iterator[str]:
    """An object with these rows in an empty array of it, piece by piece; each piece of rows may have several."""
    head, foot = as_json(view).split(f'"{field}":[]')
    yield f'{head}"{field}":['
    comma = ""
    for some in rows:
        yield comma + some
        comma = ","
    yield f"]{foot}"


def text_pieces(pages: Iterable[View], text_format: TextFormat) -> Iterator[str]:
    """The pages one below the other. The headings of a table come again only where its columns change, and what stands
    below it only once.
    """
    headings, below = list[str](), list[str]()
    for page in pages:
        renderable = page.to_renderable()
        lines = split_lines(renderable, text_format)
        if not isinstance(renderable, Table):
            shown, below = [*below, *lines.headings, *lines.rows, *lines.below], []
        else:
            are_new = [heading.split() for heading in headings[:1]] != [
                heading.split() for heading in lines.headings[:1]
            ]
            shown = [*(lines.headings if are_new else ()), *lines.rows]
            headings, below = lines.headings, lines.below
        yield "".join(f"{line}\n" for line in shown)
    yield "".join(f"{line}\n" for line in below)


def error_json(error: LivectlError) -> str:
    fields = {"code": error.code, "message": error.message, "hint": error.hint}
    return msgspec.json.encode({"error": fields}).decode() + "\n"
