"""Shows, stops, drains, grows and shrinks workers."""

from __future__ import annotations

import click

from livectl.invocation import Invocation, pass_invocation

HOUR = 3600.0


@click.group(invoke_without_command=True)
@pass_invocation
@click.pass_context
def command(ctx: click.Context, call: Invocation, /) -> int | None:
    """Their pool and how many jobs it runs at a time, how many they run and have at hand, how many they did,
    since when, and the queues they read. Memory is that of the main process: now, where the worker has psutil,
    and the most so far where not. Skew is how far its clock is ahead of the broker's, to some milliseconds; ?
    where the worker sends no heartbeats, or the broker is no Redis. Exit 1 when none answers.

    \b
    Examples:
      livectl workers
      livectl -A proj workers drain w1 --timeout 120
    """
    if ctx.invoked_subcommand:
        return None
    from livectl.ops.cluster import deployment, fleet
    from livectl.ops.jobs import views

    with fleet.Crew(deployment.find(call.app, call.settings, call.cwd)) as crew:
        there = crew.look()
    call.show(views.workers(there))
    if there.silent:
        call.say(f"{there.silent} heard the question and did not answer (a busy solo pool does not)")
    return 0 if there.found else 1


@command.command()
@click.argument("name")
@pass_invocation
def stop(call: Invocation, /, name: str) -> None:
    """Stop a worker: it finishes what it runs, takes no more, and ends.

    \b
    Example:
      livectl -A proj workers stop w1
    """
    from livectl.ops.cluster import deployment, fleet
    from livectl.render import sentence

    with fleet.Crew(deployment.find(call.app, call.settings, call.cwd)) as crew:
        whole = crew.named(name)
        crew.stop(whole)
    call.show(sentence(f"{whole} finishes its jobs and stops.", {"name": whole, "done": "stop"}))


@command.command()
@click.argument("name")
@click.option("--timeout", type=click.FloatRange(min=0), default=HOUR, show_default=True, metavar="SECONDS")
@pass_invocation
def drain(call: Invocation, /, name: str, timeout: float) -> None:
    """Let a worker take no more, wait until it has nothing left, then stop it.

    \b
    Example:
      livectl -A proj workers drain w1 --timeout 120
    """
    from livectl.ops.cluster import deployment, fleet
    from livectl.render import sentence

    for left in fleet.drain(deployment.find(call.app, call.settings, call.cwd), name, timeout):
        call.say(f"{name}: {left} left")
    call.show(sentence(f"{name} is empty and stops.", {"name": name, "done": "drain"}))


@command.command()
@click.argument("name")
@click.argument("by", type=click.IntRange(min=1), default=1)
@pass_invocation
def grow(call: Invocation, /, name: str, by: int) -> None:
    """Let a worker run more jobs at a time.

    \b
    Example:
      livectl -A proj workers grow w1 2
    """
    _resize(call, name, by)


@command.command()
@click.argument("name")
@click.argument("by", type=click.IntRange(min=1), default=1)
@pass_invocation
def shrink(call: Invocation, /, name: str, by: int) -> None:
    """Let a worker run fewer jobs at a time.

    \b
    Example:
      livectl -A proj workers shrink w1
    """
    _resize(call, name, -by)


def _resize(call: Invocation, name: str, by: int) -> None:
    from livectl.ops.cluster import deployment, fleet
    from livectl.render import sentence

    with fleet.Crew(deployment.find(call.app, call.settings, call.cwd)) as crew:
        whole = crew.named(name)
        crew.resize(whole, by)
    done = "grow" if by > 0 else "shrink"
    call.show(sentence(f"{whole} {done}s by {abs(by)}.", {"name": whole, "done": done, "by": abs(by)}))
