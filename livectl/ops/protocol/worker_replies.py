"""Reads what workers reply to Celery's remote-control commands, and the heartbeats that they publish."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from livectl.ops.protocol import message
from livectl.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


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
