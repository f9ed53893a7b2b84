"""The messages that wait for their time in a Redis broker itself, and in no worker: finds, counts and moves them.

Workers of livectl's put them there and bring them back (`transport/delays.py`); no stock worker knows of them. The keys
are named after the one of what workers hold, so that whoever shares that shares these: a sorted set of when each is
due, the messages with their lists, the ids of their jobs, and how many there are of each list.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.ops.protocol.keys import has_time_left
from livectl.redis_replies import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection

MESSAGES_PER_CALL = 500  # some milliseconds of the server's time
ONLY_RETURNS = "returns:"  # begins the name of a keeper that moves nothing here itself
OVERDUE_S = 10.0  # workers bring messages back in the moment, or within seconds after one of them died

# Begins each script that takes messages away: KEYS are due times, messages, ids, counts. What was read is to be written
# elsewhere before it is forgotten here, since a full server refuses to write.
READ = """
local function read(name)
  local value = redis.call('HGET', KEYS[2], name)
  if not value then return end
  local cut = string.find(value, '\\n', 1, true)
  local is_read, head = pcall(cjson.decode, string.sub(value, 1, (cut or 0) - 1))
  if not (cut and is_read) then return end
  return string.sub(value, cut + 1), head[1], head[2]
end
local function forget(name, list, id)
  redis.call('ZREM', KEYS[1], name)
  redis.call('HDEL', KEYS[2], name)
  redis.call('ZREM', KEYS[3], id .. ' ' .. name)
  if redis.call('HINCRBY', KEYS[4], list, -1) <= 0 then redis.call('HDEL', KEYS[4], list) end
