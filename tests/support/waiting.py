"""Waiting for what must happen, however busy the machine is: one guard against hanging for all tests."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

# After so long a test is taken to hang. It measures nothing: what should be fast is in benchmarks. A machine that is
# busier than that sets TESTS_SLOWNESS, a factor.
HANG_SECONDS = 60 * float(os.environ.get("TESTS_SLOWNESS", "1"))
LOOK_SECONDS = 0.02  # between two looks at a condition


def wait_for(condition: Callable[[], T | None], *, what: str = "") -> T:
    """What the condition answers once it is true; a failed assertion when it stays false."""
    deadline = time.monotonic() + HANG_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {HANG_SECONDS:g} s in vain for {what or condition}"
        time.sleep(LOOK_SECONDS)
    return answer


@contextmanager
def in_time() -> Iterator[None]:
    """What is done within must not hang: it ends by itself before the guard would end it."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < HANG_SECONDS
