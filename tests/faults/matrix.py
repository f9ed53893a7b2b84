"""All rows of the fault matrix, in their order."""

from __future__ import annotations

from tests.faults import (
    alert_rows,
    beat_rows,
    broker_rows,
    data_rows,
    live_rows,
    message_rows,
    proved_rows,
    worker_rows,
)

FILES = (worker_rows, broker_rows, message_rows, live_rows, beat_rows, data_rows, alert_rows, proved_rows)
ROWS = sorted((row for file in FILES for row in file.ROWS), key=lambda row: int(row.name.strip("Fabc")))
