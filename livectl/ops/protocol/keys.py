"""Names the keys and channels of a Celery app on a Redis, as its settings have them, and finds its queues there."""

from __future__ import annotations

import re
import time
from bisect import bisect
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from livectl.redis_client import RedisConnection


# kombu's and Celery's own defaults
PRIORITY_STEPS = (0, 3, 6, 9)
SEPARATOR = "\x06\x16"
VISIBILITY_TIMEOUT = 3600.0  # seconds until an unacknowledged message is given to another worker
DEFAULT_QUEUE = "celery"
RESULT_PREFIX = "celery-task-meta-"
GROUP_PREFIX = "celery-taskset-meta-"
PREFIX_SEPARATORS = ":_-."  # Celery adds a "_" to a prefix of results that ends otherwise

EVENT_EXCHANGE = "celeryev"
HEARTBEAT_ROUTING_KEY = "worker.heartbeat"
JSON_NAMES = frozenset({"json", "application/json"})  # of the serializer, and of what it makes
GLOB_SIGNS, ESCAPED = re.compile(r"([*?\[\]\\])"), r"\\\1"  # in a pattern of channels
PIDBOX_SUFFIX = ".pidbox"  # ends the exchanges and queues of remote control


class KeyLayout(msgspec.Struct, frozen=True, kw_only=True):
    """The keys and channels of one app, and how its remote control is written."""

    steps: tuple[int, ...] = PRIORITY_STEPS
    separator: str = SEPARATOR
    prefix: str = ""
    unacked: str = "unacked"
    unacked_index: str = "unacked_index"
    visibility_timeout: float = VISIBILITY_TIMEOUT
    fanout: str = "/{db}."
    control: str = "celery"
    queues: tuple[str, ...] = ()  # the queues that the settings name
    result_prefix: str = ""
    serializer: str = "json"  # of what its workers reply to remote control
    accepted: tuple[str, ...] = ("json",)  # serializers, or their content types, that it lets in

    @property
    def takes_json(self) -> bool:
        """Whether its workers let JSON in; an app may accept pickle alone."""
        return not JSON_NAMES.isdisjoint(self.accepted)

    def list_key(self, queue: str, priority: int) -> str:
        """The list that holds the messages of a queue and a priority."""
        step = self.steps[bisect(self.steps, priority) - 1]
        return f"{self.prefix}{queue}{self.separator}{step}" if step else f"{self.prefix}{queue}"

    def list_keys(self, queue: str) -> tuple[str, ...]:
        """All lists of a queue, in the order in which workers empty them."""
        return tuple(self.list_key(queue, step) for step in self.steps)

    def queue_of_list(self, key: str) -> str:
        """The queue that a list belongs to."""
        return key.removeprefix(self.prefix).split(self.separator)[0]

    def bindings_key(self, exchange: str) -> str:
        """The set that holds the bindings of an exchange."""
        return f"{self.prefix}_kombu.binding.{exchange}"

    @property
    def binding_deadlines_key(self) -> str:
        """The sorted set of exchanges whose bindings kombu sweeps; only kombu 5.7 and later read it."""
        return f"{self.prefix}_kombu.binding_deadlines"

    def join_binding(self, routing_key: str, pattern: str, queue: str) -> str:
        """A binding as its set holds it."""
        return self.separator.join((routing_key, pattern, queue))

    def split_binding(self, member: bytes) -> tuple[str, str]:
        """Routing key and queue of a binding."""
        parts = member.decode().split(self.separator)
        return parts[0], parts[-1]

    @property
    def unacked_key(self) -> str:
        """The hash that holds the messages which workers have taken and not acknowledged, by delivery tag."""
        return self.prefix + self.unacked

    @property
    def unacked_index_key(self) -> str:
        """The sorted set that holds when each of these messages was delivered."""
        return self.prefix + self.unacked_index

    @property
    def control_exchange(self) -> str:
        return f"{self.control}{PIDBOX_SUFFIX}"

    @property
    def reply_exchange(self) -> str:
        return f"reply.{self.control}{PIDBOX_SUFFIX}"

    def control_channel(self, database: int) -> str:
        """The channel on which commands to all workers are published."""
        return f"{self._fanout_prefix(database)}{self.control_exchange}"

    def heartbeat_channels(self, database: int) -> tuple[str, str]:
        """The channels on which workers publish heartbeats: with `fanout_patterns`, and without."""
        channel = f"{self._fanout_prefix(database)}{EVENT_EXCHANGE}"
        return f"{channel}/{HEARTBEAT_ROUTING_KEY}", channel

    def job_event_channels(self, database: int, exchange: str = EVENT_EXCHANGE) -> tuple[str, str]:
        """The pattern of channels on which workers publish events of jobs, and their one without `fanout_patterns`."""
        channel = f"{self._fanout_prefix(database)}{exchange}"
        return f"{GLOB_SIGNS.sub(ESCAPED, channel)}/task.*", channel

    def _fanout_prefix(self, database: int) -> str:
        return self.prefix + self.fanout.format(db=database)

    def result_key(self, job_id: str) -> str:
        return f"{self.result_prefix}{RESULT_PREFIX}{job_id}"

    def group_key(self, group_id: str) -> str:
        return f"{self.result_prefix}{GROUP_PREFIX}{group_id}"


