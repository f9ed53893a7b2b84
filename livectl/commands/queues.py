"""Shows queues, peeks into them, waits until they are empty, purges them."""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import UnfinishedError, UsageError
from livectl.units import format_count, format_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.cluster.purge import PurgeFilter, PurgeResult
    from livectl.ops.cluster.queues import QueueDepths
    from livectl.terminal import Watched

EXIT_WARNING, EXIT_CRITICAL = 1, 2  # what monitoring systems call them
MAX_WAIT_S = 3600.0
HELD_ON_RABBITMQ = (
    "what workers hold on RabbitMQ nobody can take from them, and stays: `livectl workers stop NAME` puts it back into "
    "its queue, and the same command then takes it"
)


@click.group(invoke_without_command=True)
@click.option(
    "-Q",
    "--queue",
    "names",
    multiple=True,
    metavar="NAME",
    shell_complete=complete("queues"),
    help="Only this queue; may be repeated.",
)
@click.option("--warn", type=click.IntRange(min=0), metavar="N", help="Exit 1 when a queue has more than N ready.")
@click.option("--crit", type=click.IntRange(min=0), metavar="N", help="Exit 2 when a queue has more than N ready.")
@click.option("--watch", is_flag=True, help="Again every two seconds, with rates in and out.")
@pass_command_context
@click.pass_context
def command(
    click_context: click.Context, context: CommandContext, /, names: tuple[str, ...], **options: Any
) -> int | None:
    """Ready messages of all priorities, those that workers hold (unacked), those that wait for their time (eta), in the
    store or with a worker of stock Celery, how long the oldest waits where its message says when it was sent, and how
    many workers read it. With --watch, queues that share a reader have their rates together, in a note.

    \b
    Examples:
      livectl queues
      livectl -A proj queues -Q mail --warn 100 --crit 1000
    """
    if click_context.invoked_subcommand:
        return None
    return _watch(context, names) if options["watch"] else _show(context, names, options["warn"], options["crit"])


def _show(context: CommandContext, names: tuple[str, ...], warn: int | None, crit: int | None) -> int:
    from livectl.ops.cluster import queues
    from livectl.ops.jobs import views

    with context.working("measuring the queues"):
        depths = queues.measure(context.deployment, names)
    context.show(views.queue_table(depths))
    for note in depths.notes:
        context.say(note)
    deepest = max((queue.ready for queue in depths.queues), default=0)
    if crit is not None and deepest > crit:
        return EXIT_CRITICAL
    return EXIT_WARNING if warn is not None and deepest > warn else 0


def _watch(context: CommandContext, names: tuple[str, ...]) -> int:
    from livectl import terminal
    from livectl.ops.cluster import queues

    read = _rate_reader(context, names)
    if screen := context.open_screen():
        terminal.draw_until_quit(read, screen, interval_s=queues.WATCH_INTERVAL_S)
        return 0
    while True:
        watched = read()
        context.show(watched.view)
        for note in watched.notes:
            context.say(note)
        time.sleep(queues.WATCH_INTERVAL_S)


def _rate_reader(context: CommandContext, names: tuple[str, ...]) -> Callable[[], Watched]:
    """Measures the queues, from the second time on with the rates since the time before."""
    from livectl.ops.cluster import queues
    from livectl.ops.jobs import views
    from livectl.terminal import Watched

    before: QueueDepths | None = None
    measured_at = 0.0

    def read() -> Watched:
        nonlocal before, measured_at
        after, now = queues.measure(context.deployment, names), time.monotonic()
        rates = queues.rates_between(before, after, now - measured_at) if before else None
        notes = [*after.notes, *queues.rate_notes(rates, after.reads)] if rates else []
        before, measured_at = after, now
        return Watched(views.queue_table(after, rates), notes)

    return read


