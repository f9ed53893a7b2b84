"""Questions asked together: each in a thread of its own, all within one time, none able to stop the others."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ParallelQueries:
    """Answers that have come in. What failed or came too late has none."""

    def __init__(self, queries: dict[str, Callable[[], Any]], timeout_s: float) -> None:
        self._results: dict[str, Any] = {}
        self.failures: dict[str, Exception] = {}
        threads = [threading.Thread(target=self._run, args=query, daemon=True) for query in queries.items()]
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def get(self, name: str, default: T) -> T:
        result: T = self._results.get(name, default)
        return result

    def _run(self, name: str, query: Callable[[], Any]) -> None:
        try:
            self._results[name] = query()
        except Exception as error:
            self.failures[name] = error
