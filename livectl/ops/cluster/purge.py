"""Shows the messages of a queue, takes messages out of it after saving them, and moves them to another queue.

A message is moved to a list of livectl's own, written to a file, and only then forgotten: at no moment is it nowhere.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from livectl import redis_client, server_check
from livectl.errors import LivectlError, UsageError
from livectl.ops.cluster import broadcast, rabbitmq_queues
from livectl.ops.protocol import delayed, keys, message, plus, remote_control, unacked
from livectl.ops.protocol.keys import Bindings
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.ops.protocol.message import JobMessage
    from livectl.ops.protocol.plus import PlusMessage
    from livectl.redis_client import RedisConnection


MESSAGES_PER_STEP = 500  # messages moved at a time
KEEPER_GOODBYE_S = 4.0  # after which a worker that has ended counts as one
KEEPER_PAUSE_S = 0.2
UNKNOWN_TASK = "?"  # of what is no message or does not say, or was taken by a worker meanwhile
STOP_FIRST_HINT = "`livectl workers` lists them: stop those of livectl first, or leave the messages with them."
PURGE_TIMEOUT_S = 600.0  # for a purge of millions; each step of it takes milliseconds

# Moves messages from their list to ours, unless a worker was quicker.
MOVE_SCRIPT = """
local moved = 0
for i = 1, #ARGV do
  if redis.call('LREM', KEYS[1], -1, ARGV[i]) > 0 then
    redis.call('RPUSH', KEYS[2], ARGV[i])
    moved = moved + 1
  end
end
return moved
"""


# Moves messages to a list where they are called by another text: KEYS are both lists, ARGV is old and new text in turn.
READDRESS_SCRIPT = """
local moved = 0
for i = 1, #ARGV, 2 do
  if redis.call('LREM', KEYS[1], -1, ARGV[i]) > 0 then
    redis.call('LPUSH', KEYS[2], ARGV[i + 1])
    moved = moved + 1
  end
end
return moved
"""


class PurgeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages are to be taken out."""

    queue: str
    task: str | None = None  # its name, or a pattern
    older_than: float | None = None  # seconds since it was sent; messages that do not say when are younger
    unacked: bool = False

    def matches_task(self, job_message: JobMessage) -> bool:
        return self.task is None or fnmatchcase(job_message.task, self.task)

    def matches(self, job_message: JobMessage, now: datetime) -> bool:
        if not self.matches_task(job_message):
            return False
        if self.older_than is None:
            return True
        return job_message.sent is not None and (now - job_message.sent).total_seconds() > self.older_than


class PurgePlan(msgspec.Struct, frozen=True):
    """What a purge would take out: how many messages of each task, and of all these how many workers hold or are not
    due yet."""

    tasks: dict[str, int]
    held: int
    delayed: int = 0

    @property
    def total(self) -> int:
        return sum(self.tasks.values())


class PurgeResult(msgspec.Struct, frozen=True):
    """What a purge took out, and where it is saved."""

    queue: str
    tasks: dict[str, int]
    total: int
    held: int
    file: str
    delayed: int = 0


def peek(deployment: Deployment, queue: str, limit: int) -> list[JobMessage]:
    """The messages that are taken next."""
    with connect(deployment, "look at messages without taking them", redis_client.SERVER_TIMEOUT_S) as connection:
        check_queue_exists(deployment, connection, queue)
        messages: list[JobMessage] = []
        for key in deployment.layout.list_keys(queue):
            raws = connection.execute("LRANGE", key, -(limit - len(messages)), -1) if len(messages) < limit else []
            messages += [message.read(raw) for raw in reversed(raws)]
        return messages


