"""Puts a message into its queue once, however often its sender has to try.

A sender whose connection ends before the answer comes cannot know whether its message arrived. Celery's tries again,
and the job runs twice. Here each sender leaves a note of the last message that it put, in the step that puts it:
whoever tries again, with the same message, puts nothing where the note says so.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from hashlib import sha1
from typing import Any
from uuid import uuid4

from kombu.utils.json import dumps
from redis.exceptions import NoPermissionError, NoScriptError

from livectl.ops.transport.leases import execute

log = logging.getLogger(__name__)

NOTE_S = 86_400  # for which a sender may be without its broker, between two tries of one message

# KEYS: note of the sender, list, and the lists of a queue that expires. ARGV: tag, message, seconds of the note,
# milliseconds until the queue expires. A message can go to several lists: the note has all that it is in.
PUT = """
if redis.call('HGET', KEYS[1], 'tag') ~= ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'tag', ARGV[1])
end
if redis.call('HSETNX', KEYS[1], 'in ' .. KEYS[2], 1) == 0 then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('LPUSH', KEYS[2], ARGV[2])
for i = 3, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
return 1
"""
PUT_HASH = sha1(PUT.encode(), usedforsecurity=False).hexdigest()

# What the properties of a message have while nobody knows whether it arrived: its tag, and who sent it.
IN_DOUBT = "livectl_in_doubt"

_idle_senders: deque[str] = deque()  # of this process; each sends one message at a time
os.register_at_fork(after_in_child=_idle_senders.clear)


class SendingChannel:
    """Mixed into kombu's channel of Redis. kombu gives the properties of a message to each try of sending it."""

    puts_once = True  # False where the server lets this user run no scripts
    _is_put_known = False  # by the server
    _sending: tuple[str | None, str] | None = None  # the tag of an earlier try, and who sends

    def basic_publish(self: Any, message: dict[str, Any], *args: Any, **options: Any) -> Any:
        properties = message["properties"]
        tag, sender = properties.pop(IN_DOUBT, None) or (None, _idle_senders.pop() if _idle_senders else str(uuid4()))
        self._sending = tag, sender
        try:
            result = super().basic_publish(message, *args, **options)  # type: ignore[misc]
        except self.connection_errors:
            properties[IN_DOUBT] = properties.get("delivery_tag"), sender
            raise
        finally:
            self._sending = None
        _idle_senders.append(sender)
        return result

    def _next_delivery_tag(self: Any) -> str:
        tag: str = (self._sending and self._sending[0]) or super()._next_delivery_tag()  # type: ignore[misc]
        return tag

    def _put(self: Any, queue: str, message: dict[str, Any], **options: Any) -> None:
        if self._sending is None or not self.puts_once or options.get("_publish_batch") is not None:
            super()._put(queue, message, **options)  # type: ignore[misc]
            return
        lists, expiry = [self._q_for_pri(queue, self._get_message_priority(message, reverse=False))], 0
        if queue in (expiring := getattr(self, "_expires", {})):  # kombu 5.6 and later let queues expire
            expiry = expiring[queue]
            lists += [self._q_for_pri(queue, priority) for priority in self.priority_steps]
        keys = [self.global_keyprefix + key for key in (f"{self.unacked_key}_sent:{self._sending[1]}", *lists)]
        try:
            self._run_put(keys, message["properties"]["delivery_tag"], dumps(message), NOTE_S, expiry)
        except NoPermissionError as error:
            log.warning("a message whose sender has to try again may be sent twice: %s", error)
            self.puts_once = False
            super()._put(queue, message, **options)  # type: ignore[misc]

    def _run_put(self: Any, keys: list[str], *arguments: Any) -> None:
        with self.conn_or_acquire() as client:
            try:
                how = ("EVALSHA", PUT_HASH) if self._is_put_known else ("EVAL", PUT)
                execute(client, *how, len(keys), *keys, *arguments)
            except NoScriptError:
                execute(client, "EVAL", PUT, len(keys), *keys, *arguments)
            self._is_put_known = True
