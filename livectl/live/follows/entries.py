"""An entry of a follow list: text or a mapping, read into a Streamer."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from livectl.errors import LivectlError, SettingsError
from livectl.live import platforms
from livectl.model import Streamer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENTRY_EXAMPLE = "write `- platform/id`, an address, or {url: …, name: …, tags: […], alerts: […], weight: 5}"
MAX_WEIGHT = 100.0  # asked ten times as often as others; beyond that nobody else would be
MAX_NAME_CHARS = 100  # characters


def read_entry(value: Any) -> Streamer:
    """The streamer an entry stands for. SettingsError or Refused say what is wrong with it."""
    if isinstance(value, str):
        return parse_streamer(value)
    if not isinstance(value, dict):
        raise SettingsError("this is no streamer", ENTRY_EXAMPLE)
    for key in value:
        if key not in FIELD_READERS and key != "url":
            matches = get_close_matches(key, [*FIELD_READERS, "url"], 1)
            raise SettingsError(f"unknown key `{key[:40]}`", f"do you mean {matches[0]}?" if matches else ENTRY_EXAMPLE)
    if not isinstance(value.get("url"), str):
        raise SettingsError("an entry needs a url", ENTRY_EXAMPLE)
    return parse_streamer(value["url"], {key: FIELD_READERS[key](raw) for key, raw in value.items() if key != "url"})


def parse_streamer(address: str, fields: Mapping[str, Any] | None = None) -> Streamer:
    """The streamer at a pasted address."""
    platform, streamer_id = platforms.parse_address(address)
    page_url = platforms.get(platform).url(streamer_id)
    return Streamer(platform=platform, id=streamer_id, url=page_url or address.strip(), **(fields or {}))


def describe_error(error: LivectlError) -> tuple[str, str]:
    """Message and hint, as they stand in the mistakes of a file."""
    return error.message, error.hint[:1].lower() + error.hint[1:].rstrip(".")


def _read_name(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise SettingsError("a name is text", "put it in quotes")
    return str(value)[:MAX_NAME_CHARS]


def _word_reader(key: str) -> Callable[[Any], tuple[str, ...]]:
    def read_words(value: Any) -> tuple[str, ...]:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str | int) and str(word) for word in words):
            raise SettingsError(f"{key} is a list of words", f"write {key}: [one, other]")
        return tuple(dict.fromkeys(str(word) for word in words))

    return read_words


def _read_alerts(value: Any) -> tuple[str, ...] | None:
    return None if value is None else _word_reader("alerts")(value)


def _read_tags(value: Any) -> tuple[str, ...]:
    return () if value is None else _word_reader("tags")(value)


def _read_weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_WEIGHT:
        raise SettingsError(f"a weight is a number above 0, up to {MAX_WEIGHT:g}", "1 is the usual one")
    return float(value)


FIELD_READERS: dict[str, Callable[[Any], Any]] = {
    "name": _read_name,
    "tags": _read_tags,
    "alerts": _read_alerts,
    "weight": _read_weight,
}
