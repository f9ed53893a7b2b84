"""Lists, stops, drains, grows and shrinks workers."""

from __future__ import annotations

from typing import Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context

MAX_DRAIN_S = 3600.0
SHOW_S = 20.0  # for several questions, each of which a busy worker may leave without an answer


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


@command.command()
@click.argument("name", shell_complete=complete("workers"))
@pass_command_context
def show(context: CommandContext, /, name: str) -> None:
    """Show all that a worker tells: its tasks with their rate limits, the jobs that it runs, has at hand or keeps for
    their time, the ids of those it drops, its numbers, and its settings where they are not Celery's defaults, without
    secrets.

    \b
    Examples:
      livectl workers show up-1234
      livectl -A proj --json workers show w1
    """
    from livectl.ops.cluster import workers
    from livectl.ops.jobs import views

    with context.working(f"asking {name}"), workers.WorkerControl(context.deployment, SHOW_S) as control:
        details = control.show(control.full_name(name))
    context.show(views.worker_details(details))


@command.command("set")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete("workers"))
@click.option("--rate-limit", "rates", multiple=True, metavar="TASK=RATE", help="At most so many of it: 10/m, or none.")
@click.option("--task-time-limit", "limits", multiple=True, metavar="TASK=HARD[,SOFT]", help="Seconds, 1m30s, or none.")
@click.option("--autoscale", metavar="MAX,MIN", help="Of a worker that was started with it.")
@click.option("--grow", type=click.IntRange(min=1), help="More jobs at a time.")
@click.option("--shrink", type=click.IntRange(min=1), help="Fewer jobs at a time.")
@click.option("--consume", multiple=True, metavar="QUEUE", shell_complete=complete("queues"), help="Read it as well.")
@click.option("--cancel", multiple=True, metavar="QUEUE", shell_complete=complete("queues"), help="No longer read it.")
@pass_command_context
def set_(context: CommandContext, /, names: tuple[str, ...], **options: Any) -> int:
    """Change workers while they run, until they start anew. A NAME may be a pattern: 'mail-*'. Each worker answers for
    itself; exit 1 when one refuses or does not answer.

    \b
    Examples:
      livectl -A proj workers set "w*" --rate-limit proj.add=10/m
      livectl -A proj workers set w1 w2 --consume mail --cancel celery
    """
    from livectl.ops.cluster import worker_changes, workers
    from livectl.ops.jobs import views

    changes = worker_changes.read_changes(options)
    answers = []
    with (
        context.working("asking the workers") as advance,
        workers.WorkerControl(context.deployment, SHOW_S * len(changes)) as control,
    ):
        node_names = control.match_names(names)
        for number, change in enumerate(changes, 1):
            answers += control.change(node_names, change)
            advance(number, len(changes))
    for answer in answers:
        context.note_change("set worker", f"{answer.worker}: {answer.change}", "done" if answer.done else "failed")
    context.show(views.worker_answers(answers))
    return 0 if all(answer.done for answer in answers) else 1


def _resize(context: CommandContext, name: str, by: int) -> None:
    from livectl.ops.cluster import workers
    from livectl.render import sentence

    with workers.WorkerControl(context.deployment) as control:
        node_name = control.full_name(name)
        control.resize(node_name, by)
    action = "grow" if by > 0 else "shrink"
    context.show(sentence(f"{node_name} {action}s by {abs(by)}.", {"name": node_name, "done": action, "by": abs(by)}))
