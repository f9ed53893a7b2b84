"""Takes a message off Redis and notes who holds it in one step, so that there is no moment at which it is nowhere.

kombu pops a message with BRPOP and notes it in `unacked` with its next command: a worker or a server that ends between
the two loses it. Here one script does both. Where the queues are empty the server is asked to tell of the next change
to their lists (`CLIENT TRACKING`): it is told of in the moment it happens, and no message is given away by telling.
The lists and notes are those of kombu, so that stock workers and senders may share the broker.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from hashlib import sha1
from itertools import count
from queue import Empty
from time import monotonic
from typing import Any
from uuid import uuid4

import msgspec
from kombu.transport.redis import MultiChannelPoller
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from livectl.ops.transport.broker_memory import LEASE_S
from livectl.ops.transport.leases import (
    RENEW,
    SWEEP_INTERVAL_S,
    UNREAD,
    LeaseKeeper,
    execute,
    held_by_worker,
    held_keys,
    queue_of,
)

log = logging.getLogger(__name__)

# KEYS: messages that are held, their index, their leases, lists in the order in which they are asked.
# ARGV: seconds of a lease, tag for a message that has none that can be read, length of the prefix, separator.
# The note names the queue that the message lay in, and no exchange: by that it would go back to all of its queues.
# What comes again has a tag of its own: of its former one somebody may speak yet who stood still for long.
# kombu gives the copies of a message for several queues one tag: who holds one already holds the next under another.
# To read lists that are empty is what makes the server tell of their next change. Of many workers that wait, all are
# told and one has it: the others are done with one command.
TAKE = """
if redis.call('EXISTS', unpack(KEYS, 4)) == 0 then return {} end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for i = 4, #KEYS do
  local item = redis.call('RPOP', KEYS[i])
  if item then
    local is_read, message = pcall(cjson.decode, item)
    local properties = is_read and type(message) == 'table' and message.properties
    local origin = type(properties) == 'table' and properties.delivery_info
    local tag, note = ARGV[2] .. KEYS[i], nil
    if type(origin) == 'table' and type(origin.exchange) == 'string' and type(origin.routing_key) == 'string'
        and type(properties.delivery_tag) == 'string' and string.find(properties.delivery_tag, '^[%w_.-]+$') then
      local queue = string.sub(KEYS[i], ARGV[3] + 1)
      queue = string.sub(queue, 1, (string.find(queue, ARGV[4], 1, true) or 0) - 1)
      tag = properties.delivery_tag
      if origin.redelivered then tag = tag .. '.' .. string.gsub(ARGV[2], '[^%w]', '-') end
      while redis.call('HEXISTS', KEYS[1], tag) == 1 do tag = tag .. '+' end
      note = '[' .. item .. ',"",' .. cjson.encode(queue) .. ']'
    end
    redis.call('HSET', KEYS[1], tag, note or ('[' .. cjson.encode(item) .. ',"",""]'))
    redis.call('ZADD', KEYS[2], now, tag)
    redis.call('ZADD', KEYS[3], now + ARGV[1], tag)
    return {KEYS[i], item, tag}
  end
end
return {}
"""

TAKE_HASH = sha1(TAKE.encode(), usedforsecurity=False).hexdigest()


OWN_NOTE = "transport: livectl's. What a worker that dies has taken is back in its queue within 10 s"
BRPOP_NOTE = (
    "transport: livectl's, but the broker cannot take and note in one step (%s): who is killed in between loses"
)
STOCK_NOTE = "transport: Celery's own, since %s"
_noted: set[str] = set()


def note(text: str, *reasons: str) -> None:
    """Says once in the life of a process which transport it has, and why not all of livectl's."""
    if text % reasons not in _noted:
        _noted.add(text % reasons)
        log.log(logging.WARNING if text == BRPOP_NOTE else logging.INFO, text, *reasons)


