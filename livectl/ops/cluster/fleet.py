"""The workers there are: what they run and read; stops, drains, grows and shrinks them."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import resp
from livectl.errors import LivectlError, UnfinishedError
from livectl.ops.cluster import skew, workers
from livectl.ops.cluster.pidbox import REPLY_TIMEOUT_S, ControlCommand, ControlReplies
from livectl.ops.schedules.spot import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.ops.cluster.deployment import Deployment
    from livectl.resp import RedisConnection

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

    def __init__(self, deployment: Deployment, timeout_s: float = resp.SERVER_TIMEOUT_S) -> None:
        self._deployment = deployment
        self._timeout_s = timeout_s
        self._exit_stack = ExitStack()
        self._connection: RedisConnection | None = None

    def __enter__(self) -> WorkerControl:
        broker = self._deployment.broker
        if broker is not None and broker.is_redis:
            self._connection = self._exit_stack.enter_context(resp.connect(broker, self._timeout_s))
        return self

    def __exit__(self, *_: object) -> None:
        self._exit_stack.close()

    def ask(self, method: str, names: Sequence[str] = (), **arguments: Any) -> ControlReplies:
        command = ControlCommand(method=method, arguments=arguments, destination=tuple(names) or None)
        return workers.ask(self._deployment, self._connection, command, REPLY_TIMEOUT_S)

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
        return skew.measure_skews(self._connection, broker, self._deployment.layout, names)

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
    with WorkerControl(deployment, seconds + resp.SERVER_TIMEOUT_S) as control:
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
