"""The follow list: a file in, streamers out. What cannot be followed is refused by line, the others are followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.errors import FileError, LivectlError, Mistake, SettingsError
from livectl.live.follows import entries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from livectl.model import Streamer
    from livectl.yamlfile import Document

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
            refused.append(Mistake(name, line, column, *entries.describe_error(entry)))
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

    document = yamlfile.loads(content, name)
    route = () if isinstance(document.value, list) else ("follows",)
    return [
        FollowLine(document.position((*route, index)), _read_entry_or_error(value))
        for index, value in enumerate(_entries_of(document))
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


def _entries_of(document: Document) -> list[Any]:
    """The entries: a list, or one under `follows`."""
    value = document.value
    if isinstance(value, dict):
        for key in value.keys() - {"follows"}:
            raise FileError([document.mistake((key,), f"unknown key `{key[:40]}`", "it can be follows", key=True)])
        value = value.get("follows")
    if value is None:
        return []
    if not isinstance(value, list):
        raise FileError([document.mistake(("follows",), "follows is a list", entries.ENTRY_EXAMPLE)])
    return value


def _read_entry_or_error(value: Any) -> Streamer | LivectlError:
    try:
        return entries.read_entry(value)
    except LivectlError as error:
        return error
