"""Shows who is live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from livectl.context import CommandContext, pass_command_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.render import View


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
    from livectl.live import watch

    if context.json or not (context.out.isatty() and sys.stdin.isatty()):
        watch.print_changes(build_view, context.show)
    watch.draw_full_screen(build_view, context.out, sys.stdin)
    return 0
