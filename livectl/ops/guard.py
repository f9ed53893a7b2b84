"""Guards a worker: no message ends it or is dropped without a word, and no job may kill it again and again.

`celery worker … -- worker_consumer=livectl.ops.guard:GuardedConsumer`, which `livectl worker` and `livectl up` say for
any app. What cannot be read, is ill-typed, names no known task or is too large becomes a dead letter, is acknowledged,
and the next job runs. A job whose worker died each of the times it was started becomes one as well.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from amqp.exceptions import AMQPError
from celery import signals
from celery.exceptions import InvalidTaskError, NotRegistered
from celery.utils.imports import symbol_by_name
from celery.utils.log import get_logger
from kombu.exceptions import ContentDisallowed
from redis.exceptions import RedisError

from livectl import redis_client
from livectl import settings as livectl_settings
from livectl.errors import LivectlError, ServerError
from livectl.ops import apps, deployment
from livectl.ops.guarded_request import guarded_request
from livectl.ops.jobs import dead_letters, job_recorder
from livectl.ops.jobs.dead_letters import StoreKeeper
from livectl.ops.limits import retries, routes
from livectl.ops.limits.duplicates import arguments_of
from livectl.ops.limits.gate import Gate
from livectl.ops.processes import running_settings
from livectl.ops.protocol import dead_letter, message_faults, remote_control
from livectl.ops.transport import dead_queue, rabbitmq, safe_transport, taking
from livectl.ops.transport.children import runs_in_children
from livectl.ops.transport.consumer import LeasedConsumer, runs_at_once, task_headers, was_redelivered
from livectl.ops.transport.dead_queue import BrokerKeeper
from livectl.ops.transport.guarded_channel import READ_FAULTS, bound_decompression
from livectl.ops.transport.rabbitmq import Line
from livectl.redaction import redact_text
from livectl.settings_watch import SettingsWatch
from livectl.task_settings import expected_of, rule_for
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.dead_letter import DeadLetter
    from livectl.settings import Settings
    from livectl.task_settings import TaskSettings

logger = get_logger(__name__)

LATE_ACKS_NOTE = (
    "jobs are acknowledged when they have ended, and run again if their worker dies. One that must not run twice: "
    "tasks: {NAME: {acks: early}} in livectl.yaml"
)
STORE_RETRY_PAUSE_S = 5.0  # after the store could not be reached
SETTINGS_LOOK_S = 1.0
KEEPER_ERRORS = (RedisError, AMQPError, OSError)


class Keeper(Protocol):
    """Where letters are kept and starts are counted: the store, or RabbitMQ. All raise while it is away."""

    def add(self, letter: DeadLetter) -> bool:
        """Sets a dead letter aside. False when there are too many already."""

    def starts(self, job_id: str) -> int:
        """How often the job is known to have been started without an end."""

    def note_start(self, job_id: str, *, is_repeat: bool) -> int:
        """Counts one more start; a repeat that nobody counted before had one already. 0 if it is not worth counting."""

    def note_end(self, job_id: str) -> None:
        """Forgets the starts."""


class Guard:
    """Sets messages aside as dead letters, and counts the starts of jobs that killed their worker."""

    def __init__(
        self,
        settings: Settings,
        keeper: Keeper | None,
        recorder: job_recorder.JobEventRecorder | None = None,
        target: Deployment | None = None,
    ) -> None:
        self.target = target
        self.settings = settings
        self.max_bytes = settings.worker.max_message
        self.max_starts = settings.worker.max_starts
        self._keeper = keeper
        self._is_keeper_away = False
        self.recorder = recorder

    def add(self, letter: DeadLetter) -> bool:
        """Whether the letter is kept. False while its keeper cannot be reached."""
        if self._keeper is None:
            return False
        try:
            is_kept = self._keeper.add(letter)
        except KEEPER_ERRORS as error:
            if not self._is_keeper_away:
                logger.warning("a dead letter cannot be kept for now: %s", redact_text(str(error)))
            self._is_keeper_away = True
            return False
        self._is_keeper_away = False
        _log_letter(letter, is_kept=is_kept)
        return True

    def adopt_letters(self, app: Any) -> bool:
        """Moves to the store what RabbitMQ kept while the app had none. False while one of the two is away."""
        if not isinstance(self._keeper, StoreKeeper):
            return True
        line = Line(app.connection_for_write)
        try:
            moved = dead_queue.move_all(line, self._keeper.add)
        except (*KEEPER_ERRORS, ServerError) as error:
            logger.debug("dead letters were not moved to the store: %s", error)
            return False
        finally:
            line.close()
        if moved:
            logger.info("%s moved from RabbitMQ to the store: `livectl dead`", format_count(moved, "dead letter"))
        return True

    def add_unreadable(self, queue: str, raw: Any, reason: str) -> bool:
        return self.add(dead_letter.from_unreadable(queue, raw, reason))

    def starts(self, job_id: str) -> int:
        """How often the job is known to have been started without an end."""
        with suppress(*KEEPER_ERRORS, ValueError):
            return self._keeper.starts(job_id) if self._keeper else 0
        return 0

    def note_start(self, job_id: str, *, is_repeat: bool = False) -> int:
        """Counts one more start; 0 where it is not counted."""
        with suppress(*KEEPER_ERRORS):
            return self._keeper.note_start(job_id, is_repeat=is_repeat) if self._keeper else 0
        return 0

    @property
    def counts_first_starts(self) -> bool:
        """Whether a first start is counted too, where it is noted."""
        return isinstance(self._keeper, StoreKeeper)

    def note_end(self, job_id: str) -> None:
        with suppress(*KEEPER_ERRORS):
            if self._keeper is not None:
                self._keeper.note_end(job_id)


def _log_letter(letter: DeadLetter, *, is_kept: bool) -> None:
    job = f"{letter.task}[{letter.id}]" if letter.task else letter.id
    if is_kept:
        logger.warning("dead letter %s: %s. `livectl dead show %s` shows it.", job, letter.reason, letter.id)
    else:
        logger.error("dropped %s: %s. There are too many dead letters: `livectl dead`.", job, letter.reason)


def create_guard(app: Any) -> Guard:
    """The guard of this process, by the settings of its folder and environment."""
    try:
        settings = livectl_settings.load(os.environ, Path.cwd())
    except LivectlError as error:
        logger.warning("the guard uses defaults, since the settings cannot be read: %s", error)
        settings = livectl_settings.load_usable(os.environ, Path.cwd())
    target = deployment.from_app(app, settings)
    recorder = None
    if target.store is not None:
        recorder = job_recorder.JobEventRecorder(target.store, app.main, settings.history)
        recorder.expects = expected_of(watch_tasks(settings, says_refusals=False))
        recorder.connect_signals()
    return Guard(settings, find_keeper(app, target), recorder, target)


def watch_tasks(settings: Settings, *, says_refusals: bool) -> Callable[[], Mapping[str, TaskSettings]]:
    """What `tasks:` says as it is now; what it said before goes on while it has a mistake, which the log tells."""
    try:
        say = _say_refusals if says_refusals else lambda level, line: None
        watch = SettingsWatch(os.environ, Path.cwd(), say=say)
    except LivectlError:
        return lambda: settings.tasks
    return lambda: watch.current().tasks


def _say_refusals(level: int, line: str) -> None:
    if level >= logging.WARNING:
        logger.log(level, line)


def find_keeper(app: Any, target: Deployment) -> Keeper | None:
    """The store; RabbitMQ for an app on it that has none."""
    if target.store is not None:
        # One that is away is no reason to end: Celery waits for its broker too.
        store = redis_client.store_client(target.store)
        with suppress(RedisError, OSError):
            dead_letters.drop_expired(store, time.time())
        return StoreKeeper(store)
    if rabbitmq.speaks_amqp(app):
        logger.info("there is no store: dead letters are kept on RabbitMQ, in the queue %s", dead_queue.QUEUE)
        return BrokerKeeper(Line(app.connection_for_write))
    logger.warning("there is no store for dead letters: what cannot be handled stays unacknowledged. Set `store:`.")
    return None


def acks_setting(app: Any, tasks: Mapping[str, TaskSettings]) -> Callable[[str], bool]:
    """Tells by its name whether a task is to be acknowledged late: unless livectl.yaml or the app itself says early."""
    is_early_app = app.conf.without_defaults().get("task_acks_late") is False

    def acknowledges_late(name: str) -> bool:
        if acks := rule_for(tasks, name).settings.acks:
            return acks == "late"
        return not is_early_app and not name.startswith("celery.")

    return acknowledges_late


def keep_results(app: Any) -> None:
    """Has an app try again to keep a result while the server of its results is away, unless it chose for itself.

    Called before children are forked: it is they who keep results.
    """
    if "result_backend_always_retry" not in app.conf.without_defaults():
        app.conf.result_backend_always_retry = True
        app.backend.always_retry = True  # which was made by now


class GuardedConsumer(LeasedConsumer):
    """Celery's consumer, which looks at each message before it takes it for a job."""

    def __init__(self, *args: Any, app: Any = None, **options: Any) -> None:
        apps.drop_false_deprecations(app)
        rabbitmq.confirm_messages(app)
        self.guard = guard = create_guard(app)
        if app.main != deployment.OWN_APP_NAME:  # whose workers note all that they hold on to
            running_settings.note_worker(guard.settings, Path.cwd(), options.get("hostname") or "")
        keep_results(app)
        bound_decompression(guard.max_bytes)
        if reason := safe_transport.choose(app, guard.settings):
            taking.note(taking.STOCK_NOTE, reason)
        options |= {"has_leases": not reason, "holds_briefly": guard.settings.transport != "stock"}
        self.told = {remote_control.NOTES_JOBS: True} if guard.recorder is not None else {}
        self._last_starts: set[str] = set()  # jobs that others went before
        self._may_have_left_letters = rabbitmq.speaks_amqp(app)
        current_tasks = watch_tasks(guard.settings, says_refusals=app.main != deployment.OWN_APP_NAME)
        retries.wrap(app, current_tasks)
        routes.add(app, current_tasks)
        super().__init__(*args, app=app, set_aside=guard.add_unreadable, **options)
        self.gate = Gate(self, current_tasks, guard.target or deployment.from_app(app, guard.settings))
        self.gate.say_what_is_not_kept()
        self._ask_before_jobs()
        logger.info(LATE_ACKS_NOTE)

    def _ask_before_jobs(self) -> None:
        """Has the gate asked for each job that is to begin: of children and solo here, of others in the pool."""
        if runs_in_children(self.pool):  # where a child is free by then
            controller = self.controller
            controller._process_task = partial(self._begin, controller._process_task, controller._quick_release)
        else:
            begin = vars(self)["on_task_request"]
            self.on_task_request = partial(self._begin, begin, lambda: None)

    def _begin(self, begin: Callable[[Any], None], release: Callable[[], None], request: Any) -> None:
        if self.gate.prepare(request):
            if runs_at_once(self.pool) or self.has_free_place(given=1):
                if not self.gate.may_begin(request, in_loop=True):
                    release()
                    return
            else:
                request.asks_gate = True
        begin(request)

    def call_waiting(self, client: Any, channel: Any) -> float:
        return self.gate.look(client, channel)

    def _look_at_settings(self) -> None:
        if self.gate.look_at_settings():
            logger.info("tasks: of livectl.yaml read again")
            self.update_strategies()

    def note_delay(self, task: str, job_id: str, queue: str, due: datetime) -> None:
        if self.guard.recorder is not None:
            self.guard.recorder.record_delay(self.app.tasks[task], job_id, queue, due)

    def update_strategies(self) -> None:
        acknowledges_late = acks_setting(self.app, self.gate.tasks)
        for name, task in self.app.tasks.items():
            task.Request = guarded_request(symbol_by_name(task.Request), self)
            if acknowledges_late(name):
                task.acks_late = task.reject_on_worker_lost = True
            elif self.gate.rule(name).settings.acks == "early":
                task.acks_late = False
        super().update_strategies()

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        self._may_have_left_letters = self._may_have_left_letters and not self.guard.adopt_letters(self.app)
        handle = super().create_task_handler(*args, **options)
        may_raise = (*self.connection_errors, *self.channel_errors)
        self.look_again_and_again(SETTINGS_LOOK_S, self._look_at_settings)

        def on_task_received(message: Any) -> None:
            fault = self._find_fault(message)
            if not fault and was_redelivered(message):
                if self.adopt(message):
                    return
                starts = self.guard.starts(task_headers(message)["id"])
                if self._lets_others_first(message, starts):
                    return
                fault = self._find_fatality(starts)
            if fault:
                self.set_aside(message, fault)
                self._fail_job_of(message, InvalidTaskError(fault))
                return
            message.headers["taken"] = time.time()  # for the history of the job
            try:
                if not self._is_turned_away(message):
                    handle(message)
            except may_raise:
                raise
            except READ_FAULTS as error:
                if message.acknowledged:
                    raise
                logger.exception("a message could not be taken for a job")
                self.set_aside(message, f"the worker could not take it: {type(error).__name__}: {error}")

        return on_task_received

    def _find_fault(self, message: Any) -> str:
        if len(message.body or "") > self.guard.max_bytes:
            return f"the message has {len(message.body):,} bytes; {self.guard.max_bytes:,} are allowed"
        headers, payload = message.headers, None
        if not isinstance(headers, dict):
            return "the headers are not an object"
        try:
            payload = message.payload
        except ContentDisallowed:
            return f"content of the type {message.content_type} is refused; accept_content has other types"
        except Exception as error:  # decoders raise whatever they like
            return f"the body cannot be decoded: {redact_text(str(error))}"
        if "task" not in headers and isinstance(payload, dict):
            headers = payload  # the first protocol
        if fault := message_faults.headers_fault(headers) or message_faults.body_fault(payload):
            return fault
        if self.gate.kind(headers["task"]) is not None:
            return self.gate.fault(headers["task"], *arguments_of(message))
        return ""

    def _is_turned_away(self, message: Any) -> bool:
        """Whether a job is not to begin, since it is the same as another."""
        headers = task_headers(message)
        return (
            self.gate.kind(headers["task"]) is not None
            and headers["task"] in self.strategies
            and self.gate.turn_away(message, headers, *arguments_of(message))
        )

    def _lets_others_first(self, message: Any, starts: int) -> bool:
        """Whether a job that is to have its last start waits at the end of its queue, once for each worker.

        What a dead worker held is taken next: where somebody kills workers, the same jobs would run each time.
        """
        job_id = task_headers(message)["id"]
        is_last = 0 < starts == self.guard.max_starts - 1
        if not (self.puts_back_at_end and is_last) or job_id in self._last_starts:
            self._last_starts.discard(job_id)
            return False
        self._last_starts.add(job_id)
        logger.info("job %s was started %d times when its worker died: others go first", job_id, starts)
        message.reject_log_error(logger, self.connection_errors, requeue=True)
        return True

    def _find_fatality(self, starts: int) -> str:
        """What a redelivered job has done to its workers, if it did so too often."""
        return f"its worker died each of the {starts} times it was started" if starts >= self.guard.max_starts else ""

    def set_aside(self, message: Any, reason: str) -> None:
        """Makes a dead letter of a message and acknowledges it: at once, or as soon as the store answers."""
        if self.guard.add(dead_letter.from_message(message, reason, self.queue_of(message))):
            self._note_dead(message, reason)
            if not message.acknowledged:
                message.ack_log_error(logger, self.connection_errors)
            return
        # It holds no place in the meantime, and if the connection is lost it comes again.
        self.qos.increment_eventually()
        self.timer.call_after(STORE_RETRY_PAUSE_S, self.call_soon, (self._set_aside_again, message, reason))

    def _note_dead(self, message: Any, reason: str) -> None:
        headers = message.headers if isinstance(message.headers, dict) else {}
        job_id, task = headers.get("id"), headers.get("task")
        if self.guard.recorder is not None and isinstance(job_id, str) and isinstance(task, str):
            self.guard.recorder.record_dead(job_id, task, self.queue_of(message), reason)

    def _set_aside_again(self, message: Any, reason: str) -> None:
        self.qos.decrement_eventually()
        self.set_aside(message, reason)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self.set_aside(message, f"the message cannot be decoded: {redact_text(str(exc))}")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self.set_aside(message, "the message is no job of Celery's")
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self.set_aside(message, f"the job is malformed: {redact_text(str(exc))}")
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        headers = task_headers(message)
        job_id, name = headers["id"], headers["task"]
        self.set_aside(message, f"no task {name} here")
        self.fail_job(job_id, NotRegistered(name), headers)
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=job_id)

    def _fail_job_of(self, message: Any, error: Exception) -> None:
        headers = message.headers
        if isinstance(headers, dict) and isinstance(job_id := headers.get("id"), str) and job_id:
            self.fail_job(job_id, error, headers)

    def fail_job(self, job_id: str, error: Exception, headers: dict[str, Any]) -> None:
        """Tells whoever waits for the job that it failed."""
        request = _FailedRequest(
            name=headers.get("task"), root_id=headers.get("root_id"), correlation_id=job_id, id=job_id
        )
        with suppress(Exception):  # a backend that is away costs the answer, not the worker
            self.app.backend.mark_as_failure(job_id, error, request=request)
        if self.event_dispatcher:
            self.event_dispatcher.send("task-failed", uuid=job_id, exception=repr(error))


class _FailedRequest(msgspec.Struct, kw_only=True):
    """What a result backend asks of the request of a job that never ran."""

    id: str
    name: Any = None
    root_id: Any = None
    correlation_id: Any = None
    reply_to: Any = None
    chord: Any = None
    errbacks: Any = None
