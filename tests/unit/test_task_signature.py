"""A task's signature against arguments: what does not fit, and how the call is shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from livectl.ops import task_signature


def add(x: int, y: int = 1, *, scale: float = 1.0) -> float:
    return (x + y) * scale


def collect(*items: int, **options: str) -> None:
    del items, options


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "error"),
    [
        (add, [1], {}, ""),
        (add, [1, 2], {"scale": 2.0}, ""),
        (add, [], {}, "add(x, y=1, *, scale=1.0): missing a required argument: 'x'"),
        (add, [1, 2, 3], {}, "add(x, y=1, *, scale=1.0): too many positional arguments"),
        (add, [1], {"z": 1}, "add(x, y=1, *, scale=1.0): got an unexpected keyword argument 'z'"),
        (collect, [1, 2, 3], {"any": "thing"}, ""),
        (type, [1, 2, 3, 4], {}, ""),  # Python itself does not know its signature
    ],
)
def test_arguments_are_checked_before_they_are_sent(
    function: Any, args: list[Any], kwargs: dict[str, Any], error: str
) -> None:
    assert task_signature.argument_error("add", SimpleNamespace(run=function), args, kwargs) == error


def test_unknown_keywords_and_the_number_of_positional_arguments_are_told() -> None:
    signature = task_signature.read_signature(SimpleNamespace(run=add))
    assert signature is not None
    assert task_signature.unknown_keywords(signature, {"x": 1, "z": 2}) == ["z"]
    assert task_signature.count_positional(signature) == 2
    anything = task_signature.read_signature(SimpleNamespace(run=collect))
    assert anything is not None
    assert task_signature.unknown_keywords(anything, {"z": 2}) == []
