"""Notes in the history what workers tell of jobs by events, which livectl did not start: those of `celery worker -E`.

    livectl:events:reader:APP   the beat that listens for the events of an app, with a lease

One process listens, and only while a worker is there that does not note its jobs itself. Workers that livectl started
mark their events, which are passed over, so that no job counts twice. On Redis it listens to channels, and on RabbitMQ
with a queue that ends with its connection: nothing is left behind. What it hears is written together, a moment later:
whoever sends a job has noted then whose run it is.
"""

from __future__ import annotations

import re
import time
from ast import literal_eval
from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from celery.utils.log import get_logger
from redis.exceptions import RedisError

from livectl import redis_client
from livectl.errors import LivectlError
from livectl.models import JobState
from livectl.ops import deployment as deployments
from livectl.ops.cluster import broadcast, events
from livectl.ops.jobs import history, job_log
from livectl.ops.jobs.history import JobHistory, JobNote
from livectl.ops.jobs.job_log import FailureNote, NoteBatch, NoteWriter
from livectl.ops.protocol import message, remote_control
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.redaction import redact_text

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from livectl.ops.deployment import Deployment
    from livectl.settings import History, Settings


READER_KEY = "livectl:events:reader"
LEASE_S = 15.0  # after which another beat listens in the place of one that was killed
LOOK_S = 5.0  # between two looks of those that do not listen
WORKERS_LOOK_S = 30.0  # between two questions who is there
READ_S = 0.5
SETTLE_S = 1.0  # that what was heard waits to be written
SILENCE_S = 120.0  # after which the connection is made anew: it may be lost
MAX_HEARD = 10_000  # events that wait to be written; more are written at once
MAX_KNOWN_JOBS = 10_000  # whose task is remembered: only the first event of a job names it
MAX_ERROR_CHARS = job_log.MAX_LOGGED_ERROR_CHARS
MAX_MESSAGES_WAITING = 1_000  # in the queue on RabbitMQ, of up to 24 events each; of more the first are dropped
KEPT_OF_OTHERS = ("sent", "queue", "schedule", "due")  # what senders know, and workers do not tell
STATES = {
    "task-succeeded": JobState.SUCCEEDED,
    "task-failed": JobState.FAILED,
    "task-retried": JobState.RETRYING,
    "task-revoked": JobState.REVOKED,
}
EXCEPTION_PATTERN = re.compile(r"([A-Za-z_][\w.]*)\((.*?),?\)", re.DOTALL)

CLAIM_SCRIPT = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
RELEASE_SCRIPT = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1"

logger = get_logger(__name__)


Name = Annotated[str, msgspec.Meta(max_length=255)]
Moment = Annotated[float, msgspec.Meta(ge=0, lt=1e11)]


class JobEvent(msgspec.Struct, kw_only=True):
    """What is read of an event of a job."""

    type: Name
    uuid: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    timestamp: Moment
    hostname: Name = ""
    name: Name | None = None
    queue: Name | None = None
    retries: Annotated[int, msgspec.Meta(ge=0)] | None = None
    eta: Name | None = None
    runtime: Moment | None = None
    exception: str | None = None


class EventSource(Protocol):
    """Where messages with events come from. Raises what its broker's client raises."""

    def read(self, seconds: float) -> Iterator[Any]:
        """The bodies of what comes in this time, without that of workers which note their jobs themselves."""

    def close(self) -> None:
        """Listens no more."""


def read_events(body: Any) -> list[JobEvent]:
    """The events of jobs in the body of a message, which holds one or several; what is malformed is passed over."""
    rows = body if isinstance(body, list) else [body]
    return [event for row in rows if (event := _read_event(row))]


def _read_event(row: Any) -> JobEvent | None:
    try:
        event = msgspec.convert(row, JobEvent)
    except msgspec.ValidationError:
        return None
    event.exception = event.exception and event.exception[:MAX_ERROR_CHARS]
    return event if event.type.startswith("task-") else None


