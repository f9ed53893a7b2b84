"""Reads the lines of a follow list one after the other, in any of its formats: millions are never in memory at once.

A line that names nobody is among them with the reason, and costs nobody else.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from functools import partial
from itertools import islice, starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from livectl.errors import FileError, Mistake, SettingsError
from livectl.live.follows import follow_list
from livectl.live.follows.follow_list import FollowLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from livectl.models import Streamer
    from livectl.yaml_pieces import Chunk, PiecedList
    from livectl.yamlfile import Document

    Source = Path | bytes

TABLE_SUFFIX, JSON_SUFFIX = ".csv", ".json"
LIST_KEY = "follows"  # of YAML
COLUMNS = ("platform", "id", "url", "name", "tags", "alerts", "weight")  # of our tables
MAX_WHOLE_BYTES = 1_000_000  # of YAML and JSON that is read at once: all its mistakes are told at once too
MAX_LINE_BYTES = 1_000_000
PIECE_SIZE = 500  # entries of YAML that are read together
YOUTUBE_CHANNEL_ID = re.compile(r"UC[\w-]{22}")
PLAIN_ITEM = re.compile(rb"( *- +)([A-Za-z][\w.?=&%@+~-]*(?::?/+[\w.?=&%@+~-]+)+) *\r?\n?")  # an address alone
BLANKS = re.compile(r"[ \t\r\n]+")
READ_CHARS = 1_000_000  # of JSON
MAX_ROW_LINES = 20  # of a table: a quote that is never closed swallows no more
NOT_UTF_8 = SettingsError("not UTF-8", "save the file as UTF-8")
QUOTE_OPEN = SettingsError("a quote is opened here and never closed", "close it, or write it twice")


def read(source: Source, suffix: str, name: str) -> Iterator[FollowLine]:
    """The lines of this file or text, which messages call `name`. FileError if it is no follow list at all."""
    suffix = suffix.lower()
    if suffix in follow_list.YAML_SUFFIXES:
        return _read_yaml(source, name)
    if suffix == JSON_SUFFIX:
        return _read_json(source, name)
    return _from_text(source, name, _read_table if suffix == TABLE_SUFFIX else read_text)


def _from_text(
    source: Source, name: str, parse: Callable[[Iterable[tuple[int, str | None]]], Iterator[FollowLine]]
) -> Iterator[FollowLine]:
    with open_source(source) as file:
        yield from parse(decoded_lines(file, name))


def open_source(source: Source) -> BinaryIO:
    return source.open("rb") if isinstance(source, Path) else io.BytesIO(source)


def _size(source: Source) -> int:
    return source.stat().st_size if isinstance(source, Path) else len(source)


def decoded_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str | None]]:
    """Each line with its number; None for one that is not UTF-8."""
    return starmap(decode_line, numbered_lines(file, name))


def numbered_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Each line as it is written; the mark before the first says only that it is UTF-8."""
    mark = codecs.BOM_UTF8
    for number, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES), b""), 1):
        if len(line) == MAX_LINE_BYTES:
            text = f"a line of more than {MAX_LINE_BYTES:,} bytes"
            raise FileError([Mistake(name, number, 1, text, "is it the right file?")])
        yield number, line if number > 1 else line.removeprefix(mark)


def decode_line(number: int, line: bytes) -> tuple[int, str | None]:
    try:
        return number, line.decode()
    except UnicodeDecodeError:
        return number, None


def read_text(lines: Iterable[tuple[int, str | None]]) -> Iterator[FollowLine]:
    """The streamers of numbered lines, each an address."""
    for number, line in lines:
        if line is None:
            yield FollowLine((number, 1), NOT_UTF_8)
        elif text := follow_list.strip_comment(line):
            streamer = follow_list.streamer_or_error(follow_list.parse_streamer, text)
            yield FollowLine((number, line.index(text[0]) + 1), streamer, text)


# Tables


def _read_table(lines: Iterable[tuple[int, str | None]]) -> Iterator[FollowLine]:
    """A table from Takeout, with headings in the user's language, or one of ours, with the fields as headings.

    A table of one column without a heading of ours has an address in each row.
    """
    header: list[str] = []
    for number, row in _rows(lines):
        if isinstance(row, SettingsError):
            yield FollowLine((number, 1), row)
        elif not any(row):
            continue
        elif YOUTUBE_CHANNEL_ID.fullmatch(row[0]):
            yield build_line(number, f"youtube/{row[0]}", name=row[2] if len(row) > 2 else "")
        elif header:
            yield _parse_row(number, dict(zip(header, row, strict=False)))
        else:
            header = [heading.strip().lower() for heading in row]
            if len(header) == 1 and header[0] not in COLUMNS:
                header = ["url"]
                yield build_line(number, row[0].strip())