@command.command()
@click.argument("names", nargs=-1, metavar="[QUEUE]...", shell_complete=complete("queues"))
@click.option("--until-empty", is_flag=True, required=True, help="Until nothing is ready and workers hold nothing.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=MAX_WAIT_S,
    show_default=True,
    metavar="SECONDS",
    help="Wait no longer than this.",
)
@pass_command_context
def wait(context: CommandContext, /, names: tuple[str, ...], until_empty: bool, timeout: float) -> int:  # noqa: ARG001, FBT001
    """Wait until queues are empty: all of them, or those named.

    \b
    Examples:
      livectl queues wait --until-empty
      livectl -A proj queues wait --until-empty mail --timeout 60
    """
    from livectl.ops.cluster import queues
    from livectl.ops.jobs import views

    with context.working("waiting until nothing is left"):
        depths = queues.wait_until_empty(context.deployment, names, timeout)
    context.show(views.queue_table(depths))
    return 0 if queues.is_empty(depths) else UnfinishedError.code


@command.command()
@click.argument("queue", shell_complete=complete("queues"))
@click.option("-n", "--limit", type=click.IntRange(min=1), default=10, show_default=True, help="So many messages.")
@pass_command_context
def peek(context: CommandContext, /, queue: str, limit: int) -> None:
    """Show the messages that are taken next, and leave them where they are.

    \b
    Examples:
      livectl queues peek livectl
      livectl -A proj queues peek mail -n 3
    """
    from livectl.ops.cluster import purge as queue_purge
    from livectl.ops.jobs import views

    with context.working(f"looking into {queue}"):
        messages = queue_purge.peek(context.deployment, queue, limit + 1)
    more = f"and others behind them: -n {10 * limit} shows more" if len(messages) > limit else ""
    context.show(views.message_table(messages[:limit], more=more))


@command.command("restore-delayed")
@pass_command_context
def restore_delayed(context: CommandContext, /) -> None:
    """Put the messages that wait for their time in the store back into their queues: for workers of stock Celery,
    which do not look there. Stop the workers of livectl first, which would take them out again.

    \b
    Examples:
      livectl queues restore-delayed
      livectl -A proj queues restore-delayed
    """
    from livectl.ops.cluster import purge as queue_purge
    from livectl.ops.jobs import queue_views

    context.show(queue_views.restored_delays(queue_purge.restore_delayed(context.deployment)))


