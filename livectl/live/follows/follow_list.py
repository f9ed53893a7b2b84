"""An entry of a follow list: text or a mapping, read into a Streamer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.errors import FileError, LivectlError, Mistake, SettingsError
from livectl.live import platforms
from livectl.models import Streamer
from livectl.validation import FileLocation, describe_error, describe_unknown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


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
            raise SettingsError(*describe_unknown_key(key, [*FIELD_READERS, "url"], ENTRY_EXAMPLE))
    if not isinstance(value.get("url"), str):
        raise SettingsError("an entry needs a url", ENTRY_EXAMPLE)
    return parse_streamer(value["url"], {key: FIELD_READERS[key](raw) for key, raw in value.items() if key != "url"})


def parse_streamer(address: str, fields: Mapping[str, Any] | None = None) -> Streamer:
    """The streamer at a pasted address."""
    platform, streamer_id = platforms.parse_address(address)
    page_url = platforms.get(platform).url(streamer_id)
    return Streamer(platform=platform, id=streamer_id, url=page_url or address.strip(), **(fields or {}))


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


YAML_SUFFIXES = {".yaml", ".yml"}  # anything else is plain text, an address a line
COMMENT = "#"


class FollowLine(NamedTuple):
    """An entry of a list that was read: where it stands, and the streamer or what is wrong with it."""

    location: tuple[int, int]  # line and column
    streamer: Streamer | LivectlError


class FollowList(NamedTuple):
    """Whom a file says to follow, each once."""

    streamers: tuple[Streamer, ...]
    refused: tuple[Mistake, ...] = ()  # entries that name nobody
    merged: tuple[Mistake, ...] = ()  # warnings: entries that name somebody named before


def load(path: Path, name: str = "") -> FollowList:
    """The follow list of a file, which messages call `name`. FileError if it cannot be read at all."""
    name = name or str(path)
    return merge_lines(parse_lines(read_content(path, name), path.suffix, name), name)


def read_content(path: Path, name: str) -> bytes:
    """What is in the file; nothing where there is none yet."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SettingsError(f"{name}: {(error.strerror or str(error)).lower()}", "Is this the right path?") from error


def parse_lines(content: bytes, suffix: str, name: str) -> list[FollowLine]:
    return parse_yaml(content, name) if suffix.lower() in YAML_SUFFIXES else parse_text(content, name)


def merge_lines(follow_lines: Iterable[FollowLine], name: str) -> FollowList:
    """Each streamer once: what later entries add is added, and said."""
    by_key: dict[tuple[str, str], tuple[Streamer, int]] = {}
    refused, merged = [], []
    for (line, column), entry in follow_lines:
        if isinstance(entry, LivectlError):
            refused.append(Mistake(name, line, column, *describe_error(entry)))
            continue
        key = (entry.platform, entry.id)
        earlier = by_key.get(key)
        by_key[key] = (merge_streamers(earlier[0], entry), earlier[1]) if earlier else (entry, line)
        if earlier:
            text = f"{entry.platform}/{entry.id} is followed by line {earlier[1]} already"
            merged.append(Mistake(name, line, column, text, "the two are taken together", warning=True))
    return FollowList(tuple(streamer for streamer, _ in by_key.values()), tuple(refused), tuple(merged))


def merge_streamers(first: Streamer, other: Streamer) -> Streamer:
    """The same streamer, with what both say."""
    alerts = first.alerts if other.alerts is None else (*(first.alerts or ()), *other.alerts)
    return msgspec.structs.replace(
        first,
        name=first.name or other.name,
        tags=tuple(dict.fromkeys((*first.tags, *other.tags))),
        alerts=alerts and tuple(dict.fromkeys(alerts)),
        weight=max(first.weight, other.weight),
    )


def parse_yaml(content: bytes, name: str) -> list[FollowLine]:
    from livectl import yamlfile

    location = FileLocation(yamlfile.loads(content, name))
    entries, entries_location = _find_entries(location)
    location.raise_mistakes()
    return [
        FollowLine(entries_location.child(index).position, _read_entry_or_error(value))
        for index, value in enumerate(entries)
    ]


def parse_text(content: bytes, name: str) -> list[FollowLine]:
    follow_lines = []
    for number, line in enumerate(decode(content, name).split("\n"), 1):
        text = strip_comment(line)
        if text:
            follow_lines.append(FollowLine((number, line.index(text[0]) + 1), _read_entry_or_error(text)))
    return follow_lines


def decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileError([Mistake(name, line, 1, "not UTF-8", "save the file as UTF-8")]) from None


def strip_comment(line: str) -> str:
    """A `#` begins a comment at the start of a line or after a blank; within an address it is a part of it."""
    for at, letter in enumerate(line):
        if letter == COMMENT and (at == 0 or line[at - 1].isspace()):
            return line[:at].strip()
    return line.strip()


def _find_entries(location: FileLocation) -> tuple[list[Any], FileLocation]:
    """The entries of a document, which is a list or has one under `follows`, and where they stand."""
    value = location.document.value
    if isinstance(value, dict):
        for key in value.keys() - {"follows"}:
            mistake = describe_unknown_key(key, (), "it can be follows")
            location.child(key, silent=True).add_mistake(*mistake, key=True)
        location, value = location.child("follows", silent=True), value.get("follows")
    if value is not None and not isinstance(value, list):
        location.add_mistake("follows is a list", ENTRY_EXAMPLE)
    return value if isinstance(value, list) else [], location


def _read_entry_or_error(value: Any) -> Streamer | LivectlError:
    try:
        return read_entry(value)
    except LivectlError as error:
        return error
