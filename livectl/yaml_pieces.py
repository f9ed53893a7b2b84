"""Reads a YAML file whose one mapping or list is too long to be read at once: a piece of its entries after the other.

A file is cut between lines, where the entries begin. What is in a piece is read as it would be in the whole: each piece
is complete YAML, and ends where no bracket, quote or block is open. A file that cannot be cut so, such as one in JSON,
is `whole`.
"""

from __future__ import annotations

import io
import re
from codecs import BOM_UTF8
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from livectl import yamlfile
from livectl.errors import FileError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from livectl.yamlfile import Document, KeyPath, Position

    Chunk = tuple[int, bytes]  # the number of its first line, and its lines: those of one entry

MAX_WHOLE_BYTES = 50_000_000  # of a file that cannot be cut; and of its longest line or entry
MAX_HEAD_BYTES = 1_000_000  # of what stands around the mapping
MAX_ENTRIES = 500_000  # 100,000 schedules take 200 MB of memory
KEY = re.compile(rb"[^ \t\r\n#?:-]")  # what follows the indentation of a line that begins an entry
ITEM = re.compile(rb"-[ \t\r\n]")  # ... of a list
BLANK = re.compile(rb"[ \t]*(#.*)?\r?\n?")
MARK = re.compile(rb"^---(?=[ \t\r\n])", re.MULTILINE)  # another document begins


class NotCutError(Exception):
    """The file has to be read whole."""


class PiecedFile:
    """A file whose mapping under `key` is read in pieces. `head` is all of it but the entries of that."""

    _beginning = KEY
    _inside = b" \t\r\n#"  # what lines of the mapping begin with

    def __init__(self, source: Path | bytes, name: str, key: str) -> None:
        """Raises NotCutError where that mapping cannot be cut, SettingsError where there is no such file."""
        self.path = source if isinstance(source, Path) else Path(name)
        self.name = name or str(source)
        self._source = source
        self._key = key
        self._first_line = 0  # the one after the key
        try:
            with open_source(self._source) as file:
                self.head = self._read_head(file)
        except OSError as error:
            raise yamlfile.unreadable(self.name, error) from error

    def _read_head(self, file: BinaryIO) -> Document:
        """Reads the lines around the mapping; an empty line stands for each of its own."""
        label = re.compile(re.escape(self._key).encode() + rb":[ \t]*(#.*)?\r?\n")
        head, size, is_inside = bytearray(), 0, False
        for number, line in enumerate(_lines(file), 1):
            is_inside = is_inside and line[:1] in self._inside
            head += b"\n" if is_inside else line
            size += 0 if is_inside else len(line)
            if size > MAX_HEAD_BYTES:
                raise NotCutError
            if not self._first_line and label.fullmatch(line):
                self._first_line, is_inside = number + 1, True
        document = self._parse(bytes(head))
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
        for count, chunk in enumerate(self._cut()):
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

    def _cut(self) -> Iterator[Chunk]:
        with open_source(self._source) as file:
            lines = enumerate(_lines(file), 1)
            inside = ((number, line) for number, line in lines if number >= self._first_line)
            yield from _cut(inside, self._beginning, self._inside)


class PiecedList(PiecedFile):
    """A file that is a list, or has one under `key`, and is read in pieces; of any length."""

    _beginning = ITEM
    _inside = b" \t\r\n#-"

    def _read_head(self, file: BinaryIO) -> Document:
        for number, line in enumerate(_lines(file), 1):
            if ITEM.match(line):
                self._first_line = number
                return yamlfile.loads(b"", self.name)
            if not BLANK.fullmatch(line):
                break
        file.seek(0)
        return super()._read_head(file)

    def chunks(self) -> Iterator[Chunk]:
        for first, lines in self._cut():
            if found := MARK.search(lines):
                line = first + lines.count(b"\n", 0, found.start())
                raise FileError([Mistake(self.name, line, 1, *yamlfile.SECOND_DOCUMENT)])
            yield first, lines

    def read(self, chunks: Sequence[Chunk]) -> Document:
        """The same: a document that is a list. FileError, with the places, where it is no YAML."""
        text = b"".join(lines for _, lines in chunks)
        return yamlfile.loads(text, self.name, MAX_WHOLE_BYTES, first_line=chunks[0][0], depth=1)


def open_source(source: Path | bytes) -> BinaryIO:
    return source.open("rb") if isinstance(source, Path) else io.BytesIO(source)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; the mark before the first says only that it is UTF-8."""
    mark = BOM_UTF8
    for line in iter(partial(file.readline, MAX_WHOLE_BYTES), b""):
        if len(line) == MAX_WHOLE_BYTES:
            raise NotCutError
        yield line.removeprefix(mark)
        mark = b""


def _cut(lines: Iterator[tuple[int, bytes]], beginning: re.Pattern[bytes], inside: bytes) -> Iterator[Chunk]:
    """Chunks of lines, each from the beginning of an entry to before the next."""
    indentation, chunk, first, size, count = b"", list[bytes](), 0, 0, 0
    is_indented = False  # whether it is known how far
    for number, line in lines:
        text = line.lstrip(b" ")
        if len(text) == len(line) and line[:1] not in inside:
            break  # the key after the mapping
        if not is_indented and text[:1] not in b"\t\r\n#":
            indentation, is_indented = line[: len(line) - len(text)], True
        begins = is_indented and len(line) - len(text) == len(indentation) and beginning.match(text)
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
