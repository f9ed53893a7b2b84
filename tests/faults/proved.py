"""Rows that a test of `make test` plays whole already: the row runs it again, and counts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.frame import Limits, Mechanism, Outcome, Row

if TYPE_CHECKING:
    from tests.faults.frame import Case

ROOT = Path(__file__).parents[2]
COUNT = re.compile(r"(\d+) (passed|failed|error|skipped)")
TOLD_LINES = 3


def run_tests(case: Case, *tests: str) -> Outcome:
    """`acknowledged` are the tests that ran, `lost` those that failed."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={ROOT}"]
    environ = {**os.environ, "PYTHONPATH": f"{case.folder}{os.pathsep}{ROOT}"}
    if case.without:
        (case.folder / "without_mechanism.py").write_text(case.without.patch)
        argv += ["-p", "without_mechanism"]
        environ["TESTS_SLOWNESS"] = "0.1"  # what never comes need not be waited for as long
    argv += [str(ROOT / test) for test in tests]
    ran = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    counts = {word: int(number) for number, word in COUNT.findall(ran.stdout.splitlines()[-1] if ran.stdout else "")}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if ran.returncode not in {0, 1} or not counts:
        raise AssertionError(f"pytest ended with {ran.returncode}: {ran.stdout[-2000:]}{ran.stderr[-500:]}")
    found = [line for line in ran.stdout.splitlines() if line.startswith("FAILED")][:TOLD_LINES]
    skipped = f"; {counts['skipped']} skipped here" if "skipped" in counts else ""
    return Outcome(
        acknowledged=counts.get("passed", 0) + failed, lost=failed, note="; ".join(found) or f"tests{skipped}"
    )


def proved_row(name: str, fault: str, mechanism: Mechanism, *tests: str) -> Row:
    """A row that these tests play. They are part of `make test` where they stand, and so have no short form here."""
    return Row(name, fault, partial(_play, tests=tests), ("tests",), mechanism, limits=Limits())


def _play(case: Case, tests: tuple[str, ...]) -> Outcome:
    return run_tests(case, *tests)
