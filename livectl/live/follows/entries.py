"""An entry of a follow list: text or a mapping, read into a Streamer."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from livectl.errors import LivectlError, SettingsError
from livectl.live import platforms
from livectl.model import Streamer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXAMPLE = "write `- platform/id`, an address, or {url: …, name: …, tags: […], alerts: […], weight: 5}"
HEAVIEST = 100.0  # asked ten times as often as others; beyond that nobody else would be
LONGEST_NAME = 100  # characters


def read(value: Any) -> Streamer:
    """The streamer an entry stands for. SettingsError or Refused say what is wrong with it."""
    if isinstance(value, str):
        return streamer(value)
    if not isinstance(value, dict):
        raise SettingsError("this is no streamer", EXAMPLE)
    for key in value:
        if key not in FIELDS and key != "url":
            near = get_close_matches(key, [*FIELDS, "url"], 1)
            raise SettingsError(f"unknown key `{key[:40]}`", f"do you mean {near[0]}?" if near else EXAMPLE)
    if not isinstance(value.get("url"), str):
        raise SettingsError("an entry needs a url", EXAMPLE)
    return streamer(value["url"], {key: FIELDS[key](said) for key, said in value.items() if key != "url"})


def streamer(address: str, more: Mapping[str, Any] | None = None) -> Streamer:
    """The streamer at a pasted address."""
    platform, one = platforms.read(address)
    page = platforms.get(platform).url(one)
    return Streamer(platform=platform, id=one, url=page or address.strip(), **(more or {}))


def said(error: LivectlError) -> tuple[str, str]:
    """Message and hint, as they stand in the mistakes of a file."""
    return error.message, error.hint[:1].lower() + error.hint[1:].rstrip(".")


def _name(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise SettingsError("a name is text", "put it in quotes")
    return str(value)[:LONGEST_NAME]


def _words(key: str) -> Callable[[Any], tuple[str, ...]]:
    def read_words(value: Any) -> tuple[str, ...]:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str | int) and str(word) for word in words):
            raise SettingsError(f"{key} is a list of words", f"write {key}: [one, other]")
        return tuple(dict.fromkeys(str(word) for word in words))

    return read_words


def _alerts(value: Any) -> tuple[str, ...] | None:
    return None if value is None else _words("alerts")(value)


def _tags(value: Any) -> tuple[str, ...]:
    return () if value is None else _words("tags")(value)


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= HEAVIEST:
        raise SettingsError(f"a weight is a number above 0, up to {HEAVIEST:g}", "1 is the usual one")
    return float(value)


FIELDS: dict[str, Callable[[Any], Any]] = {"name": _name, "tags": _tags, "alerts": _alerts, "weight": _weight}
