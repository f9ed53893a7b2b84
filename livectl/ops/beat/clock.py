"""The one clock of all beats: the store's, carried on between its answers by this machine's monotonic clock."""

from __future__ import annotations

import time

JUMP = 2_000  # milliseconds that cannot be a slow answer or a drift any more: somebody set the store's clock


class Clock:
    """What time it is, in UTC milliseconds. This machine's own wall clock is never asked."""

    def __init__(self) -> None:
        self._told = 0
        self._heard_at: float | None = None
        self._jumped = 0

    def stamp(self) -> str:
        """What the scripts take for the time: nothing, so that they read the store's clock."""
        return ""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> int:
        return self._carried(self.monotonic())

    def heard(self, told: int, asked_at: float) -> None:
        """Takes the time out of an answer; it was read somewhen between the question and now."""
        answered_at = self.monotonic()
        if self._heard_at is not None:
            if told > self._carried(answered_at) + JUMP:
                self._jumped += told - self._carried(answered_at)
            elif told < self._carried(asked_at) - JUMP:
                self._jumped += told - self._carried(asked_at)
        self._told, self._heard_at = told, answered_at

    def take_jump(self) -> int:
        """By how much the store's clock was set since the last time this was asked."""
        jumped, self._jumped = self._jumped, 0
        return jumped

    def _carried(self, moment: float) -> int:
        since = 0.0 if self._heard_at is None else moment - self._heard_at
        return self._told + int(since * 1_000)
