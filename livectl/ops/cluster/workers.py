"""Lists the workers of a deployment, asks them about jobs, and resizes, drains and stops them."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError, UnfinishedError
from livectl.ops.cluster import broadcast
from livectl.ops.protocol import remote_control
from livectl.ops.protocol.remote_control import ControlCommand, ControlReplies, WorkerJob
from livectl.redaction import redact
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from types import TracebackType

    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.remote_control import WorkerHeartbeat, WorkerStatus
    from livectl.redis_client import RedisConnection


DRAIN_POLL_INTERVAL_S = 0.5
HEARTBEAT_TIMEOUT_S = 0.5  # a heartbeat that was asked for comes within milliseconds
SKEW_DECIMALS = 2  # of seconds: a skew is right to within a message's journey


QUEUE_CHANGE_S = 3.0  # a worker does it after it has answered, between two looks at its broker
QUEUE_LOOK_S = 0.1
QUEUE_METHODS = frozenset({"add_consumer", "cancel_consumer"})
PLAIN_ERRORS = {
    "Autoscale not enabled": "it was started without --autoscale",
    "not supported with autoscale": "its size is that of --autoscale: change that",
    "has no attribute 'grow'": "its pool cannot grow and shrink",
    "has no attribute 'shrink'": "its pool cannot grow and shrink",
    "Can't shrink pool": "it has not so many places without a job",
    "unknown task": "it has no such task",
}


class WorkerList(msgspec.Struct, frozen=True):
    """The workers that replied, and how many did not."""

    found: tuple[WorkerStatus, ...]
    silent: int


class WorkerDetails(msgspec.Struct, frozen=True, kw_only=True):
    """All that one worker tells of itself. None is what it did not answer."""

    name: str
    registered: tuple[str, ...] | None  # tasks, with their rate limits
    active: tuple[WorkerJob, ...] | None
    reserved: tuple[WorkerJob, ...] | None
    scheduled: tuple[WorkerJob, ...] | None
    revoked: tuple[str, ...] | None  # the ids of jobs that it drops
    queues: tuple[str, ...] | None
    stats: Any = None
    settings: Any = None  # those of its app that are not Celery's defaults; secrets hidden


class WorkerChange(msgspec.Struct, frozen=True):
    """One thing that is to be otherwise in a worker, until it starts anew."""

    method: str  # Celery's name of it
    arguments: dict[str, Any]
    text: str  # what it is, for people


class WorkerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker made of one change."""

    worker: str
    change: str
    done: bool
    text: str


