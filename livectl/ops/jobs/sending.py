"""The sending of claimed runs: all of them in one step where broker and store are one server, else one by one."""

from __future__ import annotations

from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from celery.beat import BeatLazyFunc
from celery.result import denied_join_result
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError
from kombu.transport import redis as transport
from redis.exceptions import RedisError, ResponseError

from livectl.ops.beat.runs import Claim, Command, Letter
from livectl.ops.jobs.drafting import drafting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis
    from celery import Celery
    from kombu import Connection

    from livectl.ops.beat.dues import Entry
    from livectl.ops.beat.runs import Runs

logger = get_logger(__name__)

CONNECT_SECONDS = 4.0
OWN_WAY = frozenset({"connection", "producer", "publisher"})  # options that name another way than ours


class AwayError(Exception):
    """The broker cannot be reached."""


class Job(msgspec.Struct, frozen=True):
    """A claimed run, and what it sends."""

    claim: Claim
    entry: Entry
    task_id: str


class Sender(Protocol):
    """A way to the broker."""

    def reach(self) -> None:
        """Raises AwayError when the broker is away."""

    def send(self, jobs: Sequence[Job]) -> None:
        """Sends them and notes it. What could not be sent because the broker is away stays claimed."""

    def close(self) -> None:
        """Lets go of the connection."""


def sender(app: Celery, runs: Runs) -> Sender:
    """The better way that this app's broker allows."""
    connection = app.connection_for_write()
    if _is_server_of(runs.store, connection):
        return Together(app, runs, connection)
    connection.release()
    return OneByOne(app, runs)


class Together:
    """Broker and store are one server: messages go in and claims are settled in one script, each exactly once."""

    def __init__(self, app: Celery, runs: Runs, connection: Connection) -> None:
        self._app = app
        self._runs = runs
        self._connection = connection
        self._channel = drafting(connection)
        self._producer = app.amqp.Producer(self._channel, auto_declare=False)
        self._database = self._channel.pool.connection_kwargs["db"]

    def reach(self) -> None:
        """The store has just answered, and this is the same server."""

    def send(self, jobs: Sequence[Job]) -> None:
        drafted = [(job, letter) for job in jobs if (letter := self._draft(job))]
        told = self._runs.commit([letter for _, letter in drafted], self._database)
        for (job, _), said in zip(drafted, told, strict=True):
            _log(job, said)

    def _draft(self, job: Job) -> Letter | None:
        """What Celery would put on the broker; None if it cannot be sent at all."""
        drafts: list[Command] = []
        self._channel.drafts = drafts
        producer = None if OWN_WAY & job.entry.options.keys() else self._producer
        try:
            publish(self._app, job, producer, retry=False)
        except Exception as error:
            if _is_away(self._connection, error):
                raise AwayError(str(error)) from error
            _give_up(self._runs, job, error)
            return None
        return Letter(job.claim, tuple(drafts))

    def close(self) -> None:
        with suppress(Exception):
            self._channel.close()
            self._connection.release()


class OneByOne:
    """Any broker: a run is published, then noted as sent. A crash between the two repeats it, with the same task id."""

    def __init__(self, app: Celery, runs: Runs) -> None:
        self._app = app
        self._runs = runs
        self._connection: Connection | None = None
        self._producer: Any = None

    def reach(self) -> None:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
        try:
            _connect(self._connection)
        except AwayError:
            self.close()
            raise
        self._producer = self._producer or self._app.amqp.Producer(self._connection, auto_declare=False)

    def send(self, jobs: Sequence[Job]) -> None:
        self.reach()
        for number, job in enumerate(jobs):
            if not self._runs.fresh(job.claim):
                continue  # it took so long that another beat may send it by now
            try:
                self._publish(job)
            except AwayError:
                self._runs.give_back([left.claim for left in jobs[number:]])
                raise

    def _publish(self, job: Job) -> None:
        producer = None if OWN_WAY & job.entry.options.keys() else self._producer
        try:
            publish(self._app, job, producer)
        except Exception as error:
            away = _is_away(self._connection, error)
            self.close()  # a channel that refused something takes nothing more
            if away:
                raise AwayError(str(error)) from error
            _give_up(self._runs, job, error)
            self.reach()
            return
        self._runs.done([job.claim])
        _log(job, "sent")

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.release()


def publish(app: Celery, job: Job, producer: Any, **more: Any) -> None:
    """As Celery's own beat does: by the task if it is known here, else by its name."""
    entry = job.entry
    options = {"task_id": job.task_id, **entry.options, **more}
    options["headers"] = {**(entry.options.get("headers") or {}), "celery_beat_task": True, "sent": time()}
    if entry.overlap == "skip":
        options["ignore_result"] = False
    if producer is not None:
        options["producer"] = producer
    args = [_evaluated(value) for value in entry.args]
    kwargs = {name: _evaluated(value) for name, value in entry.kwargs.items()}
    task = app.tasks.get(entry.task)
    with denied_join_result():  # nobody waits here: without this, beat listens for the answer of every job
        if task is None:
            app.send_task(entry.task, args, kwargs, **options)
        else:
            task.apply_async(args, kwargs, **options)


def _is_server_of(store: redis.Redis, connection: Connection) -> bool:
    """Whether the store's server is the broker, whatever the two addresses call it."""
    kind = type(connection.transport)
    if not issubclass(kind, transport.Transport) or issubclass(kind, transport.SentinelTransport):
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
        raise AwayError(str(error)) from error


def _connect(connection: Connection) -> None:
    """Without the seconds of patience that kombu has by itself: beat asks again each second anyway."""
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=CONNECT_SECONDS)
    except Exception as error:
        raise AwayError(str(error)) from error


def _is_away(connection: Connection | None, error: Exception) -> bool:
    """Not when the broker refused this one message: that looks alike, but for its cause."""
    if connection is None or not isinstance(error, OperationalError | OSError):
        return False
    cause = error.__cause__ or error.__context__ or error
    return isinstance(cause, connection.connection_errors) or not isinstance(cause, connection.channel_errors)


def _evaluated(value: Any) -> Any:
    return value() if isinstance(value, BeatLazyFunc) else value


def _give_up(runs: Runs, job: Job, error: Exception) -> None:
    """One entry's own fault: it must not hold up the others, and trying again would not help."""
    logger.error("Entry %r cannot be sent: %s: %s", job.entry.name, type(error).__name__, error)
    runs.done([job.claim])


def _log(job: Job, said: str) -> None:
    entry = job.entry
    if said == "sent":
        logger.info("Sent %s (%s) with id %s", entry.name, entry.task, job.task_id)
    elif said == "taken":
        logger.warning("%s: not sent, since another beat has taken this run over", entry.name)
    else:
        logger.error("Entry %r was refused by the broker and is tried again: %s", entry.name, said)
