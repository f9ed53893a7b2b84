"""Many jobs from a file, one JSON object a line: at most so many unfinished at a time."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import FileError, LivectlError, Mistake
from livectl.model import JobState
from livectl.ops.jobs.desk import Order
from livectl.ops.jobs.message import instant
from livectl.ops.jobs.verdict import ENDS
from livectl.ops.jobs.whereabouts import Inquiry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.jobs.desk import Desk

MOST_MISTAKES = 20  # told at once; a file that is wrong altogether says so in these
LOOK_EVERY = 0.2  # seconds between two looks at what has ended
KEYS = {"task", "args", "kwargs", "queue", "priority", "eta", "expires"}
BESIDES = {"id", "message"}  # what a purge saves and a sending does not take


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How the jobs of a file went."""

    sent: int
    succeeded: int = 0
    failed: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    failures: tuple[str, ...] = ()  # the ids of the first ones


def read(path: Path, default: str | None) -> list[Order]:
    """Every order of the file; FileError with each line that is none."""
    mistakes: list[Mistake] = []
    orders: list[Order] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FileError([Mistake(str(path), 1, 1, error.strerror or "cannot be read")]) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                orders.append(order_of(msgspec.json.decode(line), default))
            except (msgspec.DecodeError, LivectlError) as error:
                mistakes.append(Mistake(str(path), number, 1, str(error)))
    if mistakes:
        raise FileError(mistakes[:MOST_MISTAKES], 'A line is {"task": "proj.tasks.add", "args": [1, 2], "kwargs": {}}.')
    return orders


def order_of(line: Any, default: str | None) -> Order:
    if isinstance(line, list):
        line = {"args": line}
    if not isinstance(line, dict):
        raise LivectlError("no object")
    if unknown := set(line) - KEYS - BESIDES:
        raise LivectlError(f"unknown key {min(unknown)!r}")
    if not (task := line.get("task") or default):
        raise LivectlError("no task")
    times = {name: _time(line[name], name) for name in ("eta", "expires") if line.get(name)}
    told = {name: line[name] for name in KEYS - {"task", "eta", "expires"} if line.get(name) is not None}
    return msgspec.convert({"task": task, **told, **times}, Order)


class Batch:
    """The sending of many, with a window, and the counting of what came of them."""

    def __init__(self, desk: Desk, deployment: Deployment, *, window: int, until: float) -> None:
        self._desk = desk
        self._deployment = deployment
        self._window = window
        self._until = until
        self._open: set[str] = set()
        self._counts: Counter[JobState] = Counter()
        self._failures: list[str] = []
        self._sent = 0
        self._began = time.monotonic()

    def run(self, orders: Sequence[Order]) -> Iterator[Summary]:
        """How far it is, whenever that has changed; the last one is how it ended."""
        for order in orders:
            while len(self._open) >= self._window and self._in_time():
                yield self._settle()
            if not self._in_time():
                break
            self._open.add(self._desk.send(order, keep_result=True).id)
            self._sent += 1
        while self._open and self._in_time():
            yield self._settle()
        yield self.summary()

    def _settle(self) -> Summary:
        """Looks which have ended, and waits a little when none has."""
        with Inquiry(self._deployment) as inquiry:
            ended = inquiry.ended(sorted(self._open))
        for job, state in ended.items():
            self._open.discard(job)
            self._counts[state] += 1
            if state is not JobState.SUCCEEDED:
                self._failures.append(job)
        if not ended:
            time.sleep(LOOK_EVERY)
        return self.summary()

    def summary(self) -> Summary:
        return Summary(
            sent=self._sent,
            succeeded=self._counts[JobState.SUCCEEDED],
            failed=sum(self._counts[state] for state in ENDS - {JobState.SUCCEEDED}),
            unfinished=len(self._open),
            seconds=round(time.monotonic() - self._began, 2),
            failures=tuple(self._failures[:MOST_MISTAKES]),
        )

    def _in_time(self) -> bool:
        return time.monotonic() < self._until


def _time(said: Any, name: str) -> Any:
    found = instant(said)
    if found is None:
        raise LivectlError(f"{name}: {said!r} is no time")
    return found
