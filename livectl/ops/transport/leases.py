"""Leases on the messages that a worker holds on Redis: a dead worker's are back in their queue within seconds.

kombu notes what a worker holds in `unacked`, and gives it back after the visibility timeout: an hour after its worker
died, and also while a longer job still runs. Here each message that is held has a lease besides, in the sorted set
`unacked_leases`, which its worker renews. Whoever finds one that ran out puts the message back. The keys of kombu stay
as they are, so that stock workers may share the broker.
"""

from __future__ import annotations

import _thread
import logging
import sys
import time
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

log = logging.getLogger(__name__)

LEASE_S = 8.0
RENEW_INTERVAL_S = 1.5
SWEEP_INTERVAL_S = 2.0
MAX_SWEPT = 200  # messages put back in one go
TAGS_PER_CALL = 1_000

# KEYS: leases, index of kombu. ARGV: seconds of a lease, age from which kombu's own note is renewed, tags.
# A lease that is gone was swept or acknowledged: it is not made anew.
RENEW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for i = 3, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
    local noted = redis.call('ZSCORE', KEYS[2], ARGV[i])
    if noted and now - noted > tonumber(ARGV[2]) then redis.call('ZADD', KEYS[2], now, ARGV[i]) end
  end
end
return tostring(now)
"""

# Begins the tag of what was taken and has none that can be read: a name, a number and its list follow.
UNREAD = "unread:"

# KEYS: messages that are held, their index, their leases, the list. ARGV: tag.
RESTORE_UNREAD = """
local note = redis.call('HGET', KEYS[1], ARGV[1])
if note then redis.call('RPUSH', KEYS[4], cjson.decode(note)[1]) end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
"""


class LeasedQoS(kombu_redis.QoS):  # type: ignore[misc]
    """kombu's QoS of Redis: what is held is leased in the step that notes it."""

    clock_offset_s = 0.0  # of the server, ahead of this machine
    taken_at = 0.0  # when this process last took a message, on its monotonic clock
    # What the broker could not be told, since it was away: of which messages the jobs have ended, and which were taken.
    unsent_acks: ClassVar[set[str]] = set()
    unnoted: ClassVar[dict[str, tuple[Any, str, str]]] = {}

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
            self.unnoted[delivery_tag] = whole  # it is nowhere else
            raise

    def ack(self, delivery_tag: str) -> None:
        """Frees its place in any case: a consumer that could take nothing would not notice that its broker is away."""
        try:
            self._remove_from_indices(delivery_tag).execute()
        except self.channel.connection_errors:
            self.unsent_acks.add(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

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
        name = str(bytes_to_str(tag))
        if not name.startswith(UNREAD):
            super().restore_by_tag(name, client, leftmost)
            return
        list_key = name.split(":", 3)[3]
        with self.channel.conn_or_acquire(client) as server:
            execute(server, "EVAL", RESTORE_UNREAD, 4, *held_keys(self.channel), list_key, name)


def leases_key(channel: Any) -> str:
    return f"{channel.unacked_key}_leases"


def held_keys(channel: Any) -> tuple[str, str, str]:
    """Of the messages that are held, their index and their leases, as they are on the server."""
    prefix, names = channel.global_keyprefix, (channel.unacked_key, channel.unacked_index_key, leases_key(channel))
    messages, index, lease = (prefix + name for name in names)
    return messages, index, lease


class LeaseKeeper:
    """Renews the leases of one worker in a thread of its own, so that no job that blocks everything else loses its own.

    The thread has its own connection, and is a real one where a green pool has replaced threads. `look` is called with
    it each time that the leases were renewed. So is `bring_back`, with the channel too, and again each time when the
    seconds are over that it returned.
    """

    def __init__(
        self,
        open_client: Callable[[], redis.Redis],
        look: Callable[[redis.Redis], object] = lambda client: None,
        bring_back: Callable[[redis.Redis, Any], float] = lambda client, channel: RENEW_INTERVAL_S,
    ) -> None:
        self._open_client = open_client
        self._look = look
        self._bring_back = bring_back
        self._unread: list[tuple[str, bytes]] = []
        self._channel: Any = None
        self._held_elsewhere: Callable[[], Iterable[str]] = tuple

    def keep(self, channel: Any, held_elsewhere: Callable[[], Iterable[str]]) -> None:
        """Renews what this channel holds from now on, and what running jobs hold of earlier ones.

        What the channel before it held and no job runs for is put back in its queue at once.
        """
        before = self._channel
        self._channel, self._held_elsewhere = channel, held_elsewhere
        if before is None:
            _start_native_thread(self._renew_for_ever)
            return
        if before.unread:
            self._unread.append(before.unread)
        kept = {*held_elsewhere(), *LeasedQoS.unsent_acks}
        give_back(channel, [tag for tag in list(before.qos._delivered) if tag not in kept], self._unread)

    def _renew_for_ever(self) -> None:
        client = self._open_client()
        while True:
            try:
                self.renew(client)
                self._look(client)
            except (RedisError, OSError) as error:
                log.debug("leases were not renewed: %s", error)
            except RuntimeError:  # a dict that changed while it was read: once more
                continue
            end = time.monotonic() + RENEW_INTERVAL_S
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, self._bring_back(client, self._channel)))

    def renew(self, client: redis.Redis) -> None:
        """Renews all leases of this worker once, after it has told the broker of the jobs that ended meanwhile."""
        channel = self._channel
        messages, index, lease = held_keys(channel)
        if ended := list(LeasedQoS.unsent_acks):
            pipe = client.pipeline()
            pipe.zrem(lease, *ended)
            pipe.zrem(index, *ended)
            pipe.hdel(messages, *ended)
            pipe.execute()
            LeasedQoS.unsent_acks.difference_update(ended)
        tags = [*dict.fromkeys((*list(channel.qos._delivered), *self._held_elsewhere()))]
        for start in range(0, max(1, len(tags)), TAGS_PER_CALL):
            chunk = tags[start : start + TAGS_PER_CALL]
            now: Any = client.eval(RENEW, 2, lease, index, LEASE_S, channel.visibility_timeout / 4, *chunk)
            LeasedQoS.clock_offset_s = float(now) - time.time()


