"""What a worker would hold for long on RabbitMQ, which closes the connection of one that holds a message for too long.

A job that waits for its time goes to a queue of livectl's own, `livectl.delay.<seconds>`, whose messages go back to
where they came from when these seconds are over, and from there to the next shorter one until it is due. A job that
runs for long has a stand-in: a copy in a queue of its own from which it would go back to its queue when nobody renews
it, so that the message itself can be acknowledged. When the job ends the stand-in is deleted.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from amqp.exceptions import AMQPError
from celery import signals
from celery.utils.log import get_logger
from celery.worker import state
from kombu.transport import pyamqp

from livectl.ops.protocol.message import parse_time
from livectl.ops.transport import rabbitmq
from livectl.ops.transport.rabbitmq import Line

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

logger = get_logger(__name__)

MIN_DELAY_S = 2.0  # a job that is due sooner stays with its worker
MAX_STEP_S = 2**21  # RabbitMQ counts no more than 49 days
LINE_ERRORS = (AMQPError, OSError)

HELD_S = 600.0  # after which a running job gets a stand-in; by default RabbitMQ waits for half an hour
HELD_BY_SOLO_S = 60.0  # whose job blocks the worker, which then sends no heartbeats either
LEASE_S = 900.0  # for which a stand-in waits before it goes back
RENEW_INTERVAL_S = 300.0
MAX_LOOK_INTERVAL_S = 15.0
TIMEOUT_TEXT = re.compile(r"Timeout value used: (\d+) ms")
WAITING_PREFIX = "livectl.delay."  # of queues, and of their exchanges
EXPIRES = {"x-expires": 86_400_000}  # of what a worker left behind, long after its message went back


def returning(seconds: float) -> dict[str, Any]:
    """The arguments of a queue whose messages go back by their routing key after so many seconds, none of them lost."""
    return {
        "x-message-ttl": int(seconds * 1000),
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def step_for(seconds: float) -> int:
    """The longest step of which none is too long."""
    return min(1 << max(0, int(seconds).bit_length() - 1), MAX_STEP_S)


class Delays:
    """Sends jobs that wait for their time to the queues in which they wait."""

    def __init__(self, line: Line, clock: Callable[[], float] = time.time) -> None:
        self._line = line
        self._clock = clock
        self._has_warned = False

    def delay(self, held: Any, headers: dict[str, Any], queue: str) -> datetime | None:
        """Lets a message wait that came from this queue. Returns for when; None where it stays with its worker."""
        due = self._due_time(headers)
        is_away = due is not None and self.wait(held, due.timestamp() - self._clock(), queue)
        return due if is_away else None

    def wait(self, held: Any, seconds: float, queue: str) -> bool:
        """Lets a message wait for about so long, not longer. False where it stays with its worker."""
        step = step_for(seconds)
        try:
            self._line.ask(lambda channel: _send_to_wait(channel, held, queue, step))
        except LINE_ERRORS as error:
            if not self._has_warned:
                logger.warning("jobs wait for their time with this worker and not on RabbitMQ: %s", error)
            self._has_warned = True
            return False
        held.ack()
        return True

    def _due_time(self, headers: dict[str, Any]) -> datetime | None:
        eta, expires = (parse_time(headers.get(name)) for name in ("eta", "expires"))
        now = self._clock()
        if eta is None or eta.timestamp() - now < MIN_DELAY_S or headers["id"] in state.revoked:
            return None
        return None if expires and expires.timestamp() <= now else eta


def count_waiting(channel: Any) -> int:
    """How many jobs, of whatever app, wait for their time."""
    return sum(channel.queue_declare(queue, passive=True).message_count for queue in waiting_queues(channel))


def waiting_queues(channel: Any) -> list[str]:
    """The queues in which jobs of all apps wait for their time; by its routing key each goes back to its own."""
    queues = [_queue_of_step(1 << power) for power in range(MAX_STEP_S.bit_length())]
    return [queue for queue in queues if rabbitmq.exists(channel, queue)]


def waits(taken: Any) -> bool:
    """Whether a message was taken out of one of them."""
    return str(taken.delivery_info["exchange"]).startswith(WAITING_PREFIX)


def _queue_of_step(step: int) -> str:
    return f"{WAITING_PREFIX}{step}"


def _send_to_wait(channel: Any, held: Any, queue: str, step: int) -> None:
    name = _queue_of_step(step)
    if not rabbitmq.exists(channel, name):
        channel.exchange_declare(name, "fanout", durable=True, auto_delete=False)
        rabbitmq.declare(channel, name, returning(step))
        channel.queue_bind(name, name)
    resend(channel, held, exchange=name, routing_key=queue)


def resend(channel: Any, held: Any, *, routing_key: str, exchange: str = "", **headers: Any) -> None:
    """Sends a copy of a message, with more headers, and without those that tell of its earlier ways."""
    kept = {name: value for name, value in (held.headers or {}).items() if not name.startswith(("x-death", "x-first-"))}
    properties = {name: value for name, value in held.properties.items() if name not in NOT_RESENT}
    body = held.body.encode() if isinstance(held.body, str) else bytes(held.body)
    rabbitmq.publish(
        channel, body, exchange=exchange, routing_key=routing_key, headers={**kept, **headers}, **properties
    )


NOT_RESENT = frozenset({"application_headers", "delivery_mode", "expiration"})  # the job itself says when it expires


class HeldMessage(pyamqp.Message):  # type: ignore[misc]
    """A message that a stand-in may stand for."""

    stand_in: StandIn | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.taken_at = time.monotonic()

    def ack(self, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        if self.stand_in is None:
            super().ack(multiple)
        elif not self.acknowledged:
            self.stand_in.end()
            self._state = "ACK"

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        if self.stand_in is None:
            super().reject(requeue)
        elif not self.acknowledged:
            self.stand_in.end(gives_back=requeue)
            self._state = "REQUEUED" if requeue else "REJECTED"

    def requeue(self) -> None:
        self.reject(requeue=True)


class PatientChannel(pyamqp.Channel):  # type: ignore[misc]
    """To it a message that was held for too long is a lost connection, not the worker's end."""

    Message = HeldMessage

    def _on_close(self, reply_code: int, reply_text: str, *place: Any) -> None:
        if timeout := TIMEOUT_TEXT.search(reply_text or ""):
            StandIns.learn_timeout(int(timeout[1]) / 1000)
            raise ConnectionResetError(f"a message was held for too long: {reply_text}")
        super()._on_close(reply_code, reply_text, *place)


