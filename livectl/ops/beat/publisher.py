"""Sends claimed runs: all in one step where broker and store are one server, else one by one."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import msgspec
from celery.beat import BeatLazyFunc
from celery.result import denied_join_result
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError
from kombu.transport import redis as redis_transport
from redis.exceptions import RedisError, ResponseError

from livectl import redis_client
from livectl.errors import LivectlError, ServerError
from livectl.models import Run
from livectl.ops import deployment as deployments
from livectl.ops.beat.entries import to_beat_entry
from livectl.ops.beat.pauses import read_pauses
from livectl.ops.beat.run_store import Claim, PreparedRun
from livectl.ops.jobs import history, job_log, sender
from livectl.ops.jobs.history import JobNote
from livectl.ops.jobs.numbers import JobNumbers
from livectl.ops.protocol import capturing_channel
from livectl.redaction import shown_arguments
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis
    from celery import Celery
    from kombu import Connection

    from livectl.models import Schedule
    from livectl.ops.beat.entries import BeatEntry
    from livectl.ops.beat.run_store import RunStore
    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.capturing_channel import RedisCommand


logger = get_logger(__name__)
CONNECT_TIMEOUT_S = 4.0
CONNECTION_OPTIONS = frozenset({"connection", "producer", "publisher"})  # options that name a connection of their own


class BrokerUnavailableError(Exception):
    """The broker cannot be reached."""


class ClaimedJob(msgspec.Struct, frozen=True):
    """A claimed run, and the job that it sends."""

    claim: Claim
    entry: BeatEntry
    task_id: str
    followed: bool = False  # whether it matters to an entry how it ends


class Publisher(Protocol):
    """Sends jobs to the broker."""

    def connect(self) -> None:
        """Raises BrokerUnavailableError when the broker cannot be reached."""

    def send(self, jobs: Sequence[ClaimedJob]) -> None:
        """Sends jobs and ends their claims. A job stays claimed if the broker went away before it took it."""

    def close(self) -> None:
        """Releases the connection."""


def open_publisher(app: Celery, run_store: RunStore) -> Publisher:
    """The atomic publisher where the app's broker allows it, else the sequential one."""
    connection = app.connection_for_write()
    if _is_same_server(run_store.store, connection):
        return AtomicPublisher(app, run_store, connection)
    connection.release()
    return SequentialPublisher(app, run_store)


def _is_same_server(store: redis.Redis, connection: Connection) -> bool:
    """Whether the store and the broker are one server, whatever their addresses call it."""
    transport_class = type(connection.transport)
    if not redis_client.is_one_server(store):
        return False
    if not issubclass(transport_class, redis_transport.Transport):
        return False
    if issubclass(transport_class, redis_transport.SentinelTransport):
        return False
    if len(connection.alt or ()) > 1:
        return False  # after a failover it may be another server
    _connect(connection)
    try:
        with connection.channel() as channel, channel.conn_or_acquire() as client:
            return bool(client.info("server")["run_id"] == store.info("server")["run_id"])
    except ResponseError:
        return False  # this user may not ask for INFO
    except (OperationalError, RedisError, OSError) as error:
        raise BrokerUnavailableError(str(error)) from error


