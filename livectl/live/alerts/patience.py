"""Patience: how long anybody waits for a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livectl.config import Target

LONGEST = 20.0  # seconds; a command that takes longer runs on alone


def seconds(target: Target) -> float:
    """For this one: as long as it was given, within reason."""
    return min(target.timeout, LONGEST)