class PatientAmqpConnection(pyamqp.Connection):  # type: ignore[misc]
    Channel = PatientChannel


def patient_transport(transport: Any) -> Any:
    """The transport class of RabbitMQ with these."""
    return type("PatientTransport", (transport,), {"Connection": PatientAmqpConnection})


class StandIn:
    """A copy of the message of a job that runs, which goes back to its queue when it is not renewed."""

    def __init__(self, owner: StandIns, held: Any, queue: str) -> None:
        self.renewed_at = float("-inf")
        self.is_ended = False
        self.gives_back = False
        self._owner = owner
        self._held = held
        self._queue = queue
        self._name = ""

    def take_over(self) -> None:
        """From now on the message itself is acknowledged, and what its job says of it is the stand-in's."""
        if self._held.acknowledged:
            self.end()
            return
        self._held.stand_in = self
        self._held.channel.basic_ack(self._held.delivery_tag)
        logger.info("job %s runs for long: a copy of its message stands in for it", self._held.headers.get("id"))

    def is_needless(self, channel: Any) -> bool:
        """Whether the connection was lost on which the message came before its stand-in could take over."""
        return self._held.stand_in is None and self._held.channel is not channel

    def end(self, *, gives_back: bool = False) -> None:
        """The job has ended, or is to run again at once."""
        self.is_ended, self.gives_back = True, gives_back
        self._owner.settle(self)

    def renew(self, channel: Any, *, now: float) -> None:
        """A new copy, then the old one goes: between the two there are both."""
        name, old = f"livectl.held.{uuid4().hex}", self._name
        rabbitmq.declare(channel, name, returning(LEASE_S) | EXPIRES | {"x-dead-letter-routing-key": self._queue})
        resend(channel, self._held, routing_key=name, redelivered=True)
        self._name, self.renewed_at = name, now
        if old:
            channel.queue_delete(old)

    def settle(self, channel: Any) -> None:
        if self.gives_back:
            resend(channel, self._held, routing_key=self._queue, redelivered=True)
            self.gives_back = False
        channel.queue_delete(self._name)