@command.command()
@click.argument("source", metavar="FROM", shell_complete=complete("queues"))
@click.argument("target", metavar="TO", shell_complete=complete("queues"))
@click.option("--to-broker", metavar="ADDRESS", help="To the queue TO of this broker: redis://… or amqp://…")
@click.option("--task", metavar="NAME", shell_complete=complete("tasks"), help="Only this task; a pattern will do.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="So many messages.")
@click.option("--create", is_flag=True, help="Make the queue TO where there is none.")
@click.option("--dry-run", is_flag=True, help="Say how many it would be, and stop.")
@pass_command_context
def move(context: CommandContext, /, *, to_broker: str | None, dry_run: bool, **options: Any) -> None:
    """Move messages to another queue, also of another broker, with their headers, priorities and times. It may be
    killed: nothing is lost, and the same command goes on. To RabbitMQ what was on its way then may come twice.

    \b
    Examples:
      livectl -A proj queues move mail mail-slow --task "proj.digest*" -n 500
      livectl -A proj queues move celery celery --to-broker redis://new:6379/0
    """
    from livectl.address import Address
    from livectl.ops.cluster import move as queue_move
    from livectl.ops.jobs import queue_views

    other = Address.parse(to_broker) if to_broker else None
    request = queue_move.MoveRequest(to_broker=other, **options)
    with context.working(f"looking into {request.source}"):
        found = queue_move.count(context.deployment, request)
    total = min(sum(found.values()), request.limit or sum(found.values()))
    if dry_run:
        context.show(queue_views.move_plan(request.source, found, total))
        return
    with context.working(f"moving to {request.target}") as advance:
        for result in queue_move.move(context.deployment, request):
            advance(min(result.moved, total), total)
    context.note_change("move", f"{result.source} to {result.target}", "done" if result.moved else "nothing")
    context.show(queue_views.move_summary(result))


@command.command()
@click.argument("queue", required=False, shell_complete=complete("queues"))
@click.option("--all", "every", is_flag=True, help="All queues that there are.")
@click.option("--task", metavar="NAME", shell_complete=complete("tasks"), help="Only this task; a pattern will do.")
@click.option("--older-than", metavar="DURATION", help="Only those sent longer ago: 10m, 1h30m. Not all say when.")
@click.option("--include-unacked", is_flag=True, help="Also what workers hold; they are told to drop it.")
@click.option("--save", type=click.Path(dir_okay=False, writable=True), help="Save to this file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_command_context
def purge(context: CommandContext, /, *, queue: str | None, every: bool, save: str | None, **options: Any) -> None:
    """Take messages out of a queue, those that wait there for their time included. They are saved as JSON lines first;
    `livectl call --from FILE` sends them again.

    \b
    Examples:
      livectl -A proj queues purge mail --older-than 1d
      livectl -A proj queues purge mail --task proj.remind --save mail.jsonl
      livectl -A proj queues purge --all --yes
    """
    from livectl.ops.cluster import purge as queue_purge
    from livectl.ops.jobs import queue_views
    from livectl.ops.jobs.job_request import parse_duration_option

    if (queue is None) != every:
        raise UsageError("which queue?" if queue is None else "both a queue and --all", "Name one, or say --all.")
    age = parse_duration_option("--older-than", options["older_than"]) if options["older_than"] else None
    with context.working("looking for queues"):
        names = [queue] if queue else queue_purge.list_queues(context.deployment)
    filters = [
        queue_purge.PurgeFilter(
            queue=name,
            task=options["task"],
            older_than=age.total_seconds() if age else None,
            unacked=options["include_unacked"],
        )
        for name in names
    ]
    results = _purge(
        context, filters, save or f"purged-{queue or 'all'}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl", **options
    )
    context.show(queue_views.purge_summary(results[0]) if queue else queue_views.purge_of_all(results))
    _say_what_stays(context, unacked=options["include_unacked"])


def _say_what_stays(context: CommandContext, *, unacked: bool) -> None:
    if unacked and context.deployment.on_rabbitmq:
        context.say(HELD_ON_RABBITMQ)


def _purge(
    context: CommandContext, filters: list[PurgeFilter], save: str, *, yes: bool, **_others: Any
) -> list[PurgeResult]:
    """Asks once for all of the queues, and purges those that hold something."""
    from livectl.ops.cluster import purge as queue_purge
    from livectl.ops.jobs import queue_views

    with context.working("looking into the queues"):
        looked = [
            (each, queue_purge.plan_known(context.deployment, each, is_only=len(filters) == 1)) for each in filters
        ]
    plans = [(each, plan) for each, plan in looked if plan.total]
    if not plans:
        return [queue_purge.empty_result(each.queue) for each in filters]
    if not yes:
        tasks = sum((Counter(plan.tasks) for _, plan in plans), Counter[str]())
        context.say(queue_views.task_counts(dict(tasks)))
        total, delayed = tasks.total(), sum(plan.delayed for _, plan in plans)
        number = "all" if delayed == total else f"{delayed:,}"
        waiting = f", {number} of which wait for their time" if delayed else ""
        queues = format_names([each.queue for each, _ in plans])
        _ask(f"Take {format_count(total, 'message')} out of {queues}{waiting}?")
    results = []
    for each, _ in plans:
        with context.working(f"taking messages out of {each.queue}"):
            results.append(queue_purge.purge(context.deployment, each, context.cwd / save))
        context.note_change("purge", each.queue)
    return results


def _ask(question: str) -> None:
    """Goes on where somebody says yes."""
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # the end of the line of the question
        raise UsageError("nothing was taken out, as nobody said yes", "--yes does it without a question.") from None
