"""Moves messages between queues, also of two brokers: at no moment is one nowhere, whenever this process is killed.

Within a Redis a message goes in one step. To another broker it first goes to a list of livectl's own beside its queue,
from there to where it is wanted, and is then forgotten in the list: the same move, begun again, goes on with the list.
A Redis notes what it was given, so that nothing is there twice. RabbitMQ cannot, and may have what was on its way
when the process was killed a second time.
"""

from __future__ import annotations

import base64
from collections import Counter
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4

import msgspec

from livectl import redis_client
from livectl.errors import UsageError
from livectl.ops.cluster import purge, rabbitmq_queues
from livectl.ops.cluster.purge import UNKNOWN_TASK, PurgeFilter
from livectl.ops.protocol import delayed, keys, message
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection

T = TypeVar("T")

MESSAGES_PER_STEP = 200  # on their way between two brokers at most
MOVE_TIMEOUT_S = 3600.0
NOTE_TTL_S = 7 * 86_400  # for which a Redis knows what it was given
AMQP_PROPERTIES = ("correlation_id", "reply_to", "priority", "message_id", "timestamp", "type", "app_id")

# KEYS are messages and counts of delayed ones; ARGV is name, value that is there, new value, and both lists in turn.
READDRESS_DELAYED = """
local moved = 0
for i = 1, #ARGV, 5 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    redis.call('HINCRBY', KEYS[2], ARGV[i + 4], 1)
    if redis.call('HINCRBY', KEYS[2], ARGV[i + 3], -1) <= 0 then redis.call('HDEL', KEYS[2], ARGV[i + 3]) end
    moved = moved + 1
  end
end
return moved
"""

# KEYS are notes and lists, ARGV the lifetime of a note and then the messages: each is put there once.
PUT_ONCE = """
for i = 1, #KEYS, 2 do
  if redis.call('SET', KEYS[i], 1, 'NX', 'EX', ARGV[1]) then redis.call('LPUSH', KEYS[i + 1], ARGV[(i + 1) / 2 + 1]) end
end
"""


class MoveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be moved, and where to."""

    source: str
    target: str
    to_broker: Address | None = None  # the same if left out
    task: str | None = None  # a name or pattern
    limit: int | None = None
    create: bool = False  # whether the target may be a queue that there is not


class MoveResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages of each task have moved."""

    source: str
    target: str
    broker: str | None  # the other one, without its password
    moved: int
    tasks: dict[str, int]
    repeats: bool  # whether what was on its way could be there twice, had the process been killed


class Receiver(Protocol):
    """A queue that messages are moved to."""

    def check(self) -> None:
        """Raises where there is no such queue."""

    def put(self, texts: Sequence[bytes]) -> None:
        """Takes messages as they lie in Redis. Returns when they are safe."""


def count(deployment: Deployment, request: MoveRequest) -> dict[str, int]:
    """How many messages of each task would be moved; of those ready on RabbitMQ, how many there are at all."""
    return purge.plan(deployment, _filter(request)).tasks


def move(deployment: Deployment, request: MoveRequest) -> Iterator[MoveResult]:
    """Moves them, those that wait for their time included. Yields how far it is; the last is the result."""
    if request.source == request.target and request.to_broker is None:
        raise UsageError(f"{request.source} is both where from and where to", "Name another, or --to-broker.")
    tasks: Counter[str] = Counter()
    is_same_redis = deployment.on_redis and request.to_broker is None
    steps = _move_within_redis if is_same_redis else _move_from_redis if deployment.on_redis else _move_from_rabbitmq
    repeats = not is_same_redis and not (request.to_broker.is_redis if request.to_broker else deployment.on_redis)
    for moved in steps(deployment, request):
        tasks += moved
        yield _result(request, tasks, repeats=repeats)
    yield _result(request, tasks, repeats=repeats)


def _result(request: MoveRequest, tasks: Counter[str], *, repeats: bool) -> MoveResult:
    broker = request.to_broker.masked if request.to_broker else None
    return MoveResult(
        source=request.source,
        target=request.target,
        broker=broker,
        moved=tasks.total(),
        tasks=dict(tasks),
        repeats=repeats,
    )


def _filter(request: MoveRequest) -> PurgeFilter:
    return PurgeFilter(queue=request.source, task=request.task)


