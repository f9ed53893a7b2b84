"""Shows who is live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from livectl.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.render import View


@click.command()
@click.option("--all", "everybody", is_flag=True, help="The others too, and what could not be asked.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until q or Ctrl-C.")
@pass_invocation
def command(call: Invocation, *, everybody: bool, watch: bool) -> int:
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
    from livectl.live.views import glance, tables
    from livectl.ops import broker

    address = broker.addresses(call.settings).store

    def look() -> View:
        found = glance.look(address, everybody=everybody)
        return tables.everyone(found, time.time()) if everybody else tables.live(found, time.time())

    if watch:
        return _watch(call, look)
    found = look()
    call.show(found)
    return 0 if any(one.live for one in found.data) else 1


def _watch(call: Invocation, look: Callable[[], View]) -> int:
    from livectl.live.views import watching

    if call.json or not (call.out.isatty() and sys.stdin.isatty()):
        watching.follow(look, call.show)
    watching.draw(look, call.out, sys.stdin)
    return 0
