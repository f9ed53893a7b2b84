"""A placeholder: `{name}` in the words of an alert or the arguments of a command, filled in when it is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACEHOLDER_NAMES = ("url", "name", "title", "platform", "id", "started", "category", "kind")
PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")  # doubled braces stand for themselves
MAX_SHOWN_CHARS = 40  # characters of a name that is none


def check_placeholders(text: str) -> None:
    """SettingsError for a name that is not filled in."""
    for match in PLACEHOLDER.finditer(text):
        name = match[1]
        if name is not None and name not in PLACEHOLDER_NAMES:
            raise SettingsError(
                f"nothing is called {{{name[:MAX_SHOWN_CHARS]}}}", f"It can be {{{'}, {'.join(PLACEHOLDER_NAMES)}}}."
            )


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Each value as it is: what stands in it is never filled in again."""
    return PLACEHOLDER.sub(lambda match: match[0][0] if match[1] is None else values.get(match[1], ""), text)
