"""The roll call: every worker that answers, two of one name told apart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.doctor.facts import Roll, Worker
from livectl.ops.cluster import fleet, workers
from livectl.ops.cluster.pidbox import ANSWER_SECONDS, Mailbox, Question
from livectl.ops.jobs import message

if TYPE_CHECKING:
    from livectl.ops.cluster.deployment import Deployment
    from livectl.resp import Wire

PATIENCE = 6.0  # seconds for all questions
SECOND_LOOK = 1.0  # seconds: what an idle worker could take, it takes within milliseconds
METHODS = ("active_queues", "registered", "active", "reserved", "conf", "report")


def call(deployment: Deployment) -> Roll:
    if not deployment.on_redis or deployment.broker is None:
        return _roll(deployment, None)
    with resp.dial(deployment.broker, PATIENCE) as wire:
        return _roll(deployment, wire)


def _roll(deployment: Deployment, wire: Wire | None) -> Roll:
    stats, silent = _everybody(deployment, wire)
    if not stats:
        return Roll(silent=silent)
    names = tuple(sorted({name for name, _ in stats}))
    said = {
        method: workers.ask(deployment, wire, Question(method=method, destination=names)).said for method in METHODS
    }
    there = tuple(_worker(name, told, {method: said[method].get(name) for method in METHODS}) for name, told in stats)
    return Roll(workers=there, silent=silent, hoarded=_hoarded(deployment, wire, there))


def _everybody(deployment: Deployment, wire: Wire | None) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Each answer by itself: two workers of one name give two."""
    if wire is None or deployment.broker is None:
        answers = workers.ask(deployment, None, Question(method="stats"))
        return [(name, said) for name, said in answers.said.items() if _is_worker(said)], 0
    mailbox = Mailbox(deployment.layout, deployment.broker.database)
    mailbox.open(wire)
    try:
        heard = wire.ask("PUBLISH", mailbox.channel, mailbox.spell(Question(method="stats")))
        answers_ = _collect(mailbox, wire, heard)
    finally:
        mailbox.close(wire)
    return [(name, said) for name, said in answers_ if _is_worker(said)], heard - len(answers_)


def _collect(mailbox: Mailbox, wire: Wire, wanted: int) -> list[tuple[str, Any]]:
    until = time.monotonic() + ANSWER_SECONDS
    found: list[tuple[str, Any]] = []
    while len(found) < wanted and (left := until - time.monotonic()) > 0:
        popped = wire.ask("BRPOP", mailbox.queue, f"{left:.3f}")
        said = message.body_of(message.decode(popped[1])) if popped else None
        found += said.items() if isinstance(said, dict) else ()
    return found


def _is_worker(said: Any) -> bool:
    """A beat with remote control answers too."""
    return isinstance(said, dict) and "pool" in said


def _worker(name: str, stats: dict[str, Any], said: dict[str, Any]) -> Worker:
    told = fleet.describe(name, stats, said["active"], said["reserved"], said["active_queues"], said["report"])
    conf = said["conf"] if isinstance(said["conf"], dict) else {}
    options = conf.get("broker_transport_options") or {}
    wait = options.get("visibility_timeout") if isinstance(options, dict) else None
    return Worker(
        name=name,
        pid=stats.get("pid"),
        pool=told.pool or "",
        concurrency=told.concurrency,
        version=told.version or "",
        queues=told.queues,
        tasks=tuple(text.split(" [")[0] for text in said["registered"] or () if isinstance(text, str)),
        active=told.active or 0,
        reserved=_waiting(said["reserved"]),
        visibility=float(wait) if isinstance(wait, int | float) else None,
    )


def _waiting(reserved: Any) -> tuple[str, ...]:
    jobs = reserved if isinstance(reserved, list) else []
    return tuple(str(job["id"]) for job in jobs if isinstance(job, dict) and not job.get("eta") and "id" in job)


def _hoarded(deployment: Deployment, wire: Wire | None, there: tuple[Worker, ...]) -> tuple[str, ...]:
    """Jobs at hand with a busy worker while an idle one reads the same queue; looked at twice, since jobs move on."""
    idle = [one for one in there if not one.active and not one.reserved]
    busy = [one for one in there if one.reserved and any(set(one.queues) & set(other.queues) for other in idle)]
    if not busy:
        return ()
    time.sleep(SECOND_LOOK)
    names = tuple(one.name for one in (*busy, *idle))
    again = {
        name: _waiting(said)
        for name, said in workers.ask(deployment, wire, Question(method="reserved", destination=names)).said.items()
    }
    if any(again.get(one.name) for one in idle):
        return ()
    return tuple(job for one in busy for job in one.reserved if job in again.get(one.name, ()))
