"""Starts a beat."""

from __future__ import annotations

from contextlib import nullcontext

import click

from livectl.context import CommandContext, loglevel_option, pass_command_context


@click.command()
@click.option(
    "-s", "--schedules", "schedule", type=click.Path(), metavar="FILE", help="File to run, instead of schedules.yaml."
)
@loglevel_option(help="Of the log.")
@click.option("--dry-run", is_flag=True, help="Print the command line it would become, and stop.")
@click.option("--detach", is_flag=True, help="Run in the background, until `livectl stop`.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- CELERY OPTIONS]")
@pass_command_context
def command(
    context: CommandContext,
    /,
    *,
    schedule: str | None,
    loglevel: str,
    dry_run: bool,
    detach: bool,
    extra: tuple[str, ...],
) -> None:
    """Each due run is claimed in the store by whichever beat comes first, so that two, three or ten of them send
    exactly what one would. The schedule file is read again when it changes. It becomes `celery beat`; after -- comes
    any option of that.

    \b
    Examples:
      livectl beat
      livectl -A proj beat -s nightly.yaml --detach
    """
    from livectl.ops.processes import launch
    from livectl.ops.services import background

    argv = launch.beat_command(context.app, loglevel=loglevel, schedule=schedule, extra=extra)
    if dry_run:
        context.show(background.argv_view(argv))
        return
    if context.app is None:
        context.prepare_own_store()
    environ = launch.child_environment(context.environ, context.config)
    with context.working("waiting until it works") if detach else nullcontext():
        process = background.start_or_exec(
            argv, "beat", context.settings, environ, context.cwd, detach=detach, say=context.say
        )
    context.show(process)
