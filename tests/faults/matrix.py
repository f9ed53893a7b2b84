"""All rows of the fault matrix, in their order."""

from __future__ import annotations

from tests.faults import beat_rows, broker_rows, data_rows, live_rows, message_rows, worker_rows

ROWS = sorted(
    (*worker_rows.ROWS, *broker_rows.ROWS, *message_rows.ROWS, *live_rows.ROWS, *beat_rows.ROWS, *data_rows.ROWS),
    key=lambda row: int(row.name.strip("Fabc")),
)
