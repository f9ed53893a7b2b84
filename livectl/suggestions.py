"""Suggests the nearest known name for one that is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MIN_SIMILARITY = 0.6  # of difflib's measure, from 0 to 1: two letters wrong in a name of five


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = MIN_SIMILARITY) -> str:
    """A question for a hint: `did you mean sweep?`. Empty when no known name is near."""
    name = nearest(word, known, cutoff=cutoff)
    return f"did you mean {name}?" if name is not None else ""


def nearest(word: str, known: Iterable[str], *, cutoff: float = MIN_SIMILARITY) -> str | None:
    """The known name that is most like the word, whatever the case of either."""
    from difflib import get_close_matches  # only a mistake needs it

    names_by_lowercase = {name.lower(): name for name in known}
    matches = get_close_matches(word.lower(), names_by_lowercase, 1, cutoff)
    return names_by_lowercase[matches[0]] if matches else None
