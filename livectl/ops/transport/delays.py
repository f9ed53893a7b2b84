"""Keeps jobs that wait for their time in the store, and in no worker: a million of them fill nobody's memory.

A worker that takes a message whose ETA is further away than a moment moves it to a set of the broker's, in one step in
which it is held no more. One worker of those that live, the keeper, brings what is due back into the list that it came
from, to be taken next; when that worker dies, another one does. Times are those of the server's clock.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cache, partial
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from celery.utils.log import get_logger
from celery.worker import state
from kombu.transport import virtual
from kombu.utils.json import loads
from redis.exceptions import RedisError, ResponseError

from livectl import redis_client
from livectl.ops.protocol import delayed, message
from livectl.ops.transport.broker_memory import LEASE_S
from livectl.ops.transport.leases import LeasedQoS, execute, held_keys, queue_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from redis import Redis

logger = get_logger(__name__)

# A job that is due sooner stays with its worker. Longer than the keeper looks away (the interval of renewals), so that
# it knows of each that comes in time to bring it back in the moment.
MIN_DELAY_S = 2.0
KEEPER_TTL_MS = 2_500  # then another worker takes over
MIN_PAUSE_S = 0.05  # between two looks at what is due, so that a dense row of due times costs little

DELAY = delayed.MOVE_TO_DELAYED + "return delay(unpack(ARGV))"

# KEYS: keeper, due times, messages. ARGV: this worker, how long it then is the keeper, how many messages at most, how
# the names of those begin that give way to one that moves messages here as well.
# Returns seconds until the next is due, or none where that is not its matter; then name and list of those due in turn.
LOOK = """
local keeper = redis.call('GET', KEYS[1])
local returns = ARGV[4]
if keeper and keeper ~= ARGV[1] then
  local is_over = string.sub(keeper, 1, #returns) == returns and string.sub(ARGV[1], 1, #returns) ~= returns
  if not is_over then return {''} end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local due = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[3])
local found = {''}
if #due == tonumber(ARGV[3]) then
  found[1] = '0'
