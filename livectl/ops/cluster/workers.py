"""How far the clocks of workers are from the broker's.

No answer of a worker's has a time in it. The heartbeat that it sends when asked to has, if it sends events at all: it
was made between our question and its arrival, so that the figure is right to within that time, some milliseconds.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError, UnfinishedError
from livectl.ops.cluster import broadcast
from livectl.ops.protocol import message
from livectl.ops.protocol.remote_control import ControlCommand, ControlReplies, ReplyQueue
from livectl.redaction import redact
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection


LISTEN_TIMEOUT_S = 0.5  # a heartbeat that was asked for comes within milliseconds
EVENT_EXCHANGE = "celeryev"  # Celery's exchange of events, with the routing key of heartbeats
HEARTBEAT_ROUTING_KEY = "worker.heartbeat"
SKEW_DECIMALS = 2  # of seconds; journeys of messages are finer than that, and so are not told


def measure_skews(
    connection: RedisConnection, broker: Address, layout: KeyLayout, names: Collection[str]
) -> dict[str, float]:
    """Seconds that a worker's clock is ahead of the broker's, by its name. Who sends no heartbeats is left out."""
    channel = f"{layout.prefix}{layout.fanout.format(db=broker.database)}{EVENT_EXCHANGE}"
    with suppress(ServerError), redis_client.connect(broker, LISTEN_TIMEOUT_S) as subscriber:
        subscriber.execute_all([("SUBSCRIBE", f"{channel}/{HEARTBEAT_ROUTING_KEY}"), ("SUBSCRIBE", channel)])
        asked_at = _broker_time(connection)
        reply_queue = ReplyQueue(layout, broker.database)
        connection.execute(
            "PUBLISH",
            reply_queue.channel,
            reply_queue.encode(ControlCommand(method="heartbeat", destination=tuple(names))),
        )
        return _collect_skews(subscriber, connection, set(names), asked_at)
    return {}


def _collect_skews(
    subscriber: RedisConnection, connection: RedisConnection, names: set[str], asked_at: float
) -> dict[str, float]:
    skews: dict[str, float] = {}
    with suppress(ServerError):  # its time is over
        while names - skews.keys():
            event = _parse_heartbeat(subscriber.read_push())
            if event.get("hostname") in names and isinstance(event.get("timestamp"), int | float):
                skews.setdefault(
                    event["hostname"], _skew_seconds(event["timestamp"], asked_at, _broker_time(connection))
                )
    return skews


def _skew_seconds(sent_at: float, asked_at: float, received_at: float) -> float:
    """Nothing, when it may have been made in between."""
    return round(sent_at - min(max(sent_at, asked_at), received_at), SKEW_DECIMALS)


def _parse_heartbeat(push: Any) -> dict[str, Any]:
    """An event, or a list of them, as they are published. Nothing, for what is none."""
    raw = push[-1] if isinstance(push, list) and push else b""
    event = message.decode_body(message.decode(raw)) if isinstance(raw, bytes) else None
    return event if isinstance(event, dict) else {}


def _broker_time(connection: RedisConnection) -> float:
    seconds, microseconds = connection.execute("TIME")
    return int(seconds) + int(microseconds) / 1_000_000


WorkerJobState = Literal["active", "reserved", "scheduled", "ready"]


class WorkerJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the worker that has it tells."""

    worker: str
    state: WorkerJobState
    task: str | None = None
    args: Any = None
    kwargs: Any = None
    queue: str | None = None
    started: datetime | None = None
    eta: datetime | None = None


def find_jobs(
    deployment: Deployment, connection: RedisConnection | None, ids: Sequence[str]
) -> tuple[dict[str, WorkerJob], int]:
    """Of these jobs, those that workers have, and how many workers gave no answer."""
    replies = broadcast.ask(deployment, connection, ControlCommand(method="query_task", arguments={"ids": list(ids)}))
    worker_jobs: dict[str, WorkerJob] = {}
    for worker, reply in replies.by_worker.items():
        for job_id, (state, info) in (reply if isinstance(reply, dict) and "error" not in reply else {}).items():
            if worker_jobs.get(job_id) is None or state == "active":
                worker_jobs[job_id] = parse_worker_job(worker, state, info)
    return worker_jobs, replies.silent