class StandIns:
    """Looks, from a thread of its own, for running jobs whose messages are held for long."""

    held_s = HELD_S

    @classmethod
    def learn_timeout(cls, seconds: float) -> None:
        """RabbitMQ has said after how long it loses patience."""
        cls.held_s = min(cls.held_s, seconds / 3)

    def __init__(self, line: Line, consumer: Any) -> None:
        self._line = line
        self._consumer = consumer
        self._lock = threading.RLock()
        self._stand_ins: list[StandIn] = []
        self._is_solo = type(consumer.pool).__module__.endswith(".solo")

    def start(self) -> None:
        threading.Thread(target=self._look_for_ever, daemon=True, name="livectl-stand-ins").start()
        signals.worker_shutdown.connect(self.give_all_back, dispatch_uid="livectl.stand_ins")

    def settle(self, stand_in: StandIn) -> None:
        """Now, or as soon as RabbitMQ answers."""
        with self._lock, suppress(*LINE_ERRORS):
            self._line.ask(stand_in.settle)
            self._stand_ins.remove(stand_in)

    def give_all_back(self, **_: Any) -> None:
        """This worker ends, and jobs with it."""
        with self._lock:
            for stand_in in [each for each in self._stand_ins if not each.is_ended]:
                stand_in.end(gives_back=True)

    def look(self, now: float) -> None:
        """Does what is due once. Raises AMQPError or OSError."""
        for held in self._held_for_long(now):
            self._add(held, now)
        channel = getattr(self._consumer.task_consumer, "channel", None)
        with self._lock:
            for stand_in in list(self._stand_ins):
                if stand_in.is_ended:
                    self.settle(stand_in)
                elif stand_in.is_needless(channel):
                    stand_in.end()
                elif now - stand_in.renewed_at >= RENEW_INTERVAL_S:
                    self._line.ask(partial(stand_in.renew, now=now))

    def _held_for_long(self, now: float) -> list[Any]:
        """The messages of jobs that run, as they came on this connection."""
        task_consumer = self._consumer.task_consumer
        held_s = min(self.held_s, HELD_BY_SOLO_S) if self._is_solo else self.held_s
        messages = [request.message for request in list(state.active_requests) if not request.acknowledged]
        return [
            message
            for message in messages
            if getattr(message, "stand_in", self) is None
            and not message.acknowledged
            and task_consumer is not None
            and message.channel is task_consumer.channel
            and now - message.taken_at >= held_s
        ]

    def _add(self, held: Any, now: float) -> None:
        stand_in = StandIn(self, held, self._consumer.queue_of(held))
        with self._lock:
            self._line.ask(partial(stand_in.renew, now=now))
            self._stand_ins.append(stand_in)
        if self._is_solo:  # its loop waits for the job
            stand_in.take_over()
        else:  # where messages are acknowledged
            self._consumer.call_soon(stand_in.take_over)

    def _look_for_ever(self) -> None:
        while True:
            time.sleep(min(MAX_LOOK_INTERVAL_S, self.held_s / 4))
            try:
                self.look(time.monotonic())
            except LINE_ERRORS as error:
                logger.debug("no stand-in was made or renewed: %s", error)
            except RuntimeError:  # a set that changed while it was read
                continue


class RabbitHolder:
    """What a consumer on RabbitMQ does about the messages that it would hold for long."""

    def __init__(self, app: Any, consumer: Any) -> None:
        self.delays = Delays(Line(app.connection_for_write))
        self.stand_ins = StandIns(Line(app.connection_for_write), consumer)
        self.stand_ins.start()
