"""The short form of the rows about `up`, beat, alerts and data: one seed, four side by side."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults import alert_rows, beat_rows, data_rows, frame, live_rows
from tests.faults.frame import Case, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

ROWS = (*live_rows.ROWS, *beat_rows.ROWS, *data_rows.ROWS, *alert_rows.ROWS)
PLAYED = {f"{row.name}-{setup}": (row, setup) for row in ROWS for setup in row.short_setups}
SEED = 14  # the same in each run; `make faults` takes others
SIDE_BY_SIDE = 4  # rows wait most of their time


@pytest.fixture(scope="module")
def plays() -> Iterator[dict[str, Future[Result]]]:
    """All of them, begun at once; each test waits for its own."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {
            name: pool.submit(frame.play_in_folder, row, Case(setup, SEED, Path(), is_short=True))
            for name, (row, setup) in PLAYED.items()
        }


@pytest.mark.parametrize("name", PLAYED)
def test_a_fault_costs_nothing(plays: dict[str, Future[Result]], name: str) -> None:
    result = plays[name].result()
    assert result.is_green, f"seed {SEED}\n{frame.table_head()}\n{frame.table_line(result)}\n{result.broken}"
