"""Sends a whole follow list to the workers."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from livectl.errors import EXIT_INTERRUPTED, PlatformError, UsageError
from livectl.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.errand import Errand
    from livectl.live.asking import Question, Who
    from livectl.live.follows.followlist import FollowList
    from livectl.live.views.sights import Sight
    from livectl.ops.cluster.deployment import Deployment


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--in", "delay", metavar="DURATION", help="Not before 30s, 1m, 1m30s have passed.")
@click.option("--at", metavar="TIME", help="Not before this time: 2027-01-31T09:00:00Z.")
@click.option("--expires", metavar="DURATION", help="Not at all once this has passed.")
@click.option("--priority", type=click.IntRange(0, 255), help="On Redis 0 is taken first, 9 last.")
@click.option("-Q", "--queue", metavar="NAME", help="To this queue, instead of the usual one.")
@click.option("--wait/--no-wait", default=True, help="Without waiting, print the id of the jobs and be done.")
@pass_invocation
def command(call: Invocation, /, file: Path | None, *, wait: bool, **words: Any) -> int:
    """The list is that of the settings, or any that `livectl follow import` reads.
    Jobs carry up to some hundreds of streamers each; a platform that bears fewer
    requests is asked bit by bit, and that takes its time. Ctrl-C leaves the jobs
    to the workers, and says how to come back.

    \b
    Exit codes: 0 all could be asked, 5 somebody could not.

    \b
    Examples:
      livectl submit
      livectl submit friends.txt --in 10s
      livectl submit --no-wait --expires 5m
    """
    from livectl.live import asking
    from livectl.ops.cluster import deployment

    found = _read(call, file)
    question = asking.part(found.streamers, call.settings)
    place = deployment.own(call.settings)
    errand, group = _send(call, place, question, words)
    if not wait:
        return _leave(call, question, errand, group)
    try:
        with _progress(call, question.total) as moved:
            return _wait(call, found, errand, group, moved)
    except KeyboardInterrupt:
        call.say(f"The jobs go on without you. To come back: livectl status --wait {group}")
        return EXIT_INTERRUPTED


def _read(call: Invocation, file: Path | None) -> FollowList:
    """The list; lines that name nobody are told and left out."""
    from livectl.live.follows import followlist
    from livectl.live.follows import imports as follow_import

    path = call.settings.follows
    found = follow_import.load(call.cwd / file, str(file)) if file else followlist.load(path, path.name)
    for mistake in found.refused:
        call.say(str(mistake))
    if not found.streamers:
        raise UsageError("nobody is on the list", "Put somebody there: livectl follow add ADDRESS.")
    return found


def _send(call: Invocation, place: Deployment, question: Question, words: dict[str, Any]) -> tuple[Errand, str]:
    """On their way, if they can arrive."""
    from livectl.celeryapp import create_app
    from livectl.errand import TASK, Errand
    from livectl.ops import apps
    from livectl.ops.jobs import desk, ordering
    from livectl.ops.jobs.posting import Terms

    app = create_app(call.settings)
    order = ordering.read({"task": TASK, "args": ("demo", "[]"), "kwargs": None, **words})
    try:
        desk.Desk(place, app, apps.tasks(app, call.cwd)).refuse(order)
    except UsageError as refused:
        hint = refused.hint.removesuffix(desk.FORCE).strip()
        raise UsageError(refused.message, hint or "Start a worker: livectl up.") from refused
    terms = Terms(queue=order.queue, priority=order.priority, eta=order.eta, expires=order.expires, keep_result=True)
    errand = Errand(question, place)
    return errand, errand.send(app, terms)


def _leave(call: Invocation, question: Question, errand: Errand, group: str) -> int:
    from livectl.render import sentence

    call.say(f"{question.total} streamers in {len(errand.jobs)} jobs; `livectl status` follows them by this id:")
    call.show(sentence(group, {"id": group, "streamers": question.total, "jobs": len(errand.jobs)}))
    return 0


def _wait(call: Invocation, asked: FollowList, errand: Errand, group: str, moved: Callable[[int], None]) -> int:
    from livectl.live import asking
    from livectl.live.views import tables

    began = time.monotonic()
    found: dict[Who, Sight] = {}
    for answers in errand.follow(float("inf")):
        found |= answers
        moved(len(found))
    shown = asking.in_order(asked.streamers, found)
    call.show(tables.summary(group, shown, time.monotonic() - began))
    return PlatformError.code if any(one.live is None for one in shown) else 0


@contextmanager
def _progress(call: Invocation, total: int) -> Iterator[Callable[[int], None]]:
    """A bar where somebody watches, and nothing where nobody does."""
    if call.quiet or not call.err.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), "streamers", TimeElapsedColumn())
    with Progress(*columns, console=Console(file=call.err), transient=True) as bar:
        task = bar.add_task("asking", total=total)
        yield lambda done: bar.update(task, completed=done)
