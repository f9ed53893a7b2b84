"""Starts Flower on the app."""

from __future__ import annotations

import click

from livectl.context import CommandContext, pass_command_context


@click.command()
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option("-p", "--port", type=click.IntRange(1, 65535), default=5555, show_default=True, help="Port to serve on.")
@click.option("--allow-changes", is_flag=True, help="Let visitors stop workers and revoke jobs.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- FLOWER OPTIONS]")
@pass_command_context
def command(context: CommandContext, /, *, host: str, port: int, allow_changes: bool, extra: tuple[str, ...]) -> None:
    """For this machine alone, and for looking only, unless told otherwise: whoever reaches Flower sees the arguments
    and results of jobs. Flower is an extra; where it is missing, the command that installs it is told. After -- comes
    any option of `celery flower`; a password goes into the environment, as FLOWER_BASIC_AUTH=me:password.

    \b
    Examples:
      livectl flower
      livectl -A proj flower --port 5556 -- --url_prefix=flower
    """
    from livectl.ops import deployment
    from livectl.ops.processes import launch

    argv = launch.flower_command(context.app, host=host, port=port, allow_changes=allow_changes, extra=extra)
    deployment.check_broker(context.deployment)  # Flower itself would try for ever
    context.say(f"Flower on http://{host}:{port}, {'changes allowed' if allow_changes else 'read-only'}")
    launch.exec_command(argv, launch.child_environment(context.environ, context.config))
