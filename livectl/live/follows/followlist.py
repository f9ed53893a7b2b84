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

YAML = {".yaml", ".yml"}  # anything else is plain text, an address a line
COMMENT = "#"


class Line(NamedTuple):
    """An entry of a list that was read: where it stands, and the streamer or what is wrong with it."""

    place: tuple[int, int]  # line and column
    streamer: Streamer | LivectlError


class FollowList(NamedTuple):
    """Whom a file says to follow, each once."""

    streamers: tuple[Streamer, ...]
    refused: tuple[Mistake, ...] = ()  # entries that name nobody
    merged: tuple[Mistake, ...] = ()  # warnings: entries that name somebody named before


def load(path: Path, name: str = "") -> FollowList:
    """The follow list of a file, which messages call `name`. FileError if it cannot be read at all."""
    name = name or str(path)
    return gather(lines(content(path, name), path.suffix, name), name)


def content(path: Path, name: str) -> bytes:
    """What is in the file; nothing where there is none yet."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SettingsError(f"{name}: {(error.strerror or str(error)).lower()}", "Is this the right path?") from error


def lines(said: bytes, suffix: str, name: str) -> list[Line]:
    return from_yaml(said, name) if suffix.lower() in YAML else from_text(said, name)


def gather(found: Iterable[Line], name: str) -> FollowList:
    """Each streamer once: what later entries add is added, and said."""
    known: dict[tuple[str, str], tuple[Streamer, int]] = {}
    refused, merged = [], []
    for (line, column), one in found:
        if isinstance(one, LivectlError):
            refused.append(Mistake(name, line, column, *entries.said(one)))
            continue
        key = (one.platform, one.id)
        before = known.get(key)
        known[key] = (merge(before[0], one), before[1]) if before else (one, line)
        if before:
            text = f"{one.platform}/{one.id} is followed by line {before[1]} already"
            merged.append(Mistake(name, line, column, text, "the two are taken together", warning=True))
    return FollowList(tuple(streamer for streamer, _ in known.values()), tuple(refused), tuple(merged))


def merge(first: Streamer, other: Streamer) -> Streamer:
    """The same streamer, with what both say."""
    alerts = first.alerts if other.alerts is None else (*(first.alerts or ()), *other.alerts)
    return msgspec.structs.replace(
        first,
        name=first.name or other.name,
        tags=tuple(dict.fromkeys((*first.tags, *other.tags))),
        alerts=alerts and tuple(dict.fromkeys(alerts)),
        weight=max(first.weight, other.weight),
    )


def from_yaml(said: bytes, name: str) -> list[Line]:
    from livectl import yamlfile

    document = yamlfile.loads(said, name)
    route = () if isinstance(document.value, list) else ("follows",)
    return [Line(document.place((*route, at)), _read(value)) for at, value in enumerate(_list(document))]


def from_text(said: bytes, name: str) -> list[Line]:
    found = []
    for number, line in enumerate(decoded(said, name).split("\n"), 1):
        text = uncommented(line)
        if text:
            found.append(Line((number, line.index(text[0]) + 1), _read(text)))
    return found


def decoded(said: bytes, name: str) -> str:
    try:
        return said.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = said[: error.start].count(b"\n") + 1
        raise FileError([Mistake(name, line, 1, "not UTF-8", "save the file as UTF-8")]) from None


def uncommented(line: str) -> str:
    """A `#` begins a comment at the start of a line or after a blank; within an address it is a part of it."""
    for at, letter in enumerate(line):
        if letter == COMMENT and (at == 0 or line[at - 1].isspace()):
            return line[:at].strip()
    return line.strip()


def _list(document: Document) -> list[Any]:
    """The entries: a list, or one under `follows`."""
    value = document.value
    if isinstance(value, dict):
        for key in value.keys() - {"follows"}:
            raise FileError([document.mistake((key,), f"unknown key `{key[:40]}`", "it can be follows", key=True)])
        value = value.get("follows")
    if value is None:
        return []
    if not isinstance(value, list):
        raise FileError([document.mistake(("follows",), "follows is a list", entries.EXAMPLE)])
    return value


def _read(value: Any) -> Streamer | LivectlError:
    try:
        return entries.read(value)
    except LivectlError as error:
        return error
