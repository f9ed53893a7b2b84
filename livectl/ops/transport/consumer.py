"""Celery's consumer as livectl's workers use it; a setting, `worker_consumer`, names it."""

from __future__ import annotations

import time
from collections import ChainMap, OrderedDict, deque
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celery import signals
from celery.bootsteps import RUN
from celery.utils.log import get_logger
from celery.worker import consumer, state
from celery.worker.consumer.control import Control
from kombu.exceptions import MessageStateError
from kombu.transport import virtual
from kombu.utils.functional import maybe_list
from redis.exceptions import RedisError
from vine import promise

from livectl.ops.transport import children, delays, rabbitmq
from livectl.ops.transport.children import runs_in_children
from livectl.ops.transport.deafness import DeafnessWatch
from livectl.ops.transport.guarded_channel import guarded_transport
from livectl.ops.transport.leases import LeasedQoS, LeaseKeeper, held_by_worker
from livectl.ops.transport.orphans import Orphan
from livectl.ops.transport.rabbitmq_held import RabbitHolder, patient_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from livectl.ops.transport.guarded_channel import SetAside

logger = get_logger(__name__)

# Between tries to reach a broker that is away: from the first to the longest, each longer by a step.
FIRST_RECONNECT_PAUSE_S, RECONNECT_PAUSE_STEP_S, MAX_RECONNECT_PAUSE_S = 0.5, 0.5, 10.0

# Before a loss was noticed, in which an acknowledgement may have got lost: Celery's heartbeats notice one that silent.
DOUBTFUL_S = 240.0
MAX_ENDED_KEPT = 10_000

START_LOOK_S = 0.05  # between two looks whether it is known what is lost
LOOK_INTERVAL_S = 5.0  # between two looks for what is forgotten
REVOKES = ("revoke", "terminate")  # commands of remote control that name jobs


class TellingBlueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]
    """Has the statistics of a worker say what its consumer tells of itself."""

    def info(self, parent: Any) -> dict[str, Any]:
        return {**super().info(parent), **parent.told}


class FrugalConsumer(consumer.Consumer):  # type: ignore[misc]
    """Without what Celery's declares on RabbitMQ for nothing.

    It declares the queues of delayed delivery only where a queue of the app can be reached by them.

    Their names are the same for every app on a RabbitMQ, and their type is fixed by whoever comes first. Celery sends
    nothing by them to a direct exchange, which is the usual one and livectl's own.
    """

    Blueprint = TellingBlueprint
    told: Mapping[str, Any] = MappingProxyType({})  # in the statistics, and in the headers of events

    def __init__(self, *args: Any, app: Any = None, **options: Any) -> None:
        if all(queue.exchange.type == "direct" for queue in app.amqp.queues.values() if queue.exchange):
            self.Blueprint = BlueprintWithoutDelayedDelivery
        super().__init__(*args, app=app, **options)

    @property
    def event_dispatcher(self) -> Any:
        """What sends its events."""
        return self._event_dispatcher

    @event_dispatcher.setter
    def event_dispatcher(self, dispatcher: Any) -> None:
        if dispatcher is not None and self.told:
            dispatcher.headers = {**dispatcher.headers, **self.told}
        self._event_dispatcher = dispatcher


class BlueprintWithoutDelayedDelivery(TellingBlueprint):
    default_steps = tuple(step for step in consumer.Consumer.Blueprint.default_steps if "delayed" not in step)