def plan(deployment: Deployment, purge_filter: PurgeFilter) -> PurgePlan:
    """Counts what a purge would take out, and changes nothing. Of those that are ready RabbitMQ tells only how many."""
    if deployment.on_rabbitmq:
        return _plan_rabbitmq(deployment, purge_filter)
    with connect(deployment, "pick messages out", PURGE_TIMEOUT_S) as connection:
        check_queue_exists(deployment, connection, purge_filter.queue)
        messages = SelectedMessages(deployment, connection, purge_filter)
        held = Counter(job_message.task or UNKNOWN_TASK for _, _, job_message in messages.held_messages())
        waiting = Counter(job_message.task or UNKNOWN_TASK for _, job_message in messages.delayed_messages())
        tasks = Counter(job_message.task or UNKNOWN_TASK for _, _, job_message in messages.ready_messages())
        tasks += Counter(job_message.task or UNKNOWN_TASK for _, job_message in messages.plus_messages())
    return PurgePlan(dict(tasks + held + waiting), held.total(), waiting.total())


def _plan_rabbitmq(deployment: Deployment, purge_filter: PurgeFilter) -> PurgePlan:
    now = datetime.now(UTC)
    with rabbitmq_queues.open_channel(deployment) as channel:
        ready = rabbitmq_queues.count(channel, purge_filter.queue)
        texts = [_text_of(taken) for taken in rabbitmq_queues.look_at_waiting(channel, purge_filter.queue)]
    waiting = Counter(
        job_message.task or UNKNOWN_TASK
        for job_message in map(message.read, texts)
        if purge_filter.matches(job_message, now)
    )
    return PurgePlan(dict(waiting + Counter({UNKNOWN_TASK: ready})), 0, waiting.total())


def plan_known(deployment: Deployment, purge_filter: PurgeFilter, *, is_only: bool) -> PurgePlan:
    """The same; of several, one that is gone meanwhile, or that settings name alone, holds nothing."""
    try:
        return plan(deployment, purge_filter)
    except UsageError:
        if is_only:
            raise
    return PurgePlan({}, 0)


def purge(deployment: Deployment, purge_filter: PurgeFilter, file: Path) -> PurgeResult:
    """Takes messages out, and saves them in the file. Workers are told to drop those that they hold in memory."""
    if deployment.on_rabbitmq:
        return _purge_rabbitmq(deployment, purge_filter, file)
    with (
        connect(deployment, "pick messages out", PURGE_TIMEOUT_S) as connection,
        file.open("ab") as output,
    ):
        messages = SelectedMessages(deployment, connection, purge_filter)
        waiting = messages.take_delayed(output)
        ready = messages.take_ready(output) + messages.take_plus(output)
        held = messages.take_held(output)
    tasks = waiting + ready + held
    return PurgeResult(purge_filter.queue, dict(tasks), tasks.total(), held.total(), str(file), waiting.total())


def _purge_rabbitmq(deployment: Deployment, purge_filter: PurgeFilter, file: Path) -> PurgeResult:
    """Each message is acknowledged once it is on the disk."""
    from livectl.ops.transport import rabbitmq_held

    now, tasks, waiting = datetime.now(UTC), Counter[str](), 0
    with rabbitmq_queues.open_channel(deployment) as channel, file.open("ab") as output:
        for batch in rabbitmq_queues.take(channel, purge_filter.queue, MESSAGES_PER_STEP):
            texts = [(taken, _text_of(taken)) for taken in batch]
            meant = [(taken, text) for taken, text in texts if purge_filter.matches(message.read(text), now)]
            lines = [_saved_line(text, purge_filter.queue) for _, text in meant]
            _write_lines(output, lines)
            for taken, _ in meant:
                taken.ack()
            tasks += Counter(line["task"] or UNKNOWN_TASK for line in lines)
            waiting += sum(rabbitmq_held.waits(taken) for taken, _ in meant)
    return PurgeResult(purge_filter.queue, dict(tasks), tasks.total(), 0, str(file), waiting)


def _text_of(taken: Any) -> bytes:
    return msgspec.json.encode(message.to_envelope(taken), enc_hook=str)


