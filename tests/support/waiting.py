"""Waiting for what must happen, however busy the machine is: one guard against hanging for all tests."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from livectl.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

# After so long a test is taken to hang. It measures nothing: what should be fast is in benchmarks. The longest waits
# take 30 s where nothing else runs. A machine that is more than four times slower sets TESTS_SLOWNESS, a factor.
HANG_SECONDS = 150 * float(os.environ.get("TESTS_SLOWNESS", "1"))
LOOK_SECONDS = 0.02  # between two looks at a condition


def wait_for(condition: Callable[[], T | None], *, what: str = "") -> T:
    """What the condition answers once it is true; a failed assertion when it stays false."""
    deadline = time.monotonic() + HANG_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {HANG_SECONDS:g} s in vain for {what or condition}"
        time.sleep(LOOK_SECONDS)
    return answer


def becomes(answer: Callable[[], object], expected: object) -> None:
    """Until the answer is this. For what is asked of workers, who on a busy machine hear and say things late."""
    last: list[object] = []

    def is_reached() -> bool:
        try:
            last[:] = [answer()]
        except ServerError as error:
            last[:] = [error]
        return last == [expected]

    try:
        wait_for(is_reached)
    except AssertionError:
        assert last == [expected], f"it did not come to that within {HANG_SECONDS:g} s"


@contextmanager
def in_time() -> Iterator[None]:
    """What is done within must not hang: it ends by itself before the guard would end it."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < HANG_SECONDS
