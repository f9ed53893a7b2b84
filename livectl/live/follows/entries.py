"""Knows the entries of a long follow list by what is written of them: of a million, only those that matter are read."""

from __future__ import annotations

import re
from bisect import bisect_left
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from livectl.live import platforms
from livectl.live.follows import follow_list, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from livectl.live.follows.follow_list import FollowLine
    from livectl.yaml_pieces import Chunk, PiecedList

WORD = re.compile(r"[a-z0-9]+")  # the last one of an id stands in each address that leads to it, whatever the case
WRITTEN_WORD = re.compile(WORD.pattern.encode())
ESCAPES = re.compile(rb"[%\\\x80-\xff]")  # may stand for any letter


class CutList:
    """A list that is cut into its entries, each of which can be read by itself."""

    def __init__(self, path: Path, name: str, pieces: PiecedList | None) -> None:
        self._path = path
        self._name = name
        self._pieces = pieces  # of YAML; without them each line is an entry

    def chunks(self) -> Iterator[Chunk]:
        """The entries with the numbers of their first lines, unread. FileError if it is no follow list."""
        if self._pieces:
            yield from self._pieces.chunks()
            return
        with self._path.open("rb") as file:
            yield from lines.numbered_lines(file, self._name)

    def read(self, chunk: Chunk) -> list[FollowLine]:
        if self._pieces:
            return list(lines.read_chunk(self._pieces, chunk))
        return list(lines.read_text([lines.decode_line(*chunk)]))

    def lines_about(self, keys: Collection[tuple[str, str]]) -> Iterator[FollowLine]:
        """The lines that may be meant for one of these, by platform and id; and the last one."""
        may_be_meant = _recognizer(keys)
        unread: Chunk | None = None
        for chunk in self.chunks():
            unread = chunk
            if may_be_meant(chunk[1]):
                yield from self.read(chunk)
                unread = None
        yield from self.read(unread) if unread else ()


def find_cut(path: Path, name: str, suffix: str) -> CutList | None:
    """The list of this file, in the format of this suffix, if it is long and can be cut into its entries."""
    from livectl import yaml_pieces
    from livectl.errors import FileError

    if not follow_list.is_long(path) or suffix in {lines.TABLE_SUFFIX, lines.JSON_SUFFIX}:
        return None
    if suffix not in follow_list.YAML_SUFFIXES:
        return CutList(path, name, None)
    try:
        pieces = yaml_pieces.PiecedList(path, name, lines.LIST_KEY)
        follow_list.find_entries(pieces.head)
    except (yaml_pieces.NotCutError, FileError):
        return None
    return CutList(path, name, pieces)


class Meaning(NamedTuple):
    """What an edit makes of the lines of a list."""

    shown: Callable[[FollowLine], object]  # what counts of a line
    changed: Callable[[FollowLine], Sequence[object]] | None = None  # what comes of it; without, it stays
    added: Iterable[object] = ()  # behind all of them; read once

    def of(self, line: FollowLine) -> Sequence[object]:
        return self.changed(line) if self.changed else [self.shown(line)]


def same_entries(old: CutList, new: CutList, rewritten: Collection[int], meaning: Meaning) -> bool:
    """Whether the new list says what is meant of the old one, of which the entries at these lines were written anew:
    what is written as before is not read.
    """
    starts = sorted(rewritten)

    def expected() -> Iterator[Chunk | list[object]]:
        for first, written in old.chunks():
            at = bisect_left(starts, first)
            if at < len(starts) and starts[at] <= first + written.count(b"\n", 0, -1):
                yield from ([each] for line in old.read((first, written)) for each in meaning.of(line))
            else:
                yield first, written
        yield from ([each] for each in meaning.added)

    def is_same(chunk: Chunk | None, wanted: Chunk | list[object]) -> bool:
        if isinstance(wanted, tuple):
            if chunk and chunk[1] == wanted[1]:
                return True
            wanted = [*map(meaning.shown, old.read(wanted))]
        return wanted == ([*map(meaning.shown, new.read(chunk))] if chunk else [])

    return all(is_same(chunk, wanted or []) for chunk, wanted in zip_longest(new.chunks(), expected()))


def _recognizer(keys: Collection[tuple[str, str]]) -> Callable[[bytes], bool]:
    """Tells of what is written whether it may be meant for one of these; of platforms that others wrote, always."""
    last_words = [WORD.findall(streamer_id.lower())[-1:] for _, streamer_id in keys]
    if not all(last_words) or not {platform for platform, _ in keys} <= {*platforms.BUILT_IN}:
        return lambda written: True
    wanted = {word.encode() for words in last_words for word in words}
    return lambda written: (
        not wanted.isdisjoint(WRITTEN_WORD.findall(written.lower())) or ESCAPES.search(written) is not None
    )
