"""Patience: how long anybody waits for a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livectl.config import Target

MAX_TIMEOUT_S = 20.0  # seconds; a command that takes longer runs on alone


def send_timeout(target: Target) -> float:
    """For this one: as long as it was given, within reason."""
    return min(target.timeout, MAX_TIMEOUT_S)
