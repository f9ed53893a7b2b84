"""Finds messages by the ids of their jobs on a Redis broker: in its queues, with workers, among those not yet due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.ops.protocol import delayed, message, plus, unacked
from livectl.ops.protocol.keys import Bindings, has_time_left, list_queues
from livectl.redis_replies import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.ops.protocol.message import JobMessage
    from livectl.redis_client import RedisConnection


WINDOW_MESSAGES = 1000  # messages looked at in one call: under a millisecond of the server's time

# Only messages that name an id leave the server. Windows are counted from the end that nothing is taken from, so that
# no message slips between two of them. Returns how many were looked at, the length, and index and text of each hit.
FIND_SCRIPT = """
local items, hits = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2]), {}
for i, item in ipairs(items) do
  for j = 3, #ARGV do
    if string.find(item, ARGV[j], 1, true) then
      hits[#hits + 1] = i - 1
      hits[#hits + 1] = item
      break
    end
  end
end
return {#items, redis.call('LLEN', KEYS[1]), hits}
"""


class MessageLocation(msgspec.Struct, frozen=True, kw_only=True):
    """A message, and where it is: in a queue at a position, with a worker since a moment, or waiting for its time."""

    message: JobMessage
    key: str
    raw: bytes
    queue: str
    position: int | None = None  # 1 is taken next
    tag: str = ""  # the delivery tag of a message that a worker holds
    delivered: float | None = None  # seconds since the epoch
    delayed: str = ""  # the name of a message that waits for its time in the store
    plus: str = ""  # its tag, where celery-redis-plus keeps it


class SearchResult(msgspec.Struct, frozen=True):
    """The messages that were found, by job id, and whether there was time to look everywhere."""

    locations: dict[str, MessageLocation] = {}
    complete: bool = True


def find(connection: RedisConnection, layout: KeyLayout, ids: Sequence[str], queues: Sequence[str]) -> SearchResult:
    """Looks among those not yet due, in the named queues, with the workers, then in every other queue there is."""
    search = _Search(connection, layout, ids)
    search.look_in_delayed()
    complete = search.is_done or search.look_in_queues(queues)
    if not search.is_done:
        complete &= search.look_with_workers()
    if not search.is_done:
        others = [queue for queue in list_queues(connection, layout) if queue not in queues]
        complete &= search.look_in_queues(others)
        search.look_in_plus([*queues, *others])
    return SearchResult(search.locations, complete)


def find_ahead(connection: RedisConnection, layout: KeyLayout, job_id: str) -> list[str]:
    """The jobs that a job follows, by the chain in the message of one that a worker holds, or that is taken soon."""
    for envelope in _soonest(connection, layout):
        chained = message.chained_ids(envelope)
        if job_id in chained:
            return [message.from_envelope(envelope).id, *chained[: chained.index(job_id)]]
    return []


def _soonest(connection: RedisConnection, layout: KeyLayout) -> Iterator[dict[str, Any]]:
    yield from (held.envelope for held in unacked.scan(connection, layout))
    for queue in list_queues(connection, layout):
        for key in layout.list_keys(queue):
            if not has_time_left(connection):
                return
            yield from map(message.decode, connection.execute("LRANGE", key, -WINDOW_MESSAGES, -1))


def remove(connection: RedisConnection, layout: KeyLayout, location: MessageLocation) -> bool:
    """Takes a message out of its queue, or away from its worker. True when it was still there."""
    if location.plus:
        return plus.remove(connection, layout, location.plus, location.queue)
    if location.delayed:
        return delayed.remove(connection, layout, location.delayed)
    if location.tag:
        return unacked.remove(connection, layout, location.tag)
    return bool(connection.execute("LREM", location.key, -1, location.raw))


class _Search:
    """The search for some ids over one connection, within the time that it has."""

    def __init__(self, connection: RedisConnection, layout: KeyLayout, ids: Sequence[str]) -> None:
        self._connection, self._layout, self._ids = connection, layout, ids
        self.locations: dict[str, MessageLocation] = {}

    @property
    def is_done(self) -> bool:
        return len(self.locations) == len(self._ids)

    def look_in_delayed(self) -> None:
        for stored in delayed.find(self._connection, self._layout, self._ids):
            self.locations[stored.job_id] = MessageLocation(
                message=message.read(stored.raw),
                key=stored.key,
                raw=stored.raw,
                queue=self._layout.queue_of_list(stored.key),
                delayed=stored.name,
            )

    def look_in_queues(self, queues: Iterable[str]) -> bool:
        """False when the time was over before the end."""
        for queue in queues:
            ahead = 0
            for key in self._layout.list_keys(queue):
                length = self._look_in_list(key, queue, ahead)
                if length is None:
                    return False
                if self.is_done:
                    return True
                ahead += length
        return True

    def look_in_plus(self, queues: Sequence[str]) -> None:
        for found in () if self.is_done else plus.find(self._connection, self._layout, self._ids, queues):
            job_message = message.read(found.raw)
            if self._is_sought(job_message):
                self.locations[job_message.id] = MessageLocation(
                    message=job_message,
                    key=found.tag,
                    raw=found.raw,
                    queue=found.queue,
                    position=found.position,
                    delayed=found.tag if found.is_delayed else "",
                    tag="" if found.position or found.is_delayed else found.tag,
                    plus=found.tag,
                )

    def look_with_workers(self) -> bool:
        """False when the time was over before the end."""
        bindings = Bindings(self._connection, self._layout)
        for held in unacked.scan(self._connection, self._layout, self._ids):
            job_message = message.from_envelope(held.envelope)
            if self._is_sought(job_message):
                self.locations[job_message.id] = MessageLocation(
                    message=job_message,
                    key=self._layout.unacked_key,
                    raw=held.raw,
                    queue=bindings.queue_for(held.exchange, held.routing_key),
                    tag=held.tag.decode(),
                    delivered=unacked.delivered_at(self._connection, self._layout, held.tag),
                )
        return has_time_left(self._connection)

    def _look_in_list(self, key: str, queue: str, ahead: int) -> int | None:
        """The length of the list, or None when the time was over before its end."""
        start = 0
        while has_time_left(self._connection):
            searched, length, hits = self._look_in_window(key, start)
            for index, raw in zip(hits[::2], hits[1::2], strict=True):
                job_message, position = message.read(raw), ahead + length - (start + index)
                if self._is_sought(job_message):
                    self.locations[job_message.id] = MessageLocation(
                        message=job_message, key=key, raw=raw, queue=queue, position=position
                    )
            start += searched
            if searched < WINDOW_MESSAGES:
                return int(length)
        return None

    def _look_in_window(self, key: str, start: int) -> tuple[int, int, list[Any]]:
        stop = start + WINDOW_MESSAGES - 1
        try:
            return tuple(self._connection.execute("EVAL", FIND_SCRIPT, 1, key, start, stop, *self._ids))
        except RedisReplyError as refusal:
            if "WRONGTYPE" in str(refusal):  # a key of that name which is no list
                return 0, 0, []
        # This user may run no scripts.
        items, length = self._connection.execute_all([("LRANGE", key, start, stop), ("LLEN", key)])
        ids = [job_id.encode() for job_id in self._ids]
        hits = [(index, item) for index, item in enumerate(items) if any(job_id in item for job_id in ids)]
        return len(items), length, [value for hit in hits for value in hit]

    def _is_sought(self, job_message: JobMessage) -> bool:
        """Other messages can mention an id too, such as the one of a job that the job has sent."""
        return job_message.id in self._ids and job_message.id not in self.locations
