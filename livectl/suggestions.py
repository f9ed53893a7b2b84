"""Suggests the nearest known name for one that is not known."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words, whatever their case, as a question; nothing when none is near."""
    names_by_lowercase = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), names_by_lowercase, 1)
    return f"did you mean {names_by_lowercase[close[0]]}?" if close else ""
