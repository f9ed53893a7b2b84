"""Stops what runs in the background."""

from __future__ import annotations

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("name", required=False, shell_complete=complete("background"))
@click.option("--now", is_flag=True, help="Do not wait for running jobs: they go to other workers.")
@pass_command_context
def command(context: CommandContext, /, *, name: str | None, now: bool) -> int:
    """NAME is up, beat, worker, or a worker's name (mail, worker-mail, mail@host); it is one of up's where nothing
    else is called so. Without a name all end but up's own. Running jobs end first, however long they take. Exit 1 when
    nothing runs.

    \b
    Examples:
      livectl stop
      livectl stop worker-mail --now
    """
    from livectl.ops.services import background, members

    with context.working("waiting for what runs to end"):
        processes = background.stop_all(context.home, name, now=now, say=context.say)
        if name and not processes:
            processes = members.stop(context.home, name, now=now, say=context.say)
    context.show(background.stopped_view(processes) if processes else background.not_found_view(context.home, name))
    return 0 if processes else 1
