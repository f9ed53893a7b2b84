"""Shows who is live."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TextIO

import click

from livectl.context import CommandContext, pass_command_context
from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType

    from livectl.live.views import StreamerView
    from livectl.render import View
REFRESH_INTERVAL_S = 1.0  # reading the store costs a millisecond
QUIT_KEY = "q"
FOOTER_LINES = 2


@click.command()
@click.option("--all", "everybody", is_flag=True, help="The others too, and what could not be asked.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until q or Ctrl-C.")
@pass_command_context
def command(context: CommandContext, *, everybody: bool, watch: bool) -> int:
    """It only reads what workers found out: no platform is asked, and the answer
    is there in milliseconds. With --all everybody is shown as they were last
    seen, how long ago that was, and what has been in the way since.

    \b
    Exit codes: 0 somebody is live, 1 nobody is.

    \b
    Examples:
      livectl live
      livectl live --all --json
    """
    context.say_unset_secrets("alerts", "platforms", "network")
    read_table = _table_reader(context, everybody=everybody)
    if watch:
        return _watch(context, read_table)
    view = read_table().view()
    context.show(view)
    return 0 if any(streamer.live for streamer in view.data) else 1


class StreamerTable(NamedTuple):
    """Streamers, and how a table of them is made."""

    streamers: list[StreamerView]
    build: Callable[[Sequence[StreamerView]], View]

    def view(self, rows: int | None = None) -> View:
        """The first rows of the table, or all."""
        return self.build(self.streamers[:rows])


def _table_reader(context: CommandContext, *, everybody: bool) -> Callable[[], StreamerTable]:
    """Reads who is live, or everybody; says once what is wrong with the file of the follow list."""
    from livectl.live import store_reader, views

    address, follows = context.own_store, context.settings.follows
    shown_problems = {""}

    def read_everybody() -> tuple[list[StreamerView], str]:
        streamers, problem = store_reader.list_everybody(address, follows, context.display_path(follows))
        if problem not in shown_problems:
            shown_problems.add(problem)
            context.say(f"{problem}\n  The list stays as it was.")
        nobody = views.LIST_UNREADABLE if problem else views.NOBODY_FOLLOWED
        return streamers, nobody if everybody or (problem and not streamers) else views.nobody_live_text(streamers)

    def read_table() -> StreamerTable:
        live = [] if everybody else store_reader.list_live(address)
        followed, empty = ([], "") if live else read_everybody()
        if everybody:
            return StreamerTable(followed, lambda shown: views.everyone_view(shown, time.time(), empty))
        return StreamerTable(live, lambda shown: views.live_view(shown, time.time(), empty))

    return read_table


def _watch(context: CommandContext, read_table: Callable[[], StreamerTable]) -> int:
    if context.json or not (context.out.isatty() and sys.stdin.isatty()):
        print_changes(read_table, context.show)
    draw_full_screen(read_table, context.out, sys.stdin)
    return 0


def print_changes(read_table: Callable[[], StreamerTable], show: Callable[[View], None]) -> NoReturn:
    """Shows the table whenever it has changed, until it is interrupted."""
    last_keys: list[Sequence[object]] | None = None
    while True:
        table = read_table()
        change_keys = [_change_key(streamer) for streamer in table.streamers]
        if change_keys != last_keys:
            show(table.view())
            last_keys = change_keys
        time.sleep(REFRESH_INTERVAL_S)


def draw_full_screen(read_table: Callable[[], StreamerTable], out: TextIO, keys: TextIO) -> None:
    """Fills the terminal with the table until q is pressed, then restores what was on it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out, markup=False, highlight=False)
    with (
        _key_reader(keys) as read_key,
        Live(console=console, screen=True, auto_refresh=False) as screen,
    ):
        while True:
            screen.update(_render_frame(read_table, console.width, console.height), refresh=True)
            if read_key(REFRESH_INTERVAL_S) == QUIT_KEY:
                return


def _change_key(streamer: StreamerView) -> Sequence[object]:
    """The fields whose change is worth showing: not the time of the last check, nor each viewer."""
    return (
        streamer.platform,
        streamer.id,
        streamer.state,
        streamer.title,
        streamer.category,
        streamer.session,
        streamer.problem,
    )


def _render_frame(read_table: Callable[[], StreamerTable], width: int, height: int) -> RenderableType:
    """As much of the table as the window has room for, and how much is left out.

    Where it cannot be read, the error: watching goes on through an outage.
    """
    from rich.console import Group

    from livectl import render

    left_out = 0
    try:
        table = read_table()
        view, shown = render.fit_rows(table.view, len(table.streamers), width=width, height=height - FOOTER_LINES)
        body, left_out = view.to_renderable(), len(table.streamers) - shown
    except LivectlError as error:
        body = f"{error.message}\n  {error.hint}"
    more = f"  and {left_out} more: make the window taller" if left_out else ""
    return Group(body, "", f"{time.strftime('%H:%M:%S')}  {QUIT_KEY} leaves{more}")


@contextmanager
def _key_reader(keys: TextIO) -> Iterator[Callable[[float], str]]:
    """Gives a function that waits so many seconds for a key, and returns "" if none was pressed.

    The terminal reads key by key meanwhile, and is put back as it was.
    """
    import select
    import termios
    import tty

    def read_key(seconds: float) -> str:
        ready, _, _ = select.select([keys], [], [], seconds)
        return os.read(keys.fileno(), 1).decode(errors="replace") if ready else ""

    saved_attributes = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    try:
        yield read_key
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, saved_attributes)