def _start_native_thread(run: Callable[[], None]) -> None:
    start = _thread.start_new_thread
    if "gevent.monkey" in sys.modules:
        start = sys.modules["gevent.monkey"].get_original("_thread", "start_new_thread")
    elif "eventlet.patcher" in sys.modules:
        start = sys.modules["eventlet.patcher"].original("_thread").start_new_thread
    start(run, ())


def give_back(channel: Any, tags: Sequence[str], unread: list[tuple[str, bytes]]) -> None:
    """Puts messages back that an earlier channel of this process held, and those it took and could not note."""
    with channel.conn_or_acquire() as client:
        while unread:
            client.rpush(*unread[-1])
            unread.pop()
        for tag in reversed(tags):  # each one before those that came after it
            channel.qos.restore_by_tag(tag, client)
        for tag, (raw, exchange, routing_key) in list(LeasedQoS.unnoted.items()):
            pipe = client.pipeline()
            channel.qos._remove_from_indices(tag, pipe)  # it was noted after all if only the answer was lost
            channel._do_restore_message(raw, exchange, routing_key, pipe)
            pipe.execute()
            LeasedQoS.unnoted.pop(tag, None)


def sweep(channel: Any) -> int:
    """Puts back what workers held whose leases ran out. Returns how many messages."""
    now = time.time() + LeasedQoS.clock_offset_s
    _, _, lease = held_keys(channel)
    with channel.conn_or_acquire() as client:
        tags = execute(client, "ZRANGE", lease, "-inf", str(now), "BYSCORE", "LIMIT", 0, MAX_SWEPT)
        for tag in tags:
            channel.qos.restore_by_tag(tag, client)
    return len(tags)


def execute(client: redis.Redis, *words: Any) -> Any:
    """Past kombu's client, which gives the prefix of an app to some keys of some commands only."""
    return redis.Redis.execute_command(client, *words)  # type: ignore[no-untyped-call]
