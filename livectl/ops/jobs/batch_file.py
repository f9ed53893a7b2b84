"""Sends the jobs of a file, one JSON object a line, with at most so many unfinished at a time."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import FileError, LivectlError, Mistake
from livectl.models import JobState
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.jobs.status import END_STATES, StatusLookup
from livectl.ops.protocol.message import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.sender import JobSender


MAX_MISTAKES = 20  # shown at once: enough for a file that is wrong altogether
MAX_FAILURES = 20  # ids of failed jobs in the summary
POLL_INTERVAL_S = 0.2
REQUEST_KEYS = {"task", "args", "kwargs", "queue", "priority", "eta", "expires"}
IGNORED_KEYS = {"id", "message"}  # a purge saves them, and a job that is sent has others


class BatchSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How the jobs of a file went."""

    sent: int
    succeeded: int = 0
    failed: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    failures: tuple[str, ...] = ()  # the ids of the first ones


def read_requests(path: Path, default_task: str | None) -> list[JobRequest]:
    """The requests of a file. Raises FileError with the lines that are none."""
    mistakes: list[Mistake] = []
    requests: list[JobRequest] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FileError([Mistake(str(path), 1, 1, error.strerror or "cannot be read")]) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                requests.append(parse_request(msgspec.json.decode(line), default_task))
            except (msgspec.DecodeError, LivectlError) as error:
                mistakes.append(Mistake(str(path), number, 1, str(error)))
    if mistakes:
        raise FileError(mistakes[:MAX_MISTAKES], 'A line is {"task": "proj.tasks.add", "args": [1, 2], "kwargs": {}}.')
    return requests


def parse_request(line: Any, default_task: str | None) -> JobRequest:
    """The request of a decoded line: an object, or a list of arguments for the default task."""
    if isinstance(line, list):
        line = {"args": line}
    if not isinstance(line, dict):
        raise LivectlError("no object")
    if unknown := set(line) - REQUEST_KEYS - IGNORED_KEYS:
        raise LivectlError(f"unknown key {min(unknown)!r}")
    if not (task := line.get("task") or default_task):
        raise LivectlError("no task")
    times = {name: _parse_time(line[name], name) for name in ("eta", "expires") if line.get(name)}
    fields = {name: line[name] for name in REQUEST_KEYS - {"task", "eta", "expires"} if line.get(name) is not None}
    return msgspec.convert({"task": task, **fields, **times}, JobRequest)


class JobBatch:
    """Sends many jobs with a window, and counts how they end."""

    def __init__(self, sender: JobSender, deployment: Deployment, *, window: int, deadline: float) -> None:
        self._sender = sender
        self._deployment = deployment
        self._window = window
        self._deadline = deadline
        self._open_ids: set[str] = set()
        self._counts: Counter[JobState] = Counter()
        self._failures: list[str] = []
        self._sent = 0
        self._started = time.monotonic()

    def run(self, requests: Sequence[JobRequest]) -> Iterator[BatchSummary]:
        """Yields how far the batch is; the last summary is how it ended."""
        for request in requests:
            while len(self._open_ids) >= self._window and self._in_time():
                yield self._collect_ended()
            if not self._in_time():
                break
            self._open_ids.add(self._sender.send(request, keep_result=True).id)
            self._sent += 1
        while self._open_ids and self._in_time():
            yield self._collect_ended()
        yield self.summary()

    def _collect_ended(self) -> BatchSummary:
        """Counts the jobs that have ended, and waits a little when none has."""
        with StatusLookup(self._deployment) as lookup:
            ended = lookup.end_states(sorted(self._open_ids))
        for job_id, state in ended.items():
            self._open_ids.discard(job_id)
            self._counts[state] += 1
            if state is not JobState.SUCCEEDED:
                self._failures.append(job_id)
        if not ended:
            time.sleep(POLL_INTERVAL_S)
        return self.summary()

    def summary(self) -> BatchSummary:
        return BatchSummary(
            sent=self._sent,
            succeeded=self._counts[JobState.SUCCEEDED],
            failed=sum(self._counts[state] for state in END_STATES - {JobState.SUCCEEDED}),
            unfinished=len(self._open_ids),
            seconds=round(time.monotonic() - self._started, 2),
            failures=tuple(self._failures[:MAX_FAILURES]),
        )

    def _in_time(self) -> bool:
        return time.monotonic() < self._deadline


def _parse_time(value: Any, name: str) -> Any:
    moment = parse_time(value)
    if moment is None:
        raise LivectlError(f"{name}: {value!r} is no time")
    return moment
