"""A reading that is kept for a while, so that a crowd of visitors costs the store no more than one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

STALE_SECONDS = 3.0  # for so long after its time an old reading will do while the next one is made
SHARE = 10  # what took a second to make is kept for ten: visitors never take more than a tenth of anything's time


class Kept(Generic[T]):
    """The last reading, made anew when it is older than `seconds`. One visitor makes it; the others get the old one."""

    def __init__(self, make: Callable[[], T], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._value: T | None = None
        self._error: LivectlError | None = None
        self._until: float | None = None

    def get(self) -> T:
        """The reading, or the error that it ended in: that one is kept too, so that an outage is not asked to death."""
        if self._until is None or self._clock() >= self._until:
            self._renew()
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def _renew(self) -> None:
        waits = self._until is None or self._error is not None or self._clock() - self._until > STALE_SECONDS
        if not self._lock.acquire(blocking=waits):
            return
        try:
            began = self._clock()
            if self._until is not None and began < self._until:
                return
            try:
                self._value, self._error = self._make(), None
            except LivectlError as error:
                self._error = error
            ended = self._clock()
            self._until = ended + max(self._seconds, SHARE * (ended - began) if self._error is None else 0)
        finally:
            self._lock.release()
