"""The screen of `livectl top`, made with Textual: panels that open one at a time, and a key for each action."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from livectl.ops.services.board import problem_part, status_line
from livectl.render import TextFormat, cell_width, one_line, shorten_cells, split_lines
from livectl.top.panels import Rows
from livectl.top.reading import Reader, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult
    from textual.events import Key, Resize

    from livectl.models import BoardReading
    from livectl.top.panels import Action, CommandOutcome, CommandRunner, Panel, TopSource

MAX_OUTPUT_LINES = 2_000  # of a command; more is for a pager
LEAST_OPEN_LINES = 12  # of the open panel, before the others show rows of theirs
MAX_PREVIEW_ROWS = 6
FRAME_LINES = 2  # the first line of the screen and the last one
CLOCK_S = 1.0

KEYS = (
    ("1 … 6, Tab", "open another panel"),
    ("↑ ↓, j k", "choose a row; also PgUp, PgDn, Home, End"),
    ("Enter", "all about the row; Esc goes back"),
    ("/", "show only rows with these words; empty shows all"),
    ("?", "these keys"),
    ("q", "leave"),
)


class PanelBox(Vertical):
    """A panel on the screen: its title, and below it the rows: all of them where it is open, else the first few."""

    def __init__(self, panel: Panel, number: int) -> None:
        super().__init__(id=f"panel{number}")
        self.panel = panel
        self.rows = Rows(summary="…")
        self.words = ""  # of the filter
        self.is_open = False
        self._number = number
        self._items: dict[str, Any] = {}  # those that are shown, by key
        self._lines: list[str] = []
        self._title = Static(classes="title", markup=False)
        self._headings = Static(classes="headings", markup=False)
        self.table = OptionList(compact=True, markup=False)
        self._below = Static(classes="below", markup=False)

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._headings
        yield self.table
        yield self._below

    @property
    def chosen(self) -> Any:
        """The row that the keys mean; None where there is none."""
        option = self.table.highlighted_option
        return self._items.get(option.id) if option and option.id else None

    def open(self, *, is_open: bool, preview_rows: int) -> None:
        self.is_open = is_open
        self.set_class(is_open, "open")
        self.table.can_focus = is_open
        self.table.display = self._headings.display = is_open or preview_rows > 0
        self.table.styles.max_height = None if is_open else preview_rows
        self.draw()

    def draw(self) -> None:
        width = max(self.app.size.width - 1, 1)  # the last column is the scroll bar's
        self._title.update(self._title_text(width))
        items = self.rows.matching(self.words)
        if self.rows.problem or not items or self.rows.to_view is None:
            self._show_lines(["", *self._empty_text(items).split("\n")], {})
            self._below.update("")
            return
        lines = split_lines(self.rows.to_view(items).to_renderable(), TextFormat(width, colour=True))
        keyed = dict(zip(map(self.rows.key, items), items, strict=True))
        self._headings.update(Text.from_ansi(lines.headings[0] if lines.headings else ""))
        self._show_lines(lines.rows, keyed)
        notes = [one_line(note) for note in self.rows.notes] if self.is_open else []
        self._below.update("\n".join(shorten_cells(note, width) for note in notes))

    def _title_text(self, width: int) -> Text:
        mark = "▾" if self.is_open else "▸"
        words = f"  only: {self.words}" if self.words else ""
        lead = f"{mark} {self._number} {self.panel.name:<13}"
        rest = shorten_cells(f"{one_line(self.rows.summary)}{words}", max(width - len(lead), 1))
        return Text.assemble((lead, "bold"), (rest, "" if self.is_open else "dim"))

    def _empty_text(self, items: Sequence[Any]) -> str:
        if self.rows.problem:
            return self.rows.problem
        if self.rows.to_view is None:
            return "…"
        return "Nothing here has these words." if self.rows.items and not items else "Nothing."

    def _show_lines(self, lines: list[str], items: dict[str, Any]) -> None:
        """Puts the lines into the table. The chosen row stays chosen wherever it has moved to."""
        keys, shown_keys = list(items), list(self._items)
        if not items:
            self._headings.update("")
        if items and keys == shown_keys and len(lines) == len(self._lines):
            for index, (line, shown) in enumerate(zip(lines, self._lines, strict=True)):
                if line != shown:
                    self.table.replace_option_prompt_at_index(index, Text.from_ansi(line))
        else:
            self._replace(lines, keys)
        self._items, self._lines = items, lines

    def _replace(self, lines: list[str], keys: list[str]) -> None:
        option, index = self.table.highlighted_option, self.table.highlighted or 0
        ids: list[str | None] = [*keys] or [None] * len(lines)
        options = [
            Option(Text.from_ansi(line), id=key, disabled=not keys) for line, key in zip(lines, ids, strict=True)
        ]
        self.table.set_options(options)
        if option is not None and option.id in keys and index > 0:
            self.table.highlighted = keys.index(option.id)
        else:
            self.table.highlighted = min(index, len(keys) - 1) if keys else None


class OutputScreen(ModalScreen[None]):
    """What a command said."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "back"),
        Binding("j", "scroll('down')", show=False),
        Binding("k", "scroll('up')", show=False),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        lines = self._text.rstrip("\n").split("\n")
        left_out = [f"and {len(lines) - MAX_OUTPUT_LINES:,} more lines"] if len(lines) > MAX_OUTPUT_LINES else []
        yield Static(self._title, classes="bar", markup=False)
        with VerticalScroll():
            yield Static(Text.from_ansi("\n".join([*lines[:MAX_OUTPUT_LINES], *left_out])), markup=False)
        yield Static("Esc back   ↑ ↓ scroll", classes="bar", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, way: str) -> None:
        body = self.query_one(VerticalScroll)
        (body.scroll_down if way == "down" else body.scroll_up)(animate=False)


