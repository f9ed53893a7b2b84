"""Fills `{name}`, `{title}` and the like into the words of an alert and the arguments of a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = (
    "url", "name", "title", "platform", "id", "started", "category", "kind", "viewers", "cover", "avatar", "usual",
    "recording", "details",
)  # fmt: skip
PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")  # doubled braces stand for themselves
MAX_QUOTED_CHARS = 40


def check(text: str) -> None:
    """Raises SettingsError when a placeholder has a name that is not filled in."""
    for match in PLACEHOLDER.finditer(text):
        name = match[1]
        if name is not None and name not in NAMES:
            raise SettingsError(
                f"nothing is called {{{name[:MAX_QUOTED_CHARS]}}}", f"It can be {{{'}, {'.join(NAMES)}}}."
            )


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its values. Braces inside a value are not filled in again."""
    return PLACEHOLDER.sub(lambda match: match[0][0] if match[1] is None else values.get(match[1], ""), text)
