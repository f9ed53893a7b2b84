"""Leases on the messages that a worker holds on Redis: a dead worker's are back in their queue within seconds.

kombu notes what a worker holds in `unacked`, and gives it back after the visibility timeout: an hour after its worker
died, and also while a longer job still runs. Here each message that is held has a lease besides, in the sorted set
`unacked_leases`, which its worker renews. Whoever finds one that ran out puts the message back. The keys of kombu stay
as they are, so that stock workers may share the broker, and what a dead stock worker held, which has no lease, is put
back after the visibility timeout as kombu would: without its mutex, which a sweeper that dies keeps for minutes.
"""

from __future__ import annotations

import _thread
import logging
import sys
import time
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from livectl.ops.transport import broker_memory
from livectl.ops.transport.broker_memory import LEASE_S, RENEW_INTERVAL_S
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

log = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 2.0
MAX_SWEPT = 200  # messages put back in one go
TAGS_PER_CALL = 1_000
REPLY_TIMEOUT_S = 4.0  # of the connection that renews: half a lease
SURE_S = LEASE_S - 1.0  # since it was last renewed, a lease lasts
END_LOOK_S = 0.01  # between two looks whether the thread has ended
OWN_REFERENCES = 2  # to a message: its place in the table of what is held, and the call that counts
ACK_S = 0.05  # until what the broker was told is known here

