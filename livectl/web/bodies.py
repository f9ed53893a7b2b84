"""Finished bodies, each with the mark by which a visitor asks whether it changed."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MOST = 128  # languages times filters in use
STALE_SECONDS = 3.0  # as old as a body may be that is sent while its successor is being made


class Body(NamedTuple):
    """What is sent, and its mark."""

    data: bytes
    etag: str


class _Made(NamedTuple):
    """A body, the reading it was made of, and when."""

    body: Body
    of: Hashable
    at: float


class Bodies:
    """The last body for each address and language. While one visitor has the next one made, others get the last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, _Made] = OrderedDict()

    def get(self, key: Hashable, of: Hashable, make: Callable[[], Body]) -> Body:
        last = self._made.get(key)
        if last and last.of == of:
            return last.body
        waits = last is None or self._clock() - last.at > STALE_SECONDS
        if not self._lock.acquire(blocking=waits) and last:
            return last.body
        try:
            return self._renewed(key, of, make)
        finally:
            self._lock.release()

    def _renewed(self, key: Hashable, of: Hashable, make: Callable[[], Body]) -> Body:
        last = self._made.get(key)
        if last is None or last.of != of:
            last = self._made[key] = _Made(make(), of, self._clock())
            if len(self._made) > MOST:
                self._made.popitem(last=False)
        return last.body


def body(data: bytes) -> Body:
    return Body(data, hashlib.blake2b(data, digest_size=12).hexdigest())
