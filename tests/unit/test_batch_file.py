"""Files of jobs: every line is checked before the first job is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from livectl.errors import FileError
from livectl.ops.jobs import publish_many

if TYPE_CHECKING:
    from pathlib import Path


def test_every_line_that_is_no_request_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(
        '{"taks": 1}\n[1, 2]\n{"task": "a", "args": 5}\nnonsense\n' + "[" * 100_000 + '\n{"task": "a"}\n'
    )
    with pytest.raises(FileError) as refused:
        publish_many.read_requests(tmp_path / "bad.jsonl", None)
    assert [mistake.line for mistake in refused.value.mistakes] == [1, 2, 3, 4, 5]
    assert "nested deeper than any job can be" in refused.value.mistakes[-1].text
    assert [request.task for request in publish_many.read_requests(_lines(tmp_path, "[1, 2]\n{}\n"), "proj.add")] == [
        "proj.add"
    ] * 2


def _lines(folder: Path, text: str) -> Path:
    (folder / "good.jsonl").write_text(text)
    return folder / "good.jsonl"
