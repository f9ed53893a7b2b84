"""Shows who is live."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TextIO

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
    from livectl.live import store_reader, views

    address = context.own_store
    context.say_unset_secrets("alerts", "platforms", "network")

    def build_view() -> View:
        streamer_views = store_reader.list_streamers(address, everybody=everybody)
        build = views.everyone_view if everybody else views.live_view
        return build(streamer_views, time.time())

    if watch:
        return _watch(context, build_view)
    view = build_view()
    context.show(view)
    return 0 if any(streamer.live for streamer in view.data) else 1


def _watch(context: CommandContext, build_view: Callable[[], View]) -> int:

    if context.json or not (context.out.isatty() and sys.stdin.isatty()):
        print_changes(build_view, context.show)
    draw_full_screen(build_view, context.out, sys.stdin)
    return 0


def print_changes(read_view: Callable[[], View], show: Callable[[View], None]) -> NoReturn:
    """Shows the view whenever it has changed, until it is interrupted."""
    last_keys: list[Sequence[object]] | None = None
    while True:
        view = read_view()
        change_keys = [_change_key(streamer) for streamer in view.data]
        if change_keys != last_keys:
            show(view)
            last_keys = change_keys
        time.sleep(REFRESH_INTERVAL_S)


def draw_full_screen(read_view: Callable[[], View], out: TextIO, keys: TextIO) -> None:
    """Fills the terminal with the view until q is pressed, then restores what was on it."""
    from rich.console import Console
    from rich.live import Live

    with (
        _key_reader(keys) as read_key,
        Live(console=Console(file=out, markup=False, highlight=False), screen=True, auto_refresh=False) as screen,
    ):
        while True:
            screen.update(_render_frame(read_view), refresh=True)
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


def _render_frame(read_view: Callable[[], View]) -> RenderableType:
    """The view, or the error where it cannot be read: watching goes on through an outage."""
    from rich.console import Group

    try:
        body = read_view().to_renderable()
    except LivectlError as error:
        body = f"{error.message}\n  {error.hint}"
    return Group(body, "", f"{time.strftime('%H:%M:%S')}  {QUIT_KEY} leaves")


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