class AtomicPublisher:
    """For a broker and a store on one server: one script pushes messages and ends claims. Each is sent exactly once."""

    def __init__(self, app: Celery, run_store: RunStore, connection: Connection) -> None:
        self._app = app
        self._run_store = run_store
        self._connection = connection
        self._channel = capturing_channel.open_channel(connection)
        self._producer = app.amqp.Producer(self._channel, auto_declare=False)
        self._database = capturing_channel.database_of(self._channel)

    def connect(self) -> None:
        """Nothing to do: the store has just answered, and the broker is the same server."""

    def send(self, jobs: Sequence[ClaimedJob]) -> None:
        captured_jobs = [(job, captured) for job in jobs if (captured := self._capture(job))]
        replies = self._run_store.commit([captured for _, captured in captured_jobs], self._database)
        sent = []
        for (job, _), reply in zip(captured_jobs, replies, strict=True):
            _log_reply(job, reply)
            if reply == "sent":
                sent.append(job)
        _note_sent(self._run_store, self._app, sent)

    def _capture(self, job: ClaimedJob) -> PreparedRun | None:
        """The commands that would send a job; None for a job that cannot be sent at all."""
        commands: list[RedisCommand] = []
        self._channel.commands = commands
        producer = None if CONNECTION_OPTIONS & job.entry.options.keys() else self._producer
        try:
            publish(self._app, job, producer, retry=False)
        except Exception as error:
            if _is_broker_away(self._connection, error):
                raise BrokerUnavailableError(str(error)) from error
            _give_up(self._run_store, job, error)
            return None
        return PreparedRun(job.claim, tuple(commands))

    def close(self) -> None:
        with suppress(Exception):
            self._channel.close()
            self._connection.release()


class SequentialPublisher:
    """For any broker: publishes a job, then ends its claim. A crash in between repeats the job, with the same id."""

    def __init__(self, app: Celery, run_store: RunStore) -> None:
        self._app = app
        self._run_store = run_store
        self._connection: Connection | None = None
        self._producer: Any = None

    def connect(self) -> None:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
        try:
            _connect(self._connection)
        except BrokerUnavailableError:
            self.close()
            raise
        self._producer = self._producer or self._app.amqp.Producer(self._connection, auto_declare=False)

    def send(self, jobs: Sequence[ClaimedJob]) -> None:
        self.connect()
        for number, job in enumerate(jobs):
            if not self._run_store.is_fresh(job.claim):
                continue  # it took so long that another beat may send it by now
            try:
                self._publish(job)
            except BrokerUnavailableError:
                self._run_store.give_back([unsent.claim for unsent in jobs[number:]])
                raise

    def _publish(self, job: ClaimedJob) -> None:
        producer = None if CONNECTION_OPTIONS & job.entry.options.keys() else self._producer
        try:
            publish(self._app, job, producer)
        except Exception as error:
            is_away = _is_broker_away(self._connection, error)
            self.close()  # a channel that refused something takes nothing more
            if is_away:
                raise BrokerUnavailableError(str(error)) from error
            _give_up(self._run_store, job, error)
            self.connect()
            return
        self._run_store.mark_done([job.claim])
        _log_reply(job, "sent")
        _note_sent(self._run_store, self._app, [job])

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.release()


def send_now(deployment: Deployment, app: Any, schedule: Schedule) -> str:
    """Sends the job of a schedule now, as beat would, and returns the job's new id."""
    deployments.check_broker(deployment)
    task_id, now = str(uuid4()), time.time()
    claim = Claim(Run(schedule.name, int(now * MS_PER_SECOND)), 0)
    try:
        publish(app, ClaimedJob(claim, to_beat_entry(schedule), task_id), None, retry=False)
    except OperationalError as error:
        raise ServerError(f"the broker did not take the job: {error}", "Look whether it still runs.") from error
    except app.connection_for_write().channel_errors as error:
        raise ServerError(f"the broker refuses the job: {error}", sender.REFUSED_HINT) from error
    with suppress(LivectlError, OSError):
        queue = schedule.options.get("queue")
        facts = {"task": schedule.task, "queue": queue, "sent": now, "schedule": schedule.name, "due": now}
        job_log.write(deployment, task_id, **facts)
    return task_id


