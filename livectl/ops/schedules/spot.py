"""A spot in a file under reading: where it is, and what is wrong there."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from livectl.errors import Mistake
    from livectl.yamlfile import Document, Route

LONGEST_QUOTE = 60  # characters of a value in a message


class Spot:
    """Notes mistakes with the file's place and the words that lead to it: `sweep: options: unknown option "queu"`."""

    def __init__(self, document: Document, notes: list[Mistake], route: Route = (), words: str = "") -> None:
        self.document = document
        self.notes = notes
        self.route = route
        self.words = words

    def into(self, key: str | int, *, silent: bool = False) -> Spot:
        """The spot of a key's value; a silent one does not appear in messages."""
        return Spot(self.document, self.notes, (*self.route, key), self.words if silent else f"{self.words}{key}: ")

    def wrong(self, text: str, hint: str = "", *, key: bool = False) -> None:
        self.notes.append(self.document.mistake(self.route, self.words + text, hint, key=key))

    def warn(self, text: str, hint: str = "") -> None:
        self.notes.append(self.document.mistake(self.route, self.words + text, hint, warning=True))

    def unknown(self, what: str, key: str, known: Iterable[str]) -> None:
        """A key that is not one of these, noted where the key stands."""
        text = f"{self.words}unknown {what} {quoted(key)}"
        names = list(known)
        hint = did_you_mean(key, names) or f"one of {', '.join(names)}"
        self.notes.append(self.document.mistake((*self.route, key), text, hint, key=True))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words, whatever their case, as a question; nothing when none is near."""
    spelt = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), spelt, 1)
    return f"did you mean {spelt[close[0]]}?" if close else ""


def quoted(value: Any) -> str:
    """A value as a message shows it: short, on one line, as YAML would spell it."""
    import json

    plain = isinstance(value, str) and value.isprintable() and "'" not in value
    text = f"'{value}'" if plain and '"' in value else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
