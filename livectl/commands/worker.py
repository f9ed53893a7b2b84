"""Starts a worker."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, loglevel_option, pass_command_context
from livectl.pools import POOLS


@click.command()
@click.option("-P", "--pool", type=click.Choice(POOLS), default="prefork", show_default=True, help="How jobs run.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Jobs at a time; by the processors if left out.")
@click.option(
    "-Q",
    "--queues",
    metavar="A,B",
    shell_complete=complete("queues"),
    help="Queues to read; the app's own if left out.",
)
@click.option("-n", "--name", metavar="NAME", help="Node name; unique if left out.")
@loglevel_option(help="Of the log.")
@click.option("-B", "--beat", is_flag=True, help="Carry a beat as well.")
@click.option(
    "-s",
    "--schedules",
    "schedule",
    type=click.Path(),
    metavar="FILE",
    help="File of that beat, instead of schedules.yaml.",
)
@click.option("--dry-run", is_flag=True, help="Print the command line it would become, and stop.")
@click.option("--detach", is_flag=True, help="Run in the background, until `livectl stop`.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- CELERY OPTIONS]")
@pass_command_context
def command(context: CommandContext, /, *, dry_run: bool, detach: bool, **options: Any) -> None:
    """It becomes `celery worker`, with a pool that patches before anything is imported and a node name of its own.
    After -- comes any option of `celery worker`.

    \b
    Examples:
      livectl worker -P threads -c 20
      livectl -A proj worker -P gevent -Q mail,default
      livectl -A proj worker -- --max-tasks-per-child 1000
    """
    from livectl.live.alerts import targets
    from livectl.ops.processes import launch
    from livectl.ops.processes.process import available_processors
    from livectl.ops.services import background

    if context.app is None and not dry_run:
        targets.check_targets(context.settings)
        for line in targets.describe_missing(context.settings):
            context.say(line)
    if context.app is None:
        context.say_unset_secrets()
    worker_options = launch.WorkerOptions(app=context.app, guard=context.settings.worker.guard, **options)
    argv = launch.worker_command(worker_options, processors=available_processors(), process=os.getpid())
    if dry_run:
        context.show(background.argv_view(argv))
        return
    name = f"worker-{worker_options.name}" if worker_options.name else "worker"
    environ = launch.child_environment(context.environ, context.config)
    with context.working("waiting until it works") if detach else nullcontext():
        process = background.start_or_exec(
            argv, name, context.settings, environ, context.cwd, detach=detach, say=context.say
        )
    context.show(process)