def layout_from_settings(settings: Mapping[str, Any], queues: tuple[str, ...] = ()) -> KeyLayout:
    """The layout that the settings of an app ask for."""
    options: Mapping[str, Any] = settings.get("broker_transport_options") or {}
    steps = tuple(int(step) for step in options.get("priority_steps") or PRIORITY_STEPS)
    return KeyLayout(
        steps=steps,
        separator=options.get("sep", SEPARATOR),
        prefix=options.get("global_keyprefix", ""),
        unacked=options.get("unacked_key", "unacked"),
        unacked_index=options.get("unacked_index_key", "unacked_index"),
        visibility_timeout=float(options.get("visibility_timeout", VISIBILITY_TIMEOUT)),
        fanout=_fanout_prefix(options.get("fanout_prefix", True)),
        control=settings.get("control_exchange") or "celery",
        queues=queues or (settings.get("task_default_queue") or DEFAULT_QUEUE,),
        result_prefix=_result_prefix(settings.get("result_backend_transport_options") or {}),
        serializer=settings.get("task_serializer") or "json",
        accepted=tuple(sorted(settings.get("accept_content") or ("json",))),
    )


def moves_key(layout: KeyLayout) -> str:
    """The hash of lists in which messages are on their way to another broker, with what is said to move them on."""
    return f"{layout.prefix}livectl:moves"


def is_control_or_event_queue(queue: str) -> bool:
    """Whether a queue carries remote control or events, and no jobs."""
    return queue.endswith(PIDBOX_SUFFIX) or queue.startswith(EVENT_EXCHANGE)


def _fanout_prefix(option: str | bool) -> str:  # noqa: FBT001 - kombu's own option is a switch or a text
    if isinstance(option, str):
        return option
    return "/{db}." if option else ""


def _result_prefix(options: Mapping[str, Any]) -> str:
    prefix = str(options.get("global_keyprefix") or "")
    return prefix if not prefix or prefix[-1] in PREFIX_SEPARATORS else f"{prefix}_"


KEYS_PER_CALL = 1000
WORKER_REPLY_RESERVE_S = 1.4  # kept back from a search, for asking the workers


class Bindings:
    """The bindings of a broker's exchanges. Each question is asked once."""

    def __init__(self, connection: RedisConnection, layout: KeyLayout) -> None:
        self._connection, self._layout = connection, layout
        self._queues: dict[tuple[str, str], str] = {}

    def queue_for(self, exchange: str, routing_key: str) -> str:
        """The queue that an exchange hands this key to; without an exchange, the key names it."""
        if not exchange:
            return routing_key
        if (exchange, routing_key) not in self._queues:
            members = _members(self._connection, self._layout.bindings_key(exchange))
            bindings = map(self._layout.split_binding, members)
            queues = [queue for bound_key, queue in bindings if bound_key == routing_key]
            self._queues[exchange, routing_key] = min(queues, default=routing_key)
        return self._queues[exchange, routing_key]


def list_queues(connection: RedisConnection, layout: KeyLayout, reserve_s: float = WORKER_REPLY_RESERVE_S) -> list[str]:
    """The queues of the settings, and every queue that was ever declared on this broker and not deleted."""
    queues = set(layout.queues)
    for table in _binding_tables(connection, layout, reserve_s):
        queues |= {queue for _, queue in map(layout.split_binding, _members(connection, table))}
    return sorted(queue for queue in queues if not is_control_or_event_queue(queue))


def _members(connection: RedisConnection, table: str | bytes) -> list[bytes]:
    """The bindings in a set, or in a sorted set, as celery-redis-plus keeps them."""
    members, sorted_members = connection.execute_all([("SMEMBERS", table), ("ZRANGE", table, 0, -1)])
    return next((found for found in (members, sorted_members) if isinstance(found, list)), [])


def has_time_left(connection: RedisConnection, reserve_s: float = WORKER_REPLY_RESERVE_S) -> bool:
    """Whether a search over this connection may go on."""
    return time.monotonic() < connection.deadline - reserve_s


def _binding_tables(connection: RedisConnection, layout: KeyLayout, reserve_s: float) -> Iterator[bytes]:
    pattern = f"{_escape_glob(layout.bindings_key(''))}*"
    cursor: bytes | str = "0"
    while has_time_left(connection, reserve_s):
        cursor, tables = connection.execute("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_CALL)
        yield from tables
        if cursor == b"0":
            return


def _escape_glob(text: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in text)