def _rows(lines: Iterable[tuple[int, str | None]]) -> Iterator[tuple[int, list[str] | SettingsError]]:
    """The rows with the numbers of their first lines. One that does not end is its first line alone."""
    pending = _RowLines(lines)
    while True:
        reader = csv.reader(pending)
        try:
            for row in reader:
                if pending.is_open(row):
                    break
                yield pending.number, row
                pending.close()
            else:
                return
        except csv.Error:
            pass
        if pending.row:
            yield pending.number, NOT_UTF_8 if pending.row[0][1] is None else QUOTE_OPEN
            pending.give_back()


class _RowLines:
    """Lines for a reader of tables, which takes some for each row."""

    def __init__(self, lines: Iterable[tuple[int, str | None]]) -> None:
        self._lines = iter(lines)
        self._again: list[tuple[int, str | None]] = []
        self._is_over = False
        self.row: list[tuple[int, str | None]] = []

    @property
    def number(self) -> int:
        return self.row[0][0]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.row) >= MAX_ROW_LINES:
            raise csv.Error
        try:
            numbered = self._again.pop() if self._again else next(self._lines)
        except StopIteration:
            self._is_over = True
            raise
        self.row.append(numbered)
        if numbered[1] is None:
            raise csv.Error
        return numbered[1]

    def is_open(self, row: list[str]) -> bool:
        """Whether this row ended only because the table did."""
        return self._is_over and len(self.row) > 1 and sum((line or "").count('"') for _, line in self.row) % 2 == 1

    def close(self) -> None:
        self.row.clear()

    def give_back(self) -> None:
        """The first of them is the row."""
        self._again.extend(reversed(self.row[1:]))
        self._is_over = False
        self.row.clear()


def _parse_row(number: int, row: dict[str, str]) -> FollowLine:
    given = {key: value.strip() for key, value in row.items() if value.strip()}
    address = given.get("url") or f"{given.get('platform', '')}/{given.get('id', '')}"
    if given.get("platform") and given.get("id"):
        address = f"{given['platform']}/{given['id']}"
    fields: dict[str, Any] = {key: tuple(given[key].split()) for key in ("tags", "alerts") if key in given}
    try:
        weight = float(given.get("weight", 1))
    except ValueError:
        weight = 1.0
    return build_line(number, address, name=given.get("name", ""), weight=weight, **fields)


def build_line(number: int, address: str, **fields: Any) -> FollowLine:
    streamer = follow_list.streamer_or_error(follow_list.parse_streamer, address, fields)
    return FollowLine((number, 1), streamer, address)


# YAML


def _read_yaml(source: Source, name: str) -> Iterator[FollowLine]:
    from livectl import yaml_pieces

    if _size(source) <= MAX_WHOLE_BYTES:
        yield from _read_whole(source, name, MAX_WHOLE_BYTES)
        return
    try:
        pieces = yaml_pieces.PiecedList(source, name, LIST_KEY)
        follow_list.find_entries(pieces.head)
    except yaml_pieces.NotCutError as error:
        if isinstance(error.__cause__, FileError) and _size(source) > yaml_pieces.MAX_WHOLE_BYTES:
            raise error.__cause__ from None
        yield from _read_whole(source, name, yaml_pieces.MAX_WHOLE_BYTES)
        return
    chunks = pieces.chunks()
    while some := list(islice(chunks, PIECE_SIZE)):
        yield from _read_piece(pieces, some)


def _read_whole(source: Source, name: str, max_bytes: int) -> Iterator[FollowLine]:
    from livectl import yamlfile

    with open_source(source) as file:
        yield from _entries_of(yamlfile.loads(file.read(max_bytes + 1), name, max_bytes))


def _entries_of(document: Document) -> Iterator[FollowLine]:
    entries, key_path = follow_list.find_entries(document)
    for index, value in enumerate(entries):
        streamer = follow_list.streamer_or_error(follow_list.read_entry, value)
        yield FollowLine(document.position((*key_path, index)), streamer, value)


def _read_piece(pieces: PiecedList, chunks: Sequence[Chunk]) -> Iterator[FollowLine]:
    plain = [PLAIN_ITEM.fullmatch(lines) for _, lines in chunks]
    if plain.count(None) * 2 > len(chunks):
        try:
            yield from list(_entries_of(pieces.read(chunks)))
        except FileError:
            pass  # somewhere in it: each is read by itself
        else:
            return
    for chunk, item in zip(chunks, plain, strict=True):
        if item is None:
            yield from read_chunk(pieces, chunk)
            continue
        text = item[2].decode()
        yield FollowLine(
            (chunk[0], len(item[1]) + 1), follow_list.streamer_or_error(follow_list.parse_streamer, text), text
        )


