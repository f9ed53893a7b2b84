"""Asks after streamers, now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from livectl.errors import LivectlError, PlatformError, UnfinishedError, UsageError
from livectl.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from livectl.live.asking import Question, Who
    from livectl.live.store import Store
    from livectl.live.views.sights import Sight
    from livectl.ops.cluster.deployment import Deployment

PATIENCE = 90.0  # seconds: a job has 60, and may have waited for its turn


@click.command()
@click.argument("streamers", nargs=-1, required=True, metavar="STREAMER...")
@click.option("--local", is_flag=True, help="Ask from here, not through the workers.")
@click.option("--wait/--no-wait", default=True, help="Without waiting, print the task id and be done.")
@pass_invocation
def command(call: Invocation, *, streamers: tuple[str, ...], local: bool, wait: bool) -> int:
    """STREAMER is platform/id, or an address as the browser shows it. The workers
    ask; if none runs, or with --local, this process does. What is said of
    somebody followed is recorded as if it had been their turn.

    \b
    Exit codes: 0 live (of several: one of them), 1 not live,
    5 somebody could not be asked.

    \b
    Examples:
      livectl check demo/ada
      livectl check --local https://www.twitch.tv/somebody
      livectl check demo/ada demo/grace --json
    """
    from livectl.live import asking
    from livectl.live.follows import entries
    from livectl.live.views import tables

    asked = [entries.streamer(one) for one in streamers]
    question = asking.part(asked, call.settings)
    place = None if local else _workers(call)
    if place and not wait:
        return _send(call, question, place)
    if not wait:
        raise UsageError("--no-wait needs a worker to send the question to", "Start one: livectl up.")
    found = asking.in_order(asked, _through(call, question, place) if place else _here(call, question))
    call.show(tables.checked(found, time.time()))
    return PlatformError.code if any(one.live is None for one in found) else int(not any(one.live for one in found))


def _workers(call: Invocation) -> Deployment | None:
    """Where workers are; None, and a word about it, when there are none."""
    from livectl import errand
    from livectl.ops.cluster import deployment

    try:
        place = deployment.own(call.settings)
        if errand.somebody_works(place):
            return place
        reason = "no worker runs"
    except LivectlError as error:
        reason = error.message
    call.say(f"{reason}: asking from here")
    return None


def _send(call: Invocation, question: Question, place: Deployment) -> int:
    from livectl.celeryapp import create_app
    from livectl.errand import Errand
    from livectl.ops.jobs.posting import Terms
    from livectl.render import sentence

    job = Errand(question, place).send(create_app(call.settings), Terms(keep_result=True))
    call.show(sentence(job, {"id": job}))
    return 0


def _through(call: Invocation, question: Question, place: Deployment) -> dict[Who, Sight]:
    from livectl.celeryapp import create_app
    from livectl.errand import Errand
    from livectl.ops.jobs.posting import Terms

    errand = Errand(question, place)
    job = errand.send(create_app(call.settings), Terms(keep_result=True))
    call.say("asking through the workers")
    found: dict[Who, Sight] = {}
    for answers in errand.follow(time.monotonic() + PATIENCE):
        found |= answers
    if errand.jobs:
        raise UnfinishedError(f"no answer within {PATIENCE:.0f} s", f"It may still come: livectl status {job}")
    return found


def _here(call: Invocation, question: Question) -> dict[Who, Sight]:
    from livectl.live import asking
    from livectl.live.checking import Checker

    checker = Checker(call.settings, _store(call))
    found: dict[Who, Sight] = {}
    for portion in question.portions:
        found |= asking.seen(question, portion, asking.here(checker, portion))
    return found


def _store(call: Invocation) -> Store | None:
    """The store, if one can be reached: what is found out is recorded there."""
    from livectl import connect
    from livectl.live.store import Store
    from livectl.ops import broker

    try:
        store = Store(connect.open_store(broker.addresses(call.settings).store))
    except LivectlError as error:
        call.say(f"nothing is recorded: {error.message}")
        return None
    store.start()
    return store
