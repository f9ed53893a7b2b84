"""A view watched: drawn anew in a terminal until q is pressed; elsewhere shown again whenever it has changed."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TextIO

from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType

    from livectl.live.views.sights import StreamerView
    from livectl.render import View

REFRESH_SECONDS = 1.0  # seconds between two looks: reading costs a millisecond
QUIT_KEY = "q"


def print_changes(read_view: Callable[[], View], show: Callable[[View], None]) -> NoReturn:
    """Shows each new answer, until it is interrupted."""
    last_keys: list[Sequence[object]] | None = None
    while True:
        view = read_view()
        change_keys = [_change_key(streamer) for streamer in view.data]
        if change_keys != last_keys:
            show(view)
            last_keys = change_keys
        time.sleep(REFRESH_SECONDS)


def draw_full_screen(read_view: Callable[[], View], out: TextIO, keys: TextIO) -> None:
    """Takes the terminal's whole page, and gives it back."""
    from rich.console import Console
    from rich.live import Live

    with (
        _key_reader(keys) as read_key,
        Live(console=Console(file=out, markup=False, highlight=False), screen=True, auto_refresh=False) as page,
    ):
        while True:
            page.update(_render_frame(read_view), refresh=True)
            if read_key(REFRESH_SECONDS) == QUIT_KEY:
                return


def _render_frame(read_view: Callable[[], View]) -> RenderableType:
    """An outage is shown in place of the answer: watching goes on."""
    from rich.console import Group

    try:
        body = read_view().to_renderable()
    except LivectlError as error:
        body = f"{error.message}\n  {error.hint}"
    return Group(body, "", f"{time.strftime('%H:%M:%S')}  {QUIT_KEY} leaves")


def _change_key(streamer: StreamerView) -> Sequence[object]:
    """What of a sight is worth telling again: not that it was looked at again, nor each viewer."""
    return (
        streamer.platform,
        streamer.id,
        streamer.state,
        streamer.title,
        streamer.category,
        streamer.session,
        streamer.problem,
    )


@contextmanager
def _key_reader(keys: TextIO) -> Iterator[Callable[[float], str]]:
    """Waits for a key, so many seconds; empty when none was pressed. The terminal is put back as it was."""
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
