"""Opens a Python shell with the app and its tasks."""

from __future__ import annotations

import click

from livectl.context import CommandContext, pass_command_context


@click.command()
@click.option(
    "--with", "kind", type=click.Choice(["ipython", "bpython", "python"]), help="The best there is if left out."
)
@pass_command_context
def command(context: CommandContext, /, *, kind: str | None) -> None:
    """As `celery shell`: `app` and `celery` are the app, its tasks stand there by their names, and so do chain, group
    and chord. What stands on stdin is run, where that is no terminal.

    \b
    Examples:
      livectl -A proj shell
      echo "print(add.delay(2, 3).id)" | livectl -A proj shell --with python
    """
    from livectl.ops import apps
    from livectl.ops.processes import launch

    argv = launch.shell_command(context.app, kind)
    if context.app is not None:
        apps.check(context.app, context.cwd)
    launch.exec_command(argv, launch.child_environment(context.environ, context.config))