def list_queues(deployment: Deployment) -> list[str]:
    """Every queue that there is; on RabbitMQ of those of the app's settings and its workers."""
    if deployment.on_rabbitmq:
        with rabbitmq_queues.open_channel(deployment) as channel:
            return [name for name in sorted(_read_queues(deployment, None)) if rabbitmq_queues.exists(channel, name)]
    with connect(deployment, "pick messages out", PURGE_TIMEOUT_S) as connection:
        layout = deployment.layout
        known = {*keys.list_queues(connection, layout), *delayed.count(connection, layout)}
        return sorted(known | _read_queues(deployment, connection))


def _read_queues(deployment: Deployment, connection: RedisConnection | None) -> set[str]:
    readers = broadcast.ask(deployment, connection, ControlCommand(method="active_queues"))
    read = {name for reply in readers.by_worker.values() for name in remote_control.queue_names(reply)}
    return read | set(deployment.layout.queues)


def empty_result(queue: str) -> PurgeResult:
    return PurgeResult(queue, {}, 0, 0, "")


def restore_delayed(deployment: Deployment) -> int:
    """Puts what waits for its time in the store back into its queues, for stock workers. Returns how many messages.

    Refused while a worker of livectl's runs, which would take them out again. One of plain Celery with our transport
    would not.
    """
    with connect(deployment, "keep messages until their time", PURGE_TIMEOUT_S) as connection:
        end = time.monotonic() + KEEPER_GOODBYE_S
        while delayed.has_mover(connection, deployment.layout):
            if time.monotonic() > end:
                raise LivectlError("a worker of livectl's runs, and would take them out again", STOP_FIRST_HINT)
            time.sleep(KEEPER_PAUSE_S)
        total = 0
        while restored := delayed.restore(connection, deployment.layout):
            total += restored
        return total


def adopt_jobs(deployment: Deployment, old: KeyLayout, tasks: Collection[str]) -> int:
    """Moves the jobs of these tasks from the queue that the app had before into the one that it has now.

    It takes those too that workers of that time left unacknowledged. While such a worker may still run, nothing is
    moved: it does its jobs itself. Returns how many moved.
    """
    with redis_client.connect(_redis_broker(deployment, "move messages"), PURGE_TIMEOUT_S) as connection:
        old_queue, queue = old.queues[0], deployment.layout.queues[0]
        keys_of_old = [*old.list_keys(old_queue), old.unacked_key]
        if not any(connection.execute_all([("EXISTS", key) for key in keys_of_old])):
            return 0
        readers = broadcast.ask(deployment, connection, ControlCommand(method="active_queues"))
        read_queues = {name for reply in readers.by_worker.values() for name in remote_control.queue_names(reply)}
        if readers.silent or old_queue in read_queues:
            return 0
        moved = _adopt_held(connection, old, deployment.layout, tasks)
        return moved + _adopt_ready(connection, old, deployment.layout, tasks) if queue != old_queue else moved


def _adopt_ready(connection: RedisConnection, old: KeyLayout, layout: KeyLayout, tasks: Collection[str]) -> int:
    moved = 0
    for step in old.steps:
        source, target = old.list_key(old.queues[0], step), layout.list_key(layout.queues[0], step)
        envelopes = [(raw, message.decode(raw)) for raw in reversed(connection.execute("LRANGE", source, 0, -1))]
        texts = [
            (raw, message.readdress(envelope, layout.queues[0]))
            for raw, envelope in envelopes
            if message.from_envelope(envelope).task in tasks
        ]
        for start in range(0, len(texts), MESSAGES_PER_STEP):
            arguments = chain(*texts[start : start + MESSAGES_PER_STEP])
            moved += int(connection.execute("EVAL", READDRESS_SCRIPT, 2, source, target, *arguments))
    return moved


