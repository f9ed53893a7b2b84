"""A reading that is kept for a while, so that a crowd of visitors costs the store no more than one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_STALE_SECONDS = 3.0  # for so long after its time an old reading will do while the next one is made
KEEP_FACTOR = 10  # what took a second to make is kept for ten: visitors never take more than a tenth of anything's time


class TimedCache(Generic[T]):
    """The last reading, made anew when it is older than `seconds`. One visitor makes it; the others get the old one."""

    def __init__(self, make: Callable[[], T], keep_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._value: T | None = None
        self._error: LivectlError | None = None
        self._expires_at: float | None = None

    def get(self) -> T:
        """The reading, or the error that it ended in: that one is kept too, so that an outage is not asked to death."""
        if self._expires_at is None or self._clock() >= self._expires_at:
            self._refresh()
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def _refresh(self) -> None:
        must_wait = (
            self._expires_at is None or self._error is not None or self._clock() - self._expires_at > MAX_STALE_SECONDS
        )
        if not self._lock.acquire(blocking=must_wait):
            return
        try:
            began = self._clock()
            if self._expires_at is not None and began < self._expires_at:
                return
            try:
                self._value, self._error = self._make(), None
            except LivectlError as error:
                self._error = error
            ended = self._clock()
            self._expires_at = ended + max(
                self._keep_seconds, KEEP_FACTOR * (ended - began) if self._error is None else 0
            )
        finally:
            self._lock.release()
