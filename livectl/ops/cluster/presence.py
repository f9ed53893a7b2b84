"""Which workers there are: those of livectl say so every ten seconds, and take it back when they are told to end; of
all others it is remembered which queue they read.

    livectl:workers:APP    zset  worker -> when it was heard of last, in UTC seconds by the store's clock
    livectl:watch:readers        queue -> who read it last and when (`LastReaders`), as JSON: a beat may start anew
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import LivectlError
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livectl.ops.cluster.queues import QueueDepths

WORKERS_PREFIX = "livectl:workers:"
READERS_KEY = "livectl:watch:readers"
READERS_TTL_S = 7 * 86_400
SAY_S = 10.0
FORGET_S = 3_600  # after which nobody is reminded of a worker any more
STOP_S = 2.0

# KEYS: the set. ARGV: the worker, for how long all that are silent are remembered.
SAY_SCRIPT = """
local now = redis.call('TIME')[1]
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZADD', KEYS[1], now, ARGV[1])
"""


class Presence:
    """Says in the store that this worker is at work, from a thread of its own; where the store is away, later."""

    def __init__(self, make_store: Callable[[], Any], app: str) -> None:
        self._make_store, self._key = make_store, WORKERS_PREFIX + app
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._name = ""

    def connect_signals(self) -> None:
        """Once a process."""
        from celery import signals

        signals.worker_ready.connect(self.begin, weak=False, dispatch_uid="livectl.presence.begin")
        signals.worker_shutting_down.connect(self.take_back, weak=False, dispatch_uid="livectl.presence.take_back")
        signals.worker_shutdown.connect(self.end, weak=False, dispatch_uid="livectl.presence.end")

    def begin(self, sender: Any, **_: Any) -> None:
        """Also called where a lost broker is back."""
        self._name = str(sender.hostname)
        if self._thread is None:
            self._thread = threading.Thread(target=self._say_on, name="livectl-presence", daemon=True)
            self._thread.start()

    def take_back(self, **_: Any) -> None:
        """Nobody waits for one that was told to end: a green or solo one is killed if its jobs have no more time."""
        self._ended.set()

    def end(self, **_: Any) -> None:
        self.take_back()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _say_on(self) -> None:
        store = self._make_store()  # which connects with its first command
        while not self._ended.is_set():
            with suppress(LivectlError, OSError, *_redis_errors()):
                store.eval(SAY_SCRIPT, 1, self._key, self._name, FORGET_S)
            self._ended.wait(SAY_S)
        with suppress(LivectlError, OSError, *_redis_errors()):
            store.zrem(self._key, self._name)
            store.close()


def _redis_errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError

    return (RedisError,)


def read(store: Any, app: str, now: int) -> dict[str, int]:
    """When each worker of livectl's that has not ended was heard of last, in UTC milliseconds."""
    key = WORKERS_PREFIX + app
    store.zremrangebyscore(key, "-inf", now / MS_PER_SECOND - FORGET_S)
    return {str(name): int(at) * MS_PER_SECOND for name, at in store.zrange(key, 0, -1, withscores=True)}


class LastReaders(msgspec.Struct, frozen=True):
    """The workers that read a queue when somebody did last, and when that was, in UTC milliseconds."""

    at: int
    workers: tuple[str, ...]


class QueueReaders:
    """Remembers who read which queue."""

    def __init__(self) -> None:
        self._known: dict[str, LastReaders] | None = None

    def note(self, store: Any, depths: QueueDepths, now: int) -> Mapping[str, LastReaders]:
        """Who read each queue last, those that do now included."""
        if self._known is None:
            text = store.get(READERS_KEY)
            self._known = msgspec.json.decode(text, type=dict[str, LastReaders]) if text else {}
        if depths.reads:
            oldest = now - READERS_TTL_S * MS_PER_SECOND
            self._known = {name: last for name, last in self._known.items() if last.at > oldest}
            for name in {name for names in depths.reads.values() for name in names}:
                workers = tuple(worker for worker, names in depths.reads.items() if name in names)
                self._known[name] = LastReaders(now, workers)
            store.set(READERS_KEY, msgspec.json.encode(self._known), ex=READERS_TTL_S)
        return self._known
