"""Publishes many jobs, of one task in one step or the lines of a file, and follows them to their results."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from kombu.exceptions import OperationalError

from livectl import redis_client
from livectl.errors import FileError, LivectlError, Mistake, ServerError
from livectl.models import JobState
from livectl.ops import deployment as deployments
from livectl.ops.jobs import results
from livectl.ops.jobs.job_request import TOO_DEEP, JobRequest
from livectl.ops.jobs.status import END_STATES, StatusLookup
from livectl.ops.protocol import capturing_channel
from livectl.ops.protocol.message import parse_time
from livectl.ops.protocol.result import SavedGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from celery import Celery
    from kombu import Connection

    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.sender import JobSender
    from livectl.ops.protocol.result import JobResult


GROUP_POLL_INTERVAL_S = 0.1
GROUP_READ_TIMEOUT_S = 10.0  # for one reading of thousands of results
MAX_FAILURES = 20  # ids of failed jobs in the summary
POLL_INTERVAL_S = 0.2
REQUEST_KEYS = set(JobRequest.__struct_fields__)
IGNORED_KEYS = {"id", "message"}  # a purge saves them, and a job that is sent has others


class JobDraft(msgspec.Struct, frozen=True, kw_only=True):
    """One job to be published: its id, the arguments of the task, and their short form for logs and statuses."""

    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = {}
    brief: str
    queue: str | None = None  # instead of the task's usual one


class SendOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that all jobs of one publication share."""

    queue: str | None = None  # whatever those of the jobs are
    priority: int | None = None
    eta: datetime | None = None
    expires: datetime | float | None = None  # a number is seconds from now
    keep_result: bool = False
    group: str | None = None


def send_group(app: Celery, task: str, drafts: Sequence[JobDraft], options: SendOptions) -> str:
    """Publishes the jobs as a group. Returns the group's id, which `livectl status` understands.

    A single job needs no group: then the id is its own.
    """
    if len(drafts) == 1:
        publish_jobs(app, task, drafts, options)
        return drafts[0].id
    group = str(uuid4())
    app.backend.save_group(group, SavedGroup(group, [draft.id for draft in drafts]))
    publish_jobs(app, task, drafts, msgspec.structs.replace(options, group=group))
    return group


def publish_jobs(app: Celery, task: str, drafts: Sequence[JobDraft], options: SendOptions) -> None:
    """Publishes the task once for each draft: on Redis in one round trip."""
    if not drafts:
        return
    queues = {options.queue or draft.queue for draft in drafts}
    routes = {queue: app.amqp.router.route({"queue": queue} if queue else {}, task) for queue in queues}  # found once
    try:
        with app.pool.acquire(block=True) as connection, _open_producer(app, connection) as producer:
            for draft in drafts:
                message = _task_message(app, task, draft, options)
                app.amqp.send_task_message(
                    producer,
                    task,
                    message,
                    **routes[options.queue or draft.queue],
                    priority=options.priority,
                    retry=False,
                    headers={"sent": time.time()},
                )
    except (OperationalError, OSError) as error:
        raise ServerError(f"the broker did not take the jobs: {error}", "Look whether it still runs.") from error


def follow_results(deployment: Deployment, ids: Sequence[str], deadline: float) -> Iterator[dict[str, JobResult]]:
    """Yields the results of jobs as they end, until all have ended or the monotonic clock passes the deadline."""
    waiting = dict.fromkeys(ids)
    while waiting and time.monotonic() < deadline:
        job_results = _read_results(deployment, list(waiting))
        ended = {job_id: job_result for job_id, job_result in job_results.items() if job_result.end_state}
        for job_id in ended:
            del waiting[job_id]
        if ended:
            yield ended
        elif waiting:
            time.sleep(GROUP_POLL_INTERVAL_S)


def _task_message(app: Celery, task: str, draft: JobDraft, options: SendOptions) -> Any:
    return app.amqp.as_task_v2(
        draft.id,
        task,
        draft.args,
        draft.kwargs,
        eta=options.eta,
        expires=options.expires,
        group_id=options.group,
        ignore_result=not options.keep_result,
        argsrepr=draft.brief,
        kwargsrepr="{}",
    )


@contextmanager
def _open_producer(app: Celery, connection: Connection) -> Iterator[Any]:
    """A producer whose messages go out when the block ends without an error."""
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    if not capturing_channel.is_redis(connection):
        with connection.channel() as channel:
            yield app.amqp.Producer(channel, auto_declare=False)
        return
    channel = capturing_channel.open_channel(connection)
    try:
        yield app.amqp.Producer(channel, auto_declare=False)
        capturing_channel.send_captured(channel)
    finally:
        channel.close()


def _read_results(deployment: Deployment, ids: Sequence[str]) -> dict[str, JobResult]:
    if deployment.results is None:
        return results.read_results_through_celery(deployments.celery_client(deployment), ids)
    with redis_client.connect(deployment.results, GROUP_READ_TIMEOUT_S) as connection:
        return results.read_results(connection, deployment.layout, ids)


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
            except RecursionError:
                mistakes.append(Mistake(str(path), number, 1, TOO_DEEP, "is a bracket not closed?"))
            except (msgspec.DecodeError, UnicodeDecodeError, LivectlError) as error:
                mistakes.append(Mistake(str(path), number, 1, str(error)))
    if mistakes:
        raise FileError(mistakes, 'A line is {"task": "proj.tasks.add", "args": [1, 2], "kwargs": {}}.')
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

    def __init__(
        self, sender: JobSender, deployment: Deployment, *, window: int, deadline: float, force: bool = False
    ) -> None:
        self._sender = sender
        self._force = force
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
            self._open_ids.add(self._sender.send(request, keep_result=True, force=self._force).id)
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
