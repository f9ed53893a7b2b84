"""A spot in a file under reading: where it is, and what is wrong there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.errors import SettingsError
from livectl.suggestions import did_you_mean
from livectl.units import parse_duration

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


def quote(value: Any) -> str:
    """A value as a message shows it: short, on one line, as YAML would spell it."""
    import json

    is_plain = isinstance(value, str) and value.isprintable() and "'" not in value
    text = f"'{value}'" if is_plain and '"' in value else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_QUOTE_CHARS else f"{text[:MAX_QUOTE_CHARS]}…"


DURATION_HINT = "such as 30s, 5m or 1h30m"


def read_text(location: FileLocation, value: Any) -> str:
    if not isinstance(value, str) or not value:
        location.add_mistake(f"{quote(value)} is no text", f'"{value}"' if isinstance(value, int | float) else "")
    return str(value)


def read_bool(location: FileLocation, value: Any) -> bool:
    if not isinstance(value, bool):
        location.add_mistake(f"{quote(value)} is neither true nor false", "true or false")
    return bool(value)


def read_mapping(location: FileLocation, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    location.add_mistake(f"{quote(value)} is no mapping", "{name: value}")
    return {}


def read_duration(location: FileLocation, value: Any) -> float | int:
    """Seconds, more than none: a number, or text such as 1h30m."""
    if not is_number(value) and not isinstance(value, str):
        location.add_mistake(f"{quote(value)} is no duration", DURATION_HINT)
        return 0
    try:
        seconds = float(parse_duration(value))
    except SettingsError as error:
        negative = str(value).startswith("-")
        problem = " must be more than zero" if negative else f": {error.message}"
        location.add_mistake(f"{quote(value)}{problem}", DURATION_HINT)
        return 0
    if seconds == 0:
        location.add_mistake(f"{quote(value)} must be more than zero", DURATION_HINT)
    return int(seconds) if seconds.is_integer() else seconds


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_choice(location: FileLocation, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        location.add_mistake(f"{quote(value)} is neither {' nor '.join(known)}", hint)
    return value


def read_zone(location: FileLocation, value: Any) -> str:
    """The name of a time zone; UTC stands in for one that is wrong, so that reading can go on."""
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(value)
    except (ValueError, TypeError, OSError, LookupError, AttributeError):
        nearest = _suggest_zone(str(value), sorted(available_timezones()))
        location.add_mistake(f"{quote(value)} is no time zone", nearest or "such as Europe/Paris or UTC")
        return "UTC"
    return str(value)


def _suggest_zone(word: str, zones: list[str]) -> str:
    """By its whole name, or by its city."""
    cities = {name.rpartition("/")[2].lower(): name for name in zones if "/" in name}
    city = cities.get(word.lower().replace(" ", "_"))
    return f"did you mean {city}?" if city else did_you_mean(word, zones)