class QuestionScreen(ModalScreen[bool]):
    """Asks before something that cannot be taken back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,enter,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        yield Static(f"{self._question}\n\ny yes   n no", id="question", markup=False)

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - as Textual calls it
        self.dismiss(answer)


class FilterInput(Input):
    """The words that rows must have; every letter counts at once."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.leave_filter", show=False)]


class TopApp(App[None]):
    """The whole screen."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; overflow: hidden; }
    .bar { height: 1; width: 100%; text-style: reverse; }
    #said { height: auto; max-height: 3; display: none; }
    #filter { height: 1; display: none; }
    #filter Static { width: 2; }
    FilterInput { width: 1fr; height: 1; border: none; padding: 0; background: transparent; }
    PanelBox { height: auto; }
    PanelBox.open { height: 1fr; }
    .title, .headings { height: 1; }
    .headings { text-style: bold; }
    .below { height: auto; max-height: 3; text-style: dim; display: none; }
    PanelBox.open .below { display: block; }
    OptionList { height: auto; border: none; padding: 0; background: transparent; scrollbar-size-vertical: 1; }
    OptionList:focus { border: none; background-tint: transparent; }
    OptionList > .option-list--option-disabled { color: $foreground; text-style: dim; }
    OptionList > .option-list--option-highlighted { background: transparent; text-style: none; }
    PanelBox.open OptionList { height: 1fr; }
    PanelBox.open OptionList > .option-list--option-highlighted { text-style: reverse; }
    OutputScreen { background: $background; }
    OutputScreen VerticalScroll { height: 1fr; }
    QuestionScreen { align: center middle; background: transparent; }
    #question { width: auto; max-width: 90%; height: auto; border: round $foreground; padding: 1 2;
                background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "turn(1)", show=False, priority=True),
        Binding("shift+tab", "turn(-1)", show=False, priority=True),
        Binding("j", "move('down')", show=False),
        Binding("k", "move('up')", show=False),
        Binding("slash", "filter", show=False),
        Binding("question_mark", "show_keys", show=False),
        Binding("escape", "clear_filter", show=False),
        Binding("q", "quit", show=False),
        *(Binding(str(number), f"open({number})", show=False) for number in range(1, 10)),
    ]

    def __init__(self, title: str, source: TopSource, panels: Sequence[Panel], run_command: CommandRunner) -> None:
        super().__init__(ansi_color=True)
        self._name = title
        self._zone = ZoneInfo(source.zone)
        self._run_command = run_command
        self._boxes = [PanelBox(panel, number) for number, panel in enumerate(panels, 1)]
        self._open = 0
        self._status: Sequence[BoardReading] = ()
        self._reader = Reader(source, panels, self._take)
        self._headline = Static(classes="bar", markup=False)
        self._said = Static(id="said", markup=False)
        self._filter = FilterInput(placeholder="words that rows must have", compact=True)
        self._filter_line = Horizontal(Static("/ ", markup=False), self._filter, id="filter")
        self._keys = Static(classes="bar", markup=False)

    def compose(self) -> ComposeResult:
        yield self._headline
        yield from self._boxes
        yield self._said
        yield self._filter_line
        yield self._keys

    def on_mount(self) -> None:
        self.action_open(self._open + 1)
        self.set_interval(CLOCK_S, self._draw_headline)
        self._reader.start()

    def on_unmount(self) -> None:
        self._reader.end()

    def on_resize(self, _: Resize) -> None:
        self._arrange()
        self._draw_headline()

    @property
    def box(self) -> PanelBox:
        """The open panel."""
        return self._boxes[self._open]

    def _take(self, reading: Reading) -> None:
        """Called by the thread that reads."""
        with suppress(RuntimeError):  # the screen has just been closed
            self.call_from_thread(self._show, reading)

    def _show(self, reading: Reading) -> None:
        if reading.panel is None:
            self._status = reading.value
            self._draw_headline()
            return
        box = next(box for box in self._boxes if box.panel is reading.panel)
        box.rows = reading.value
        box.draw()

    def _draw_headline(self) -> None:
        lead = f" {self._name}  {datetime.now(self._zone):%H:%M:%S}  "
        parts = [part for reading in self._status for part in reading.parts]
        problems = [problem for reading in self._status for problem in reading.problems]
        if self._status:
            parts.append(problem_part(problems))
        text, _ = status_line(parts, max(self.size.width - len(lead) - 1, 1)) if parts else ("reading …", 0)
        self._headline.update(f"{lead}{text}")

    def _arrange(self) -> None:
        """Gives the open panel its room; where more is left, each of the others shows its first rows."""
        spare = self.size.height - FRAME_LINES - len(self._boxes) - LEAST_OPEN_LINES
        each = spare // max(len(self._boxes) - 1, 1) - 1
        preview = min(MAX_PREVIEW_ROWS, each) if each > 1 else 0
        for index, box in enumerate(self._boxes):
            box.open(is_open=index == self._open, preview_rows=preview)
        actions = [f"{action.key} {action.name}" for action in self.box.panel.actions]
        self._keys.update(_key_line(actions, max(self.size.width, 1)))

    # Keys

    def action_open(self, number: int) -> None:
        if number > len(self._boxes):
            return
        self._open = number - 1
        self._arrange()
        self.box.table.focus()
        self._reader.focus(self.box.panel)

    def action_turn(self, step: int) -> None:
        if self.screen is self.screen_stack[0]:
            self.action_open((self._open + step) % len(self._boxes) + 1)

    def action_move(self, way: str) -> None:
        table = self.box.table
        (table.action_cursor_down if way == "down" else table.action_cursor_up)()

    def on_key(self, event: Key) -> None:
        if self.screen is not self.screen_stack[0] or self._filter.has_focus:
            return
        for action in self.box.panel.actions:
            if event.character == action.key and self.box.chosen is not None:
                event.stop()
                self._act(action, self.box.chosen)

    def on_option_list_option_selected(self, _: OptionList.OptionSelected) -> None:
        if self.box.chosen is not None:
            self._start(self.box.panel.detail(self.box.chosen), self._show_output)

    def action_filter(self) -> None:
        self._filter.value = self.box.words
        self._filter_line.display = True
        self._filter.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.box.words = event.value.strip()
        self.box.draw()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        self.action_leave_filter()

    def action_leave_filter(self) -> None:
        self._filter_line.display = False
        self.box.table.focus()

    def action_clear_filter(self) -> None:
        self.box.words = ""
        self.box.draw()
        self._say("")

    def action_show_keys(self) -> None:
        actions = [
            (action.key, f"{box.panel.name}: {action.name}") for box in self._boxes for action in box.panel.actions
        ]
        lines = [f"  {key:<14}{words}" for key, words in (*KEYS, *actions)]
        self.push_screen(OutputScreen(" Keys", "\n".join(lines)))

    # Commands

    def _act(self, action: Action, item: Any) -> None:
        argv = action.argv(item)
        if action.question is None:
            self._start(argv, self._say_outcome)
            return

        def answered(answer: bool | None) -> None:  # noqa: FBT001 - as Textual calls it
            if answer:
                self._start(argv, self._say_outcome)

        self.push_screen(QuestionScreen(action.question(item)), answered)

    def _start(self, argv: Sequence[str], then: Callable[[Sequence[str], CommandOutcome], None]) -> None:
        """Runs a command in a thread: the screen goes on meanwhile."""
        self._say(f"livectl {' '.join(argv)} …")
        self.run_worker(partial(self._run, argv, then, self.size.width), thread=True)

    def _run(self, argv: Sequence[str], then: Callable[[Sequence[str], CommandOutcome], None], width: int) -> None:
        outcome = self._run_command(argv, width)
        with suppress(RuntimeError):
            self.call_from_thread(then, argv, outcome)

    def _show_output(self, argv: Sequence[str], outcome: CommandOutcome) -> None:
        self._say("")
        self.push_screen(OutputScreen(f" livectl {' '.join(argv)}", outcome.text))

    def _say_outcome(self, argv: Sequence[str], outcome: CommandOutcome) -> None:
        said = Text.from_ansi(outcome.text.strip()).plain or f"livectl {' '.join(argv)}: exit {outcome.code}"
        self._say(said, failed=outcome.code != 0)
        self._reader.focus(self.box.panel)

    def _say(self, text: str, *, failed: bool = False) -> None:
        self._said.display = bool(text)
        self._said.update(Text(text, style="red" if failed else ""))


def _key_line(actions: Sequence[str], width: int) -> str:
    """The keys of a panel, then those of all, of which the last go first where there is no room: `?` tells of them."""
    others = ["Enter details", "/ filter", "Tab panels"]
    while True:
        line = f" {'   '.join([*actions, *others, '? keys', 'q leave'])}"
        if not others or cell_width(line) <= width:
            return shorten_cells(line, width)
        others.pop()
