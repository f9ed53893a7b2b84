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

    from livectl.live.views.sights import Sight
    from livectl.render import View

PAUSE = 1.0  # seconds between two looks: reading costs a millisecond
QUIT = "q"


def follow(look: Callable[[], View], show: Callable[[View], None]) -> NoReturn:
    """Shows each new answer, until it is interrupted."""
    last: list[Sequence[object]] | None = None
    while True:
        view = look()
        told = [_news(one) for one in view.data]
        if told != last:
            show(view)
            last = told
        time.sleep(PAUSE)


def draw(look: Callable[[], View], out: TextIO, keys: TextIO) -> None:
    """Takes the terminal's whole page, and gives it back."""
    from rich.console import Console
    from rich.live import Live

    with (
        _pressed(keys) as key,
        Live(console=Console(file=out, markup=False, highlight=False), screen=True, auto_refresh=False) as page,
    ):
        while True:
            page.update(_drawn(look), refresh=True)
            if key(PAUSE) == QUIT:
                return


def _drawn(look: Callable[[], View]) -> RenderableType:
    """An outage is shown in place of the answer: watching goes on."""
    from rich.console import Group

    try:
        shown = look().people()
    except LivectlError as error:
        shown = f"{error.message}\n  {error.hint}"
    return Group(shown, "", f"{time.strftime('%H:%M:%S')}  {QUIT} leaves")


def _news(one: Sight) -> Sequence[object]:
    """What of a sight is worth telling again: not that it was looked at again, nor each viewer."""
    return (one.platform, one.id, one.state, one.title, one.category, one.session, one.problem)


@contextmanager
def _pressed(keys: TextIO) -> Iterator[Callable[[float], str]]:
    """Waits for a key, so many seconds; empty when none was pressed. The terminal is put back as it was."""
    import select
    import termios
    import tty

    def wait(seconds: float) -> str:
        ready, _, _ = select.select([keys], [], [], seconds)
        return os.read(keys.fileno(), 1).decode(errors="replace") if ready else ""

    before = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    try:
        yield wait
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
