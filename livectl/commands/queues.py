"""Shows and empties queues."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import click

from livectl.errors import UnfinishedError
from livectl.invocation import Invocation, pass_invocation

WARNING, CRITICAL = 1, 2  # what monitoring systems call them
PATIENT = 3600.0


@click.group(invoke_without_command=True)
@click.option("-Q", "--queue", "names", multiple=True, metavar="NAME", help="Only this queue; may be repeated.")
@click.option("--warn", type=click.IntRange(min=0), metavar="N", help="Exit 1 when a queue has more than N ready.")
@click.option("--crit", type=click.IntRange(min=0), metavar="N", help="Exit 2 when a queue has more than N ready.")
@click.option("--watch", is_flag=True, help="Again every two seconds, with rates in and out.")
@pass_invocation
@click.pass_context
def command(ctx: click.Context, call: Invocation, /, names: tuple[str, ...], **words: Any) -> int | None:
    """Ready messages of all priorities, those that workers hold (unacked) and of these the ones that wait for
    their time (eta), how long the oldest waits where its message says when it was sent, and how many workers read it.
    With --watch, queues that share a reader have their rates together, in a note.

    \b
    Examples:
      livectl queues
      livectl -A proj queues -Q mail --warn 100 --crit 1000
    """
    if ctx.invoked_subcommand:
        return None
    return _watch(call, names) if words["watch"] else _show(call, names, words["warn"], words["crit"])


def _show(call: Invocation, names: tuple[str, ...], warn: int | None, crit: int | None) -> int:
    from livectl.ops.cluster import deployment, queues
    from livectl.ops.jobs import views

    depths = queues.measure(deployment.find(call.app, call.settings, call.cwd), names)
    call.show(views.queues(depths))
    for note in depths.notes:
        call.say(note)
    deepest = max((queue.ready for queue in depths.queues), default=0)
    if crit is not None and deepest > crit:
        return CRITICAL
    return WARNING if warn is not None and deepest > warn else 0


def _watch(call: Invocation, names: tuple[str, ...]) -> int:
    from livectl.ops.cluster import deployment, queues, rates
    from livectl.ops.jobs import views

    place = deployment.find(call.app, call.settings, call.cwd)
    before, looked = queues.measure(place, names), time.monotonic()
    call.show(views.queues(before))
    while True:
        time.sleep(queues.WATCH_SECONDS)
        after, now = queues.measure(place, names), time.monotonic()
        speeds = rates.between(before, after, now - looked)
        call.show(views.queues(after, speeds))
        for note in (*after.notes, *rates.notes(speeds, after.reads)):
            call.say(note)
        before, looked = after, now


@command.command()
@click.argument("names", nargs=-1, metavar="[QUEUE]...")
@click.option("--until-empty", is_flag=True, required=True, help="Until nothing is ready and workers hold nothing.")
@click.option("--timeout", type=click.FloatRange(min=0), default=PATIENT, show_default=True, metavar="SECONDS")
@pass_invocation
def wait(call: Invocation, /, names: tuple[str, ...], until_empty: bool, timeout: float) -> int:  # noqa: ARG001, FBT001
    """Wait until queues are empty: all of them, or those named.

    \b
    Example:
      livectl queues wait --until-empty mail --timeout 60
    """
    from livectl.ops.cluster import deployment, queues
    from livectl.ops.jobs import views

    depths = queues.wait_until_empty(deployment.find(call.app, call.settings, call.cwd), names, timeout)
    call.show(views.queues(depths))
    return 0 if queues.is_empty(depths) else UnfinishedError.code


@command.command()
@click.argument("queue")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=10, show_default=True, help="So many messages.")
@pass_invocation
def peek(call: Invocation, /, queue: str, limit: int) -> None:
    """Show the messages that are taken next, and leave them where they are.

    \b
    Example:
      livectl -A proj queues peek mail -n 3
    """
    from livectl.ops.cluster import deployment, purging
    from livectl.ops.jobs import views

    call.show(views.messages(purging.peek(deployment.find(call.app, call.settings, call.cwd), queue, limit)))


@command.command()
@click.argument("queue")
@click.option("--task", metavar="NAME", help="Only this task.")
@click.option("--older-than", metavar="DURATION", help="Only those sent longer ago: 10m, 1h30m. Not all say when.")
@click.option("--include-unacked", is_flag=True, help="Also what workers hold; they are told to drop it.")
@click.option("--save", type=click.Path(dir_okay=False, writable=True), help="Save to this file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def purge(call: Invocation, /, queue: str, save: str | None, yes: bool, **words: Any) -> None:  # noqa: FBT001
    """Take messages out of a queue. They are saved as JSON lines first; `livectl call --from FILE` sends them again.

    \b
    Example:
      livectl -A proj queues purge mail --task proj.tasks.remind --older-than 1d
    """
    from livectl.ops.cluster import deployment, purging
    from livectl.ops.jobs import ordering, views

    place = deployment.find(call.app, call.settings, call.cwd)
    age = ordering.duration("--older-than", words["older_than"]) if words["older_than"] else None
    older = age.total_seconds() if age else None
    choice = purging.Choice(queue=queue, task=words["task"], older_than=older, unacked=words["include_unacked"])
    plan = purging.plan(place, choice)
    if plan.total and not yes:
        call.say(views.counted(plan.tasks))
        click.confirm(f"Take {plan.total} messages out of {queue}?", abort=True, err=True)
    file = call.cwd / (save or f"purged-{queue}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
    call.show(views.purged(purging.purge(place, choice, file) if plan.total else purging.nothing(queue)))
