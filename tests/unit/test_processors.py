"""The processors that a container really has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from livectl.ops.processes import process

if TYPE_CHECKING:
    from pathlib import Path

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        pytest.param({}, "", HERE, id="no groups at all"),
        pytest.param({"cpu.max": "max 100000"}, "0::/", HERE, id="no quota"),
        pytest.param({"cpu.max": "100000 100000"}, "0::/", 1, id="one processor"),
        pytest.param({"cpu.max": "50000 100000"}, "0::/", 1, id="half a processor is one"),
        pytest.param({"a/b/cpu.max": "max 100000", "a/cpu.max": "90000 100000"}, "0::/a/b", 1, id="the parent's quota"),
        pytest.param({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, "", 1, id="version 1"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "", HERE, id="version 1, none"),
        pytest.param({"cpu.max": "nonsense"}, "0::/", HERE, id="unreadable"),
    ],
)
def test_processors_are_what_the_tightest_limit_leaves(
    tmp_path: Path, files: dict[str, str], membership: str, expected: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "membership").write_text(membership + "\n")
    assert process.available_processors(tmp_path, tmp_path / "membership") == expected