class LeasedConsumer(FrugalConsumer):
    """On Redis whatever it holds has a lease; no broker that is away, and no message that is unreadable, ends it."""

    _rabbit_holder: RabbitHolder | None = None

    def __init__(
        self,
        *args: Any,
        app: Any = None,
        has_leases: bool,
        set_aside: SetAside,
        holds_briefly: bool = True,  # on RabbitMQ
        **options: Any,
    ) -> None:
        look = DeafnessWatch(self).look
        keeper = LeaseKeeper(self._held_by_jobs, look, self._bring_back, lasts=True) if has_leases else None
        self._delay_keeper = delays.DelayKeeper()
        self._lease_keeper = keeper  # without one there are neither leases nor delays in the store
        if "broker_connection_max_retries" not in app.conf.without_defaults():
            app.conf.broker_connection_max_retries = None  # a broker may be away for as long as it takes
        self._set_aside_unreadable = set_aside
        self._acks: deque[Callable[[], Any]] = deque()
        self._begun: WeakSet[Any] = WeakSet()  # requests of earlier connections that the pool will run yet
        self._ended: OrderedDict[tuple[Any, ...], float] = OrderedDict()  # when which messages were acknowledged
        self._lost_at = float("inf")
        self._child_watch = children.ChildWatch()
        self._unclaimed: set[str] = set()  # messages that nobody held when it was last looked
        self._looks: list[Any] = []  # what its timer does again and again
        super().__init__(*args, app=app, **options)
        self._rabbit_holder = RabbitHolder(app, self) if holds_briefly and rabbitmq.speaks_amqp(app) else None
        if keeper is not None:
            self._hear_revokes()
            signals.worker_shutdown.connect(lambda **_: keeper.end(), weak=False, dispatch_uid="livectl.leases")
        if keeper is not None and runs_in_children(self.pool):
            Orphan(app).listen()

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        connection = rabbitmq.unconfirmed(self.app.connection_for_read(heartbeat=heartbeat))
        # Of another connection: being asked makes the transport, which then stays as it is.
        described = self.app.connection_for_read(heartbeat=heartbeat).info()
        connection.transport_cls = guarded_transport(
            connection.get_transport_cls(),
            self._set_aside_unreadable,
            keeper=self._lease_keeper,
            is_stock=self._lease_keeper is None,
            is_patient=True,
        )
        if self._rabbit_holder is not None:
            connection.transport_cls = patient_transport(connection.transport_cls)
        # A worker sends this along when it is asked for its statistics, and a class cannot be sent.
        connection.info = lambda: described
        connection.ensure_connection = partial(
            connection.ensure_connection,
            interval_start=FIRST_RECONNECT_PAUSE_S,
            interval_step=RECONNECT_PAUSE_STEP_S,
            interval_max=MAX_RECONNECT_PAUSE_S,
        )
        return self.ensure_connected(connection)

    def connection_for_write(self, url: Any = None, heartbeat: Any = None) -> Any:
        """For events."""
        return self.ensure_connected(rabbitmq.unconfirmed(self.app.connection_for_write(url=url, heartbeat=heartbeat)))

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        self._send_acks()
        if self._lease_keeper is not None:
            LeasedQoS.clock_offset_s = delays.clock_offset(self.task_consumer.channel)
        handle: Callable[[Any], None] = super().create_task_handler(*args, **options)
        while self._looks:  # since an earlier connection, where the timer is a thread
            self.timer.cancel(self._looks.pop())
        self.look_again_and_again(LOOK_INTERVAL_S, partial(self.call_soon, self._look_for_forgotten))

        def handle_or_delay(message: Any) -> None:
            if not self._delay(message):
                handle(message)

        return handle_or_delay

    def look_again_and_again(self, seconds: float, look: Callable[[], object]) -> None:
        """Has the timer call it, until the connection is lost."""
        self._looks.append(self.timer.call_repeatedly(seconds, look))

    def _delay(self, message: Any) -> bool:
        """Whether the message waits for its time with the broker from now on."""
        if self._rabbit_holder is not None:
            return self._delay_on_rabbitmq(self._rabbit_holder, message)
        headers = task_headers(message) if self._lease_keeper is not None else {}
        due = delays.due_time(headers) if headers.get("eta") and headers.get("task") in self.strategies else None
        if due is None or not delays.delay(message, headers, due):
            return False
        logger.info("Task %s[%s] waits for its time in the store: %s", headers["task"], headers["id"], due.isoformat())
        return True

    @property
    def can_wake(self) -> bool:
        """Whether what waits lies in the store, and can be called from there."""
        return self._lease_keeper is not None

    @property
    def can_let_wait(self) -> bool:
        """Whether a job can wait without a worker."""
        return self.can_wake or self._rabbit_holder is not None

    def let_wait(self, message: Any, seconds: float) -> bool:
        """Lets a message wait for about so long with the broker. False where it has to wait with this worker."""
        if self._rabbit_holder is not None:
            return self._rabbit_holder.delays.wait(message, seconds, self.queue_of(message))
        due = datetime.fromtimestamp(time.time() + LeasedQoS.clock_offset_s + seconds, UTC)
        return self.can_wake and delays.delay(message, task_headers(message), due, 0.0)

    def has_free_place(self, given: int = 0) -> bool:
        """Whether a job begins at once that is given to the pool now, or with so many others just before."""
        places = self.pool.num_processes if runs_in_children(self.pool) else self.pool.limit
        return bool(len(state.reserved_requests) - given < places)

    def place_for_another(self) -> delays.BrokerPlace | None:
        """Where this worker may take a job that waits there, as it has a place free for it; None if it may not."""
        channel = self.task_consumer.channel
        takes = self.hub is not None and self.can_wake and state.should_stop is None and channel.takes
        return delays.BrokerPlace.of_channel(channel) if takes and self.has_free_place() else None

    def deliver(self, list_key: str, text: str, tag: str) -> None:
        """Begins with a message that was noted as this worker's, as if it had come now."""
        channel = self.task_consumer.channel

        def deliver() -> None:
            if channel is self.task_consumer.channel and not channel.closed:  # else its lease runs out
                channel._deliver_taken(list_key.encode(), text.encode(), tag.encode())

        self.call_soon(deliver)

    def let_go(self, request: Any) -> None:
        """Forgets a job whose message is somebody else's by now."""
        self._begun.discard(request)
        state.task_ready(request)
        request.acknowledged = True

    def _delay_on_rabbitmq(self, holder: RabbitHolder, message: Any) -> bool:
        headers = task_headers(message)
        if not headers.get("eta") or headers.get("task") not in self.strategies:
            return False
        due = holder.delays.delay(message, headers, self.queue_of(message))
        if due is not None and "x-death" not in message.headers:  # once: it comes by after each of its steps
            text = "Task %s[%s] waits for its time on RabbitMQ: %s"
            logger.info(text, headers["task"], headers["id"], due.isoformat())
            self.note_delay(headers["task"], headers["id"], self.queue_of(message), due)
        return due is not None

    def adopt(self, message: Any) -> bool:
        """Whether the job of a redelivered message runs here already, or ran, and its acknowledgement got lost.

        One that runs takes the message for its own: what it will say of its job is said of this message.
        """
        this = _message_key(message)
        for request in (*state.active_requests, *self._begun):
            if request.id == this[0] and _message_key(request.message) == this and not _is_over(request):
                logger.info("job %s runs here already, and is not begun again", request.id)
                self._hand_over(request, message)
                return True
        if self._ended.get(this, float("-inf")) < self._lost_at - DOUBTFUL_S:
            return False
        logger.info("job %s has ended here already, and is not begun again", this[0])
        message.ack_log_error(logger, self.connection_errors)
        return True

    def _hand_over(self, request: Any, message: Any) -> None:
        if stand_in := getattr(request.message, "stand_in", None):
            stand_in.end()
        request._on_ack, request._on_reject = (
            promise(self.call_soon_ack, (call,), on_error=self._restore_prefetch_count_after_connection_restart)
            for call in (message.ack_log_error, message.reject_log_error)
        )
        request._message = message
        if request.acknowledged and _message_key(message) in self._ended:  # in the meantime
            self._acknowledge(message)
        elif request.acknowledged:
            message.reject_log_error(logger, self.connection_errors, requeue=True)

    def note_acknowledged(self, request: Any, message: Any) -> None:
        """A job that had this message when it began to acknowledge it has done so."""
        self._ended[_message_key(message)] = time.monotonic()
        if len(self._ended) > MAX_ENDED_KEPT:
            self._ended.popitem(last=False)
        if request.message is not message:  # it took over another one in the meantime
            self._acknowledge(request.message)

    def _acknowledge(self, message: Any) -> None:
        with suppress(MessageStateError):  # it is acknowledged already
            self.call_soon_ack(message.ack_log_error, logger, self.connection_errors)

    def _bring_back(self, client: Any, channel: Any) -> float:
        return min(self._delay_keeper.bring_back(client, channel), self.call_waiting(client, channel))

    def call_waiting(self, client: Any, channel: Any) -> float:
        """Calls those who wait for something else than their time; seconds until there may be others."""
        return inf

    def note_delay(self, task: str, job_id: str, queue: str, due: datetime) -> None:
        """A job waits for its time where nobody can look for it."""

    def queue_of(self, message: Any) -> str:
        """The queue from which a message came."""
        tag = (message.delivery_info or {}).get("consumer_tag")
        tags = getattr(self.task_consumer, "_active_tags", {})
        by_tag = next((queue for queue, known in tags.items() if known == tag), "") if tag else ""
        return by_tag or (message.delivery_info or {}).get("routing_key") or ""

    def _hear_revokes(self) -> None:
        """Has what waits in the store revoked as well: whoever takes it hours later has forgotten of it."""

        def reach(revoke: Callable[..., Any], control_state: Any, *args: Any, **arguments: Any) -> Any:
            answer = revoke(control_state, *args, **arguments)
            self._drop_delayed([str(job_id) for job_id in maybe_list(arguments["task_id"]) or ()])
            return answer

        for step in self.steps:
            if isinstance(step, Control):
                node = step.box.node
                node.handlers = ChainMap({name: partial(reach, node.handlers[name]) for name in REVOKES}, node.handlers)

    def _drop_delayed(self, ids: Sequence[str]) -> None:
        """Takes them out of the store; Celery drops them, and says so, as they are revoked."""
        try:
            channel = self.task_consumer.channel
            for message in delays.take_revoked(channel, ids, self._is_known):
                self.task_consumer.on_message(message)
        except (*self.connection_errors, RedisError, AttributeError) as error:
            logger.warning("what waits in the store could not be revoked, revoke it again: %s", error)

    def _is_known(self, message: Any) -> bool:
        return task_headers(message).get("task") in self.strategies

    @property
    def puts_back_at_end(self) -> bool:
        """Whether a message that is rejected is taken after all that lies in its queue."""
        return self._lease_keeper is not None

    def call_soon_ack(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Celery's loop forgets what it is to do soon when the connection is lost: acknowledgements are kept here."""
        if self.hub is None or self._lease_keeper is None:
            return super().call_soon_ack(call, *args, **options)
        self._acks.append(partial(call, *args, **options))
        return self.hub.call_soon(self._send_acks)

    def _restore_prefetch_count_after_connection_restart(self, *args: Any) -> None:
        """Celery does it where a job has ended, which may be another thread than the one that reads RabbitMQ's answer.

        Then both wait for ever.
        """
        self.call_soon(super()._restore_prefetch_count_after_connection_restart, *args)

    def _send_acks(self) -> None:
        while self._acks:
            self._acks.popleft()()

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        if runs_in_children(self.pool):
            children.mend(self.pool)
            if self._lease_keeper is not None:
                hub.on_tick.add(self._stay_sure)

    def _look_for_forgotten(self) -> None:
        """Has done what this worker holds and nobody in it will do: its lease is renewed for as long as it lives."""
        if self.blueprint.state != RUN:  # it ends, and its loop calls what it was to do soon
            return
        if runs_in_children(self.pool):
            self._child_watch.look(self.pool._pool)
        if self._lease_keeper is None or self.task_consumer is None or self.task_consumer.channel.closed:
            return
        qos = self.task_consumer.channel.qos
        unclaimed = qos.unclaimed()
        for tag in unclaimed & self._unclaimed:
            logger.warning("a message of this worker's was forgotten, and goes back into its queue: %s", tag)
            qos.reject(tag, requeue=True)
        self._unclaimed = unclaimed

    def _stay_sure(self) -> None:
        """Lets go of all that was not begun, after this worker stood still for longer than its leases.

        Each turn of the loop begins with it, before a child is handed a job.
        """
        keeper = self._lease_keeper
        if keeper is not None and not keeper.is_sure:
            raise ConnectionResetError("stood still, or heard nothing of the broker, for longer than a lease lasts")

    def may_begin(self, request: Any) -> bool:
        """Whether a job that waited for a thread is still this worker's. After a long standstill it waits to know."""
        keeper, tag = self._lease_keeper, request.message.delivery_tag
        if keeper is None or not type(self.pool).__module__.endswith(".thread"):
            return True
        while not keeper.is_fresh and state.should_stop is None:
            time.sleep(START_LOOK_S)
        if keeper.is_fresh and tag not in keeper.lost:
            return True
        logger.warning("job %s is not begun: another worker has it, since this one stood still", request.id)
        self.let_go(request)
        self.call_soon(virtual.QoS.ack, request.message.channel.qos, tag)
        return False

    def on_close(self) -> None:
        self._lost_at = time.monotonic()
        if runs_in_children(self.pool):
            children.hear_of_starts(self.pool._pool)
        else:  # such a pool has got all that was taken, and runs it
            self._begun.update(state.reserved_requests)
        self._send_acks()
        super().on_close()

    def _held_by_jobs(self) -> list[str]:
        """What jobs hold that were begun before the connection to the broker was lost."""
        return [*held_by_worker(), *(request.message.delivery_tag for request in [*self._begun])]


def task_headers(message: Any) -> dict[str, Any]:
    """The headers of a job; in the first version of Celery's protocol they are in the body."""
    headers = message.headers if "task" in message.headers else message.payload
    return headers if isinstance(headers, dict) else {}


def was_redelivered(message: Any) -> bool:
    return bool(message.headers.get("redelivered") or (message.delivery_info or {}).get("redelivered"))


def _message_key(message: Any) -> tuple[Any, ...]:
    """What tells the messages of all tries of a job apart, and of one that was sent again by its id.

    kombu gives each message of Redis a tag when it is sent; on RabbitMQ there is only what it says.
    """
    headers, tag, body = task_headers(message), message.delivery_tag, message.body
    try_of_it = headers.get("id"), headers.get("retries") or 0, headers.get("sent")
    if isinstance(tag, str):
        return *try_of_it, tag.partition(".")[0]
    return *try_of_it, headers.get("eta"), hash(body if isinstance(body, str) else bytes(body or b""))


def _is_over(request: Any) -> bool:
    """Whether it says no more about its message, or not that of a job that ran to its end."""
    return bool(request.acknowledged or request._already_cancelled or request._already_revoked)


def runs_at_once(pool: Any) -> bool:
    """Whether a job begins when the pool is given it: no pool of threads, which has it wait for one."""
    return runs_in_children(pool) or type(pool).__module__.endswith(".solo")