end
"""

# KEYS: messages that are held, their index, their leases; due times, messages, ids, counts of those that wait.
# The note of a message ends with its queue. Returns 1 when it was moved, 0 when it was this worker's no more, -1 when
# it stays.
MOVE_TO_DELAYED = """
local function delay(tag, due, shortest, list, id, head, queue)
  local note = redis.call('HGET', KEYS[1], tag)
  if not note then return 0 end
  local time = redis.call('TIME')
  local tail = ',"",' .. cjson.encode(queue) .. ']'
  if due - (time[1] + time[2] / 1000000) < tonumber(shortest) or string.sub(note, -#tail) ~= tail then return -1 end
  local name = tag
  while redis.call('HEXISTS', KEYS[5], name) == 1 do name = name .. '+' end
  redis.call('ZADD', KEYS[4], due, name)
  redis.call('HSET', KEYS[5], name, head .. '\\n' .. string.sub(note, 2, -#tail - 1))
  redis.call('ZADD', KEYS[6], 0, id .. ' ' .. name)
  redis.call('HINCRBY', KEYS[7], list, 1)
  redis.call('HDEL', KEYS[1], tag)
  redis.call('ZREM', KEYS[2], tag)
  redis.call('ZREM', KEYS[3], tag)
  return 1
end
"""

# KEYS: due times, messages, ids, counts of those that wait; messages that are held, their index, their leases.
# Notes a message that waits as held under this tag; returns list and message, or nothing.
TAKE_OVER = (
    READ
    + """
local function take_over(job, tag, seconds, queue)
  for _, member in ipairs(redis.call('ZRANGE', KEYS[3], '[' .. job .. ' ', '(' .. job .. '!', 'BYLEX')) do
    local name = string.sub(member, #job + 2)
    local text, list, id = read(name)
    if text and id == job then
      local time = redis.call('TIME')
      local now = time[1] + time[2] / 1000000
      redis.call('HSET', KEYS[5], tag, '[' .. text .. ',"",' .. cjson.encode(queue) .. ']')
      redis.call('ZADD', KEYS[6], now, tag)
      redis.call('ZADD', KEYS[7], now + seconds, tag)
      forget(name, list, id)
      return list, text
    end
  end
end
"""
)

# KEYS: those four, and lists to move to. ARGV: how to push, then name and number of the list in turn; without a
# list (0) it is only forgotten. What another has moved meanwhile is left out, and so is what a list does not take.
MOVE = (
    READ
    + """
local moved = 0
for i = 2, #ARGV, 2 do
  local text, list, id = read(ARGV[i])
  if text then
    local target = tonumber(ARGV[i + 1])
    local pushed = target == 0 or redis.pcall(ARGV[1], KEYS[4 + target], text)
    if type(pushed) ~= 'table' then
      forget(ARGV[i], list, id)
      moved = moved + 1
    end
  else
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return moved
"""
)

# KEYS: those four. ARGV: ids of jobs. Returns name and value of each message, in turn.
FIND = """
local found = {}
for _, id in ipairs(ARGV) do
  for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[3], '[' .. id .. ' ', '(' .. id .. '!')) do
    local name = string.sub(member, #id + 2)
    local value = redis.call('HGET', KEYS[2], name)
    if value then
      found[#found + 1] = name
      found[#found + 1] = value
    end
  end
end
return found
"""


# KEYS: those four, and lists. ARGV: id and number of the list in turn. Returns the ids of which nothing was there.
WAKE = (
    READ
    + """
local missed = {}
for i = 1, #ARGV, 2 do
  local id, found = ARGV[i], false
  for _, member in ipairs(redis.call('ZRANGE', KEYS[3], '[' .. id .. ' ', '(' .. id .. '!', 'BYLEX')) do
    local name = string.sub(member, #id + 2)
    local text, list, owner = read(name)
    if text and owner == id then
      redis.call('RPUSH', KEYS[4 + ARGV[i + 1]], text)
      forget(name, list, id)
      found = true
    end
  end
  if not found then missed[#missed + 1] = id end
end
return missed
"""
)


class DelayedKeys(NamedTuple):
    """The keys of what waits for its time."""

    due: str
    messages: str
    ids: str
    counts: str


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits for its time, and the list that it goes back to."""

    name: str
    key: str
    job_id: str
    raw: bytes


class OverdueDelays(msgspec.Struct, frozen=True, kw_only=True):
    """The messages whose time came a while ago, and whether a worker lives that would bring them back."""

    count: int = 0
    seconds: float = 0.0  # since the time of the first
    has_keeper: bool = False


def delayed_keys(unacked_key: str) -> DelayedKeys:
    """Those that go with this key of what workers hold."""
    due = f"{unacked_key}_delayed"
    return DelayedKeys(due, f"{due}_messages", f"{due}_ids", f"{due}_counts")


def keeper_key(unacked_key: str) -> str:
    """Names the worker that brings messages back, for as long as it lives."""
    return f"{unacked_key}_delayed_keeper"


def has_keeper(connection: RedisConnection, layout: KeyLayout) -> bool:
    """Whether a worker lives that brings messages back."""
    return bool(connection.execute("EXISTS", keeper_key(layout.unacked_key)))


def has_mover(connection: RedisConnection, layout: KeyLayout) -> bool:
    """Whether a worker lives that moves messages here: each of those takes the place of a keeper that does not."""
    keeper = connection.execute("GET", keeper_key(layout.unacked_key))
    return bool(keeper) and not keeper.startswith(ONLY_RETURNS.encode())


def count(connection: RedisConnection, layout: KeyLayout) -> dict[str, int]:
    """How many messages of each queue wait for their time."""
    counts: dict[str, int] = {}
    try:
        flat = connection.execute("HGETALL", delayed_keys(layout.unacked_key).counts)
    except RedisReplyError:  # this user may not look there
        return {}
    for key, number in zip(flat[::2], flat[1::2], strict=True):
        queue = layout.queue_of_list(key.decode())
        counts[queue] = counts.get(queue, 0) + int(number)
    return counts


def find(connection: RedisConnection, layout: KeyLayout, ids: Sequence[str]) -> list[StoredMessage]:
    """The messages of the jobs of these ids."""
    keys = delayed_keys(layout.unacked_key)
    try:
        return find_by(connection.execute, keys, ids)
    except RedisReplyError:  # this user may not look there
        return []


def find_by(execute: Callable[..., Any], keys: DelayedKeys, ids: Sequence[str]) -> list[StoredMessage]:
    """As above, by whatever executes a command; these are the keys as they are on the server."""
    messages: list[StoredMessage] = []
    for start in range(0, len(ids), MESSAGES_PER_CALL):
        chunk = ids[start : start + MESSAGES_PER_CALL]
        found = execute("EVAL", FIND, len(keys), *keys, *chunk)
        read = (_stored_message(name, value) for name, value in zip(found[::2], found[1::2], strict=True))
        messages += [stored for stored in read if stored.job_id in chunk]  # other ids may begin alike
    return messages


def scan(connection: RedisConnection, layout: KeyLayout, queue: str) -> Iterator[StoredMessage]:
    """The messages of a queue that wait for their time, as long as the connection has time."""
    cursor: bytes | str = "0"
    while has_time_left(connection):
        words = ("HSCAN", delayed_keys(layout.unacked_key).messages, cursor, "COUNT", MESSAGES_PER_CALL)
        cursor, flat = connection.execute(*words)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            stored = _stored_message(name, value)
            if layout.queue_of_list(stored.key) == queue:
                yield stored
        if cursor == b"0":
            return


def move(connection: RedisConnection, layout: KeyLayout, target_key: str, names: Sequence[str]) -> int:
    """Moves messages to the end of a list, unless they were moved meanwhile. Returns how many."""
    return _move(connection, layout, "RPUSH", [(name, target_key) for name in names])


def remove(connection: RedisConnection, layout: KeyLayout, name: str) -> bool:
    """Removes one message. True when it still waited."""
    return bool(_move(connection, layout, "RPUSH", [(name, "")]))


def restore(connection: RedisConnection, layout: KeyLayout) -> int:
    """Puts some messages back into their queues, in the order in which they are due. Returns how many.

    Those whose time has come are taken next, the others after all that lies there.
    """
    keys, now = delayed_keys(layout.unacked_key), float(connection.execute("TIME")[0])
    flat = connection.execute("ZRANGE", keys.due, 0, MESSAGES_PER_CALL - 1, "WITHSCORES")
    names, due_times = flat[::2], [float(due_time) for due_time in flat[1::2]]
    values = connection.execute("HMGET", keys.messages, *names) if names else []
    stored = [_stored_message(name, value) for name, value in zip(names, values, strict=True)]
    moves, due_count = [(message.name, message.key) for message in stored], bisect_right(due_times, now)
    moved = _move(connection, layout, "RPUSH", moves[:due_count][::-1])
    return moved + _move(connection, layout, "LPUSH", moves[due_count:])


def find_overdue(connection: RedisConnection, layout: KeyLayout) -> OverdueDelays:
    due = delayed_keys(layout.unacked_key).due
    now = float(connection.execute("TIME")[0])
    first = connection.execute("ZRANGE", due, 0, 0, "WITHSCORES")
    return OverdueDelays(
        count=int(connection.execute("ZCOUNT", due, "-inf", now - OVERDUE_S)),
        seconds=max(0.0, now - float(first[1])) if first else 0.0,
        has_keeper=has_keeper(connection, layout),
    )


def move_arguments(push: str, moves: Sequence[tuple[str, str]]) -> tuple[list[str], list[str | int]]:
    """The lists and the arguments of MOVE for these names of messages with the lists that they go to."""
    targets = sorted({target for _, target in moves if target})
    numbers = {target: number for number, target in enumerate(targets, 1)}
    return targets, [push, *(word for name, target in moves for word in (name, numbers.get(target, 0)))]


def _move(connection: RedisConnection, layout: KeyLayout, push: str, moves: Sequence[tuple[str, str]]) -> int:
    if not moves:
        return 0
    targets, arguments = move_arguments(push, moves)
    keys = (*delayed_keys(layout.unacked_key), *targets)
    return int(connection.execute("EVAL", MOVE, len(keys), *keys, *arguments))


def _stored_message(name: bytes, value: bytes | None) -> StoredMessage:
    head, _, raw = (value or b'["",""]\n').partition(b"\n")
    key, job_id = msgspec.json.decode(head, type=tuple[str, str])
    return StoredMessage(name=name.decode(), key=key, job_id=job_id, raw=raw)


def head_of(key: str, job_id: str) -> bytes:
    """How a value begins, before a line feed: the list and the job of its message."""
    return msgspec.json.encode((key, job_id))