class HeardJobs:
    """Makes notes of events, as workers of livectl write them of their own jobs."""

    def __init__(self, app: Any, find_known: Callable[[Sequence[str]], dict[str, dict[str, Any]]]) -> None:
        """`find_known` reads what the history has of jobs."""
        self._app, self._name = app, str(app.main or "")
        self._find_known = find_known
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def batch(self, events: Sequence[JobEvent]) -> NoteBatch:
        """The notes of these events, in the order in which they came. Jobs of other apps are passed over."""
        self._look_up({event.uuid for event in events} - self._known.keys())
        batch = NoteBatch()
        for event in events:
            self._note(batch, event)
        while len(self._known) > MAX_KNOWN_JOBS:
            self._known.popitem(last=False)
        batch.ended = 0  # counted of workers alone that always tell of the end of a job
        return batch

    def _look_up(self, ids: set[str]) -> None:
        if ids:
            self._known |= self._find_known(sorted(ids))

    def _note(self, batch: NoteBatch, event: JobEvent) -> None:
        known = self._known.get(event.uuid, {})
        task = event.name or known.get("task")
        if not task or not (task in self._app.tasks or known.get("app") == self._name):
            return
        if event.type == "task-sent":
            if not known:
                self._add(batch, event.uuid, self._sent_facts(event, task), mode="new")
            return
        facts = {**known, "app": self._name, "task": task, "worker": event.hostname}
        if event.type == "task-received":
            kept = {name: known[name] for name in KEPT_OF_OTHERS if name in known}
            facts = kept | {name: facts[name] for name in ("app", "task", "worker")}
            facts |= {"retries": event.retries, "eta": _seconds(event.eta), "taken": event.timestamp}
            self._add(batch, event.uuid, facts)
        elif event.type == "task-started":
            facts = {name: value for name, value in facts.items() if name not in {"state", "error", "finished"}}
            facts["started"] = event.timestamp
            self._add(batch, event.uuid, facts)
            batch.count(facts, job_log.wait_seconds(facts, facts.get("eta")))
        elif event.type in STATES:
            self._note_end(batch, event, facts)

    def _sent_facts(self, event: JobEvent, task: str) -> dict[str, Any]:
        facts = {"app": self._name, "task": task, "queue": event.queue, "retries": event.retries}
        return {**facts, "eta": _seconds(event.eta), "sent": event.timestamp}

    def _note_end(self, batch: NoteBatch, event: JobEvent, facts: dict[str, Any]) -> None:
        state = STATES[event.type]
        facts["state"] = str(state)
        if state != JobState.RETRYING:
            facts["finished"] = event.timestamp
        if event.runtime is not None and "started" not in facts:
            facts["started"] = event.timestamp - event.runtime
        error = describe_exception(event.exception or "")
        if error and state is JobState.FAILED:
            facts["error"] = redact_text(" ".join(error.split()), history.MAX_ERROR_CHARS)
            task = self._app.tasks.get(facts["task"])
            ttl = job_log.entry_ttl(task) if task is not None else job_log.ENTRY_TTL_SECONDS
            batch.failures.append(
                FailureNote(job_id=event.uuid, app=self._name, task=facts["task"], error=error, message=None, ttl=ttl)
            )
        self._add(batch, event.uuid, facts)
        batch.count(facts, None, event.timestamp)

    def _add(self, batch: NoteBatch, job_id: str, facts: dict[str, Any], mode: str = "set") -> None:
        self._known[job_id] = facts
        self._known.move_to_end(job_id)
        batch.add(job_id, JobNote(facts=facts, mode=mode))


def describe_exception(text: str) -> str:
    """What a worker's log says of an exception of which an event has the repr: ValueError('no') is ValueError: no."""
    found = EXCEPTION_PATTERN.fullmatch(text)
    if not found:
        return text
    try:
        values: tuple[Any, ...] = literal_eval(f"({found[2]},)") if found[2] else ()
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    if len(values) == 1:
        return f"{found[1]}: {values[0]!r}" if found[1] == "KeyError" else f"{found[1]}: {values[0]}"
    return f"{found[1]}: {values or ''}"


