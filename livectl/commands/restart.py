"""Stops what runs in the background, and starts it again."""

from __future__ import annotations

import socket

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete("background"))
@click.option("--now", is_flag=True, help="Do not wait for running jobs: they go to other workers.")
@pass_command_context
def command(context: CommandContext, /, *, names: tuple[str, ...], now: bool) -> int:
    """NAME is up, beat, worker, or a worker's name (mail, worker-mail, mail@host); it is one of up's where nothing
    else is called so. Without a name all start anew but up's own. Each is started as it was, in the same folder, with
    the environment of now. Exit 1 when nothing runs, or nothing of some name.

    \b
    Examples:
      livectl restart
      livectl restart mail slow
      livectl restart worker-mail --now
    """
    from livectl.ops.services import background, members
    from livectl.render import sentence

    home, started, missing = context.settings.home, [], []
    for name in names or (None,):
        with context.working("waiting for what runs to end"):
            stopped = background.stop_all(home, name, now=now, say=context.say)
        with context.working("waiting until it works again"):
            again = members.restart(home, name, now=now, say=context.say) if name and not stopped else []
            again += background.restart_all(home, stopped, context.environ, socket.gethostname(), context.say)
        started += again
        missing += [] if again else [background.describe_missing(home, name, members.names(home))]
    for text in missing if started else ():
        context.say(text)
    context.show(background.all_started_view(started) if started else sentence("\n".join(missing), []))
    return 1 if missing else 0
