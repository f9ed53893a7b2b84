"""Measures queues: how deep they are, who reads them, how long the oldest message waits, how fast messages move."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client, server_check
from livectl.ops import deployment as deployments
from livectl.ops.cluster import broadcast
from livectl.ops.limits import slots
from livectl.ops.protocol import delayed, message, plus, remote_control, unacked
from livectl.ops.protocol import keys as protocol_keys
from livectl.ops.protocol.keys import Bindings
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from livectl.ops.deployment import Deployment
    from livectl.ops.limits.slots import LimitState
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.ops.protocol.remote_control import ControlReplies
    from livectl.redis_client import RedisConnection


WATCH_INTERVAL_S = 2.0


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """One queue. None is what this broker cannot tell."""

    name: str
    ready: int
    priorities: dict[str, int] | None = None
    unacked: int | None = None  # all that workers hold
    eta: int | None = None  # the messages that wait for their time: with a worker, or in the store
    delayed: int | None = None  # those of them that are in the store
    oldest: float | None = None  # seconds since the message that is next was sent, where it says so
    consumers: int | None = None


class QueueDepths(msgspec.Struct, frozen=True, kw_only=True):
    """The queues at one moment, and what a person should know about these numbers."""

    queues: tuple[Queue, ...]
    notes: tuple[str, ...] = ()
    processed: dict[str, int] = {}  # jobs that a worker has done since its start, by worker
    reads: dict[str, tuple[str, ...]] = {}  # queues, by worker
    limits: tuple[LimitState, ...] = ()


def measure(
    deployment: Deployment, names: Sequence[str] = (), timeout_s: float = redis_client.SERVER_TIMEOUT_S
) -> QueueDepths:
    """Measures the named queues, or every queue that the broker knows."""
    if deployment.redis_broker is None:
        return _measure_through_kombu(deployment, names)
    with redis_client.connect(deployment.redis_broker, timeout_s) as connection:
        reads, silent = _ask_readers(deployment, connection)
        processed = _ask_processed(deployment, connection) if reads else {}
        read_queues = {queue for queues in reads.values() for queue in queues}
        delayed_counts = delayed.count(connection, deployment.layout)
        known_names = {*protocol_keys.list_queues(connection, deployment.layout), *read_queues, *delayed_counts}
        stranded = _stranded_notes(connection, deployment.layout)
        queues = _measure_queues(connection, deployment.layout, names or sorted(known_names), reads, delayed_counts)
    notes = [f"{silent} worker(s) did not answer: consumers are at least these"] if silent else []
    notes += stranded
    notes += [
        f"{name} is not known there: misspelt, or empty and read by nobody" for name in names if name not in known_names
    ]
    limits = slots.read_states_of(deployment)
    waiting = slots.describe_waiting(limits)
    all_notes = (*notes, *waiting, *_unread_queue_notes(queues), *_unused_queue_notes(deployment, queues, reads))
    return QueueDepths(queues=queues, notes=all_notes, processed=processed, reads=reads, limits=limits)


def tells_ready(deployment: Deployment) -> bool:
    """Whether the broker itself tells how deep queues are, without Celery."""
    return deployment.redis_broker is not None or (deployment.on_rabbitmq and deployment.broker is not None)


def measure_declared(deployment: Deployment) -> QueueDepths:
    """The queues of the settings on RabbitMQ, as far as it tells of them by itself: no worker is asked."""
    from amqp.exceptions import NotFound

    measured: list[Queue] = []

    def ask(connection: Any) -> None:
        for name in sorted(deployment.layout.queues):
            with suppress(NotFound), connection.channel() as channel:  # no queue of that name
                _, ready, consumers = channel.queue_declare(name, passive=True)
                measured.append(Queue(name=name, ready=ready, consumers=consumers))

    if deployment.broker is not None:
        server_check.ask_rabbitmq(deployment.broker, ask)
    return QueueDepths(queues=tuple(measured), notes=tuple(_unread_queue_notes(measured)))


def measure_ready(deployment: Deployment) -> dict[str, int]:
    """How many messages are ready in each queue, by name, where the broker tells that: no worker is asked."""
    if deployment.redis_broker is None:
        declared = measure_declared(deployment).queues if tells_ready(deployment) else ()
        return {queue.name: queue.ready for queue in declared}
    with redis_client.connect(deployment.redis_broker, trial_write=False) as connection:
        names = protocol_keys.list_queues(connection, deployment.layout)
        keys = [(name, key) for name in names for key in deployment.layout.list_keys(name)]
        lengths = connection.execute_all([("LLEN", key) for _, key in keys])
    ready = dict.fromkeys(names, 0)
    for (name, _), length in zip(keys, lengths, strict=True):
        ready[name] += length if isinstance(length, int) else 0
    return ready


def count_ready(deployment: Deployment, names: Sequence[str] = ()) -> int:
    """How many messages are ready in these queues, or in those of the settings: all that is asked is their lengths."""
    names = names or deployment.layout.queues
    if deployment.redis_broker is None:
        return _count_ready_through_kombu(deployment, names)
    keys = [key for name in names for key in deployment.layout.list_keys(name)]
    with redis_client.connect(deployment.redis_broker, trial_write=False) as connection:
        lengths = connection.execute_all([("LLEN", key) for key in keys])
    return sum(length for length in lengths if isinstance(length, int))


def wait_until_empty(deployment: Deployment, names: Sequence[str], seconds: float, pause: float = 0.5) -> QueueDepths:
    """Waits until the queues are empty, workers hold nothing and nothing waits for its time, or the time is over.

    Returns the last depths.
    """
    deadline = time.monotonic() + seconds
    while True:
        depths = measure(deployment, names)
        if is_empty(depths) or time.monotonic() + pause > deadline:
            return depths
        time.sleep(pause)


def is_empty(depths: QueueDepths) -> bool:
    return not any(_size(queue) for queue in depths.queues)


def _size(queue: Queue) -> int:
    return queue.ready + (queue.unacked or 0) + (queue.delayed or 0)


def _ask_readers(deployment: Deployment, connection: RedisConnection | None) -> tuple[dict[str, tuple[str, ...]], int]:
    """The queues that each worker reads, and how many workers sent no reply."""
    control_replies = _ask(deployment, connection, "active_queues")
    reads = {worker: remote_control.queue_names(reply) for worker, reply in control_replies.by_worker.items()}
    return reads, control_replies.silent


def _ask_processed(deployment: Deployment, connection: RedisConnection | None) -> dict[str, int]:
    """How many jobs each worker has done since its start."""
    by_worker = _ask(deployment, connection, "stats").by_worker
    return {
        worker: remote_control.processed_count(stats) for worker, stats in by_worker.items() if isinstance(stats, dict)
    }


def _ask(deployment: Deployment, connection: RedisConnection | None, method: str) -> ControlReplies:
    return broadcast.ask(deployment, connection, ControlCommand(method=method))


def _measure_queues(
    connection: RedisConnection,
    layout: KeyLayout,
    names: Sequence[str],
    reads: dict[str, tuple[str, ...]],
    delayed_counts: dict[str, int],
) -> tuple[Queue, ...]:
    keys = [layout.list_key(name, step) for name in names for step in layout.steps]
    lengths = iter(connection.execute_all([("LLEN", key) for key in keys]))
    last_messages = iter(connection.execute_all([("LINDEX", key, -1) for key in keys]))
    unacked_counts = _count_unacked(connection, layout)
    plus_counts = plus.count(connection, layout, names)
    queues = []
    for name in names:
        lists = [(step, next(lengths), next(last_messages)) for step in layout.steps]
        sizes = {str(step): size if isinstance(size, int) else 0 for step, size, _ in lists}
        held, held_eta = unacked_counts.get(name, (0, 0))
        of_plus = plus_counts.get(name, plus.PlusCounts())
        waiting = delayed_counts.get(name, 0) + of_plus.delayed
        queues.append(
            Queue(
                name=name,
                ready=sum(sizes.values()) + of_plus.ready,
                priorities=sizes,
                unacked=held + of_plus.held,
                eta=held_eta + waiting,
                delayed=waiting,
                oldest=_oldest_age(last_message for _, _, last_message in lists),
                consumers=sum(name in queues_read for queues_read in reads.values()),
            )
        )
    return tuple(queues)


def _count_unacked(connection: RedisConnection, layout: KeyLayout) -> dict[str, tuple[int, int]]:
    """How many messages workers hold, and how many of these wait for their time, by queue."""
    now, queue_bindings = datetime.now(UTC), Bindings(connection, layout)
    counts: dict[str, tuple[int, int]] = {}
    for held in unacked.scan(connection, layout):
        queue = queue_bindings.queue_for(held.exchange, held.routing_key)
        headers = held.envelope.get("headers")
        eta = message.parse_time(headers.get("eta")) if isinstance(headers, dict) else None
        held_count, eta_count = counts.get(queue, (0, 0))
        counts[queue] = (held_count + 1, eta_count + (eta is not None and eta > now))
    return counts


def _oldest_age(last_messages: Iterable[Any]) -> float | None:
    sent_times = [
        sent_at
        for last_message in last_messages
        if isinstance(last_message, bytes) and (sent_at := message.read(last_message).sent)
    ]
    return round(max(0.0, (datetime.now(UTC) - min(sent_times)).total_seconds()), 1) if sent_times else None


def _measure_through_kombu(deployment: Deployment, names: Sequence[str]) -> QueueDepths:
    """RabbitMQ tells how many messages of a queue are ready and who reads it, and nothing else."""
    from livectl.ops.transport import rabbitmq_held

    app = deployments.celery_client(deployment)
    with broadcast.connect(deployment):
        reads, _ = _ask_readers(deployment, None)
    read_queues = {queue for queues in reads.values() for queue in queues}
    measured = []
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=redis_client.SERVER_TIMEOUT_S)
        for name in names or sorted({*deployment.layout.queues, *read_queues}):
            with suppress(*connection.channel_errors), connection.channel() as channel:  # no queue of that name
                _, ready, consumers = channel.queue_declare(name, passive=True)
                measured.append(Queue(name=name, ready=ready, consumers=consumers))
        if connection.transport.driver_type == "redis":  # which knows of no queue that is empty, and of no consumers
            measured = _with_empty_queues(measured, names or sorted({*deployment.layout.queues, *read_queues}), reads)
        waiting = rabbitmq_held.count_waiting(connection.default_channel) if deployment.on_rabbitmq else 0
    broker = "RabbitMQ" if deployment.on_rabbitmq else deployment.transport
    notes = [f"{broker} tells neither priorities nor what is unacknowledged, nor a message's age"] if measured else []
    if waiting:
        notes.append(f"of all apps there, {format_count(waiting, 'job')} wait for their time")
    processed = _ask_processed(deployment, None) if reads else {}
    limits = slots.read_states_of(deployment)
    all_notes = (*notes, *slots.describe_waiting(limits), *_unread_queue_notes(measured))
    return QueueDepths(queues=tuple(measured), notes=all_notes, processed=processed, reads=reads, limits=limits)


def _with_empty_queues(
    measured: Sequence[Queue], names: Sequence[str], reads: Mapping[str, Collection[str]]
) -> list[Queue]:
    ready = {queue.name: queue.ready for queue in measured}
    return [
        Queue(name=name, ready=ready.get(name, 0), consumers=sum(name in queues for queues in reads.values()))
        for name in names
    ]


def _count_ready_through_kombu(deployment: Deployment, names: Sequence[str]) -> int:
    ready = 0
    with deployments.celery_client(deployment).connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=redis_client.SERVER_TIMEOUT_S)
        for name in names:
            with suppress(*connection.channel_errors), connection.channel() as channel:  # no queue of that name
                ready += int(channel.queue_declare(name, passive=True)[1])
    return ready


def _stranded_notes(connection: RedisConnection, layout: KeyLayout) -> list[str]:
    """What lies between two brokers, because the move was ended: nobody takes it there."""
    flat = connection.execute("HGETALL", protocol_keys.moves_key(layout))
    ways = dict(zip(flat[::2], flat[1::2], strict=True))
    lengths = connection.execute_all([("LLEN", way) for way in ways]) if ways else []
    return [
        f"{format_count(length, 'message')} lie on the way: `livectl queues move {words.decode()}` moves them on"
        for words, length in zip(ways.values(), lengths, strict=True)
        if length
    ]


def _unread_queue_notes(queues: Sequence[Queue]) -> list[str]:
    return [
        f"nobody reads {queue.name}, which has {queue.ready} ready"
        for queue in queues
        if queue.ready and queue.consumers == 0
    ]


def _unused_queue_notes(
    deployment: Deployment, measured: Sequence[Queue], reads: dict[str, tuple[str, ...]]
) -> list[str]:
    """Queues that workers read and nobody sends to. livectl's own is another app's: its settings name no queues."""
    if deployment.app is None:
        return []
    empty = {queue.name for queue in measured if not _size(queue)}
    known = {*deployment.layout.queues, *deployment.named_queues, deployments.OWN_QUEUE}
    return [
        f"{worker} reads {queue}, which is empty and which no queue or route of the settings names"
        for worker, queues in sorted(reads.items())
        for queue in queues
        if queue in empty and queue not in known
    ]


class QueueRate(msgspec.Struct, frozen=True):
    """Messages a second, into some queues and out of them. None where their readers did not reply both times."""

    inward: float | None
    outward: float | None


QueueRates = dict[tuple[str, ...], QueueRate]  # by the names of the queues that share the rate


def rates_between(before: QueueDepths, after: QueueDepths, seconds: float) -> QueueRates:
    """A worker tells how many jobs it has done, not from which queue: queues that share a reader have one rate."""
    return {group: _group_rate(group, before, after, seconds) for group in _group_by_reader(after)}


def rate_notes(rates: Mapping[tuple[str, ...], QueueRate], reads: Mapping[str, Collection[str]]) -> list[str]:
    """The rates of queues that cannot be told apart."""
    notes = []
    for group, rate in rates.items():
        if len(group) > 1 and rate.outward is not None:
            readers = sorted(worker for worker, queues in reads.items() if set(queues) & set(group))
            rate_text = f"{rate.inward:.1f} in/s, {rate.outward:.1f} out/s"
            notes.append(
                f"{', '.join(group)} together: {rate_text}; not told apart, since {', '.join(readers)} read them"
            )
    return notes


def _group_by_reader(depths: QueueDepths) -> list[tuple[str, ...]]:
    """The queues, grouped so that no worker reads queues of two groups."""
    groups = [{queue.name} for queue in depths.queues]
    for queues in depths.reads.values():
        joined = [group for group in groups if group & set(queues)]
        if joined:
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return sorted(tuple(sorted(group)) for group in groups)


def _group_rate(names: tuple[str, ...], before: QueueDepths, after: QueueDepths, seconds: float) -> QueueRate:
    """What workers have done went out; that, and by how much the queues grew, came in."""
    finished = _finished_jobs(names, before, after)
    if finished is None:
        return QueueRate(None, None)
    growth = _message_count(after, names) - _message_count(before, names)
    return QueueRate(max(0.0, (finished + growth) / seconds), finished / seconds)


def _message_count(depths: QueueDepths, names: tuple[str, ...]) -> int:
    return sum(_size(queue) for queue in depths.queues if queue.name in names)


def _finished_jobs(names: tuple[str, ...], before: QueueDepths, after: QueueDepths) -> int | None:
    """How many jobs of these queues ended in between, if all their readers told it both times."""
    readers = [worker for worker, queues in after.reads.items() if set(queues) & set(names)]
    if any(worker not in before.processed or worker not in after.processed for worker in readers):
        return None
    return sum(max(0, after.processed[worker] - before.processed[worker]) for worker in readers)
