"""Sends a task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from livectl.errors import UnfinishedError
from livectl.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.jobs.desk import Desk, Order


@click.command()
@click.argument("task", required=False)
@click.argument("args", nargs=-1, metavar="[ARG]...")
@click.option("-k", "--kwargs", metavar="JSON", help='Keyword arguments: \'{"name": "Ada"}\'.')
@click.option("-Q", "--queue", metavar="NAME", help="To this queue, instead of the one it is routed to.")
@click.option("--priority", type=click.IntRange(0, 255), help="On Redis 0 is taken first, 9 last.")
@click.option("--in", "delay", metavar="DURATION", help="Not before 30s, 10m, 1h30m have passed.")
@click.option("--at", metavar="TIME", help="Not before this time: 2027-01-31T09:00:00Z.")
@click.option("--expires", metavar="DURATION", help="Not at all once this has passed.")
@click.option("--wait", is_flag=True, help="Wait for the result, with a bar if the task reports progress.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this.")
@click.option(
    "--from", "file", type=click.Path(dir_okay=False), help="Send each line of a JSONL file, and wait for all."
)
@click.option("--window", type=click.IntRange(min=1), default=100, show_default=True, help="Unfinished at a time.")
@click.option("--force", is_flag=True, help="Send what would be refused.")
@pass_invocation
def command(call: Invocation, /, **words: Any) -> int:
    """An ARG is JSON if it can be, and text otherwise. Nothing is sent that cannot come to anything: an unknown task,
    arguments that it does not take, a queue that nobody reads.

    \b
    Examples:
      livectl call livectl.ping --wait
      livectl -A proj call proj.tasks.add 2 3 --in 10m -Q slow
      livectl -A proj call --from orders.jsonl --window 50
    """
    from livectl.ops.cluster import deployment
    from livectl.ops.jobs import bulk, ordering

    place = deployment.find(call.app, call.settings, call.cwd)
    desk = _desk(call, place)
    if words["file"]:
        orders = bulk.read(call.cwd / words["file"], words["task"])
        return _many(call, place, desk, orders, words)
    order = ordering.read(words)
    if not words["force"]:
        desk.refuse(order)
    return _wait(call, place, desk, order, words) if words["wait"] else _send(call, desk, order, words)


def _desk(call: Invocation, place: Deployment) -> Desk:
    """Where the app's tasks are known: livectl's own app is made of the settings in force."""
    from livectl.ops import apps
    from livectl.ops.jobs import desk

    if place.app is not None:
        return desk.Desk(place, place.app, apps.tasks(place.app, call.cwd))
    from livectl.celeryapp import create_app

    app = create_app(call.settings)
    return desk.Desk(place, app, apps.tasks(app, call.cwd))


def _send(call: Invocation, desk: Desk, order: Order, words: dict[str, Any]) -> int:
    from livectl.render import sentence

    sent = desk.send(order, force=words["force"])
    call.say(f"sent {sent.task} to the queue {sent.queue}; its id:")
    call.show(sentence(sent.id, sent))
    return 0


def _wait(call: Invocation, place: Deployment, desk: Desk, order: Order, words: dict[str, Any]) -> int:
    from livectl.ops.jobs import views, waiting

    waiting.insist_on_results(place)
    sent = desk.send(order, keep_result=True, force=words["force"])
    call.say(f"sent {sent.id}")
    patience = waiting.FOREVER if words["timeout"] is None else words["timeout"]
    for found in waiting.follow(place, sent.id, patience):
        last = found
        if found.progress:
            _move(call, *found.progress)
    call.show(views.job(last))
    return waiting.exit_code(last)


def _many(call: Invocation, place: Deployment, desk: Desk, orders: list[Order], words: dict[str, Any]) -> int:
    from livectl.ops.jobs import bulk, views, waiting

    waiting.insist_on_results(place)
    for order in orders if not words["force"] else ():
        desk.refuse(order)
    until = waiting.FOREVER if words["timeout"] is None else time.monotonic() + words["timeout"]
    batch = bulk.Batch(desk, place, window=words["window"], until=until)
    ended = -1
    for summary in batch.run(orders):
        if (now := summary.succeeded + summary.failed) != ended:
            _move(call, now, len(orders))
            ended = now
    call.show(views.batch(summary, len(orders)))
    return 1 if summary.failed else UnfinishedError.code if ended < len(orders) else 0


def _move(call: Invocation, current: float, total: float) -> None:
    """The bar, in its place where somebody watches; elsewhere a line each time."""
    from livectl.ops.jobs import views

    if call.quiet or not call.err.isatty():
        call.say(views.bar(current, total))
        return
    call.err.write(f"\r{views.bar(current, total)}" + ("\n" if current >= total else ""))
    call.err.flush()