def _adopt_held(connection: RedisConnection, old: KeyLayout, layout: KeyLayout, tasks: Collection[str]) -> int:
    """Held messages go to the front: their turn had come. One of another queue goes back into that."""
    moved, queue_bindings = 0, Bindings(connection, old)
    for held in list(unacked.scan(connection, old)) if old.unacked_key != layout.unacked_key else []:
        job_message = message.from_envelope(held.envelope)
        queue = queue_bindings.queue_for(held.exchange, held.routing_key)
        if job_message.task in tasks:
            new_queue = layout.queues[0] if queue == old.queues[0] else queue
            text = message.readdress(held.envelope, new_queue)
            target = layout.list_key(new_queue, job_message.priority)
            moved += unacked.move(connection, old, target, [(held.tag, text)])
    return moved


class SelectedMessages:
    """The messages of one filter, over one connection."""

    def __init__(self, deployment: Deployment, connection: RedisConnection, purge_filter: PurgeFilter) -> None:
        self._deployment, self._connection, self._filter = deployment, connection, purge_filter
        self._layout = deployment.layout
        self._purged_key = f"{self._layout.prefix}livectl:purged:{uuid4()}"

    def ready_messages(self) -> Iterator[tuple[str, bytes, JobMessage]]:
        """List, text and job of the messages in the queue, in the order in which they would be taken."""
        now = datetime.now(UTC)
        for key in self._layout.list_keys(self._filter.queue):
            remaining = self._connection.execute("LLEN", key)
            while remaining > 0:
                start = max(0, remaining - MESSAGES_PER_STEP)
                for raw in reversed(self._connection.execute("LRANGE", key, start, remaining - 1)):
                    job_message = message.read(raw)
                    if self._filter.matches(job_message, now):
                        yield key, raw, job_message
                remaining = start

    def delayed_messages(self) -> Iterator[tuple[str, JobMessage]]:
        """Name and job of the messages that wait for their time in the store."""
        now = datetime.now(UTC)
        for stored in delayed.scan(self._connection, self._layout, self._filter.queue):
            job_message = message.read(stored.raw)
            if self._filter.matches(job_message, now):
                yield stored.name, job_message

    def plus_messages(self) -> Iterator[tuple[PlusMessage, JobMessage]]:
        """What celery-redis-plus keeps of the queue, and no worker holds."""
        now = datetime.now(UTC)
        for found in plus.scan(self._connection, self._layout, self._filter.queue):
            job_message = message.read(found.raw)
            if (found.position or found.is_delayed) and self._filter.matches(job_message, now):
                yield found, job_message

    def held_messages(self) -> Iterator[tuple[bytes, bytes, JobMessage]]:
        """Delivery tag, text and job of the messages that workers hold."""
        if not self._filter.unacked:
            return
        now, queue_bindings = datetime.now(UTC), Bindings(self._connection, self._layout)
        for held in unacked.scan(self._connection, self._layout):
            job_message = message.from_envelope(held.envelope)
            queue = queue_bindings.queue_for(held.exchange, held.routing_key)
            if queue == self._filter.queue and self._filter.matches(job_message, now):
                yield held.tag, msgspec.json.encode(held.envelope), job_message

    def take_ready(self, output: BinaryIO) -> Counter[str]:
        """How many messages of each task were taken out of the queue."""
        tasks: Counter[str] = Counter()
        for key, raws in batches(self.ready_messages()):
            self._connection.execute("EVAL", MOVE_SCRIPT, 2, key, self._purged_key, *raws)
            tasks += self._save_purged(output)
        return tasks

    def take_delayed(self, output: BinaryIO) -> Counter[str]:
        """How many messages of each task were taken out of those that wait for their time."""
        tasks: Counter[str] = Counter()
        names = [name for name, _ in self.delayed_messages()]
        for start in range(0, len(names), MESSAGES_PER_STEP):
            delayed.move(self._connection, self._layout, self._purged_key, names[start : start + MESSAGES_PER_STEP])
            tasks += self._save_purged(output)
        return tasks

    def take_plus(self, output: BinaryIO) -> Counter[str]:
        """How many messages of each task were taken out of what celery-redis-plus keeps."""
        for found, _ in list(self.plus_messages()):
            self._connection.execute("RPUSH", self._purged_key, found.raw)
            if not plus.remove(self._connection, self._layout, found.tag, found.queue):  # a worker was quicker
                self._connection.execute("LREM", self._purged_key, -1, found.raw)
        return self._save_purged(output)

    def take_held(self, output: BinaryIO) -> Counter[str]:
        """How many messages of each task were taken away from workers."""
        held = list(self.held_messages())
        if not held:
            return Counter()
        unacked.move(self._connection, self._layout, self._purged_key, [(tag, raw) for tag, raw, _ in held])
        revoke = ControlCommand(method="revoke", arguments={"task_id": [job_message.id for _, _, job_message in held]})
        broadcast.ask(self._deployment, self._connection, revoke)
        return self._save_purged(output)

    def _save_purged(self, output: BinaryIO) -> Counter[str]:
        """Writes our list to the disk, and forgets it."""
        raws: Sequence[bytes] = self._connection.execute("LRANGE", self._purged_key, 0, -1)
        lines = [_saved_line(raw, self._filter.queue) for raw in raws]
        _write_lines(output, lines)
        self._connection.execute("DEL", self._purged_key)
        return Counter(line["task"] or UNKNOWN_TASK for line in lines)