# KEYS: leases, index of kombu. ARGV: seconds of a lease, age from which kombu's own note is renewed, tags.
# A lease that is gone was swept or acknowledged: it is not made anew. Returns the time, and those tags.
RENEW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local answer = {tostring(now)}
for i = 3, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
    local noted = redis.call('ZSCORE', KEYS[2], ARGV[i])
    if noted and now - noted > tonumber(ARGV[2]) then redis.call('ZADD', KEYS[2], now, ARGV[i]) end
  else answer[#answer + 1] = ARGV[i] end
end
return answer
"""

# Begins the tag of what was taken and has none that can be read: a name, a number and its list follow.
UNREAD = "unread:"

# KEYS: index, leases. ARGV: visibility timeout, how many at most. What a lease covers is left to its lease.
FIND_OVERDUE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local tags = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, tag in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1], 'LIMIT', 0, ARGV[2])) do
  if not redis.call('ZSCORE', KEYS[2], tag) then tags[#tags + 1] = tag end
end
return tags
"""

# KEYS: messages that are held, their index, their leases, the lists to put it into.
# ARGV: tag, the note as it was read, side of the lists, visibility timeout or nothing, the message for each list, or
# nothing for one that was no JSON: Lua keeps its bytes.
# With a timeout nothing is done to what is not overdue any more. Returns whether the note was still the same.
RESTORE = """
local note = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[4] ~= '' then
  local time = redis.call('TIME')
  local now = time[1] + time[2] / 1000000
  local lease, noted = redis.call('ZSCORE', KEYS[3], ARGV[1]), redis.call('ZSCORE', KEYS[2], ARGV[1])
  if tonumber(lease or noted and noted + ARGV[4] or 0) > now then return 1 end
end
if note and note ~= ARGV[2] then return 0 end
for i = 4, note and #KEYS or 0 do
  redis.call(ARGV[3], KEYS[i], ARGV[i + 1] ~= '' and ARGV[i + 1] or cjson.decode(note)[1])
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
"""


class LeasedQoS(kombu_redis.QoS):  # type: ignore[misc]
    """kombu's QoS of Redis: what is held is leased in the step that notes it."""

    clock_offset_s = 0.0  # of the server, ahead of this machine
    _swept_at = float("-inf")
    taken_at = 0.0  # when this process last took a message, on its monotonic clock

    def __init__(self, channel: Any, *args: Any, **options: Any) -> None:
        super().__init__(channel, *args, **options)
        self.memory = broker_memory.of(channel, *held_keys(channel))

    @cached_property
    def _client(self) -> Any:
        """kombu makes a client for each call, which costs more than the call."""
        return self.channel._create_client()

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        yield (client or self._client).pipeline() if pipe is None else pipe  # an empty one is false

    def append(self, message: Any, delivery_tag: str) -> None:
        LeasedQoS.taken_at = time.monotonic()
        if delivery_tag == getattr(self.channel, "taken_tag", None):
            message.taken_from, self.channel.taken_tag = self.channel.taken_from, None
        else:
            self._note(message, delivery_tag)
        virtual.QoS.append(self, message, delivery_tag)

    def _note(self, message: Any, delivery_tag: str) -> None:
        delivery, now = message.delivery_info, time.time()
        whole = (message._raw, delivery["exchange"], delivery["routing_key"])
        try:
            with self.pipe_or_acquire() as pipe:
                pipe.zadd(self.unacked_index_key, {delivery_tag: now})
                pipe.hset(self.unacked_key, delivery_tag, dumps(whole))
                pipe.zadd(leases_key(self.channel), {delivery_tag: now + self.clock_offset_s + LEASE_S})
                pipe.execute()
        except self.channel.connection_errors:
            self.memory.unnoted[delivery_tag] = whole  # it is nowhere else
            raise

    def ack(self, delivery_tag: str) -> None:
        """Frees its place in any case: a consumer that could take nothing would not notice that its broker is away."""
        try:
            self._remove_from_indices(delivery_tag).execute()
        except self.channel.connection_errors:
            self.memory.unsent_acks.add(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def unclaimed(self) -> set[str]:
        """What is held, and whose message nobody has but this table: no one is left who could acknowledge it."""
        held = [tag for tag in list(self._delivered) if tag not in self._dirty]
        return {
            tag for tag in held if tag in self._delivered and sys.getrefcount(self._delivered[tag]) <= OWN_REFERENCES
        }

    def settle(self, delivery_tag: str) -> None:
        """Acknowledges what another process holds, or held."""
        self._remove_from_indices(delivery_tag).execute()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        if not requeue:
            self.ack(delivery_tag)
            return
        try:
            self.restore_by_tag(delivery_tag, client=self._client, leftmost=True)
        except self.channel.connection_errors as error:  # it is put back when its lease has run out
            log.debug("a message could not be put back yet: %s", error)
        virtual.QoS.ack(self, delivery_tag)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        return super()._remove_from_indices(delivery_tag, pipe).zrem(leases_key(self.channel), delivery_tag)

    def restore_by_tag(self, tag: str | bytes, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002
        restore(self.channel, [tag], "LPUSH" if leftmost else "RPUSH", client=client)

    def restore_unacked(self, client: Any = None) -> None:
        restore(self.channel, [*reversed(self._delivered)], client=client)  # each before those that came after it
        self._delivered.clear()

    def restore_visible(self, start: int = 0, num: int | None = None, interval: int = 0) -> None:
        """What kombu calls from time to time: puts back what nobody holds any more."""
        now = time.monotonic()
        if now - self._swept_at < SWEEP_INTERVAL_S / 2 or not self.memory.may_sweep(now):
            return
        self._swept_at = now
        try:
            number = sweep(self.channel)
        except (RedisError, OSError) as error:  # the loop finds out by itself
            log.debug("could not look for what dead workers held: %s", error)
            return
        if number:
            log.warning("%s held by a worker that is gone: back in its queue", format_count(number, "message"))


def leases_key(channel: Any) -> str:
    return f"{channel.unacked_key}_leases"


def held_keys(channel: Any) -> tuple[str, str, str]:
    """Of the messages that are held, their index and their leases, as they are on the server."""
    prefix, names = channel.global_keyprefix, (channel.unacked_key, channel.unacked_index_key, leases_key(channel))
    messages, index, lease = (prefix + name for name in names)
    return messages, index, lease


def held_by_worker() -> list[str]:
    """What the jobs hold that run in this process' pool, also those of a connection that was lost."""
    state = sys.modules.get("celery.worker.state")
    while state is not None:
        with suppress(RuntimeError):  # a set that another thread changed while it was read
            return [request.message.delivery_tag for request in state.active_requests]
    return []


class LeaseKeeper:
    """Renews the leases of a worker in a thread of its own, so that no job that blocks everything else loses its own.

    The thread has its own connection, and is a real one where a green pool has replaced threads. `look` is called with
    it each time that the leases were renewed. So is `bring_back`, with the channel too, and again each time when the
    seconds are over that it returned. The thread ends with the last channel, unless it is to last.
    """

    def __init__(
        self,
        held_elsewhere: Callable[[], Iterable[str]] = tuple,
        look: Callable[[redis.Redis], object] = lambda client: None,
        bring_back: Callable[[redis.Redis, Any], float] = lambda client, channel: RENEW_INTERVAL_S,
        *,
        lasts: bool = False,
    ) -> None:
        self._held_elsewhere = held_elsewhere
        self._look = look
        self._bring_back = bring_back
        self._lasts = lasts
        self._unread: list[tuple[str, bytes]] = []
        self._channels: list[Any] = []
        self._is_running = False
        self._has_ended = False
        self._bell = _native_threads("allocate_lock")()  # it is released to wake the thread
        self._bell.acquire()
        self._renewed_at = self._kept_at = time.monotonic()
        self.lost: frozenset[str] = frozenset()  # tags whose leases ran out: others may have them

    @property
    def is_fresh(self) -> bool:
        """Whether all leases were renewed not long ago. If not, what is lost is not known yet."""
        return time.monotonic() - self._renewed_at < SURE_S

    @property
    def is_sure(self) -> bool:
        """Whether all that waits in this process is known to be its own."""
        if time.monotonic() - max(self._renewed_at, self._kept_at) >= SURE_S:
            return False
        return not self.lost or not self.lost & self._held() - {*self._held_elsewhere()}

    def _held(self) -> set[str]:
        """Of what this worker took, all that it has not acknowledged."""
        return {tag for known in self._channels for tag in known.qos._delivered.keys() - known.qos._dirty}

    def keep(self, channel: Any) -> None:
        """Renews what this channel holds from now on, and what running jobs hold of earlier ones.

        What an earlier channel held that has lost its broker, and no job runs for, is put back in its queue at once.
        """
        if channel in self._channels:
            return
        lost = [before for before in self._channels if before.closed]
        self._channels = [*(before for before in self._channels if not before.closed), channel]
        self._kept_at = time.monotonic()
        if not self._is_running:
            self._is_running = True
            client = open_client(channel)
            _start_native_thread(lambda: self._renew_while_open(client))
        kept = {*self._held_elsewhere(), *channel.qos.memory.unsent_acks}
        self._unread += [before.unread for before in lost if before.unread]
        give_back(channel, [tag for before in lost for tag in before.qos._delivered if tag not in kept], self._unread)

    def end(self) -> None:
        """Ends the thread, with its worker: one that still runs while the interpreter ends may take it down."""
        self._has_ended = True
        if self._is_running:
            self._bell.release()
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        while self._is_running and time.monotonic() < deadline:
            time.sleep(END_LOOK_S)

    def _goes_on(self) -> bool:
        return not self._has_ended and (self._lasts or not all(channel.closed for channel in self._channels))

    def _renew_while_open(self, client: redis.Redis) -> None:
        while self._goes_on():
            try:
                self.renew(client)
                self._look(client)
            except (RedisError, OSError) as error:
                log.debug("leases were not renewed: %s", error)
            except RuntimeError:  # a dict that changed while it was read: once more
                continue
            end = time.monotonic() + RENEW_INTERVAL_S
            while (left := end - time.monotonic()) > 0 and not self._has_ended:
                self._bell.acquire(timeout=max(0.0, min(left, self._bring_back(client, self._channels[-1]))))
        self._is_running = False
        client.connection_pool.disconnect()

    def renew(self, client: redis.Redis) -> None:
        """Renews all leases of this worker once, after it has told the broker of the jobs that ended meanwhile."""
        channel = self._channels[-1]
        messages, index, lease = held_keys(channel)
        memory = channel.qos.memory
        if ended := list(memory.unsent_acks):
            pipe = client.pipeline()
            pipe.zrem(lease, *ended)
            pipe.zrem(index, *ended)
            pipe.hdel(messages, *ended)
            pipe.execute()
            memory.unsent_acks.difference_update(ended)
        held = [tag for known in self._channels for tag in list(known.qos._delivered) if tag not in known.qos._dirty]
        tags = [*dict.fromkeys((*held, *self._held_elsewhere()))]
        asked_at, gone = time.monotonic(), []
        for start in range(0, max(1, len(tags)), TAGS_PER_CALL):
            chunk = tags[start : start + TAGS_PER_CALL]
            answer: Any = client.eval(RENEW, 2, lease, index, LEASE_S, channel.visibility_timeout / 4, *chunk)
            LeasedQoS.clock_offset_s = float(answer[0]) - time.time()
            gone += answer[1:]
        self.lost = self._still_held(gone) if gone else frozenset()
        self._renewed_at = asked_at
        memory.note_renewal(time.monotonic())

    def _still_held(self, tags: list[str]) -> frozenset[str]:
        """Without those that were acknowledged in this very moment."""
        time.sleep(ACK_S)
        return frozenset(tags) & {*self._held(), *self._held_elsewhere()}


def _start_native_thread(run: Callable[[], None]) -> None:
    _native_threads("start_new_thread")(run, ())


def _native_threads(name: str) -> Any:
    """What Python's own `_thread` has under this name, also where a green pool has put its own in its place."""
    if "gevent.monkey" in sys.modules:
        return sys.modules["gevent.monkey"].get_original("_thread", name)
    if "eventlet.patcher" in sys.modules:
        return getattr(sys.modules["eventlet.patcher"].original("_thread"), name)
    return getattr(_thread, name)


def open_client(channel: Any) -> redis.Redis:
    """A client of this channel's server with connections of its own, which waits no longer than a lease lasts."""
    before = getattr(channel, "_sentinel_manager", None)
    pool = channel._get_pool()
    if before is not None:
        channel._sentinel_manager = before  # which it closes when it ends
    timeouts = {"socket_timeout": REPLY_TIMEOUT_S, "socket_connect_timeout": REPLY_TIMEOUT_S}
    pool.connection_kwargs.update(timeouts, retry=Retry(NoBackoff(), 0), decode_responses=True)
    return redis.Redis(connection_pool=pool)


def give_back(channel: Any, tags: Sequence[str], unread: list[tuple[str, bytes]]) -> None:
    """Puts messages back that an earlier channel of this process held, and those it took and could not note."""
    with channel.conn_or_acquire() as client:
        while unread:
            client.rpush(*unread[-1])
            unread.pop()
        restore(channel, [*reversed(tags)], client=client)  # each one before those that came after it
        for tag, (raw, exchange, routing_key) in list(channel.qos.memory.unnoted.items()):
            pipe = client.pipeline()
            channel.qos._remove_from_indices(tag, pipe)  # it was noted after all if only the answer was lost
            channel._do_restore_message(raw, exchange, routing_key, pipe)
            pipe.execute()
            channel.qos.memory.unnoted.pop(tag, None)


def sweep(channel: Any) -> int:
    """Puts back what workers held whose leases ran out, and what stock workers held too long. Returns how many."""
    _, index, lease = held_keys(channel)
    timeout = channel.visibility_timeout
    with channel.conn_or_acquire() as client:
        tags = execute(client, "EVAL", FIND_OVERDUE, 2, index, lease, timeout, MAX_SWEPT)
        return restore(channel, tags, overdue_after_s=timeout, client=client) if tags else 0


def restore(
    channel: Any,
    tags: Sequence[str | bytes],
    command: str = "RPUSH",
    *,
    overdue_after_s: float | None = None,
    client: Any = None,
) -> int:
    """Puts back what is noted under these tags, and ends the notes, each in one step. Returns how many there were."""
    if not tags:
        return 0
    messages, *others = held_keys(channel)
    with channel.conn_or_acquire(client) as server:
        notes = execute(server, "HMGET", messages, *tags)
        pipe = redis.Redis(connection_pool=server.connection_pool).pipeline(transaction=False)
        for tag, note in zip(tags, notes, strict=True):
            pushes = _pushes(channel, str(bytes_to_str(tag)), note)
            lists, texts = [key for key, _ in pushes], [text for _, text in pushes]
            keys = (messages, *others, *lists)
            timeout = "" if overdue_after_s is None else overdue_after_s
            pipe.eval(RESTORE, len(keys), *keys, tag, note or "", command, timeout, *texts)
        replies = pipe.execute()
    changed = [tag for tag, is_done in zip(tags, replies, strict=True) if not is_done]
    restore(channel, changed, command, overdue_after_s=overdue_after_s, client=client)
    return sum(note is not None for note in notes)


def queue_of(channel: Any, list_key: str) -> str:
    """The queue that a list on the server belongs to."""
    return str(list_key[len(channel.global_keyprefix) :].split(channel.sep, 1)[0])


class _Pushes:
    """What kombu would put into lists, where it is asked to by a pipeline."""

    def __init__(self) -> None:
        self.pushes: list[tuple[str, str | bytes]] = []

    def rpush(self, key: str, text: str | bytes) -> None:
        self.pushes.append((key, text))


def _pushes(channel: Any, tag: str, note: bytes | None) -> list[tuple[str, str | bytes]]:
    """Lists and messages by which a note becomes a message again."""
    if note is None:
        return []
    if tag.startswith(UNREAD):
        return [(tag.split(":", 3)[3], "")]
    message, exchange, routing_key = loads(bytes_to_str(note))
    pipe = _Pushes()
    channel._do_restore_message(message, exchange, routing_key, pipe)
    if not pipe.pushes:  # of an exchange that nobody here has declared
        topic = channel.exchange_types["topic"]
        for queue in topic.lookup(channel.get_table(exchange), exchange, routing_key, None) or {routing_key}:
            channel._do_restore_message(message, "", queue, pipe)
    if not pipe.pushes:  # it has no place to say that it comes again; whoever takes it next makes it a dead letter
        pipe.rpush(routing_key, dumps(message))
    return [(channel.global_keyprefix + key, text) for key, text in pipe.pushes]


def execute(client: redis.Redis, *words: Any) -> Any:
    """Past kombu's client, which gives the prefix of an app to some keys of some commands only."""
    return redis.Redis.execute_command(client, *words)  # type: ignore[no-untyped-call]
