"""Reads a YAML file whose one long mapping is too long to be read at once: a piece of its entries after the other.

A file is cut between lines, where the entries of the mapping begin. What is in a piece is read as it would be in the
whole: each piece is complete YAML, and ends where no bracket, quote or block is open. A file that cannot be cut so,
such as one in JSON, is `whole`.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from livectl import yamlfile
from livectl.errors import FileError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from livectl.yamlfile import Document, KeyPath, Position

    Chunk = tuple[int, bytes]  # the number of its first line, and its lines: those of one entry

MAX_WHOLE_BYTES = 50_000_000  # of a file that cannot be cut; and of its longest line or entry
MAX_HEAD_BYTES = 1_000_000  # of what stands around the mapping
MAX_ENTRIES = 500_000  # 100,000 schedules take 200 MB of memory
NO_BEGINNINGS = b" \t\r\n#?:-"  # what follows the indentation of a line that begins no entry


class NotCutError(Exception):
    """The file has to be read whole."""


class PiecedFile:
    """A file whose mapping under `key` is read in pieces. `head` is all of it but the entries of that."""

    def __init__(self, path: Path, name: str, key: str) -> None:
        """Raises NotCutError where that mapping cannot be cut, SettingsError where there is no such file."""
        self.path = path
        self.name = name or str(path)
        self._key = key
        self._first_line = 0  # the one after the key
        try:
            with path.open("rb") as file:
                self.head = self._read_head(file)
        except OSError as error:
            raise yamlfile.unreadable(self.name, error) from error

    def _read_head(self, file: BinaryIO) -> Document:
        """Reads the lines around the mapping; an empty line stands for each of its own."""
        label = re.compile(rb"(\xef\xbb\xbf)?" + re.escape(self._key).encode() + rb":[ \t]*(#.*)?\r?\n")
        head, size, is_inside = [], 0, False
        for number, line in enumerate(_lines(file), 1):
            is_inside = is_inside and line[:1] in {b" ", b"\t", b"\r", b"\n", b"#"}
            head.append(b"\n" if is_inside else line)
            size += 0 if is_inside else len(line)
            if size > MAX_HEAD_BYTES:
                raise NotCutError
            if not self._first_line and label.fullmatch(line):
                self._first_line, is_inside = number + 1, True
        document = self._parse(b"".join(head))
        self._check_head(document)
        return document

    def _parse(self, text: bytes, *, first_line: int = 1, depth: int = 0) -> Document:
        try:
            return yamlfile.loads(text, self.name, MAX_WHOLE_BYTES, first_line=first_line, depth=depth)
        except FileError as error:
            raise NotCutError from error

    def _check_head(self, head: Document) -> None:
        """The key is really one, at the top, with nothing beside the lines that follow it."""
        value = head.value
        if not self._first_line or not isinstance(value, dict) or value.get(self._key, self) is not None:
            raise NotCutError
        if head.position((self._key,), key=True) != (self._first_line - 1, 1):
            raise NotCutError

    def chunks(self) -> Iterator[Chunk]:
        """The entries of the mapping, unread, in their order."""
        with self.path.open("rb") as file:
            lines = enumerate(_lines(file), 1)
            inside = ((number, line) for number, line in lines if number >= self._first_line)
            for count, chunk in enumerate(_cut(inside)):
                if count == MAX_ENTRIES:
                    text = f"more than {MAX_ENTRIES:,} entries"
                    raise FileError([Mistake(self.name, chunk[0], 1, text, "is it the right file?")])
                yield chunk

    def read(self, chunks: Sequence[Chunk]) -> Document:
        """The document of some entries that follow each other: as if the others were not there."""
        document = self._parse(b"".join(lines for _, lines in chunks), first_line=chunks[0][0], depth=1)
        if not isinstance(document.value, dict):
            raise NotCutError
        return document.below(self._key)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    for line in iter(partial(file.readline, MAX_WHOLE_BYTES), b""):
        if len(line) == MAX_WHOLE_BYTES:
            raise NotCutError
        yield line


def _cut(lines: Iterator[tuple[int, bytes]]) -> Iterator[Chunk]:
    """Chunks of lines, each from the beginning of an entry to before the next."""
    indentation, chunk, first, size, count = b"", list[bytes](), 0, 0, 0
    for number, line in lines:
        text = line.lstrip(b" ")
        if len(text) == len(line) and line[:1] not in b"\t\r\n#":
            break  # the key after the mapping
        if not indentation and text[:1] not in b"\t\r\n#":
            indentation = line[: len(line) - len(text)]
        begins = indentation and len(line) - len(text) == len(indentation) and text[:1] not in NO_BEGINNINGS
        if begins and count:
            yield first, b"".join(chunk)
            chunk, size = [], 0
        count += bool(begins)
        first = first if chunk else number
        chunk.append(line)
        size += len(line)
        if size > MAX_WHOLE_BYTES:
            raise NotCutError
    if chunk:
        yield first, b"".join(chunk)


class PlacesDocument(yamlfile.Document):
    """The places of a few values of a file that is not kept."""

    def __init__(self, name: str) -> None:
        super().__init__(yamlfile.SourceText("", name), None, 0, {})
        self._places: dict[KeyPath, Position] = {}

    def note(self, key_path: KeyPath, position: Position) -> None:
        self._places[key_path] = position

    def position(self, key_path: KeyPath, *, key: bool = False) -> Position:
        return self._places[key_path]

    def mistake(
        self, key_path: KeyPath, text: str, hint: str = "", *, key: bool = False, warning: bool = False
    ) -> Mistake:
        return Mistake(self.name, *self.position(key_path), text, hint, warning)
