"""Arguments and results as they may be shown: no secrets, nothing endless."""

from __future__ import annotations

import re
from typing import Any

LONGEST_TEXT = 200  # characters of one value; more says nothing more to a person
MOST_ITEMS = 50  # of one list or object
DEEPEST = 6
HIDDEN = "***"

SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|pwd|secret|token|api_?key|private_?key|access_?key|credential|cookie|auth(orization)?$"
    r"|signature|session_?id|webhook",
    re.IGNORECASE,
)
# The password in an address, and the value after a telling name in a text: repr() of a dictionary, a query, a header.
IN_ADDRESS = re.compile(r"(?<=://)([^/\s:@'\"]*):([^/\s@'\"]+)@")
IN_TEXT = re.compile(
    r"(?P<name>[\w-]*(?:password|passwd|secret|token|api_?key|private_?key|access_?key|credential|cookie|signature)"
    r"['\"]?\s*[:=]\s*)(?P<value>'[^']*'|\"[^\"]*\"|[^\s,&})\]]+)",
    re.IGNORECASE,
)


def redact(value: Any, depth: int = 0) -> Any:
    """The same value with secrets hidden and long parts cut."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= DEEPEST:
        return "…"
    if isinstance(value, dict):
        kept = list(value.items())[:MOST_ITEMS]
        return {str(name): HIDDEN if _is_secret(name) else redact(part, depth + 1) for name, part in kept}
    shown = [redact(part, depth + 1) for part in value[:MOST_ITEMS]]
    return shown if len(value) <= MOST_ITEMS else [*shown, f"… {len(value) - MOST_ITEMS} more"]


def redact_text(text: str, longest: int = LONGEST_TEXT) -> str:
    hidden = IN_ADDRESS.sub(rf"\1:{HIDDEN}@", text[: longest * 2])
    hidden = IN_TEXT.sub(rf"\g<name>{HIDDEN}", hidden)
    return hidden if len(hidden) <= longest and len(text) <= longest * 2 else f"{hidden[:longest]}…"


def _is_secret(name: Any) -> bool:
    return isinstance(name, str) and SECRET_NAME.search(name) is not None
