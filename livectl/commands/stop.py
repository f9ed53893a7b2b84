"""Stops what runs in the background."""

from __future__ import annotations

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete("background"))
@click.option("--now", is_flag=True, help="Do not wait for running jobs: they go to other workers.")
@pass_command_context
def command(context: CommandContext, /, *, names: tuple[str, ...], now: bool) -> int:
    """NAME is up, beat, worker, or a worker's name (mail, worker-mail, mail@host); it is one of up's where nothing
    else is called so. Without a name all end but up's own. Running jobs end first, however long they take. Exit 1 when
    nothing runs, or nothing of some name.

    \b
    Examples:
      livectl stop
      livectl stop mail slow
      livectl stop worker-mail --now
    """
    from livectl.ops.services import background, members
    from livectl.render import sentence

    home, stopped, missing = context.home, [], []
    with context.working("waiting for what runs to end"):
        for name in names or (None,):
            ended = background.stop_all(home, name, now=now, say=context.say)
            if name and not ended:
                ended = members.stop(home, name, now=now, say=context.say)
            stopped += ended
            missing += [] if ended else [background.describe_missing(home, name, members.names(home))]
    for text in missing if stopped else ():
        context.say(text)
    context.show(background.stopped_view(stopped) if stopped else sentence("\n".join(missing), []))
    return 1 if missing else 0