def _move_within_redis(deployment: Deployment, request: MoveRequest) -> Iterator[Counter[str]]:
    layout = deployment.layout
    with purge.connect(deployment, "move messages", MOVE_TIMEOUT_S) as connection:
        purge.check_queue_exists(deployment, connection, request.source)
        RedisReceiver(connection, layout, request).check()
        selection = purge.SelectedMessages(deployment, connection, _filter(request))
        left = _Left(request.limit)
        while True:  # until a pass over the queue finds no more
            before = left.moved
            for source, raws in purge.batches(selection.ready_messages()):
                wanted = left.first(raws)
                step = layout.steps[layout.list_keys(request.source).index(source)]
                target = layout.list_key(request.target, step)
                pairs = [(raw, _readdressed(raw, request.target)) for raw in wanted]
                arguments = [text for pair in pairs for text in pair]
                moved = (
                    connection.execute("EVAL", purge.READDRESS_SCRIPT, 2, source, target, *arguments) if pairs else 0
                )
                yield left.note(wanted, int(moved))
            if left.moved == before or left.is_done:
                break
        waiting = delayed.scan(connection, layout, request.source)
        names = left.first([stored for stored in waiting if _fits(request, stored.raw)])
        for start in range(0, len(names), MESSAGES_PER_STEP):
            batch = names[start : start + MESSAGES_PER_STEP]
            yield left.note(
                [stored.raw for stored in batch], _readdress_delayed(connection, layout, request.target, batch)
            )


def _readdress_delayed(
    connection: RedisConnection, layout: KeyLayout, target: str, batch: Sequence[delayed.StoredMessage]
) -> int:
    stored_keys = delayed.delayed_keys(layout.unacked_key)
    arguments: list[str | bytes] = []
    for stored in batch:
        new_key = layout.list_key(target, message.read(stored.raw).priority)
        old = delayed.head_of(stored.key, stored.job_id) + b"\n" + stored.raw
        new = delayed.head_of(new_key, stored.job_id) + b"\n" + _readdressed(stored.raw, target)
        arguments += [stored.name, old, new, stored.key, new_key]
    return int(connection.execute("EVAL", READDRESS_DELAYED, 2, stored_keys.messages, stored_keys.counts, *arguments))


def _move_from_redis(deployment: Deployment, request: MoveRequest) -> Iterator[Counter[str]]:
    """To another broker, by way of a list that the same move finds again."""
    layout = deployment.layout
    with (
        purge.connect(deployment, "move messages", MOVE_TIMEOUT_S) as connection,
        _open_receiver(deployment, request) as receiver,
    ):
        receiver.check()
        way = _way_key(layout, request)
        connection.execute("HSET", keys.moves_key(layout), way, _way_text(request))
        yield _deliver(connection, way, receiver)
        purge.check_queue_exists(deployment, connection, request.source)
        selection = purge.SelectedMessages(deployment, connection, _filter(request))
        left = _Left(request.limit)
        while True:  # until a pass over the queue finds no more
            before = left.moved
            for source, raws in purge.batches(selection.ready_messages(), MESSAGES_PER_STEP):
                wanted = left.first(raws)
                moved = connection.execute("EVAL", purge.MOVE_SCRIPT, 2, source, way, *wanted) if wanted else 0
                left.note(wanted, int(moved))
                yield _deliver(connection, way, receiver)
            if left.moved == before or left.is_done:
                break
        waiting = delayed.scan(connection, layout, request.source)
        names = left.first([stored for stored in waiting if _fits(request, stored.raw)])
        for start in range(0, len(names), MESSAGES_PER_STEP):
            delayed.move(connection, layout, way, [stored.name for stored in names[start : start + MESSAGES_PER_STEP]])
            yield _deliver(connection, way, receiver)
        connection.execute("HDEL", keys.moves_key(layout), way)


def _deliver(connection: RedisConnection, way: str, receiver: Receiver) -> Counter[str]:
    """Hands over what is on its way, and forgets it here."""
    tasks: Counter[str] = Counter()
    while raws := connection.execute("LRANGE", way, 0, MESSAGES_PER_STEP - 1):
        receiver.put(raws)
        connection.execute_all([("LREM", way, 1, raw) for raw in raws])  # another may be at it, too
        tasks += Counter(message.read(raw).task or UNKNOWN_TASK for raw in raws)
    return tasks


def _move_from_rabbitmq(deployment: Deployment, request: MoveRequest) -> Iterator[Counter[str]]:
    """Each message is acknowledged once it is safe where it was moved to."""
    with rabbitmq_queues.open_channel(deployment) as channel, _open_receiver(deployment, request) as receiver:
        receiver.check()
        left = _Left(request.limit)
        for batch in rabbitmq_queues.take(channel, request.source, MESSAGES_PER_STEP):
            for taken in batch:
                if left.is_done:
                    return
                if _fits(request, text := _text_of(taken)):
                    receiver.put([text])
                    taken.ack()
                    yield left.note([text], 1)


def _text_of(taken: Any) -> bytes:
    """A message of RabbitMQ as it lies in Redis: the same text, however often it is taken."""
    envelope = message.to_envelope(taken)
    envelope["properties"]["delivery_tag"] = "" if message.from_envelope(envelope).id else str(uuid4())
    return msgspec.json.encode(envelope, enc_hook=str)


