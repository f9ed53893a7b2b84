"""The one clock of all beats: the store's, carried on between its answers by this machine's monotonic clock."""

from __future__ import annotations

import time

MIN_JUMP_MS = 2_000  # milliseconds that cannot be a slow answer or a drift any more: somebody set the store's clock


class StoreClock:
    """What time it is, in UTC milliseconds. This machine's own wall clock is never asked."""

    def __init__(self) -> None:
        self._store_ms = 0
        self._read_at: float | None = None
        self._jump_ms = 0

    def script_time(self) -> str:
        """What the scripts take for the time: nothing, so that they read the store's clock."""
        return ""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> int:
        return self._store_time_at(self.monotonic())

    def sync(self, store_ms: int, asked_at: float) -> None:
        """Takes the time out of an answer; it was read somewhen between the question and now."""
        answered_at = self.monotonic()
        if self._read_at is not None:
            if store_ms > self._store_time_at(answered_at) + MIN_JUMP_MS:
                self._jump_ms += store_ms - self._store_time_at(answered_at)
            elif store_ms < self._store_time_at(asked_at) - MIN_JUMP_MS:
                self._jump_ms += store_ms - self._store_time_at(asked_at)
        self._store_ms, self._read_at = store_ms, answered_at

    def take_jump(self) -> int:
        """By how much the store's clock was set since the last time this was asked."""
        jump_ms, self._jump_ms = self._jump_ms, 0
        return jump_ms

    def _store_time_at(self, moment: float) -> int:
        elapsed = 0.0 if self._read_at is None else moment - self._read_at
        return self._store_ms + int(elapsed * 1_000)
