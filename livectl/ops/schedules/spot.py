"""A spot in a file under reading: where it is, and what is wrong there."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from livectl.errors import Mistake
    from livectl.yamlfile import Document, KeyPath

MAX_QUOTE_CHARS = 60  # characters of a value in a message


class FileLocation:
    """Notes mistakes with the file's place and the words that lead to it: `sweep: options: unknown option "queu"`."""

    def __init__(self, document: Document, mistakes: list[Mistake], route: KeyPath = (), prefix: str = "") -> None:
        self.document = document
        self.mistakes = mistakes
        self.route = route
        self.prefix = prefix

    def child(self, key: str | int, *, silent: bool = False) -> FileLocation:
        """The spot of a key's value; a silent one does not appear in messages."""
        return FileLocation(
            self.document, self.mistakes, (*self.route, key), self.prefix if silent else f"{self.prefix}{key}: "
        )

    def add_mistake(self, text: str, hint: str = "", *, key: bool = False) -> None:
        self.mistakes.append(self.document.mistake(self.route, self.prefix + text, hint, key=key))

    def add_warning(self, text: str, hint: str = "") -> None:
        self.mistakes.append(self.document.mistake(self.route, self.prefix + text, hint, warning=True))

    def add_unknown(self, kind: str, key: str, known: Iterable[str]) -> None:
        """A key that is not one of these, noted where the key stands."""
        text = f"{self.prefix}unknown {kind} {quote(key)}"
        names = list(known)
        hint = did_you_mean(key, names) or f"one of {', '.join(names)}"
        self.mistakes.append(self.document.mistake((*self.route, key), text, hint, key=True))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words, whatever their case, as a question; nothing when none is near."""
    names_by_lowercase = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), names_by_lowercase, 1)
    return f"did you mean {names_by_lowercase[close[0]]}?" if close else ""


def quote(value: Any) -> str:
    """A value as a message shows it: short, on one line, as YAML would spell it."""
    import json

    is_plain = isinstance(value, str) and value.isprintable() and "'" not in value
    text = f"'{value}'" if is_plain and '"' in value else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_QUOTE_CHARS else f"{text[:MAX_QUOTE_CHARS]}…"