class RedisReceiver:
    """A queue of a Redis, which takes each message once."""

    def __init__(self, connection: RedisConnection, layout: KeyLayout, request: MoveRequest) -> None:
        self._connection, self._layout, self._request = connection, layout, request

    def check(self) -> None:
        """Raises for a queue that nobody knows there, unless it may be a new one: then it is made known."""
        name = self._request.target
        known = keys.list_queues(self._connection, self._layout)
        filled = any(self._connection.execute_all([("EXISTS", key) for key in self._layout.list_keys(name)]))
        if name in known or filled:
            return
        if not self._request.create:
            raise _unknown_target(name, known)
        self._connection.execute("SADD", self._layout.bindings_key(name), self._layout.join_binding(name, "", name))

    def put(self, texts: Sequence[bytes]) -> None:
        names: list[str] = []
        for text in texts:
            note = f"{self._layout.prefix}livectl:moved:{sha256(text).hexdigest()}"
            names += [note, self._layout.list_key(self._request.target, message.read(text).priority)]
        sent = [_readdressed(text, self._request.target) for text in texts]
        self._connection.execute("EVAL", PUT_ONCE, len(names), *names, NOTE_TTL_S, *sent)


class RabbitReceiver:
    """A queue of a RabbitMQ, which confirms each message."""

    def __init__(self, channel: Any, request: MoveRequest) -> None:
        self._channel, self._request = channel, request

    def check(self) -> None:
        from livectl.ops.transport import rabbitmq

        if rabbitmq.exists(self._channel, self._request.target):
            return
        if not self._request.create:
            raise _unknown_target(self._request.target, [])
        self._channel.queue_declare(self._request.target, durable=True, auto_delete=False)

    def put(self, texts: Sequence[bytes]) -> None:
        from livectl.ops.transport import rabbitmq

        for text in texts:
            envelope = message.decode(text)
            properties = envelope.get("properties") or {}
            is_encoded = properties.get("body_encoding") == "base64"
            body = str(envelope.get("body") or "")
            kept = {name: properties[name] for name in AMQP_PROPERTIES if properties.get(name) is not None}
            headers = {name: value for name, value in (envelope.get("headers") or {}).items() if _is_kept(name)}
            rabbitmq.publish(
                self._channel,
                base64.b64decode(body) if is_encoded else body.encode(),
                routing_key=self._request.target,
                headers=headers,
                content_type=envelope.get("content-type"),
                content_encoding=envelope.get("content-encoding"),
                **kept,
            )


def _is_kept(header: str) -> bool:
    """Whether it tells of the job, and not of the ways that its message went at RabbitMQ."""
    return not header.startswith(("x-death", "x-first-", "x-last-", "x-delivery-count"))


def _open_receiver(deployment: Deployment, request: MoveRequest) -> AbstractContextManager[Receiver]:
    if request.to_broker is not None and request.to_broker.is_redis:
        return _open_redis(deployment.layout, request, request.to_broker)
    return _open_rabbitmq(deployment, request)


@contextmanager
def _open_redis(layout: KeyLayout, request: MoveRequest, address: Address) -> Iterator[Receiver]:
    with redis_client.connect(address, MOVE_TIMEOUT_S) as connection:
        yield RedisReceiver(connection, layout, request)


@contextmanager
def _open_rabbitmq(deployment: Deployment, request: MoveRequest) -> Iterator[Receiver]:
    with rabbitmq_queues.open_channel(deployment, request.to_broker) as channel:
        yield RabbitReceiver(channel, request)


def _unknown_target(name: str, known: Sequence[str]) -> UsageError:
    near = did_you_mean(name, known)
    return UsageError(f"there is no queue {name} there", f"{near or 'Is it misspelt?'} --create makes it.")


def _fits(request: MoveRequest, raw: bytes) -> bool:
    return _filter(request).matches_task(message.read(raw))


def _readdressed(raw: bytes, queue: str) -> bytes:
    """The message as if it had been sent to this queue; what is no message stays as it is."""
    envelope = message.decode(raw)
    return message.readdress(envelope, queue, exchange="", tag=str(uuid4())) if envelope else raw


def _way_key(layout: KeyLayout, request: MoveRequest) -> str:
    target = sha256(_way_text(request).encode()).hexdigest()[:16]
    return f"{layout.prefix}livectl:moving:{target}"


def _way_text(request: MoveRequest) -> str:
    broker = f" --to-broker {request.to_broker.masked}" if request.to_broker else ""
    return f"{request.source} {request.target}{broker}"


class _Left:
    """How many more may be moved."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.moved = 0

    @property
    def is_done(self) -> bool:
        return self._limit is not None and self.moved >= self._limit

    def first(self, items: list[T]) -> list[T]:
        return items if self._limit is None else items[: max(0, self._limit - self.moved)]

    def note(self, raws: Sequence[bytes], moved: int) -> Counter[str]:
        """The tasks of what moved; of what a worker was quicker with, nobody knows which it was."""
        self.moved += moved
        if moved == len(raws):
            return Counter(message.read(raw).task or UNKNOWN_TASK for raw in raws)
        return Counter({UNKNOWN_TASK: moved} if moved else {})