def publish(app: Celery, job: ClaimedJob, producer: Any, **extra_options: Any) -> None:
    """Publishes a job as Celery's beat does: through the task if the app has it, else by the task's name."""
    entry = job.entry
    options = {"task_id": job.task_id, **entry.options, **extra_options}
    told: dict[str, Any] = {"celery_beat_task": True, "sent": time.time(), "schedule": entry.name}
    told["due"] = job.claim.run.due / MS_PER_SECOND
    options["headers"] = {**(entry.options.get("headers") or {}), **told}
    if entry.overlap != "allow" or job.followed:
        options["ignore_result"] = False
    if producer is not None:
        options["producer"] = producer
    args = [_evaluate(value) for value in entry.args]
    kwargs = {name: _evaluate(value) for name, value in entry.kwargs.items()}
    options = {**shown_arguments(args, kwargs), **options}
    task = app.tasks.get(entry.task)
    with denied_join_result():  # without it, beat would listen for the result of every job
        if task is None:
            app.send_task(entry.task, args, kwargs, **options)
        else:
            task.apply_async(args, kwargs, **options)


def _note_sent(run_store: RunStore, app: Celery, jobs: Sequence[ClaimedJob]) -> None:
    """Notes runs in the history of jobs, each with its due instant; workers add what becomes of them."""
    now = run_store.clock.now() / MS_PER_SECOND
    numbers, notes = JobNumbers(), dict[str, JobNote]()
    for job in jobs:
        due = job.claim.run.due / MS_PER_SECOND
        facts = {"app": app.main or "", "task": job.entry.task, "queue": job.entry.options.get("queue")}
        facts |= {"schedule": job.entry.name, "due": due, "sent": now}
        notes[job.task_id] = JobNote(facts=facts, mode="new")
        numbers.run_sent(job.entry.name, now - due)
    with suppress(RedisError, OSError):  # they are sent, whatever is known of it
        run_store.note(notes, numbers, app.main or "")


def note_missed(run_store: RunStore, app: Celery, entries: Mapping[str, BeatEntry], runs: Sequence[Run]) -> None:
    """Notes runs that no beat has sent, nor had to: those of paused entries, and beyond a `count`, were not missed."""
    with suppress(RedisError, OSError):
        pauses = read_pauses(run_store.store)
        missed = [run for run in runs if run.name not in pauses and not entries[run.name].count]
        notes = {
            run_store.task_id(run): JobNote(
                facts={
                    "app": app.main or "",
                    "task": entries[run.name].task,
                    "schedule": run.name,
                    "due": run.due / MS_PER_SECOND,
                    "state": history.MISSED,
                },
                mode="new",
            )
            for run in missed
        }
        fresh = run_store.note(notes, JobNumbers(), app.main or "")
        numbers = JobNumbers()
        for run, is_new in zip(missed, fresh, strict=True):
            if is_new:  # otherwise another beat sent it, or has noted it
                numbers.runs_missed(run.name, 1)
        run_store.note({}, numbers, app.main or "")


def _connect(connection: Connection) -> None:
    """Connects without kombu's own retries, which take seconds: beat tries again each second anyway."""
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=CONNECT_TIMEOUT_S)
    except Exception as error:
        raise BrokerUnavailableError(str(error)) from error


def _is_broker_away(connection: Connection | None, error: Exception) -> bool:
    """Whether an error means that the broker is away. A message that it refused raises the same, but for the cause."""
    if connection is None or not isinstance(error, OperationalError | OSError):
        return False
    cause = error.__cause__ or error.__context__ or error
    return isinstance(cause, connection.connection_errors) or not isinstance(cause, connection.channel_errors)


def _evaluate(value: Any) -> Any:
    return value() if isinstance(value, BeatLazyFunc) else value


def _give_up(run_store: RunStore, job: ClaimedJob, error: Exception) -> None:
    """Drops a job whose entry is at fault: another try would not help, and other entries must not wait."""
    logger.error("Entry %r cannot be sent: %s: %s", job.entry.name, type(error).__name__, error)
    run_store.drop([job.claim])


def _log_reply(job: ClaimedJob, reply: str) -> None:
    entry = job.entry
    if reply == "sent":
        logger.info("Sent %s (%s) with id %s", entry.name, entry.task, job.task_id)
    elif reply == "taken":
        logger.warning("%s: not sent, since another beat has taken this run over", entry.name)
    else:
        logger.error("Entry %r was refused by the broker and is tried again: %s", entry.name, reply)