class TakingPoller(MultiChannelPoller):  # type: ignore[misc]
    """kombu's poller, which reads what was taken also where nothing more may be: it is held by now."""

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        self.maybe_restore_messages()  # kombu does it only where nothing came
        return super().get(callback, timeout)

    def on_poll_start(self) -> None:
        for channel in self._channels:
            channel.end_long_wait()
        super().on_poll_start()

    def on_readable(self, fileno: int) -> Any:
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        if kind == "BRPOP" and channel.takes:
            return channel.handlers[kind]()
        return super().on_readable(fileno)

    def _pause_brpop(self, channel: Any, fileno: int) -> None:
        if not channel.takes:
            super()._pause_brpop(channel, fileno)

    def _register(self, channel: Any, client: Any, type: str) -> None:  # noqa: A002 - kombu's name
        if type == "BRPOP":
            channel.prepare_to_take(client.connection)
        super()._register(channel, client, type)


class TakingTransport:
    """Mixed into kombu's transport of Redis."""

    lasting_keeper: LeaseKeeper | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = TakingPoller()
        self.keeper = self.lasting_keeper or self.make_keeper()

    def make_keeper(self) -> LeaseKeeper:
        return LeaseKeeper(held_by_worker)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)  # type: ignore[misc]
        loop.call_repeatedly(SWEEP_INTERVAL_S, self.cycle.maybe_restore_messages)