else
  local next = redis.call('ZRANGE', KEYS[2], '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if next[2] then found[1] = tostring(next[2] - now) end
end
for _, name in ipairs(due) do
  local value = redis.call('HGET', KEYS[3], name) or ''
  local is_read, head = pcall(cjson.decode, string.sub(value, 1, (string.find(value, '\\n', 1, true) or 0) - 1))
  found[#found + 1] = name
  found[#found + 1] = is_read and type(head) == 'table' and head[1] or ''
end
return found
"""

# KEYS: due times, messages, ids, counts of those that wait; messages that are held, their index, their leases.
# ARGV: name, tag, seconds of a lease, queue.
HOLD = (
    delayed.READ
    + """
local text, list, id = read(ARGV[1])
if not text then return 0 end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('HSET', KEYS[5], ARGV[2], '[' .. text .. ',"",' .. cjson.encode(ARGV[4]) .. ']')
redis.call('ZADD', KEYS[6], now, ARGV[2])
redis.call('ZADD', KEYS[7], now + ARGV[3], ARGV[2])
forget(ARGV[1], list, id)
return 1
"""
)


def clock_offset(channel: Any) -> float:
    """Seconds that the server's clock is ahead of this machine's."""
    try:
        with channel.conn_or_acquire() as client:
            seconds, microseconds = client.time()
    except ResponseError:  # this user may not ask
        return LeasedQoS.clock_offset_s
    return float(seconds + microseconds / 1_000_000 - time.time())


def due_time(headers: dict[str, Any]) -> datetime | None:
    """When a job may begin, if that is further away than a moment and nothing is to be done with it before."""
    now = time.time() + LeasedQoS.clock_offset_s
    eta, expires = (message.parse_time(headers.get(name)) for name in ("eta", "expires"))
    if eta is None or eta.timestamp() - now < MIN_DELAY_S or headers["id"] in state.revoked:
        return None
    return None if expires and expires.timestamp() <= now else eta


def delay(held: Any, headers: dict[str, Any], due: datetime, at_least_s: float = MIN_DELAY_S) -> bool:
    """Moves a message that this worker holds to those that wait. False where it has to wait with the worker."""
    channel, facts = held.channel, facts_of(held, headers["id"])
    if facts is None:
        return False
    keys = (*held_keys(channel), *delayed.delayed_keys(_unacked_key(channel)))
    list_key, tag, head, queue = facts
    what = (tag, due.timestamp(), at_least_s, list_key, headers["id"], head, queue)
    try:
        moved = execute(channel.qos._client, "EVAL", DELAY, len(keys), *keys, *what)
    except ResponseError as error:
        _warn_once(f"jobs wait for their time in this worker and not in the store, which refuses them: {error}")
        return False
    if moved < 0:
        return False
    forget(held)
    return True


def forget(held: Any) -> None:
    """This worker has a message no more, which waits."""
    virtual.QoS.ack(held.channel.qos, held.delivery_tag)
    held._state = "ACK"


def facts_of(held: Any, job_id: str) -> tuple[str, str, bytes, str] | None:
    """List, tag, head and queue of a message that this worker holds, as the script is told of it."""
    list_key = getattr(held, "taken_from", "")
    if not list_key:  # fanned out, or taken in the way of kombu
        return None
    return list_key, str(held.delivery_tag), delayed.head_of(list_key, job_id), queue_of(held.channel, list_key)


class BrokerPlace(NamedTuple):
    """Where a worker takes messages from: of which it holds some, and some wait."""

    held: Sequence[str]
    delayed: Sequence[str]
    prefix: str  # of lists
    separator: str  # before their priority
    queues: Sequence[str]  # from which this worker takes

    @classmethod
    def of_channel(cls, channel: Any) -> BrokerPlace:
        delayed_keys = delayed.delayed_keys(_unacked_key(channel))
        queues = [*channel._active_queues]
        return cls(held_keys(channel), delayed_keys, channel.global_keyprefix, channel.sep, queues)


def is_in_database(channel: Any, store: Redis) -> bool:
    """Whether the broker is the same server and database as another client's, whatever their addresses call it."""
    client = channel.qos._client
    if not redis_client.is_one_server(store):
        return False
    names = [one.connection_pool.connection_kwargs.get("db") or 0 for one in (client, store)]
    try:
        return names[0] == names[1] and client.info("server")["run_id"] == store.info("server")["run_id"]
    except ResponseError:  # this user may not ask
        return False


def wake(client: Any, channel: Any, jobs: Sequence[tuple[str, str]]) -> list[str]:
    """Brings jobs that wait back into these lists before their time, the first to be taken first.

    Returns the ids of those that do not wait.
    """
    keys = delayed.delayed_keys(_unacked_key(channel))
    lists = sorted({list_key for _, list_key in jobs})
    words = [word for job_id, list_key in reversed(jobs) for word in (job_id, lists.index(list_key) + 1)]
    missed = execute(client, "EVAL", delayed.WAKE, len(keys) + len(lists), *keys, *lists, *words)
    return [job_id.decode() if isinstance(job_id, bytes) else str(job_id) for job_id in missed]


@cache
def _warn_once(problem: str) -> None:
    logger.warning(problem)


def take_revoked(channel: Any, ids: Sequence[str], is_known: Callable[[Any], bool]) -> list[Any]:
    """Takes the messages of these jobs, as far as their tasks are known here, and holds them from then on."""
    keys = delayed.delayed_keys(_unacked_key(channel))
    client, taken = channel.qos._client, []
    for stored in delayed.find_by(partial(execute, client), keys, ids):
        held = channel.Message(loads(stored.raw.decode()), channel=channel)
        if not is_known(held):
            continue
        what = (stored.name, held.delivery_tag, LEASE_S, queue_of(channel, stored.key))
        if execute(client, "EVAL", HOLD, len(keys) + 3, *keys, *held_keys(channel), *what):
            channel.taken_tag, channel.taken_from = held.delivery_tag, stored.key
            channel.qos.append(held, held.delivery_tag)
            taken.append(held)
    return taken


class DelayKeeper:
    """Brings back what is due, as long as this worker is the keeper."""

    def __init__(self, *, only_returns: bool = False) -> None:
        """Only returns: the worker moves no messages to the store itself."""
        self._name = delayed.ONLY_RETURNS * only_returns + str(uuid4())

    def bring_back(self, client: Redis, channel: Any) -> float:
        """Brings back some of what is due. Returns for how many seconds there is nothing more to do."""
        unacked = _unacked_key(channel)
        keys = delayed.delayed_keys(unacked)
        with suppress(RedisError, OSError, ValueError):  # the thread that renews leases calls it, and may not end
            wait, *flat = client.eval(
                LOOK,
                3,
                delayed.keeper_key(unacked),
                keys.due,
                keys.messages,
                self._name,
                str(KEEPER_TTL_MS),
                str(delayed.MESSAGES_PER_CALL),
                delayed.ONLY_RETURNS,
            )
            if moves := list(zip(flat[::2], flat[1::2], strict=True))[::-1]:  # the first is then taken next
                targets, arguments = delayed.move_arguments("RPUSH", moves)
                client.eval(delayed.MOVE, len(keys) + len(targets), *keys, *targets, *map(str, arguments))
            return max(float(wait), MIN_PAUSE_S if float(wait) else 0) if wait else inf
        return inf


def _unacked_key(channel: Any) -> str:
    return held_keys(channel)[0]