def read_chunk(pieces: PiecedList, chunk: Chunk) -> Iterator[FollowLine]:
    """The entry of a chunk, read by itself."""
    try:
        yield from _entries_of(pieces.read([chunk]))
    except FileError as error:
        mistake = error.mistakes[0]
        written = chunk[1].decode(errors="replace").strip().removeprefix("-").strip()
        yield FollowLine((mistake.line, mistake.column), SettingsError(mistake.text, mistake.hint), written)


# JSON


def _read_json(source: Source, name: str) -> Iterator[FollowLine]:
    if _size(source) <= MAX_WHOLE_BYTES:
        yield from _read_whole(source, name, MAX_WHOLE_BYTES)
        return
    with open_source(source) as file:
        yield from _JSONEntries(file, name).lines()


class _JSONEntries:
    """The entries of a list in JSON, with their places; the list is all of it, or stands under `follows`."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = codecs.getreader("utf-8-sig")(file)
        self._name = name
        self._text = ""
        self._at = 0  # in the text
        self._line, self._column = 1, 1
        self._decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=str)

    def lines(self) -> Iterator[FollowLine]:
        is_inside = self._begin()
        sign = self._peek()
        while sign != "]":
            yield self._entry()
            sign = self._peek()
            if sign == ",":
                self._take(1)
                sign = self._peek()
            elif sign != "]":
                self._refuse("a comma or ] is missing here")
        self._take(1)
        if is_inside:
            if self._peek() != "}":
                self._refuse("a second key", "it can be follows")
            self._take(1)
        if self._peek():
            self._refuse("something after the list", "remove it")

    def _begin(self) -> bool:
        """Goes to the first entry. Whether the list stands under a key."""
        is_inside = self._peek() == "{"
        for sign in ("{", '"follows"', ":", "[") if is_inside else ("[",):
            self._peek()
            while len(self._text) - self._at < len(sign) and self._read():
                pass
            if not self._text.startswith(sign, self._at):
                self._refuse("no list of streamers", follow_list.ENTRY_EXAMPLE)
            self._take(len(sign))
        return is_inside

    def _entry(self) -> FollowLine:
        place = self._line, self._column
        try:
            value, end = self._decoder.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            if self._read():
                return self._entry()
            self._refuse("not JSON", "an entry is text, or {…}")
        if end == len(self._text) and self._read():
            return self._entry()  # a number may go on
        read = _read_escaped if "\\u" in self._text[self._at : end] else _read_value
        self._take(end - self._at)
        written = "" if isinstance(value, SettingsError) else value
        return FollowLine(place, follow_list.streamer_or_error(read, value), written)

    def _peek(self) -> str:
        """The next sign that is no blank; empty at the end."""
        while True:
            if blanks := BLANKS.match(self._text, self._at):
                self._take(blanks.end() - self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read():
                return ""

    def _take(self, count: int) -> None:
        taken = self._text[self._at : self._at + count]
        self._at += count
        if breaks := taken.count("\n"):
            self._line += breaks
            self._column = len(taken) - taken.rfind("\n")
        else:
            self._column += count

    def _read(self) -> bool:
        """Whether there was more; no entry is longer than a line may be."""
        if len(self._text) - self._at > MAX_LINE_BYTES:
            return False
        try:
            more = self._file.read(READ_CHARS)
        except UnicodeDecodeError:
            self._refuse(NOT_UTF_8.message, NOT_UTF_8.hint)
        if more:
            self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)

    def _refuse(self, text: str, hint: str = "") -> NoReturn:
        raise FileError([Mistake(self._name, self._line, self._column, text, hint)])


def _read_value(value: Any) -> Streamer:
    if isinstance(value, SettingsError):
        raise value
    return follow_list.read_entry(value)


def _read_escaped(value: Any) -> Streamer:
    """The same, where escapes may stand for characters that a file may not hold."""
    for character in "".join(_texts(value)):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise SettingsError(f"unreadable character U+{ord(character):04X}", "remove its escape")
    return _read_value(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(part)


def _object(pairs: list[tuple[str, Any]]) -> Any:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    names = [name for name, _ in pairs]
    again = next(name for name in names if names.count(name) > 1)
    return SettingsError(f"`{again}` again", "keep one of the two")