class TakingChannel:
    """Mixed into kombu's channel of Redis, in whose words BRPOP is whatever gets the next message."""

    takes = True  # False where the server lacks what is needed: then it is BRPOP
    taken_tag: str | None = None  # of the message that is being delivered, until somebody holds it
    taken_from = ""  # the list in which it lay
    set_aside: Any = None
    _is_waiting = False
    _told_sock: Any = None  # the socket on which the server tells of changes
    _is_script_known = False  # by the server
    has_leases = False  # whether what it takes is leased

    def __init__(self: Any, *args: Any, **options: Any) -> None:
        self._unread_tags = (f"{UNREAD}{uuid4()}:{number}:" for number in count())
        super().__init__(*args, **options)
        self.takes = self.ack_emulation

    def basic_consume(self: Any, queue: str, no_ack: bool, *args: Any, **options: Any) -> Any:  # noqa: FBT001
        if not (no_ack or self.has_leases or queue in self._fanout_queues):
            self._begin_to_hold()
        return super().basic_consume(queue, no_ack, *args, **options)  # type: ignore[misc]

    def _begin_to_hold(self: Any) -> None:
        """Sees to the leases of what it will take, if the server lets this user renew them."""
        _, index, lease = held_keys(self)
        try:
            execute(self._create_client(), "EVAL", RENEW, 2, lease, index, LEASE_S, 1)
        except (NoPermissionError, ResponseError) as error:
            self.takes = False
            note(STOCK_NOTE, f"the broker lets this user run no scripts: {error}")
            return
        self.has_leases = True
        self.connection.cycle._client_registered(self, self.client, "BRPOP")  # makes its connection
        self.prepare_to_take(self.client.connection)
        if self.takes:
            note(OWN_NOTE)
        self.connection.keeper.keep(self)

    def prepare_to_take(self: Any, connection: Any) -> None:
        """Has the server tell of changes on this connection, which takes the third version of its protocol."""
        if not self.takes or (connection._sock is not None and self._told_sock is connection._sock):
            return
        spoken = connection.protocol
        if str(spoken) != "3":
            connection.disconnect()
            connection.protocol = 3
        try:
            connection.connect()
            connection.send_command("CLIENT", "TRACKING", "ON", "NOLOOP")
            connection.read_response()
        except ResponseError as error:
            connection.disconnect()
            connection.protocol = spoken
            self._take_no_more(error)
            return
        self._told_sock, self._is_script_known = connection._sock, False

    def _take_no_more(self, error: Exception) -> None:
        self.takes = False
        note(BRPOP_NOTE, str(error))

    def _brpop_start(self: Any, timeout: Any = None) -> None:
        connection = self.client.connection
        self.prepare_to_take(connection)
        if not self.takes:
            super()._brpop_start(timeout)  # type: ignore[misc]
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        lists = [self._q_for_pri(queue, priority) for priority in self.priority_steps for queue in queues]
        keys = [*held_keys(self), *(self.global_keyprefix + key for key in lists)]
        self._in_poll, self._brpop_sent_at, self._is_waiting = connection, monotonic(), False
        how = ("EVALSHA", TAKE_HASH) if self._is_script_known else ("EVAL", TAKE)
        arguments = (LEASE_S, next(self._unread_tags), len(self.global_keyprefix.encode()), self.sep)
        connection.send_command(*how, len(keys), *keys, *arguments)

    def _brpop_read(self: Any, **options: Any) -> Any:
        if not self.takes:
            return super()._brpop_read(**options)  # type: ignore[misc]
        connection = self.client.connection
        try:
            if (self._is_waiting or not self._in_poll) and not self._ask_after_change(connection):
                raise Empty
            taken = self._read_taken(connection)
        except self.connection_errors:
            connection.disconnect()
            raise
        if not taken:
            raise Empty
        self._deliver_taken(*taken)
        return True

    def _ask_after_change(self: Any, connection: Any) -> bool:
        """Reads what the server tells, and asks for the next message at once: a turn of the loop would be as long."""
        self._read_change(connection)
        if self.qos.can_consume():
            self._brpop_start()
        return bool(self._in_poll) and self.takes

    def _read_change(self: Any, connection: Any) -> None:
        """Reads what the server tells, and waits no longer."""
        while True:
            connection.read_response(push_request=True)
            if not connection.can_read(timeout=0):
                break
        self._end_wait()

    def _read_taken(self: Any, connection: Any) -> Any:
        """What the script replied: list, message and tag, or nothing; then the wait begins."""
        try:
            taken = connection.read_response()
            self._is_script_known = True
        except NoScriptError:
            self._end_wait()
            self._is_script_known = False
            return None
        except NoPermissionError as error:
            self._end_wait()
            self._take_no_more(error)
            return None
        except ResponseError:
            self._end_wait()
            raise
        if taken:
            self._end_wait()
        else:
            self._is_waiting = True
            if connection.can_read(timeout=0):  # told already; what is in the buffer makes no socket readable
                self._read_change(connection)
        return taken

    def _end_wait(self: Any) -> None:
        self._is_waiting, self._in_poll = False, None
        if flush := getattr(super(), "_flush_brpop_reauth", None):  # since kombu 5.7
            flush()

    def end_long_wait(self: Any) -> None:
        """Asks again from time to time, as BRPOP does: that is how a dead connection is noticed."""
        longest = getattr(self, "brpop_timeout", 0) or 1  # since kombu 5.6
        if self._is_waiting and monotonic() - self._brpop_sent_at >= longest:
            self._end_wait()

    def _update_queue_cycle(self: Any) -> None:
        super()._update_queue_cycle()  # type: ignore[misc]
        if self._is_waiting:  # for a change of the lists of before
            self._end_wait()

    def close(self: Any) -> None:
        if self._is_waiting:
            self._is_waiting, self._in_poll = False, None
        super().close()  # type: ignore[misc]

    def _deliver_taken(self: Any, key: bytes, item: bytes, tag_bytes: bytes) -> None:
        queue = queue_of(self, bytes_to_str(key))
        tag = bytes_to_str(tag_bytes)
        self._queue_cycle.rotate(queue)
        if queue not in self.connection._callbacks:  # its consumer went while the script ran
            self.qos.restore_by_tag(tag)
            return
        self.taken_tag, self.taken_from = tag, bytes_to_str(key)
        try:
            if is_json(item):
                message = loads(bytes_to_str(item))
                if not tag.startswith(UNREAD):
                    message["properties"]["delivery_tag"] = tag
                is_done = self.connection._deliver(message, queue) is not False
            else:
                is_done = self.set_aside(queue, item, "the message is no valid JSON") is not False
            # What could not be set aside stays noted, and is back in its queue when its lease has run out.
            if is_done and self.taken_tag:
                self.qos._remove_from_indices(tag).execute()
        finally:
            self.taken_tag = None


def is_json(item: bytes) -> bool:
    """Whether kombu can decode it. msgspec is fast, and stricter but for the types that kombu writes into JSON."""
    if b"__type__" not in item:
        with suppress(msgspec.DecodeError, ValueError, RecursionError):
            msgspec.json.decode(item)
            return True
    try:
        # Half a surrogate pair is no text that a result or a letter could hold.
        json.dumps(loads(item), ensure_ascii=False, default=str).encode()
    except Exception:  # its readers of types raise whatever they like
        return False
    return True
