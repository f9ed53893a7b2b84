"""Finds some streamers of a long follow list by a word that is written of them: who asks cannot wait for all of it."""

from __future__ import annotations

import mmap
import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from livectl.errors import LivectlError
from livectl.live.follows import follow_list, lines
from livectl.models import Streamer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_READ = 500  # entries: some 50 ms
MAX_ENTRY_BYTES = 10_000
WINDOW_BYTES = 1_000_000  # that are searched at once
ENTRY = re.compile(rb"^[ \t]*-", re.MULTILINE)


def find(path: Path, word: str) -> Iterator[Streamer]:
    """The first entries in which something begins with this word, whatever its case; without one, the first of all."""
    with suppress(LivectlError):
        yield from (line.streamer for line in _lines(path, word.encode()) if isinstance(line.streamer, Streamer))


def _lines(path: Path, word: bytes) -> Iterable[follow_list.FollowLine]:
    suffix = path.suffix.lower()
    if suffix == lines.JSON_SUFFIX:  # may be one line
        return islice(follow_list.read_lines(path, path.name), MAX_READ)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        head = content[: content.find(b"\n") + 1] if suffix == lines.TABLE_SUFFIX else b""
        is_yaml = suffix in follow_list.YAML_SUFFIXES
        entries = list(islice(_entries(content, word, is_yaml=is_yaml), MAX_READ))
    return (line for entry in entries for line in _read(head + entry, suffix, path.name))


def _read(entry: bytes, suffix: str, name: str) -> list[follow_list.FollowLine]:
    with suppress(LivectlError):
        return list(lines.read(entry, suffix, name))
    return []


def _entries(content: mmap.mmap, word: bytes, *, is_yaml: bool) -> Iterator[bytes]:
    """Those with the word, as they are written."""
    end = 0
    for at in _places(content, word.lower()) if word else _lines_of(content):
        if at < end or content[at - 1 : at].isalnum():
            continue  # in the same entry, or inside a word
        begin, end = _bounds(content, at, is_yaml=is_yaml)
        if end - begin <= MAX_ENTRY_BYTES:
            yield content[begin:end]


def _places(content: mmap.mmap, word: bytes) -> Iterator[int]:
    pattern = re.compile(re.escape(word))
    for start in range(0, len(content), WINDOW_BYTES):
        window = content[start : start + WINDOW_BYTES + len(word) - 1].lower()
        yield from (start + match.start() for match in pattern.finditer(window))


def _lines_of(content: mmap.mmap) -> Iterator[int]:
    at = 0
    while at < len(content):
        yield at
        at = content.find(b"\n", at) + 1 or len(content)


def _bounds(content: mmap.mmap, at: int, *, is_yaml: bool) -> tuple[int, int]:
    """Where the entry begins and ends that this is in: a line, or in YAML all lines from one dash to the next."""
    begin, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at) + 1 or len(content)
    while is_yaml and begin and at - begin < MAX_ENTRY_BYTES and not ENTRY.match(content, begin):
        begin = content.rfind(b"\n", 0, begin - 1) + 1
    following = ENTRY.search(content, end, end + MAX_ENTRY_BYTES) if is_yaml else None
    return begin, following.start() if following else end
