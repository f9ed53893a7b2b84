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

from livectl import resp
from livectl.errors import LivectlError, UsageError
from livectl.ops.cluster import workers
from livectl.ops.cluster.pidbox import Question
from livectl.ops.jobs import message, search
from livectl.ops.schedules.spot import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.cluster.layout import Layout
    from livectl.ops.jobs.message import Message
    from livectl.resp import Wire

CHUNK = 500  # messages moved at a time
PATIENCE = 600.0  # seconds for a purge of millions; each step of it takes milliseconds

# From its list to ours, unless a worker was quicker.
SET_ASIDE = """
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
SET_HELD_ASIDE = """
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


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages are meant."""

    queue: str
    task: str | None = None
    older_than: float | None = None  # seconds since it was sent; messages that do not say when are younger
    unacked: bool = False

    def takes(self, said: Message, now: datetime) -> bool:
        if self.task is not None and said.task != self.task:
            return False
        if self.older_than is None:
            return True
        return said.sent is not None and (now - said.sent).total_seconds() > self.older_than


class Plan(msgspec.Struct, frozen=True):
    """What a purge would take out: how many of each task, and how many of them workers hold."""

    tasks: dict[str, int]
    held: int

    @property
    def total(self) -> int:
        return sum(self.tasks.values())


class Purged(msgspec.Struct, frozen=True):
    """What was taken out, and where it is saved."""

    queue: str
    tasks: dict[str, int]
    total: int
    held: int
    file: str


def peek(deployment: Deployment, queue: str, limit: int) -> list[Message]:
    """The messages that are taken next."""
    with resp.dial(_redis(deployment, "look at messages without taking them")) as wire:
        _known(wire, deployment.layout, queue)
        found: list[Message] = []
        for key in deployment.layout.keys(queue):
            raws = wire.ask("LRANGE", key, -(limit - len(found)), -1) if len(found) < limit else []
            found += [message.read(raw) for raw in reversed(raws)]
        return found


def plan(deployment: Deployment, choice: Choice) -> Plan:
    """Counts, and changes nothing."""
    with resp.dial(_redis(deployment, "pick messages out"), PATIENCE) as wire:
        _known(wire, deployment.layout, choice.queue)
        tasks: Counter[str] = Counter()
        for _, _, said in _waiting(wire, deployment.layout, choice):
            tasks[said.task or "?"] += 1
        held = [said for _, _, said in _held(wire, deployment.layout, choice)]
        tasks.update(said.task or "?" for said in held)
    return Plan(dict(tasks), len(held))


def purge(deployment: Deployment, choice: Choice, file: Path) -> Purged:
    """Takes them out. Those that workers hold are revoked there too, since a worker has them in its memory."""
    layout = deployment.layout
    aside = f"livectl:purged:{uuid4()}"
    with resp.dial(_redis(deployment, "pick messages out"), PATIENCE) as wire, file.open("ab") as saved:
        tasks: Counter[str] = Counter()
        for key, raws in _chunks(_waiting(wire, layout, choice)):
            wire.ask("EVAL", SET_ASIDE, 2, key, aside, *raws)
            tasks.update(_save(wire, aside, saved, choice.queue))
        held = list(_held(wire, layout, choice))
        if held:
            words = [word for tag, raw, _ in held for word in (tag, raw)]
            moved = wire.ask("EVAL", SET_HELD_ASIDE, 3, layout.unacked_key, layout.unacked_index_key, aside, *words)
            workers.ask(
                deployment, wire, Question(method="revoke", arguments={"task_id": [said.id for *_, said in held]})
            )
            tasks.update(_save(wire, aside, saved, choice.queue))
        else:
            moved = 0
    return Purged(choice.queue, dict(tasks), sum(tasks.values()), moved, str(file))


def nothing(queue: str) -> Purged:
    return Purged(queue, {}, 0, 0, "")


def _waiting(wire: Wire, layout: Layout, choice: Choice) -> Iterator[tuple[str, bytes, Message]]:
    """The chosen messages of every list of the queue, in the order in which they would be taken."""
    now = datetime.now(UTC)
    for key in layout.keys(choice.queue):
        left = wire.ask("LLEN", key)
        while left > 0:
            start = max(0, left - CHUNK)
            for raw in reversed(wire.ask("LRANGE", key, start, left - 1)):
                said = message.read(raw)
                if choice.takes(said, now):
                    yield key, raw, said
            left = start


def _held(wire: Wire, layout: Layout, choice: Choice) -> Iterator[tuple[bytes, bytes, Message]]:
    now = datetime.now(UTC)
    for tag, raw in search.held(wire, layout) if choice.unacked else ():
        envelope, exchange, key = search.unwrap(raw)
        said = message.describe(envelope)
        if search.queue_of(wire, layout, exchange, key) == choice.queue and choice.takes(said, now):
            yield tag, msgspec.json.encode(envelope), said


def _chunks(chosen: Iterator[tuple[str, bytes, Message]]) -> Iterator[tuple[str, list[bytes]]]:
    """So many at a time, of one list each."""
    of = ""
    raws: list[bytes] = []
    for key, raw, _ in chosen:
        if raws and (key != of or len(raws) == CHUNK):
            yield of, raws
            raws = []
        of = key
        raws.append(raw)
    if raws:
        yield of, raws


def _save(wire: Wire, aside: str, saved: Any, queue: str) -> Counter[str]:
    """From our list to the disk, and then nowhere else."""
    raws: Sequence[bytes] = wire.ask("LRANGE", aside, 0, -1)
    tasks: Counter[str] = Counter()
    for raw in raws:
        line = saved_line(raw, queue)
        tasks[line["task"] or "?"] += 1
        saved.write(msgspec.json.encode(line) + b"\n")
    saved.flush()
    os.fsync(saved.fileno())
    wire.ask("DEL", aside)
    return tasks


def saved_line(raw: bytes, queue: str) -> dict[str, Any]:
    """A message as `call --from` takes it, with all of it beside."""
    envelope = message.decode(raw)
    said, body = message.describe(envelope), message.body_of(envelope)
    args, kwargs = (body[0], body[1]) if isinstance(body, list) and len(body) > 1 else (None, None)
    line = {"task": said.task, "args": args, "kwargs": kwargs, "queue": queue, "priority": said.priority}
    return line | {"eta": said.eta, "id": said.id, "message": envelope or raw.decode(errors="replace")}


def _known(wire: Wire, layout: Layout, queue: str) -> None:
    if any(wire.ask_all([("EXISTS", key) for key in layout.keys(queue)])):
        return
    known = search.known_queues(wire, layout)
    if queue not in known:
        raise UsageError(f"there is no queue {queue}", did_you_mean(queue, known) or f"There are {', '.join(known)}.")


def _redis(deployment: Deployment, what: str) -> Any:
    if deployment.broker is None or not deployment.broker.is_redis:
        raise LivectlError(
            f"{deployment.transport} gives no way to {what}",
            f"`celery purge` empties a whole queue of {deployment.transport}, without saving it.",
        )
    return deployment.broker