def find_scheduled_jobs(
    deployment: Deployment, connection: RedisConnection | None, ids: Collection[str]
) -> dict[str, WorkerJob]:
    """The same for jobs that wait for their time, of which workers before Celery 5.7 do not tell otherwise."""
    replies = broadcast.ask(deployment, connection, ControlCommand(method="scheduled"))
    worker_jobs: dict[str, WorkerJob] = {}
    for worker, reply in replies.by_worker.items():
        for row in reply if isinstance(reply, list) else []:
            info = row.get("request") or {}
            if info.get("id") in ids:
                worker_jobs[info["id"]] = parse_worker_job(
                    worker, "scheduled", info, message.parse_time(row.get("eta"))
                )
    return worker_jobs


def parse_worker_job(worker: str, state: str, info: dict[str, Any], eta: datetime | None = None) -> WorkerJob:
    delivery_info = info.get("delivery_info") or {}
    return WorkerJob(
        worker=worker,
        state=cast("WorkerJobState", state),
        task=info.get("name"),
        args=redact(info.get("args")),
        kwargs=redact(info.get("kwargs")),
        queue=delivery_info.get("routing_key") or None,
        started=message.parse_time(info.get("time_start")),
        eta=eta,
    )


POOL_NAMES = {  # what a worker calls its pool: a class
    "celery.concurrency.prefork:TaskPool": "prefork",
    "celery.concurrency.thread:TaskPool": "threads",
    "celery.concurrency.eventlet:TaskPool": "eventlet",
    "celery.concurrency.gevent:TaskPool": "gevent",
    "celery.concurrency.solo:TaskPool": "solo",
}
KIBIBYTE = 1024
SIZE_PATTERN = re.compile(r"([\d.]+) *([KMGT]?B|b)")
BYTES_PER_UNIT = {"b": 1, "B": 1, "KB": KIBIBYTE, "MB": KIBIBYTE**2, "GB": KIBIBYTE**3, "TB": KIBIBYTE**4}
DRAIN_POLL_INTERVAL_S = 0.5  # seconds between two looks at what is left


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as it tells of itself. None is not told."""

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


class WorkerList(msgspec.Struct, frozen=True):
    """Those that answered, and how many did not."""

    found: tuple[WorkerStatus, ...]
    silent: int


class WorkerControl:
    """The workers of a deployment, to be asked and told several things in a row."""

    def __init__(self, deployment: Deployment, timeout_s: float = redis_client.SERVER_TIMEOUT_S) -> None:
        self._deployment = deployment
        self._timeout_s = timeout_s
        self._exit_stack = ExitStack()
        self._connection: RedisConnection | None = None

    def __enter__(self) -> WorkerControl:
        self._connection = self._exit_stack.enter_context(broadcast.connect(self._deployment, self._timeout_s))
        return self

    def __exit__(self, *_: object) -> None:
        self._exit_stack.close()

    def ask(self, method: str, names: Sequence[str] = (), **arguments: Any) -> ControlReplies:
        command = ControlCommand(method=method, arguments=arguments, destination=tuple(names) or None)
        return broadcast.ask(self._deployment, self._connection, command)

    def list_workers(self) -> WorkerList:
        stats = self.ask("stats")
        names = sorted(name for name, reply in stats.by_worker.items() if isinstance(reply, dict) and "pool" in reply)
        if not names:
            return WorkerList((), stats.silent)
        active, reserved, queues, reports, memory = (
            self.ask(method, names).by_worker
            for method in ("active", "reserved", "active_queues", "report", "memsample")
        )
        skews = self._skews(names)
        statuses = [
            parse_worker_status(
                name, stats.by_worker[name], active.get(name), reserved.get(name), queues.get(name), reports.get(name)
            )
            for name in names
        ]
        measured = tuple(
            msgspec.structs.replace(
                status, memory=parse_memory_size(memory.get(status.name)) or status.memory, skew=skews.get(status.name)
            )
            for status in statuses
        )
        return WorkerList(measured, stats.silent)

    def _skews(self, names: Sequence[str]) -> dict[str, float]:
        broker = self._deployment.broker
        if self._connection is None or broker is None:
            return {}
        return measure_skews(self._connection, broker, self._deployment.layout, names)

    def full_name(self, name: str) -> str:
        """The whole name of a worker of which a part was said; an error names those there are."""
        names = list(self.ask("active_queues").by_worker)
        for candidate in (name, *(worker for worker in names if worker.split("@")[0] == name)):
            if candidate in names:
                return candidate
        raise LivectlError(
            f"no worker {name} answers", did_you_mean(name, names) or f"There are {', '.join(sorted(names)) or 'none'}."
        )

    def resize(self, name: str, by: int) -> Any:
        """More or fewer jobs at a time."""
        method = "pool_grow" if by > 0 else "pool_shrink"
        return _checked_reply(name, self.ask(method, [name], n=abs(by)))

    def stop(self, name: str) -> None:
        """It finishes what it runs, and ends. There is no answer to wait for."""
        self.ask("shutdown", [name])

    def drain(self, name: str) -> tuple[str, ...]:
        """It takes no more; what queues it read."""
        queue_reply = self.ask("active_queues", [name]).by_worker.get(name) or []
        queues = tuple(queue["name"] for queue in queue_reply)
        for queue in queues:
            _checked_reply(name, self.ask("cancel_consumer", [name], queue=queue))
        return queues

    def jobs_left(self, name: str) -> int:
        """Jobs that it runs or has at hand."""
        return sum(len(self.ask(method, [name]).by_worker.get(name) or []) for method in ("active", "reserved"))


def drain(deployment: Deployment, name: str, seconds: float) -> Iterator[int]:
    """How many jobs are left, again and again until none is; then it is stopped."""
    deadline = time.monotonic() + seconds
    with WorkerControl(deployment, seconds + redis_client.SERVER_TIMEOUT_S) as control:
        full_name = control.full_name(name)
        control.drain(full_name)
        while jobs_left := control.jobs_left(full_name):
            yield jobs_left
            if time.monotonic() + DRAIN_POLL_INTERVAL_S > deadline:
                raise UnfinishedError(
                    f"{full_name} takes no more jobs and still has {jobs_left}",
                    "Wait longer with --timeout, or stop it.",
                )
            time.sleep(DRAIN_POLL_INTERVAL_S)
        control.stop(full_name)


def parse_worker_status(
    name: str, stats: dict[str, Any], active: Any, reserved: Any, queues: Any, report: Any
) -> WorkerStatus:
    pool = stats.get("pool") or {}
    usage = stats.get("rusage") or {}
    implementation = str(pool.get("implementation") or "")
    return WorkerStatus(
        name=name,
        pool=POOL_NAMES.get(implementation, implementation) or None,
        concurrency=len(processes)
        if isinstance(processes := pool.get("processes"), list)
        else pool.get("max-concurrency"),
        active=len(active) if isinstance(active, list) else None,
        reserved=len(reserved) if isinstance(reserved, list) else None,
        queues=tuple(queue["name"] for queue in queues or []),
        version=_celery_version(report),
        memory=int(usage["maxrss"]) * KIBIBYTE if isinstance(usage, dict) and usage.get("maxrss") else None,
        processed=sum((stats.get("total") or {}).values()),
        age=float(stats["uptime"]) if stats.get("uptime") is not None else None,
    )


def parse_memory_size(text: Any) -> int | None:
    """Celery's own words for a size, like 56.32MB. A worker without psutil says nothing."""
    size = SIZE_PATTERN.fullmatch(text) if isinstance(text, str) else None
    return int(float(size[1]) * BYTES_PER_UNIT[size[2]]) if size else None


def _celery_version(report: Any) -> str | None:
    """Celery's version, out of the report that a worker makes for those who report bugs."""
    text = str(report.get("ok") or "") if isinstance(report, dict) else ""
    _, _, rest = text.partition("celery:")
    return rest.split()[0] if rest else None


def _checked_reply(name: str, replies: ControlReplies) -> Any:
    reply = replies.by_worker.get(name)
    if isinstance(reply, dict) and "error" in reply:
        raise LivectlError(f"{name} refuses: {reply['error']}")
    if reply is None:
        raise LivectlError(f"{name} did not answer", "A busy solo pool does not; otherwise look at its log.")
    return reply
