"""Requests for jobs, and the ids of jobs, as a command line spells them."""

from __future__ import annotations

from typing import Any

import pytest

from livectl.errors import UsageError
from livectl.ops.jobs import wait
from livectl.ops.jobs.job_request import parse_argument


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('"1"', "1"),
        ("word", "word"),
        ("1,2", "1,2"),
    ],
)
def test_an_argument_is_json_if_it_can_be(word: str, means: Any) -> None:
    assert parse_argument(word) == means


@pytest.mark.parametrize("word", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000])
def test_an_argument_with_too_many_brackets_is_too_deep(word: str) -> None:
    with pytest.raises(UsageError, match="nested deeper than any job can be"):
        parse_argument(word)


def test_an_id_that_is_none_is_refused() -> None:
    for text in ("", "two words", "star*", "x" * 300):
        with pytest.raises(UsageError, match="is no task id"):
            wait.check_job_id(text)
