"""The sending of claimed runs: all of them in one step where broker and store are one server, else one by one."""

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
from kombu.transport import redis as transport
from redis.exceptions import RedisError, ResponseError

from livectl import redis_client
from livectl.errors import LivectlError, ServerError
from livectl.models import Run
from livectl.ops.beat.entries import to_beat_entry
from livectl.ops.beat.run_store import Claim, PreparedRun
from livectl.ops.jobs import sender
from livectl.ops.protocol import capturing_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

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
CONNECTION_OPTIONS = frozenset({"connection", "producer", "publisher"})  # options that name another way than ours


class BrokerUnavailableError(Exception):
    """The broker cannot be reached."""


class ClaimedJob(msgspec.Struct, frozen=True):
    """A claimed run, and what it sends."""

    claim: Claim
    entry: BeatEntry
    task_id: str


class Publisher(Protocol):
    """A way to the broker."""

    def connect(self) -> None:
        """Raises AwayError when the broker is away."""

    def send(self, jobs: Sequence[ClaimedJob]) -> None:
        """Sends them and notes it. What could not be sent because the broker is away stays claimed."""

    def close(self) -> None:
        """Lets go of the connection."""


def open_publisher(app: Celery, runs: RunStore) -> Publisher:
    """The better way that this app's broker allows."""
    connection = app.connection_for_write()
    if _is_same_server(runs.store, connection):
        return AtomicPublisher(app, runs, connection)
    connection.release()
    return SequentialPublisher(app, runs)


class AtomicPublisher:
    """Broker and store are one server: messages go in and claims are settled in one script, each exactly once."""

    def __init__(self, app: Celery, runs: RunStore, connection: Connection) -> None:
        self._app = app
        self._runs = runs
        self._connection = connection
        self._channel = capturing_channel.open_channel(connection)
        self._producer = app.amqp.Producer(self._channel, auto_declare=False)
        self._database = capturing_channel.database_of(self._channel)

    def connect(self) -> None:
        """The store has just answered, and this is the same server."""

    def send(self, jobs: Sequence[ClaimedJob]) -> None:
        captured_jobs = [(job, captured) for job in jobs if (captured := self._capture(job))]
        replies = self._runs.commit([captured for _, captured in captured_jobs], self._database)
        for (job, _), reply in zip(captured_jobs, replies, strict=True):
            _log_reply(job, reply)

    def _capture(self, job: ClaimedJob) -> PreparedRun | None:
        """What Celery would put on the broker; None if it cannot be sent at all."""
        commands: list[RedisCommand] = []
        self._channel.commands = commands
        producer = None if CONNECTION_OPTIONS & job.entry.options.keys() else self._producer
        try:
            publish(self._app, job, producer, retry=False)
        except Exception as error:
            if _is_broker_away(self._connection, error):
                raise BrokerUnavailableError(str(error)) from error
            _give_up(self._runs, job, error)
            return None
        return PreparedRun(job.claim, tuple(commands))

    def close(self) -> None:
        with suppress(Exception):
            self._channel.close()
            self._connection.release()


class SequentialPublisher:
    """Any broker: a run is published, then noted as sent. A crash between the two repeats it, with the same task id."""

    def __init__(self, app: Celery, runs: RunStore) -> None:
        self._app = app
        self._runs = runs
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
            if not self._runs.is_fresh(job.claim):
                continue  # it took so long that another beat may send it by now
            try:
                self._publish(job)
            except BrokerUnavailableError:
                self._runs.give_back([unsent.claim for unsent in jobs[number:]])
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
            _give_up(self._runs, job, error)
            self.connect()
            return
        self._runs.mark_done([job.claim])
        _log_reply(job, "sent")

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.release()


def publish(app: Celery, job: ClaimedJob, producer: Any, **extra_options: Any) -> None:
    """As Celery's own beat does: by the task if it is known here, else by its name."""
    entry = job.entry
    options = {"task_id": job.task_id, **entry.options, **extra_options}
    options["headers"] = {**(entry.options.get("headers") or {}), "celery_beat_task": True, "sent": time.time()}
    if entry.overlap == "skip":
        options["ignore_result"] = False
    if producer is not None:
        options["producer"] = producer
    args = [_evaluate(value) for value in entry.args]
    kwargs = {name: _evaluate(value) for name, value in entry.kwargs.items()}
    task = app.tasks.get(entry.task)
    with denied_join_result():  # nobody waits here: without this, beat listens for the answer of every job
        if task is None:
            app.send_task(entry.task, args, kwargs, **options)
        else:
            task.apply_async(args, kwargs, **options)


def _is_same_server(store: redis.Redis, connection: Connection) -> bool:
    """Whether the store's server is the broker, whatever the two addresses call it."""
    transport_class = type(connection.transport)
    if not issubclass(transport_class, transport.Transport) or issubclass(transport_class, transport.SentinelTransport):
        return False
    if len(connection.alt or ()) > 1:
        return False  # after a failover it may be another one
    _connect(connection)
    try:
        with connection.channel() as channel, channel.conn_or_acquire() as client:
            return bool(client.info("server")["run_id"] == store.info("server")["run_id"])
    except ResponseError:
        return False  # neither may be asked by this user
    except (OperationalError, RedisError, OSError) as error:
        raise BrokerUnavailableError(str(error)) from error


def _connect(connection: Connection) -> None:
    """Without the seconds of patience that kombu has by itself: beat asks again each second anyway."""
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=CONNECT_TIMEOUT_S)
    except Exception as error:
        raise BrokerUnavailableError(str(error)) from error


def _is_broker_away(connection: Connection | None, error: Exception) -> bool:
    """Not when the broker refused this one message: that looks alike, but for its cause."""
    if connection is None or not isinstance(error, OperationalError | OSError):
        return False
    cause = error.__cause__ or error.__context__ or error
    return isinstance(cause, connection.connection_errors) or not isinstance(cause, connection.channel_errors)


def _evaluate(value: Any) -> Any:
    return value() if isinstance(value, BeatLazyFunc) else value


def _give_up(runs: RunStore, job: ClaimedJob, error: Exception) -> None:
    """One entry's own fault: it must not hold up the others, and trying again would not help."""
    logger.error("Entry %r cannot be sent: %s: %s", job.entry.name, type(error).__name__, error)
    runs.mark_done([job.claim])


def _log_reply(job: ClaimedJob, reply: str) -> None:
    entry = job.entry
    if reply == "sent":
        logger.info("Sent %s (%s) with id %s", entry.name, entry.task, job.task_id)
    elif reply == "taken":
        logger.warning("%s: not sent, since another beat has taken this run over", entry.name)
    else:
        logger.error("Entry %r was refused by the broker and is tried again: %s", entry.name, reply)


def send_now(deployment: Deployment, app: Any, schedule: Schedule) -> str:
    """As beat would send it, with an id of its own, which comes back."""
    from kombu.exceptions import OperationalError

    from livectl.ops.beat.run_store import Claim

    if deployment.broker is not None:
        redis_client.check_reachable(deployment.broker)
    task_id, now = str(uuid4()), time.time()
    claim = Claim(Run(schedule.name, int(now * 1000)), 0)
    try:
        publish(app, ClaimedJob(claim, to_beat_entry(schedule), task_id), None, retry=False)
    except OperationalError as error:
        raise ServerError(f"the broker did not take the job: {error}", "Look whether it still runs.") from error
    with suppress(LivectlError, OSError):
        sender.write_job_log(deployment, task_id, task=schedule.task, queue=schedule.options.get("queue"), sent=now)
    return task_id