class WorkerControl:
    """Asks and commands the workers of a deployment several times over one connection."""

    def __init__(self, deployment: Deployment, timeout_s: float = redis_client.SERVER_TIMEOUT_S) -> None:
        self._deployment = deployment
        self._timeout_s = timeout_s
        self._exit_stack = ExitStack()
        self._connection: RedisConnection | None = None

    def __enter__(self) -> WorkerControl:
        self._connection = self._exit_stack.enter_context(broadcast.connect(self._deployment, self._timeout_s))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit_stack.__exit__(kind, error, trace)

    def ask(self, method: str, names: Sequence[str] = (), **arguments: Any) -> ControlReplies:
        command = ControlCommand(method=method, arguments=arguments, destination=tuple(names) or None)
        return broadcast.ask(self._deployment, self._connection, command)

    def list_workers(self) -> WorkerList:
        """Every worker, with all that it tells of itself."""
        stats = self.ask("stats")
        names = sorted(name for name, reply in stats.by_worker.items() if remote_control.is_worker_stats(reply))
        if not names:
            return WorkerList((), stats.silent)
        active, reserved, queues, reports, memory = (
            self.ask(method, names).by_worker
            for method in ("active", "reserved", "active_queues", "report", "memsample")
        )
        skews = self._measure_skews(names)
        statuses = (
            remote_control.worker_status(
                name, stats.by_worker[name], active.get(name), reserved.get(name), queues.get(name), reports.get(name)
            )
            for name in names
        )
        return WorkerList(
            tuple(
                msgspec.structs.replace(
                    status,
                    memory=remote_control.memory_size(memory.get(status.name)) or status.memory,
                    skew=skews.get(status.name),
                )
                for status in statuses
            ),
            stats.silent,
        )

    def show(self, name: str) -> WorkerDetails:
        """All that a worker tells; what it does not answer in time is None."""
        replies = {
            method: self.ask(method, [name]).by_worker.get(name)
            for method in ("registered", "active", "reserved", "scheduled", "revoked", "active_queues", "stats", "conf")
        }
        return details_from(name, replies)

    def match_names(self, patterns: Sequence[str]) -> list[str]:
        """The full names of the workers that these names or patterns mean. Raises for one that means nobody."""
        names = sorted(self.ask("active_queues").by_worker)
        chosen: dict[str, None] = {}
        for pattern in patterns:
            found = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name.split("@")[0], pattern)]
            if not found:
                hint = did_you_mean(pattern, names) or f"There are {', '.join(names) or 'none'}."
                raise LivectlError(f"no worker {pattern} answers", hint)
            chosen |= dict.fromkeys(found)
        return list(chosen)

    def change(self, names: Sequence[str], change: WorkerChange) -> list[WorkerAnswer]:
        """What each of these workers made of the change. One that reads a queue, or no longer, is looked at."""
        replies = self.ask(change.method, names, **change.arguments).by_worker
        answers = [read_answer(name, change, replies.get(name)) for name in names]
        if change.method not in QUEUE_METHODS:
            return answers
        unsettled = self._wait_for_queues([answer.worker for answer in answers if answer.done], change)
        late = "was told, and has not done it yet: look with `livectl workers`"
        return [
            msgspec.structs.replace(answer, done=False, text=late) if answer.worker in unsettled else answer
            for answer in answers
        ]

    def _wait_for_queues(self, names: Sequence[str], change: WorkerChange) -> set[str]:
        """Those of the workers that do not read the queue, or still do, when the time is over."""
        deadline, wanted = time.monotonic() + QUEUE_CHANGE_S, change.method == "add_consumer"
        unsettled = set(names)
        while unsettled:
            for name, reply in self.ask("active_queues", sorted(unsettled)).by_worker.items():
                if (change.arguments["queue"] in remote_control.queue_names(reply)) == wanted:
                    unsettled.discard(name)
            if not unsettled or time.monotonic() > deadline:
                break
            time.sleep(QUEUE_LOOK_S)
        return unsettled

    def full_name(self, name: str) -> str:
        """The full name of a worker, by that name or the part before its @. Raises when no such worker replies."""
        names = list(self.ask("active_queues").by_worker)
        for candidate in (name, *(worker for worker in names if worker.split("@")[0] == name)):
            if candidate in names:
                return candidate
        raise LivectlError(
            f"no worker {name} answers", did_you_mean(name, names) or f"There are {', '.join(sorted(names)) or 'none'}."
        )

    def resize(self, name: str, by: int) -> Any:
        """Lets the worker run more or fewer jobs at a time. Returns its reply."""
        method = "pool_grow" if by > 0 else "pool_shrink"
        return _checked_reply(name, self.ask(method, [name], n=abs(by)))

    def stop(self, name: str) -> None:
        """Lets the worker finish what it runs, and end. It sends no reply."""
        self.ask("shutdown", [name])

    def stop_consuming(self, name: str) -> None:
        """Lets the worker take no more jobs."""
        for queue in remote_control.queue_names(self.ask("active_queues", [name]).by_worker.get(name)):
            _checked_reply(name, self.ask("cancel_consumer", [name], queue=queue))

    def count_jobs(self, name: str) -> int:
        """How many jobs the worker runs or has reserved."""
        return sum(len(self.ask(method, [name]).by_worker.get(name) or []) for method in ("active", "reserved"))

    def _measure_skews(self, names: Sequence[str]) -> dict[str, float]:
        if self._connection is None:
            return {}
        return measure_skews(self._deployment, self._connection, names)


def drain(deployment: Deployment, name: str, seconds: float) -> Iterator[int]:
    """Stops a worker once it has finished its jobs. Yields how many jobs are left, again and again until none is."""
    deadline = time.monotonic() + seconds
    with WorkerControl(deployment, seconds + redis_client.SERVER_TIMEOUT_S) as control:
        full_name = control.full_name(name)
        control.stop_consuming(full_name)
        while jobs_left := control.count_jobs(full_name):
            yield jobs_left
            if time.monotonic() + DRAIN_POLL_INTERVAL_S > deadline:
                raise UnfinishedError(
                    f"{full_name} takes no more jobs and still has {jobs_left}",
                    "Wait longer with --timeout, or stop it.",
                )
            time.sleep(DRAIN_POLL_INTERVAL_S)
        control.stop(full_name)


def find_jobs(
    deployment: Deployment, connection: RedisConnection | None, ids: Sequence[str]
) -> tuple[dict[str, WorkerJob], int]:
    """The jobs of these ids that workers have, and how many workers sent no reply."""
    query = ControlCommand(method="query_task", arguments={"ids": list(ids)})
    query_replies = broadcast.ask(deployment, connection, query)
    worker_jobs: dict[str, WorkerJob] = {}
    for worker, reply in query_replies.by_worker.items():
        for job_id, worker_job in remote_control.queried_jobs(worker, reply):
            if job_id not in worker_jobs or worker_job.state == "active":
                worker_jobs[job_id] = worker_job
    return worker_jobs, query_replies.silent


