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
from livectl.ops.cluster.pidbox import ANSWER_SECONDS, Answers, Question
from livectl.ops.schedules.spot import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.ops.cluster.deployment import Deployment
    from livectl.resp import Wire

POOLS = {  # what a worker calls its pool: a class
    "celery.concurrency.prefork:TaskPool": "prefork",
    "celery.concurrency.thread:TaskPool": "threads",
    "celery.concurrency.eventlet:TaskPool": "eventlet",
    "celery.concurrency.gevent:TaskPool": "gevent",
    "celery.concurrency.solo:TaskPool": "solo",
}
KIBIBYTE = 1024
SIZE = re.compile(r"([\d.]+) *([KMGT]?B|b)")
UNITS = {"b": 1, "B": 1, "KB": KIBIBYTE, "MB": KIBIBYTE**2, "GB": KIBIBYTE**3, "TB": KIBIBYTE**4}
DRAIN_PAUSE = 0.5  # seconds between two looks at what is left


class Worker(msgspec.Struct, frozen=True, kw_only=True):
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


class Workers(msgspec.Struct, frozen=True):
    """Those that answered, and how many did not."""

    found: tuple[Worker, ...]
    silent: int


class Crew:
    """The workers of a deployment, to be asked and told several things in a row."""

    def __init__(self, deployment: Deployment, patience: float = resp.PATIENCE) -> None:
        self._deployment = deployment
        self._patience = patience
        self._open = ExitStack()
        self._wire: Wire | None = None

    def __enter__(self) -> Crew:
        broker = self._deployment.broker
        if broker is not None and broker.is_redis:
            self._wire = self._open.enter_context(resp.dial(broker, self._patience))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def ask(self, method: str, names: Sequence[str] = (), **arguments: Any) -> Answers:
        question = Question(method=method, arguments=arguments, destination=tuple(names) or None)
        return workers.ask(self._deployment, self._wire, question, ANSWER_SECONDS)

    def look(self) -> Workers:
        stats = self.ask("stats")
        names = sorted(name for name, said in stats.said.items() if isinstance(said, dict) and "pool" in said)
        if not names:
            return Workers((), stats.silent)
        active, reserved, queues, reports, memory = (
            self.ask(method, names).said for method in ("active", "reserved", "active_queues", "report", "memsample")
        )
        skews = self._skews(names)
        told = [
            describe(name, stats.said[name], active.get(name), reserved.get(name), queues.get(name), reports.get(name))
            for name in names
        ]
        found = tuple(
            msgspec.structs.replace(one, memory=resident(memory.get(one.name)) or one.memory, skew=skews.get(one.name))
            for one in told
        )
        return Workers(found, stats.silent)

    def _skews(self, names: Sequence[str]) -> dict[str, float]:
        broker = self._deployment.broker
        if self._wire is None or broker is None:
            return {}
        return skew.measure(self._wire, broker, self._deployment.layout, names)

    def named(self, name: str) -> str:
        """The whole name of a worker of which a part was said; an error names those there are."""
        there = list(self.ask("active_queues").said)
        for fits in (name, *(one for one in there if one.split("@")[0] == name)):
            if fits in there:
                return fits
        raise LivectlError(
            f"no worker {name} answers", did_you_mean(name, there) or f"There are {', '.join(sorted(there)) or 'none'}."
        )

    def resize(self, name: str, by: int) -> Any:
        """More or fewer jobs at a time."""
        method = "pool_grow" if by > 0 else "pool_shrink"
        return _done(name, self.ask(method, [name], n=abs(by)))

    def stop(self, name: str) -> None:
        """It finishes what it runs, and ends. There is no answer to wait for."""
        self.ask("shutdown", [name])

    def drain(self, name: str) -> tuple[str, ...]:
        """It takes no more; what queues it read."""
        said = self.ask("active_queues", [name]).said.get(name) or []
        queues = tuple(queue["name"] for queue in said)
        for queue in queues:
            _done(name, self.ask("cancel_consumer", [name], queue=queue))
        return queues

    def left(self, name: str) -> int:
        """Jobs that it runs or has at hand."""
        return sum(len(self.ask(method, [name]).said.get(name) or []) for method in ("active", "reserved"))


def drain(deployment: Deployment, name: str, seconds: float) -> Iterator[int]:
    """How many jobs are left, again and again until none is; then it is stopped."""
    until = time.monotonic() + seconds
    with Crew(deployment, seconds + resp.PATIENCE) as crew:
        whole = crew.named(name)
        crew.drain(whole)
        while left := crew.left(whole):
            yield left
            if time.monotonic() + DRAIN_PAUSE > until:
                raise UnfinishedError(
                    f"{whole} takes no more jobs and still has {left}", "Wait longer with --timeout, or stop it."
                )
            time.sleep(DRAIN_PAUSE)
        crew.stop(whole)


def describe(name: str, stats: dict[str, Any], active: Any, reserved: Any, queues: Any, report: Any) -> Worker:
    pool = stats.get("pool") or {}
    usage = stats.get("rusage") or {}
    implementation = str(pool.get("implementation") or "")
    return Worker(
        name=name,
        pool=POOLS.get(implementation, implementation) or None,
        concurrency=len(processes)
        if isinstance(processes := pool.get("processes"), list)
        else pool.get("max-concurrency"),
        active=len(active) if isinstance(active, list) else None,
        reserved=len(reserved) if isinstance(reserved, list) else None,
        queues=tuple(queue["name"] for queue in queues or []),
        version=_version(report),
        memory=int(usage["maxrss"]) * KIBIBYTE if isinstance(usage, dict) and usage.get("maxrss") else None,
        processed=sum((stats.get("total") or {}).values()),
        age=float(stats["uptime"]) if stats.get("uptime") is not None else None,
    )


def resident(said: Any) -> int | None:
    """Celery's own words for a size, like 56.32MB. A worker without psutil says nothing."""
    size = SIZE.fullmatch(said) if isinstance(said, str) else None
    return int(float(size[1]) * UNITS[size[2]]) if size else None


def _version(report: Any) -> str | None:
    """Celery's version, out of the report that a worker makes for those who report bugs."""
    text = str(report.get("ok") or "") if isinstance(report, dict) else ""
    _, _, after = text.partition("celery:")
    return after.split()[0] if after else None


def _done(name: str, answers: Answers) -> Any:
    said = answers.said.get(name)
    if isinstance(said, dict) and "error" in said:
        raise LivectlError(f"{name} refuses: {said['error']}")
    if said is None:
        raise LivectlError(f"{name} did not answer", "A busy solo pool does not; otherwise look at its log.")
    return said
