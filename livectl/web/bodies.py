"""Finished bodies, each with the mark by which a visitor asks whether it changed."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MAX_BODIES = 128  # languages times filters in use
MAX_STALE_BODY_SECONDS = 3.0  # as old as a body may be that is sent while its successor is being made


class ResponseBody(NamedTuple):
    """What is sent, and its mark."""

    data: bytes
    etag: str


class _CachedBody(NamedTuple):
    """A body, the reading it was made of, and when."""

    body: ResponseBody
    made_from: Hashable
    made_at: float


class BodyCache:
    """The last body for each address and language. While one visitor has the next one made, others get the last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: OrderedDict[Hashable, _CachedBody] = OrderedDict()

    def get(self, key: Hashable, made_from: Hashable, make: Callable[[], ResponseBody]) -> ResponseBody:
        cached = self._cached.get(key)
        if cached and cached.made_from == made_from:
            return cached.body
        must_wait = cached is None or self._clock() - cached.made_at > MAX_STALE_BODY_SECONDS
        if not self._lock.acquire(blocking=must_wait) and cached:
            return cached.body
        try:
            return self._refresh(key, made_from, make)
        finally:
            self._lock.release()

    def _refresh(self, key: Hashable, made_from: Hashable, make: Callable[[], ResponseBody]) -> ResponseBody:
        cached = self._cached.get(key)
        if cached is None or cached.made_from != made_from:
            cached = self._cached[key] = _CachedBody(make(), made_from, self._clock())
            if len(self._cached) > MAX_BODIES:
                self._cached.popitem(last=False)
        return cached.body


def make_body(data: bytes) -> ResponseBody:
    return ResponseBody(data, hashlib.blake2b(data, digest_size=12).hexdigest())