def _seconds(eta: str | None) -> float | None:
    moment = message.parse_time(eta) if eta else None
    return moment.timestamp() if moment else None


class EventReader:
    """Listens for one app, as long as no other does. Any number may be there; each is called in a thread of its own."""

    def __init__(self, deployment: Deployment, kept: History, reader_id: str) -> None:
        self._deployment, self._id = deployment, reader_id
        self._writer = NoteWriter(deployment.store_to_read, deployment.app_name, kept)
        self._store: Any = self._writer.open_store()
        self._key = f"{READER_KEY}:{deployment.app_name}"
        self._jobs = HeardJobs(deployment.app, JobHistory.of_client(self._store).facts)
        self._source: EventSource | None = None
        self._fresh: list[JobEvent] = []
        self._settled: list[JobEvent] = []
        self._has_others = False
        self._asked_at = self._turned_at = self._heard_at = float("-inf")

    def step(self) -> float:
        """Does what is to be done now. Returns the seconds until it is to be called again."""
        if not self._claim() or not self._finds_others():
            self._stop_listening()
            return LOOK_S
        try:
            self._listen()
        except BaseException:
            self._stop_listening()
            raise
        return 0.0

    def _listen(self) -> None:
        now = time.monotonic()
        if self._source is None or now - self._heard_at > SILENCE_S:
            self._stop_listening()
            self._source, self._heard_at = open_source(self._deployment), now
        for body in self._source.read(READ_S):
            self._heard_at = time.monotonic()
            self._fresh += read_events(body)
            if len(self._fresh) >= MAX_HEARD:
                self._turn()
        if time.monotonic() - self._turned_at >= SETTLE_S:
            self._turn()

    def close(self) -> None:
        """Writes what was heard, and leaves the rest to others."""
        try:
            self._turn()
            self._turn()
            self._store.eval(RELEASE_SCRIPT, 1, self._key, self._id)
        except (LivectlError, RedisError, OSError) as error:
            logger.debug("what was heard last is not written: %s", error)
        finally:
            self._stop_listening()

    def _claim(self) -> bool:
        """Whether this one listens."""
        return bool(self._store.eval(CLAIM_SCRIPT, 1, self._key, self._id, int(LEASE_S * 1000)))

    def _finds_others(self) -> bool:
        """Whether a worker is there that does not note its jobs itself; also where nobody can be asked."""
        if not self._deployment.remote_control:
            return True
        if time.monotonic() - self._asked_at >= WORKERS_LOOK_S:
            self._asked_at = time.monotonic()
            self._has_others = has_other_workers(self._deployment)
        return self._has_others

    def _turn(self) -> None:
        """Writes what has settled; what came since is next. What cannot be written is tried again."""
        self._turned_at = time.monotonic()
        if self._settled and self._claim():
            self._writer.write(self._jobs.batch(self._settled))
        self._settled, self._fresh = self._fresh, []

    def _stop_listening(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()


def has_other_workers(deployment: Deployment) -> bool:
    """Whether a worker answers that does not note its jobs itself."""
    with broadcast.connect(deployment) as connection:
        replies = broadcast.ask(deployment, connection, ControlCommand(method="stats"))
    return any(
        remote_control.is_worker_stats(stats) and not stats.get(remote_control.NOTES_JOBS) for _, stats in replies.pairs
    )


def open_source(deployment: Deployment) -> EventSource:
    return RedisEvents(deployment) if deployment.on_redis else RabbitEvents(deployment)


class RedisEvents:
    """Listens to the channels on which workers publish events."""

    def __init__(self, deployment: Deployment) -> None:
        broker, conf = deployment.redis_broker, deployment.app.conf
        if broker is None:
            raise ValueError(deployment.transport)
        self._accepted = (conf.event_serializer, "json")
        client: Any = redis_client.store_client(broker, decodes=False)
        self._client = client
        self._channel = client.pubsub(ignore_subscribe_messages=True)
        pattern, plain = deployment.layout.job_event_channels(broker.database, conf.event_exchange)
        self._channel.psubscribe(pattern)
        self._channel.subscribe(plain)

    def read(self, seconds: float) -> Iterator[Any]:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            push = self._channel.get_message(timeout=left)
            envelope = message.decode(push["data"]) if push and isinstance(push.get("data"), bytes) else {}
            if envelope and not _is_noted(envelope.get("headers")):
                yield message.decode_body(envelope, self._accepted)

    def close(self) -> None:
        self._channel.close()
        self._client.close()


class RabbitEvents:
    """Listens with a queue that is its connection's alone, and ends with it."""

    def __init__(self, deployment: Deployment) -> None:
        from celery.events.event import get_exchange

        conf = deployment.app.conf
        self._accepted = (conf.event_serializer, "json")
        self._connection = deployment.app.connection_for_read()
        self._connection.connect()
        self._heard: list[Any] = []
        channel = self._connection.channel()
        exchange = get_exchange(self._connection, name=conf.event_exchange)(channel)
        exchange.declare()
        limit = {"x-max-length": MAX_MESSAGES_WAITING}
        queue = channel.queue_declare("", exclusive=True, auto_delete=True, durable=False, arguments=limit).queue
        channel.queue_bind(queue, exchange.name, "task.#")
        channel.basic_consume(queue, no_ack=True, callback=self._heard.append)

    def read(self, seconds: float) -> Iterator[Any]:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._connection.drain_events(timeout=left)
            except TimeoutError:
                return
            heard, self._heard[:] = list(self._heard), []
            for each in heard:
                if not _is_noted(each.headers):
                    body = each.body.encode() if isinstance(each.body, str) else bytes(each.body or b"")
                    yield message.decode_payload(body, each.content_type, each.content_encoding, self._accepted)

    def close(self) -> None:
        self._connection.collect(socket_timeout=1)


def _is_noted(headers: Any) -> bool:
    """Whether the worker that sent a message notes its jobs itself."""
    return isinstance(headers, dict) and bool(headers.get(remote_control.NOTES_JOBS))


def listen_until(ended: threading.Event, app: Any, current_settings: Callable[[], Settings], reader_id: str) -> None:
    """Listens for the events of an app for as long as this process lives, and the settings in force allow it."""
    reader: EventReader | None = None
    made_for: Settings | None = None
    looked_at = float("-inf")
    pause = READ_S
    while not ended.wait(pause):
        pause = LOOK_S
        try:
            if time.monotonic() - looked_at >= WORKERS_LOOK_S:
                looked_at = time.monotonic()
                _stop_left_on(app, current_settings())
            if (settings := current_settings()) is not made_for:
                if reader is not None:
                    reader.close()
                reader, made_for = make_reader(app, settings, reader_id), settings
            if reader is not None:
                pause = reader.step()
        except Exception as error:  # a broker's client raises what it likes; beat goes on
            logger.debug("events are not heard for now: %s", error, exc_info=not isinstance(error, LivectlError))
    if reader is not None:
        reader.close()


def _stop_left_on(app: Any, settings: Settings) -> None:
    """Ends what somebody left on who was killed while he looked at events."""
    names = events.stop_left_on(deployments.of_loaded(app, settings))
    if names:
        logger.info("told %s to send no more events: whoever asked for them is gone", ", ".join(names))


def make_reader(app: Any, settings: Settings, reader_id: str) -> EventReader | None:
    """None where nobody is to listen: livectl's own app, no history, no store, or a broker of another kind."""
    if app.main == deployments.OWN_APP_NAME or not (settings.history.events and settings.history.jobs):
        return None
    deployment = deployments.from_app(app, settings)
    if deployment.store is None or not (deployment.on_redis or deployment.on_rabbitmq):
        return None
    return EventReader(deployment, settings.history, reader_id)
