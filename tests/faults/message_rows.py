"""Rows that harm workers by what they are given: messages that are none, jobs that kill, delays that are long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.frame import Row

ROWS: tuple[Row, ...] = ()
