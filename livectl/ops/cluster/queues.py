"""How deep the queues are, who reads them, how long the oldest message waits: as far as each broker can tell."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import connect, resp
from livectl.ops.cluster import workers
from livectl.ops.cluster.pidbox import Question
from livectl.ops.jobs import message, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.cluster.layout import Layout
    from livectl.resp import Wire

WATCH_SECONDS = 2.0


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """One queue. None is what this broker cannot tell."""

    name: str
    ready: int
    priorities: dict[str, int] | None = None
    unacked: int | None = None  # all that workers hold, those that wait for their time included
    eta: int | None = None  # of those, the ones that wait for their time
    oldest: float | None = None  # seconds since the message that is next was sent, where it says so
    consumers: int | None = None


class Depths(msgspec.Struct, frozen=True, kw_only=True):
    """All queues, and what a person should know about these numbers."""

    queues: tuple[Queue, ...]
    notes: tuple[str, ...] = ()
    processed: dict[str, int] = {}  # jobs done since its start, by worker
    reads: dict[str, tuple[str, ...]] = {}  # queues, by worker


def measure(deployment: Deployment, names: Sequence[str] = (), patience: float = resp.PATIENCE) -> Depths:
    """Every queue the broker knows, or those named."""
    if deployment.broker is None or not deployment.broker.is_redis:
        return _through_kombu(deployment, names)
    with resp.dial(deployment.broker, patience) as wire:
        answers = workers.ask(deployment, wire, Question(method="active_queues"))
        reads = {worker: _names(said) for worker, said in answers.said.items()}
        done = _processed(deployment, wire) if reads else {}
        readers = {queue for queues in reads.values() for queue in queues}
        there = {*search.known_queues(wire, deployment.layout), *readers}
        queues = _count(wire, deployment.layout, names or sorted(there), reads)
    notes = [f"{answers.silent} worker(s) did not answer: consumers are at least these"] if answers.silent else []
    notes += [
        f"{name} is not known there: misspelt, or empty and read by nobody" for name in names if name not in there
    ]
    told = (*notes, *_mismatches(queues), *_unfilled(deployment, queues, reads))
    return Depths(queues=queues, notes=told, processed=done, reads=reads)


def _count(wire: Wire, layout: Layout, names: Sequence[str], reads: dict[str, tuple[str, ...]]) -> tuple[Queue, ...]:
    keys = [(name, step, layout.key(name, step)) for name in names for step in layout.steps]
    lengths = wire.ask_all([("LLEN", key) for _, _, key in keys])
    ends = wire.ask_all([("LINDEX", key, -1) for _, _, key in keys])
    held = _held(wire, layout)
    queues = []
    for name in names:
        mine = [
            (step, size, end) for (owner, step, _), size, end in zip(keys, lengths, ends, strict=True) if owner == name
        ]
        sizes = {str(step): size if isinstance(size, int) else 0 for step, size, _ in mine}
        unacked, eta = held.get(name, (0, 0))
        queues.append(
            Queue(
                name=name,
                ready=sum(sizes.values()),
                priorities=sizes,
                unacked=unacked,
                eta=eta,
                oldest=_age(end for _, _, end in mine),
                consumers=sum(name in queues_read for queues_read in reads.values()),
            )
        )
    return tuple(queues)


def _held(wire: Wire, layout: Layout) -> dict[str, tuple[int, int]]:
    """By queue, how many messages workers hold, and how many of these wait for their time."""
    now = datetime.now(UTC)
    queues: dict[tuple[str, str], str] = {}
    counts: dict[str, tuple[int, int]] = {}
    for _, raw in search.held(wire, layout):
        envelope, exchange, key = search.unwrap(raw)
        if (exchange, key) not in queues:
            queues[exchange, key] = search.queue_of(wire, layout, exchange, key)
        queue = queues[exchange, key]
        headers = envelope.get("headers")
        eta = message.instant(headers.get("eta")) if isinstance(headers, dict) else None
        unacked, waiting = counts.get(queue, (0, 0))
        counts[queue] = (unacked + 1, waiting + (eta is not None and eta > now))
    return counts


def _age(ends: Iterable[Any]) -> float | None:
    sent = [said for end in ends if isinstance(end, bytes) and (said := message.read(end).sent)]
    return round(max(0.0, (datetime.now(UTC) - min(sent)).total_seconds()), 1) if sent else None


def _processed(deployment: Deployment, wire: Wire | None) -> dict[str, int]:
    said = workers.ask(deployment, wire, Question(method="stats")).said
    return {name: sum((stats.get("total") or {}).values()) for name, stats in said.items() if isinstance(stats, dict)}


def _through_kombu(deployment: Deployment, names: Sequence[str]) -> Depths:
    """RabbitMQ tells of a queue it is asked for how many are ready and who reads it, and of nothing else."""
    from livectl.ops.cluster import deployment as deployments

    if deployment.broker is not None:
        connect.reach(deployment.broker)
    app = deployments.client(deployment)
    said = workers.ask(deployment, None, Question(method="active_queues")).said
    reads = {worker: _names(queues) for worker, queues in said.items()}
    known = names or sorted({*deployment.layout.queues, *(queue for queues in reads.values() for queue in queues)})
    found = []
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=resp.PATIENCE)
        for name in known:
            with suppress(*connection.channel_errors), connection.channel() as channel:  # none of that name
                _, ready, consumers = channel.queue_declare(name, passive=True)
                found.append(Queue(name=name, ready=ready, consumers=consumers))
    notes = (f"{deployment.transport} tells neither priorities nor what is unacknowledged, nor a message's age",)
    done = _processed(deployment, None) if reads else {}
    return Depths(queues=tuple(found), notes=(*notes, *_mismatches(found)), processed=done, reads=reads)


def _mismatches(queues: Sequence[Queue]) -> list[str]:
    return [
        f"nobody reads {queue.name}, which has {queue.ready} ready"
        for queue in queues
        if queue.ready and queue.consumers == 0
    ]


def _unfilled(deployment: Deployment, found: Sequence[Queue], reads: dict[str, tuple[str, ...]]) -> list[str]:
    """Workers that listen where nothing is said. Of livectl's own app no settings name queues."""
    if deployment.app is None:
        return []
    empty = {queue.name for queue in found if not queue.ready and not queue.unacked}
    return [
        f"{worker} reads {queue}, which is empty and which no queue or route of the settings names"
        for worker, queues in sorted(reads.items())
        for queue in queues
        if queue in empty and queue not in deployment.layout.queues
    ]


def _names(said: Any) -> tuple[str, ...]:
    return tuple(queue["name"] for queue in said) if isinstance(said, list) else ()


def wait_until_empty(deployment: Deployment, names: Sequence[str], seconds: float, pause: float = 0.5) -> Depths:
    """The depths at the end: all nothing, held messages included, or what is left after so long."""
    until = time.monotonic() + seconds
    while True:
        depths = measure(deployment, names)
        if is_empty(depths) or time.monotonic() + pause > until:
            return depths
        time.sleep(pause)


def is_empty(depths: Depths) -> bool:
    return not any(queue.ready + (queue.unacked or 0) for queue in depths.queues)
