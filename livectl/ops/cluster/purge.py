"""Looks at messages in a queue, and takes them out: what is taken out is saved first.

A message is moved to a list of its own, written to a file, and only then forgotten: at no moment is it nowhere.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, UsageError
from livectl.ops.cluster import broadcast
from livectl.ops.protocol import message, search
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.ops.protocol.message import JobMessage
    from livectl.redis_client import RedisConnection


MESSAGES_PER_STEP = 500  # messages moved at a time
PURGE_TIMEOUT_S = 600.0  # seconds for a purge of millions; each step of it takes milliseconds

# From its list to ours, unless a worker was quicker.
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

# The same for a message that a worker holds: KEYS are held, index, ours; ARGV is tag and message in turn.
MOVE_UNACKED_SCRIPT = """
local moved = 0
for i = 1, #ARGV, 2 do
  if redis.call('HDEL', KEYS[1], ARGV[i]) > 0 then
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('RPUSH', KEYS[3], ARGV[i + 1])
    moved = moved + 1
  end
end
return moved
"""


class PurgeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages are meant."""

    queue: str
    task: str | None = None
    older_than: float | None = None  # seconds since it was sent; messages that do not say when are younger
    unacked: bool = False

    def matches(self, job_message: JobMessage, now: datetime) -> bool:
        if self.task is not None and job_message.task != self.task:
            return False
        if self.older_than is None:
            return True
        return job_message.sent is not None and (now - job_message.sent).total_seconds() > self.older_than


class PurgePlan(msgspec.Struct, frozen=True):
    """What a purge would take out: how many of each task, and how many of them workers hold."""

    tasks: dict[str, int]
    held: int

    @property
    def total(self) -> int:
        return sum(self.tasks.values())


class PurgeResult(msgspec.Struct, frozen=True):
    """What was taken out, and where it is saved."""

    queue: str
    tasks: dict[str, int]
    total: int
    held: int
    file: str


def peek(deployment: Deployment, queue: str, limit: int) -> list[JobMessage]:
    """The messages that are taken next."""
    with redis_client.connect(_redis_broker(deployment, "look at messages without taking them")) as connection:
        _check_queue_exists(connection, deployment.layout, queue)
        messages: list[JobMessage] = []
        for key in deployment.layout.list_keys(queue):
            raws = connection.execute("LRANGE", key, -(limit - len(messages)), -1) if len(messages) < limit else []
            messages += [message.read(raw) for raw in reversed(raws)]
        return messages


def plan(deployment: Deployment, purge_filter: PurgeFilter) -> PurgePlan:
    """Counts, and changes nothing."""
    with redis_client.connect(_redis_broker(deployment, "pick messages out"), PURGE_TIMEOUT_S) as connection:
        _check_queue_exists(connection, deployment.layout, purge_filter.queue)
        tasks: Counter[str] = Counter()
        for _, _, job_message in _ready_messages(connection, deployment.layout, purge_filter):
            tasks[job_message.task or "?"] += 1
        unacked = [job_message for _, _, job_message in _unacked_messages(connection, deployment.layout, purge_filter)]
        tasks.update(job_message.task or "?" for job_message in unacked)
    return PurgePlan(dict(tasks), len(unacked))


def purge(deployment: Deployment, purge_filter: PurgeFilter, file: Path) -> PurgeResult:
    """Takes them out. Those that workers hold are revoked there too, since a worker has them in its memory."""
    layout = deployment.layout
    purged_key = f"livectl:purged:{uuid4()}"
    with (
        redis_client.connect(_redis_broker(deployment, "pick messages out"), PURGE_TIMEOUT_S) as connection,
        file.open("ab") as output,
    ):
        tasks: Counter[str] = Counter()
        for key, raws in _batches(_ready_messages(connection, layout, purge_filter)):
            connection.execute("EVAL", MOVE_SCRIPT, 2, key, purged_key, *raws)
            tasks.update(_save_purged(connection, purged_key, output, purge_filter.queue))
        unacked = list(_unacked_messages(connection, layout, purge_filter))
        if unacked:
            arguments = [argument for tag, raw, _ in unacked for argument in (tag, raw)]
            moved = connection.execute(
                "EVAL", MOVE_UNACKED_SCRIPT, 3, layout.unacked_key, layout.unacked_index_key, purged_key, *arguments
            )
            broadcast.ask(
                deployment,
                connection,
                ControlCommand(method="revoke", arguments={"task_id": [job_message.id for *_, job_message in unacked]}),
            )
            tasks.update(_save_purged(connection, purged_key, output, purge_filter.queue))
        else:
            moved = 0
    return PurgeResult(purge_filter.queue, dict(tasks), sum(tasks.values()), moved, str(file))


