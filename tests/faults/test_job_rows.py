"""The short form of the rows about jobs: one seed, the cheapest set-ups, three side by side."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.faults import broker_rows, frame, message_rows, worker_rows
from tests.faults.frame import Case, Result, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

Plays: TypeAlias = dict[tuple[str, str], Future[Result]]

ROWS = (*worker_rows.ROWS, *broker_rows.ROWS, *message_rows.ROWS)
PLAYED = [(row, setup) for row in ROWS for setup in row.short_setups]
SEED = 14  # the same in each run; `make faults` takes others
SIDE_BY_SIDE = 3  # rows wait most of their time


@pytest.fixture(scope="module")
def plays() -> Iterator[Plays]:
    """All of them, begun at once; each test waits for its own."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {
            (row.name, setup): pool.submit(frame.play_in_folder, row, Case(setup, SEED, Path(), is_short=True))
            for row, setup in PLAYED
        }


@pytest.mark.parametrize(("row", "setup"), PLAYED, ids=[f"{row.name}-{setup}" for row, setup in PLAYED])
def test_a_fault_costs_no_job(plays: Plays, row: Row, setup: str) -> None:
    result = plays[row.name, setup].result()
    assert result.is_green, f"seed {SEED}\n{frame.table_head()}\n{frame.table_line(result)}\n{result.broken}"
