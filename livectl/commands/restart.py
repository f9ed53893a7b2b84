"""Stops what runs in the background, and starts it again."""

from __future__ import annotations

import socket

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("name", required=False, shell_complete=complete("background"))
@click.option("--now", is_flag=True, help="Do not wait for running jobs: they go to other workers.")
@pass_command_context
def command(context: CommandContext, /, *, name: str | None, now: bool) -> int:
    """NAME is up, beat, worker, or a worker's name (mail, worker-mail, mail@host); it is one of up's where nothing
    else is called so. Without a name all start anew but up's own. Each is started as it was, in the same folder, with
    the environment of now. Exit 1 when nothing runs.

    \b
    Examples:
      livectl restart
      livectl restart worker-mail --now
    """
    from livectl.ops.services import background, members

    home = context.settings.home
    with context.working("waiting for what runs to end"):
        stopped = background.stop_all(home, name, now=now, say=context.say)
    of_up = []
    if name and not stopped:
        with context.working("waiting until it works again"):
            of_up = members.restart(home, name, now=now, say=context.say)
    if not stopped and not of_up:
        context.show(background.not_found_view(home, name))
        return 1
    with context.working("waiting until it works again"):
        restarted = background.restart_all(home, stopped, context.environ, socket.gethostname(), context.say)
    context.show(background.all_started_view([*of_up, *restarted]))
    return 0
