"""Hides secrets in arguments and results, and cuts long ones, before they are shown."""

from __future__ import annotations

import re
from typing import Any

MAX_TEXT_CHARS = 200  # of one value
MAX_ITEMS = 50  # of one list or object
MAX_DEPTH = 6
MASK = "***"

SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|pwd|secret|token|api_?key|private_?key|access_?key|credential|cookie|auth(orization)?$"
    r"|signature|session_?id|webhook",
    re.IGNORECASE,
)
# The password in an address; the value after a name such as `token` in a text: repr() of a dict, a query, a header.
PASSWORD_IN_URL = re.compile(r"(?<=://)([^/\s:@'\"]*):([^/\s@'\"]+)@")
SECRET_IN_TEXT = re.compile(
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
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        items = list(value.items())[:MAX_ITEMS]
        return {str(name): MASK if _is_secret(name) else redact(item, depth + 1) for name, item in items}
    redacted = [redact(item, depth + 1) for item in value[:MAX_ITEMS]]
    return redacted if len(value) <= MAX_ITEMS else [*redacted, f"… {len(value) - MAX_ITEMS} more"]


def redact_text(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    redacted = PASSWORD_IN_URL.sub(rf"\1:{MASK}@", text[: max_chars * 2])
    redacted = SECRET_IN_TEXT.sub(rf"\g<name>{MASK}", redacted)
    return redacted if len(redacted) <= max_chars and len(text) <= max_chars * 2 else f"{redacted[:max_chars]}…"


def _is_secret(name: Any) -> bool:
    return isinstance(name, str) and SECRET_NAME.search(name) is not None
