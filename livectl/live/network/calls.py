"""Calls of functions that do their own I/O: in threads, each with its time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.platforms.base import Call

AT_ONCE = 8  # threads: what needs them is heavy


def call_all(calls: Sequence[Call]) -> list[Any]:
    """What each returned, or None where its seconds went by first. Threads that are late are left behind."""
    answers: list[Any] = []
    for start in range(0, len(calls), AT_ONCE):
        answers += _call_some(calls[start : start + AT_ONCE])
    return answers


def _call_some(calls: Sequence[Call]) -> list[Any]:
    began = time.monotonic()
    answers: list[Any] = [None] * len(calls)

    def run(number: int, call: Call) -> None:
        answers[number] = call.function(*call.args)

    threads = [threading.Thread(target=run, args=(number, call), daemon=True) for number, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread, call in zip(threads, calls, strict=True):
        thread.join(max(0.0, began + call.seconds - time.monotonic()))
    return list(answers)
