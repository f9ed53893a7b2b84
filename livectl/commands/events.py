"""Shows the events that workers send, a line each."""

from __future__ import annotations

import signal
from typing import Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context

FOREVER_S = float("inf")


@click.command()
@click.option("--task", metavar="NAME", shell_complete=complete("tasks"), help="Only this task; a pattern will do.")
@click.option("--worker", metavar="NODE", shell_complete=complete("nodes"), help="Only of this worker.")
@click.option("--type", "kind", metavar="TYPE", help="Only such: failed, 'task-*', worker-online.")
@click.option("--enable", is_flag=True, help="Let all workers send events of jobs, until this ends.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="End after so many.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="End after this time.")
@pass_command_context
def command(context: CommandContext, /, *, limit: int | None, timeout: float | None, **options: Any) -> None:
    """A line for each step of a job and for what becomes of a worker, until Ctrl-C; with --json an object a line.
    Heartbeats are shown to whoever asks for that type. Workers send events of jobs when they were started with -E, or
    while somebody asks for it with --enable: those that did not before stop when this ends. If it is killed, the next
    beat of livectl's or the next call of this stops them, half a minute later.

    \b
    Examples:
      livectl events --timeout 1
      livectl -A proj events --enable --task "proj.mail*" --type failed
    """
    from livectl.ops.cluster import events
    from livectl.ops.jobs import views

    enable = options.pop("enable")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # what was enabled is left as it was
    shown = 0
    with events.EventStream(context.deployment, events.EventFilter(**options), enable=enable) as stream:
        seconds = FOREVER_S if timeout is None else timeout
        for event in stream.read(seconds, lambda: _say_ready(context, enable=enable), context.say):
            context.show(views.event_line(event, context.settings.timezone))
            shown += 1
            if shown == limit:
                return


def _say_ready(context: CommandContext, *, enable: bool) -> None:
    more = "" if enable else "; of jobs from workers that were started with -E: --enable asks the others as well"
    context.say(f"listening for events{more}")
