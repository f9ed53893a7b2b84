"""Calls of functions that do their own I/O: in threads, each with its time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.platforms.base import Call

MAX_THREADS = 8  # threads: what needs them is heavy


def call_all(calls: Sequence[Call]) -> list[Any]:
    """What each returned, or None where its seconds went by first. Threads that are late are left behind."""
    results: list[Any] = []
    for start in range(0, len(calls), MAX_THREADS):
        results += _call_batch(calls[start : start + MAX_THREADS])
    return results


def _call_batch(calls: Sequence[Call]) -> list[Any]:
    started = time.monotonic()
    results: list[Any] = [None] * len(calls)

    def run(number: int, call: Call) -> None:
        results[number] = call.function(*call.args)

    threads = [threading.Thread(target=run, args=(number, call), daemon=True) for number, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread, call in zip(threads, calls, strict=True):
        thread.join(max(0.0, started + call.seconds - time.monotonic()))
    return list(results)