def empty_result(queue: str) -> PurgeResult:
    return PurgeResult(queue, {}, 0, 0, "")


def _ready_messages(
    connection: RedisConnection, layout: KeyLayout, purge_filter: PurgeFilter
) -> Iterator[tuple[str, bytes, JobMessage]]:
    """The chosen messages of every list of the queue, in the order in which they would be taken."""
    now = datetime.now(UTC)
    for key in layout.list_keys(purge_filter.queue):
        remaining = connection.execute("LLEN", key)
        while remaining > 0:
            start = max(0, remaining - MESSAGES_PER_STEP)
            for raw in reversed(connection.execute("LRANGE", key, start, remaining - 1)):
                job_message = message.read(raw)
                if purge_filter.matches(job_message, now):
                    yield key, raw, job_message
            remaining = start


def _unacked_messages(
    connection: RedisConnection, layout: KeyLayout, purge_filter: PurgeFilter
) -> Iterator[tuple[bytes, bytes, JobMessage]]:
    now = datetime.now(UTC)
    for tag, raw in search.unacked_messages(connection, layout) if purge_filter.unacked else ():
        envelope, exchange, routing_key = search.decode_unacked(raw)
        job_message = message.from_envelope(envelope)
        if search.routed_queue(
            connection, layout, exchange, routing_key
        ) == purge_filter.queue and purge_filter.matches(job_message, now):
            yield tag, msgspec.json.encode(envelope), job_message


def _batches(messages: Iterator[tuple[str, bytes, JobMessage]]) -> Iterator[tuple[str, list[bytes]]]:
    """So many at a time, of one list each."""
    batch_key = ""
    raws: list[bytes] = []
    for key, raw, _ in messages:
        if raws and (key != batch_key or len(raws) == MESSAGES_PER_STEP):
            yield batch_key, raws
            raws = []
        batch_key = key
        raws.append(raw)
    if raws:
        yield batch_key, raws


def _save_purged(connection: RedisConnection, purged_key: str, output: Any, queue: str) -> Counter[str]:
    """From our list to the disk, and then nowhere else."""
    raws: Sequence[bytes] = connection.execute("LRANGE", purged_key, 0, -1)
    tasks: Counter[str] = Counter()
    for raw in raws:
        line = build_saved_line(raw, queue)
        tasks[line["task"] or "?"] += 1
        output.write(msgspec.json.encode(line) + b"\n")
    output.flush()
    os.fsync(output.fileno())
    connection.execute("DEL", purged_key)
    return tasks


def build_saved_line(raw: bytes, queue: str) -> dict[str, Any]:
    """A message as `call --from` takes it, with all of it beside."""
    envelope = message.decode(raw)
    job_message, body = message.from_envelope(envelope), message.decode_body(envelope)
    args, kwargs = (body[0], body[1]) if isinstance(body, list) and len(body) > 1 else (None, None)
    line = {"task": job_message.task, "args": args, "kwargs": kwargs, "queue": queue, "priority": job_message.priority}
    return line | {"eta": job_message.eta, "id": job_message.id, "message": envelope or raw.decode(errors="replace")}


def _check_queue_exists(connection: RedisConnection, layout: KeyLayout, queue: str) -> None:
    if any(connection.execute_all([("EXISTS", key) for key in layout.list_keys(queue)])):
        return
    queue_names = search.list_queues(connection, layout)
    if queue not in queue_names:
        raise UsageError(
            f"there is no queue {queue}", did_you_mean(queue, queue_names) or f"There are {', '.join(queue_names)}."
        )


def _redis_broker(deployment: Deployment, action: str) -> Any:
    if deployment.broker is None or not deployment.broker.is_redis:
        raise LivectlError(
            f"{deployment.transport} gives no way to {action}",
            f"`celery purge` empties a whole queue of {deployment.transport}, without saving it.",
        )
    return deployment.broker
