"""A placeholder: `{name}` in the words of an alert or the arguments of a command, filled in when it is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("url", "name", "title", "platform", "id", "started", "category", "kind")
FOUND = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")  # doubled braces stand for themselves
SHOWN = 40  # characters of a name that is none


def check(text: str) -> None:
    """SettingsError for a name that is not filled in."""
    for found in FOUND.finditer(text):
        name = found[1]
        if name is not None and name not in NAMES:
            raise SettingsError(f"nothing is called {{{name[:SHOWN]}}}", f"It can be {{{'}, {'.join(NAMES)}}}.")


def fill(text: str, values: Mapping[str, str]) -> str:
    """Each value as it is: what stands in it is never filled in again."""
    return FOUND.sub(lambda found: found[0][0] if found[1] is None else values.get(found[1], ""), text)