def _write_lines(output: BinaryIO, lines: Sequence[dict[str, Any]]) -> None:
    """They are on the disk when this returns."""
    output.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
    output.flush()
    os.fsync(output.fileno())


def batches(
    messages: Iterator[tuple[str, bytes, JobMessage]], size: int = MESSAGES_PER_STEP
) -> Iterator[tuple[str, list[bytes]]]:
    """Texts of messages of one list each, so many at a time."""
    batch_key = ""
    raws: list[bytes] = []
    for key, raw, _ in messages:
        if raws and (key != batch_key or len(raws) == size):
            yield batch_key, raws
            raws = []
        batch_key = key
        raws.append(raw)
    if raws:
        yield batch_key, raws


def _saved_line(raw: bytes, queue: str) -> dict[str, Any]:
    """A message as `call --from` takes it, with all of the message beside."""
    envelope = message.decode(raw)
    job_message, (args, kwargs) = message.from_envelope(envelope), message.decode_arguments(envelope) or (None, None)
    line = {"task": job_message.task, "args": args, "kwargs": kwargs, "queue": queue, "priority": job_message.priority}
    return line | {"eta": job_message.eta, "id": job_message.id, "message": envelope or raw.decode(errors="replace")}


def check_queue_exists(deployment: Deployment, connection: RedisConnection, queue: str) -> None:
    """Raises for a queue that nobody knows there."""
    layout = deployment.layout
    if any(connection.execute_all([("EXISTS", key) for key in layout.list_keys(queue)])):
        return
    queue_names = sorted({*keys.list_queues(connection, layout), *delayed.count(connection, layout)})
    if queue not in queue_names and not plus.count(connection, layout, [queue]):
        raise UsageError(
            f"there is no queue {queue}", did_you_mean(queue, queue_names) or f"There are {', '.join(queue_names)}."
        )


def connect(deployment: Deployment, action: str, timeout_s: float) -> RedisConnection:
    """The broker, also a full one: a purge makes room."""
    if deployment.redis_broker is None and deployment.broker is not None:
        server_check.check_server(deployment.broker)
    return redis_client.connect(_redis_broker(deployment, action), timeout_s, trial_write=False)


def _redis_broker(deployment: Deployment, action: str) -> Address:
    if deployment.redis_broker is None:
        raise LivectlError(
            f"{deployment.transport} gives no way to {action}",
            "Redis, Valkey and, to purge and to move, RabbitMQ do.",
        )
    return deployment.redis_broker
