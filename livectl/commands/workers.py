"""Lists, stops, drains, grows and shrinks workers."""

from __future__ import annotations

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context

MAX_DRAIN_S = 3600.0


@click.group(invoke_without_command=True)
@pass_command_context
@click.pass_context
def command(click_context: click.Context, context: CommandContext, /) -> int | None:
    """Their pool and how many jobs it runs at a time, how many they run and have at hand, how many they did,
    since when, and the queues they read. Memory is that of the main process: now, where the worker has psutil,
    and the most so far where not. Skew is how far its clock is ahead of the broker's, to some milliseconds; ?
    where the worker sends no heartbeats, or the broker is no Redis. Exit 1 when none answers.

    \b
    Examples:
      livectl workers
      livectl -A proj workers drain w1 --timeout 120
    """
    if click_context.invoked_subcommand:
        return None
    from livectl.ops.cluster import workers
    from livectl.ops.jobs import views

    with context.working("asking the workers"), workers.WorkerControl(context.deployment) as control:
        survey = control.list_workers()
    context.show(views.worker_table(survey))
    if not context.deployment.remote_control:
        context.say("this app sets worker_enable_remote_control to False: its workers cannot be asked")
    if survey.silent:
        context.say(f"{survey.silent} heard the question and did not answer (a busy solo pool does not)")
    return 0 if survey.found else 1


@command.command()
@click.argument("name", shell_complete=complete("workers"))
@pass_command_context
def stop(context: CommandContext, /, name: str) -> None:
    """Stop a worker: it finishes what it runs, takes no more, and ends.

    \b
    Examples:
      livectl workers stop up-1234
      livectl -A proj workers stop w1@host
    """
    from livectl.ops.cluster import workers
    from livectl.render import sentence

    with workers.WorkerControl(context.deployment) as control:
        node_name = control.full_name(name)
        control.stop(node_name)
    context.show(sentence(f"{node_name} finishes its jobs and stops.", {"name": node_name, "done": "stop"}))


@command.command()
@click.argument("name", shell_complete=complete("workers"))
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=MAX_DRAIN_S,
    show_default=True,
    metavar="SECONDS",
    help="Wait no longer than this.",
)
@pass_command_context
def drain(context: CommandContext, /, name: str, timeout: float) -> None:
    """Let a worker take no more, wait until it has nothing left, then stop it.

    \b
    Examples:
      livectl -A proj workers drain w1
      livectl -A proj workers drain w1 --timeout 120
    """
    from livectl.ops.cluster import workers
    from livectl.render import sentence

    for jobs_left in workers.drain(context.deployment, name, timeout):
        context.say(f"{name}: {jobs_left} left")
    context.show(sentence(f"{name} is empty and stops.", {"name": name, "done": "drain"}))


@command.command()
@click.argument("name", shell_complete=complete("workers"))
@click.argument("by", type=click.IntRange(min=1), default=1)
@pass_command_context
def grow(context: CommandContext, /, name: str, by: int) -> None:
    """Let a worker run more jobs at a time.

    \b
    Examples:
      livectl -A proj workers grow w1
      livectl -A proj workers grow w1 2
    """
    _resize(context, name, by)


@command.command()
@click.argument("name", shell_complete=complete("workers"))
@click.argument("by", type=click.IntRange(min=1), default=1)
@pass_command_context
def shrink(context: CommandContext, /, name: str, by: int) -> None:
    """Let a worker run fewer jobs at a time.

    \b
    Examples:
      livectl -A proj workers shrink w1
      livectl -A proj workers shrink w1 2
    """
    _resize(context, name, -by)


def _resize(context: CommandContext, name: str, by: int) -> None:
    from livectl.ops.cluster import workers
    from livectl.render import sentence

    with workers.WorkerControl(context.deployment) as control:
        node_name = control.full_name(name)
        control.resize(node_name, by)
    action = "grow" if by > 0 else "shrink"
    context.show(sentence(f"{node_name} {action}s by {abs(by)}.", {"name": node_name, "done": action, "by": abs(by)}))
