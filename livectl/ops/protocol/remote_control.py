"""Sends remote-control commands to workers over a Redis broker, as Celery would, without Celery.

A command is published to all workers at once; the server says how many heard it, so that nobody waits for replies that
cannot come, nor takes the silence of a busy worker for its absence. A ping follows each command: who replies to the
ping alone is a beat with remote control, which hears everything and knows no other command.
"""

from __future__ import annotations

import base64
import re
import time
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import uuid4

import msgspec

from livectl.ops.protocol import message
from livectl.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection


# A worker that is not stuck replies in a few milliseconds, on a busy machine in a second. Here the wait ends with the
# last reply, since Redis tells how many workers heard the question; what goes through Celery takes its whole time.
REPLY_TIMEOUT_S = 2.0
CELERY_REPLY_TIMEOUT_S = 1.0  # what `celery inspect` waits
# In the statistics of a worker, and in the headers of its events: it notes its jobs in livectl's history itself.
NOTES_JOBS = "livectl_notes_jobs"
CLOSE_RESERVE_S = 0.3  # kept back for removing the reply queue
BINDING_LIFETIME_MS = 10_000  # kombu sweeps the binding of a caller who died in between


class ControlReplies(msgspec.Struct, frozen=True):
    """The replies of the workers, and how many workers were asked."""

    pairs: tuple[tuple[str, Any], ...] = ()  # name and reply; a name twice where two workers have the same
    reached: int = 0  # workers that heard the command

    @property
    def by_worker(self) -> dict[str, Any]:
        return dict(self.pairs)

    @property
    def silent(self) -> int:
        """How many workers heard the command and sent no reply."""
        return max(0, self.reached - len(self.pairs))


class ControlCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command with its arguments, for all workers or for those named."""

    method: str
    arguments: dict[str, Any] = {}
    destination: tuple[str, ...] | None = None


def ask(
    connection: RedisConnection,
    layout: KeyLayout,
    database: int,
    command: ControlCommand,
    timeout_s: float = REPLY_TIMEOUT_S,
) -> ControlReplies:
    """Publishes the command, and collects replies until all who heard it have replied or the time is over."""
    reply_queue = ReplyQueue(layout, database)
    reply_queue.open(connection)
    try:
        ping = ControlCommand(method="ping", destination=command.destination)
        reached = reply_queue.publish(connection, command)
        reply_queue.publish(connection, ping, reply_queue.ping_ticket)
        expected = min(reached, len(command.destination)) if command.destination else reached
        return reply_queue.collect(connection, expected, timeout_s)
    finally:
        reply_queue.close(connection)


def publish(connection: RedisConnection, layout: KeyLayout, database: int, command: ControlCommand) -> int:
    """Publishes a command whose replies nobody reads. Returns how many heard it."""
    return ReplyQueue(layout, database).publish(connection, command)


class ReplyQueue:
    """A queue of livectl's own for replies, bound to the exchange that workers reply to."""

    def __init__(self, layout: KeyLayout, database: int) -> None:
        self._layout = layout
        self._channel = layout.control_channel(database)
        self._name, self._ticket, self.ping_ticket = (str(uuid4()) for _ in range(3))
        queue = f"{self._name}.{layout.reply_exchange}"
        self._key = layout.list_key(queue, 0)
        self._bindings_key = layout.bindings_key(layout.reply_exchange)
        self._binding = layout.join_binding(self._name, "", queue)

    def open(self, connection: RedisConnection) -> None:
        expires_at_ms = int(time.time() * 1000) + BINDING_LIFETIME_MS
        deadline = ("ZADD", self._layout.binding_deadlines_key, "GT", expires_at_ms, self._layout.reply_exchange)
        connection.execute_all([("SADD", self._bindings_key, self._binding), deadline])

    def close(self, connection: RedisConnection) -> None:
        connection.execute_all([("SREM", self._bindings_key, self._binding), ("DEL", self._key)])

    def publish(self, connection: RedisConnection, command: ControlCommand, ticket: str | None = None) -> int:
        """Returns how many heard the command."""
        return int(connection.execute("PUBLISH", self._channel, self._encode(command, ticket or self._ticket)))

    def collect(self, connection: RedisConnection, expected: int, timeout_s: float) -> ControlReplies:
        """Waits until so many have replied to the ping, which comes after all their other replies."""
        deadline = min(time.monotonic() + timeout_s, connection.deadline - CLOSE_RESERVE_S)
        replies: list[tuple[str, Any]] = []
        answered: list[str] = []
        while len(answered) < expected and (seconds_left := deadline - time.monotonic()) > 0:
            popped = connection.execute("BRPOP", self._key, f"{seconds_left:.3f}")
            envelope = message.decode(popped[1]) if popped else {}
            reply = message.decode_body(envelope, self._layout.accepted)
            if not isinstance(reply, dict):
                continue
            if envelope.get("headers", {}).get("ticket") == self.ping_ticket:
                answered += reply
            else:
                replies += reply.items()
        ping_only = set(answered) - {name for name, _ in replies}
        return ControlReplies(tuple(replies), expected - len(ping_only))

    def _encode(self, command: ControlCommand, ticket: str) -> bytes:
        """The message as kombu would have published it."""
        body = {
            "method": command.method,
            "arguments": command.arguments,
            "destination": command.destination,
            "pattern": None,
            "matcher": None,
            "ticket": ticket,
            "reply_to": {"exchange": self._layout.reply_exchange, "routing_key": self._name},
        }
        properties = {
            "delivery_mode": 1,
            "delivery_info": {"exchange": self._layout.control_exchange, "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        }
        content_type, encoding, payload = message.encode_body(
            body, "json" if self._layout.takes_json else self._layout.serializer
        )
        envelope = {
            "body": base64.b64encode(payload).decode(),
            "content-encoding": encoding,
            "content-type": content_type,
            "headers": {"clock": 1, "expires": 0},
            "properties": properties,
        }
        return msgspec.json.encode(envelope)


POOL_NAMES = {  # Celery's `stats` names the class of the pool
    "celery.concurrency.prefork:TaskPool": "prefork",
    "celery.concurrency.thread:TaskPool": "threads",
    "celery.concurrency.eventlet:TaskPool": "eventlet",
    "celery.concurrency.gevent:TaskPool": "gevent",
    "celery.concurrency.solo:TaskPool": "solo",
}
KIBIBYTE = 1024
SIZE_PATTERN = re.compile(r"([\d.]+) *([KMGT]?B|b)")
BYTES_PER_UNIT = {"b": 1, "B": 1, "KB": KIBIBYTE, "MB": KIBIBYTE**2, "GB": KIBIBYTE**3, "TB": KIBIBYTE**4}

WorkerJobState = Literal["active", "reserved", "scheduled", "ready"]


class WorkerJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job, as the worker that has it describes it."""

    worker: str
    state: WorkerJobState
    id: str = ""
    task: str | None = None
    args: Any = None
    kwargs: Any = None
    queue: str | None = None
    started: datetime | None = None
    eta: datetime | None = None


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as it describes itself. None is what it does not tell."""

    name: str
    pool: str | None = None
    concurrency: int | None = None
    active: int | None = None
    reserved: int | None = None
    queues: tuple[str, ...] = ()
    version: str | None = None
    memory: int | None = None  # bytes of its main process: now, where it has psutil to tell; else the most so far
    processed: int | None = None
    age: float | None = None  # seconds since its start
    skew: float | None = None  # seconds that its clock is ahead of the broker's


class WorkerHeartbeat(msgspec.Struct, frozen=True):
    """The event that a worker publishes to show that it lives."""

    worker: str
    sent_at: float  # seconds since the epoch, by the worker's clock


def queried_jobs(worker: str, reply: Any) -> Iterator[tuple[str, WorkerJob]]:
    """Ids and jobs of a reply to `query_task`."""
    if isinstance(reply, dict) and "error" not in reply:
        for job_id, (state, info) in reply.items():
            yield job_id, _worker_job(worker, state, info)


def scheduled_jobs(worker: str, reply: Any) -> Iterator[tuple[str, WorkerJob]]:
    """Ids and jobs of a reply to `scheduled`."""
    for row in reply if isinstance(reply, list) else ():
        info = row.get("request") or {}
        if info.get("id"):
            yield info["id"], _worker_job(worker, "scheduled", info, message.parse_time(row.get("eta")))


def listed_jobs(worker: str, state: WorkerJobState, reply: Any) -> tuple[WorkerJob, ...] | None:
    """The jobs of a reply to `active`, `reserved` or `scheduled`; None for no such reply."""
    if not isinstance(reply, list):
        return None
    if state == "scheduled":
        return tuple(job for _, job in scheduled_jobs(worker, reply))
    return tuple(_worker_job(worker, state, info) for info in reply if isinstance(info, dict))


def queue_names(reply: Any) -> tuple[str, ...]:
    """The queues of a reply to `active_queues`."""
    return tuple(queue["name"] for queue in reply) if isinstance(reply, list) else ()


def task_names(reply: Any) -> tuple[str, ...]:
    """The tasks of a reply to `registered`, which names options behind them."""
    return tuple(text.split(" [")[0] for text in reply or () if isinstance(text, str))


def is_worker_stats(reply: Any) -> bool:
    """Whether a reply to `stats` is one of a worker: a beat with remote control answers too."""
    return isinstance(reply, dict) and "pool" in reply


def processed_count(stats: Any) -> int:
    """How many jobs a worker has done since its start, by its reply to `stats`."""
    return sum((stats.get("total") or {}).values())


def worker_status(
    name: str, stats: dict[str, Any], active: Any, reserved: Any, queues: Any, report: Any
) -> WorkerStatus:
    """A worker, by its replies to the commands of these names."""
    pool, usage = stats.get("pool") or {}, stats.get("rusage") or {}
    implementation, processes = str(pool.get("implementation") or ""), pool.get("processes")
    return WorkerStatus(
        name=name,
        pool=POOL_NAMES.get(implementation, implementation) or None,
        concurrency=len(processes) if isinstance(processes, list) else pool.get("max-concurrency"),
        active=len(active) if isinstance(active, list) else None,
        reserved=len(reserved) if isinstance(reserved, list) else None,
        queues=queue_names(queues),
        version=_celery_version(report),
        memory=int(usage["maxrss"]) * KIBIBYTE if isinstance(usage, dict) and usage.get("maxrss") else None,
        processed=processed_count(stats),
        age=float(stats["uptime"]) if stats.get("uptime") is not None else None,
    )


def memory_size(reply: Any) -> int | None:
    """The bytes of a reply to `memsample`, like 56.32MB. A worker without psutil tells nothing."""
    size = SIZE_PATTERN.fullmatch(reply) if isinstance(reply, str) else None
    return int(float(size[1]) * BYTES_PER_UNIT[size[2]]) if size else None


def heartbeat(raw: bytes) -> WorkerHeartbeat | None:
    """The heartbeat in a message of the event exchange; None for another message."""
    event = message.decode_body(message.decode(raw))
    match event:
        case {"hostname": str() as worker, "timestamp": int() | float() as sent_at}:
            return WorkerHeartbeat(worker, sent_at)
    return None


def _worker_job(worker: str, state: str, info: dict[str, Any], eta: datetime | None = None) -> WorkerJob:
    delivery_info = info.get("delivery_info") or {}
    return WorkerJob(
        worker=worker,
        state=cast("WorkerJobState", state),
        id=str(info.get("id") or ""),
        task=info.get("name"),
        args=redact(info.get("args")),
        kwargs=redact(info.get("kwargs")),
        queue=delivery_info.get("routing_key") or None,
        started=message.parse_time(info.get("time_start")),
        eta=eta,
    )


def _celery_version(report: Any) -> str | None:
    """Celery's version, out of the text that a worker makes for reports of bugs."""
    text = str(report.get("ok") or "") if isinstance(report, dict) else ""
    _, _, rest = text.partition("celery:")
    return rest.split()[0] if rest else None
