"""Questions asked together: each in a thread of its own, all within one time, none able to stop the others."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Asked:
    """Answers that have come in. What failed or came too late has none."""

    def __init__(self, questions: dict[str, Callable[[], Any]], seconds: float) -> None:
        self._answers: dict[str, Any] = {}
        self.failures: dict[str, Exception] = {}
        threads = [threading.Thread(target=self._ask, args=each, daemon=True) for each in questions.items()]
        until = time.monotonic() + seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def get(self, name: str, otherwise: T) -> T:
        found: T = self._answers.get(name, otherwise)
        return found

    def _ask(self, name: str, question: Callable[[], Any]) -> None:
        try:
            self._answers[name] = question()
        except Exception as error:
            self.failures[name] = error