def find_scheduled_jobs(
    deployment: Deployment, connection: RedisConnection | None, ids: Collection[str]
) -> dict[str, WorkerJob]:
    """The jobs of these ids that wait for their time with workers, which before Celery 5.7 `query_task` leaves out."""
    scheduled_replies = broadcast.ask(deployment, connection, ControlCommand(method="scheduled"))
    return {
        job_id: worker_job
        for worker, reply in scheduled_replies.by_worker.items()
        for job_id, worker_job in remote_control.scheduled_jobs(worker, reply)
        if job_id in ids
    }


def measure_skews(deployment: Deployment, connection: RedisConnection, names: Collection[str]) -> dict[str, float]:
    """Seconds that the clock of a worker is ahead of the broker's, by its name.

    No reply of a worker has a time in it. The heartbeat that a worker publishes when it is asked to has one, if the
    worker publishes events at all: it was made between the question and its arrival, so that the skew is right to
    within these milliseconds. Workers that publish no heartbeats are left out.
    """
    broker, layout = deployment.redis_broker, deployment.layout
    if broker is None:
        return {}
    with suppress(ServerError), redis_client.connect(broker, HEARTBEAT_TIMEOUT_S) as subscriber:
        subscriber.execute_all([("SUBSCRIBE", channel) for channel in layout.heartbeat_channels(broker.database)])
        asked_at = _broker_time(connection)
        command = ControlCommand(method="heartbeat", destination=tuple(names))
        remote_control.publish(connection, layout, broker.database, command)
        return _collect_skews(subscriber, connection, set(names), asked_at)
    return {}


def _collect_skews(
    subscriber: RedisConnection, connection: RedisConnection, names: set[str], asked_at: float
) -> dict[str, float]:
    skews: dict[str, float] = {}
    with suppress(ServerError):  # the time is over
        while names - skews.keys():
            heartbeat = _read_heartbeat(subscriber)
            if heartbeat and heartbeat.worker in names:
                skew = _skew_seconds(heartbeat.sent_at, asked_at, _broker_time(connection))
                skews.setdefault(heartbeat.worker, skew)
    return skews


def _read_heartbeat(subscriber: RedisConnection) -> WorkerHeartbeat | None:
    push = subscriber.read_push()
    raw = push[-1] if isinstance(push, list) and push else None
    return remote_control.heartbeat(raw) if isinstance(raw, bytes) else None


def _skew_seconds(sent_at: float, asked_at: float, received_at: float) -> float:
    """Zero, when the heartbeat may have been made in between."""
    return round(sent_at - min(max(sent_at, asked_at), received_at), SKEW_DECIMALS)


def _broker_time(connection: RedisConnection) -> float:
    seconds, microseconds = connection.execute("TIME")
    return int(seconds) + int(microseconds) / 1_000_000


def details_from(name: str, replies: Mapping[str, Any]) -> WorkerDetails:
    """A worker by its replies to these commands."""
    conf = replies.get("conf")
    return WorkerDetails(
        name=name,
        registered=_texts(replies.get("registered")),
        active=remote_control.listed_jobs(name, "active", replies.get("active")),
        reserved=remote_control.listed_jobs(name, "reserved", replies.get("reserved")),
        scheduled=remote_control.listed_jobs(name, "scheduled", replies.get("scheduled")),
        revoked=_texts(replies.get("revoked")),
        queues=remote_control.queue_names(queues) if (queues := replies.get("active_queues")) is not None else None,
        stats=redact(replies.get("stats")),
        settings=redact(conf) if isinstance(conf, dict) and "error" not in conf else None,
    )


def _texts(reply: Any) -> tuple[str, ...] | None:
    return tuple(str(item) for item in reply) if isinstance(reply, list) else None


def read_answer(name: str, change: WorkerChange, reply: Any) -> WorkerAnswer:
    """What a worker's reply means; None where it did not reply."""
    try:
        _checked_reply(name, ControlReplies(((name, reply),) if reply is not None else (), 1))
    except LivectlError as error:
        text = f"{error.message.removeprefix(f'{name} ')}{f'. {error.hint}' if error.hint else ''}"
        return WorkerAnswer(worker=name, change=change.text, done=False, text=text)
    return WorkerAnswer(worker=name, change=change.text, done=True, text="done")


def _plain_error(error: str) -> str:
    """What a worker refuses with, in words: Celery answers with its exceptions."""
    return next((text for part, text in PLAIN_ERRORS.items() if part in error), error)


def _checked_reply(name: str, control_replies: ControlReplies) -> Any:
    reply = control_replies.by_worker.get(name)
    if isinstance(reply, dict) and "error" in reply:
        raise LivectlError(f"{name} refuses: {_plain_error(str(reply['error']))}")
    if reply is None:
        raise LivectlError(f"{name} did not answer", "A busy solo pool does not; otherwise look at its log.")
    return reply
