"""Reads a YAML file strictly: plain values, and the line and column of each key and value.

Built on PyYAML's events, which come one by one: a document that nests too deep is refused before it does harm.
Anchors, aliases, tags, merge keys and directives are refused; scalars follow YAML 1.2 without octals and the like,
so that `on`, `12:30:45`, `0123456` and dates stay text.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_right
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import yaml
from yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, StreamEndEvent

from livectl.errors import FileError, Mistake, SettingsError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    KeyPath: TypeAlias = tuple[str | int, ...]  # the keys that lead to a value: ("schedules", "add", "args", 0)

MAX_BYTES = 1_000_000  # 10,000 streamers are 0.8 MB; time and memory grow with it
MAX_DEPTH = 16  # a schedule needs 5
MAX_MISTAKES = 20  # reported at once; nobody mends more in one go

TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels", "is a bracket not closed?"  # text and hint of the mistake
SECOND_DOCUMENT = "a second document", "remove `---` and what follows, or split the file"

CONSTANTS: dict[str, bool | None] = dict.fromkeys(("true", "True", "TRUE"), True)
CONSTANTS |= dict.fromkeys(("false", "False", "FALSE"), False)
CONSTANTS |= dict.fromkeys(("null", "Null", "NULL", "~", ""), None)
INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")  # as many digits as fit 64 bits: more are an id, and stay text
FLOAT = re.compile(
    r"[-+]?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE](\+?[0-9]{1,2}|-[0-9]{1,3}))?"
)  # never infinite
UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
KEYWORDS = {"true", "false", "null"}  # in lower case
UNSAFE_CHARACTERS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")  # YAML breaks lines at some, and refuses others
DIRECTIVE = re.compile("^%(YAML|TAG)", re.MULTILINE)  # PyYAML reads many %TAG lines in quadratic time


class Position(NamedTuple):
    """A line and a column, both counted from 1."""

    line: int
    column: int


class SourceText:
    """The text of a file, with the line and column of each character."""

    def __init__(self, text: str, name: str, first_line: int = 1) -> None:
        self.text = text
        self.name = name
        self._first_line = first_line  # of a text that is a piece of a file

    def position(self, offset: int) -> Position:
        line = bisect_right(self._line_starts, offset)
        return Position(line + self._first_line - 1, offset - self._line_starts[line - 1] + 1)

    def mistake(self, offset: int, text: str, hint: str, *, warning: bool = False) -> Mistake:
        return Mistake(self.name, *self.position(offset), text, hint, warning)

    @cached_property
    def _line_starts(self) -> array[int]:
        return array("Q", chain((0,), (match.end() for match in re.finditer("\n", self.text))))


class Document:
    """The content of a file: `value`, in plain dicts, lists and scalars, and the position of each part."""

    def __init__(self, text: SourceText, value: Any, offset: int, offsets: dict[int, Any]) -> None:
        self.name = text.name
        self.value = value
        self._text = text
        self._offset = offset
        self._offsets = offsets  # id of a dict in value -> key -> (offset of key, of value); of a list -> offsets

    def below(self, key: str) -> Document:
        """A document that has this one's value under a key."""
        value = {key: self.value}
        offsets = {**self._offsets, id(value): {key: (self._offset, self._offset)}}
        return Document(self._text, value, self._offset, offsets)

    def position(self, key_path: KeyPath, *, key: bool = False) -> Position:
        """The position of a value, or of its key; that of its parent if the value is not there."""
        return self._text.position(self._find_offset(key_path, key=key))

    def mistake(
        self, key_path: KeyPath, text: str, hint: str = "", *, key: bool = False, warning: bool = False
    ) -> Mistake:
        return self._text.mistake(self._find_offset(key_path, key=key), text, hint, warning=warning)

    def _find_offset(self, key_path: KeyPath, *, key: bool) -> int:
        value, offset, key_offset = self.value, self._offset, self._offset
        for step in key_path:
            try:
                offsets, value = self._offsets[id(value)][step], value[step]
            except (KeyError, IndexError):
                return offset
            key_offset, offset = offsets if isinstance(offsets, tuple) else (offsets, offsets)
        return key_offset if key else offset


class ValueDocument(Document):
    """A value that no file holds, such as a program's: what is wrong in it has a key, and no line."""

    def __init__(self, value: Any, name: str = "") -> None:
        super().__init__(SourceText("", name), value, 0, {})
        if _depth(value) > MAX_DEPTH:
            raise FileError([Mistake(name, 0, 0, *TOO_DEEP)])

    def position(self, _key_path: KeyPath, *, key: bool = False) -> Position:
        return Position(0, 0)

    def mistake(
        self, _key_path: KeyPath, text: str, hint: str = "", *, key: bool = False, warning: bool = False
    ) -> Mistake:
        return Mistake(self.name, 0, 0, text, hint, warning)


def _depth(value: Any) -> int:
    """How many lists and mappings nest in each other, as far as that matters."""
    depth, level = 0, [value]
    while depth <= MAX_DEPTH and (level := [each for each in level if isinstance(each, dict | list)]):
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
        depth += 1
    return depth


def load(path: Path, name: str = "", max_bytes: int = MAX_BYTES) -> Document:
    """The document in a file; `name` is what messages call the file."""
    name = name or str(path)
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise unreadable(name, error) from error
    return loads(content, name, max_bytes)


def unreadable(name: str, error: OSError) -> SettingsError:
    """What is said of a file that cannot be read."""
    return SettingsError(f"{name}: {(error.strerror or str(error)).lower()}", "Is this the right path?")


def loads(
    content: bytes | str, name: str, max_bytes: int = MAX_BYTES, *, first_line: int = 1, depth: int = 0
) -> Document:
    """The document in this text, or in a piece of a file: its first line, and how deep it is nested there."""
    raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    if len(raw) > max_bytes:
        raise FileError([Mistake(name, 1, 1, f"larger than {max_bytes:,} bytes", "is it the right file?")])
    text = SourceText(raw.decode(errors="surrogateescape").removeprefix("\ufeff"), name, first_line)
    _check_readable(text)
    return _DocumentReader(text).document(depth)


def _check_readable(text: SourceText) -> None:
    if match := UNREADABLE.search(text.text):
        code = ord(match[0])
        if 0xDC80 <= code <= 0xDCFF:  # surrogateescape's stand-in for a byte that is not UTF-8
            raise FileError([text.mistake(match.start(), "not UTF-8", "save the file as UTF-8")])
        raise FileError([text.mistake(match.start(), f"unreadable character U+{code:04X}", "remove it")])
    if match := DIRECTIVE.search(text.text):
        raise FileError([text.mistake(match.start(), f"directive {match[0]}", "remove this line")])


class _DocumentReader:
    """Makes a document of events. Notes what is forbidden, and reads on to find more mistakes."""

    def __init__(self, text: SourceText) -> None:
        self.text = text
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text.text)
        self.events: Iterator[Any] = iter(loader.get_event, None)  # as yaml.parse, which takes three calls an event
        self.offsets: dict[int, Any] = {}
        self.mistakes: list[Mistake] = []

    def document(self, depth: int) -> Document:
        try:
            value, offset = self._root(depth)
        except yaml.MarkedYAMLError as error:
            self._raise_mistake(*_explain(error, self.text))
        if self.mistakes:
            raise FileError(self.mistakes)
        return Document(self.text, value, offset, self.offsets)

    def _root(self, depth: int) -> tuple[Any, int]:
        next(self.events)
        if isinstance(next(self.events), StreamEndEvent):
            return None, 0
        event = next(self.events)
        value = self._value(event, depth)
        next(self.events)
        next_event = next(self.events)
        if not isinstance(next_event, StreamEndEvent):
            self._raise_mistake(next_event.start_mark.index, *SECOND_DOCUMENT)
        return value, event.start_mark.index

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, ScalarEvent) and event.anchor is None and event.tag is None:
            return self._scalar(event)
        offset = event.start_mark.index
        if isinstance(event, AliasEvent):
            return self._add_mistake(
                offset, f"alias *{shorten(str(event.anchor))}", "write the value out, or quote it if it is text"
            )
        if event.anchor is not None:
            self._add_mistake(offset, f"anchor &{shorten(event.anchor)}", "remove it, or quote the value if it is text")
        if event.tag is not None:
            self._add_mistake(offset, f"tag {shorten(event.tag)}", "remove it, or quote the value if it is text")
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if depth == MAX_DEPTH:
            self._raise_mistake(offset, *TOO_DEEP)
        return self._mapping(depth + 1) if isinstance(event, MappingStartEvent) else self._sequence(depth + 1)

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:
            return self._quoted(event)
        if text in CONSTANTS:
            return CONSTANTS[text]
        if text[0] not in "+-.0123456789" or text[-1] not in ".0123456789":
            return text
        if INT.fullmatch(text):
            return int(text)
        return float(text) if FLOAT.fullmatch(text) else text

    def _quoted(self, event: Any) -> str:
        """The text of a quoted scalar, whose escapes may stand for characters that a file may not hold."""
        text: str = event.value
        for character in set(text).intersection("\0") or (set() if text.isascii() else _surrogates(text)):
            self._add_mistake(
                event.start_mark.index, f"unreadable character U+{ord(character):04X}", "remove its escape"
            )
        return text

    def _sequence(self, depth: int) -> list[Any]:
        values: list[Any] = []
        offsets = []
        for event in self.events:
            if isinstance(event, SequenceEndEvent):
                break
            offsets.append(event.start_mark.index)
            values.append(self._value(event, depth))
        self.offsets[id(values)] = offsets
        return values

    def _mapping(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        offsets: dict[str, tuple[int, int]] = {}
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, depth, offsets)
            value = next(self.events)
            offsets.setdefault(key, (event.start_mark.index, value.start_mark.index))
            values[key] = self._value(value, depth)
        self.offsets[id(values)] = offsets
        return values

    def _key(self, event: Any, depth: int, earlier_offsets: dict[str, tuple[int, int]]) -> str:
        key = self._value(event, depth)
        if isinstance(key, str) and key != "<<" and key not in earlier_offsets:
            return key
        offset = event.start_mark.index
        if not isinstance(key, str):
            description = (
                f"`{shorten(event.value)}` is read as {_type_name(key)}"
                if isinstance(event, ScalarEvent)
                else _type_name(key)
            )
            self._add_mistake(offset, f"a key is text, and {description}", "put it in quotes")
        elif key == "<<" and event.implicit[0]:
            self._add_mistake(offset, "merge key <<", "write the keys out")
        elif key in earlier_offsets:
            first_line = self.text.position(earlier_offsets[key][0]).line
            self._add_mistake(
                offset, f"`{shorten(key)}` again: it is already in line {first_line}", "keep one of the two"
            )
        return str(key)

    def _add_mistake(self, offset: int, text: str, hint: str) -> None:
        self.mistakes.append(self.text.mistake(offset, text, hint))
        if len(self.mistakes) == MAX_MISTAKES:
            raise FileError(self.mistakes, f"There may be more: these are the first {MAX_MISTAKES}.")

    def _raise_mistake(self, offset: int, text: str, hint: str) -> NoReturn:
        raise FileError([*self.mistakes, self.text.mistake(offset, text, hint)])


def _surrogates(text: str) -> set[str]:
    return {character for character in text if "\ud800" <= character <= "\udfff"}


def _type_name(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return names.get(type(value), "nothing")


def _explain(error: yaml.MarkedYAMLError, source: SourceText) -> tuple[int, str, str]:
    """The offset, the text and the hint for a mistake that PyYAML reports in words of its own."""
    text = source.text
    problem: Any = error.problem_mark or error.context_mark
    start: Any = error.context_mark or problem
    character, opening = text[problem.index : problem.index + 1], text[start.index : start.index + 1]
    message, activity = error.problem or "not YAML", error.context or ""
    if "nesting depth" in message:  # the parser's own limit, which it meets before it says how deep the value is
        return problem.index, *TOO_DEEP
    if "alias" in activity or "anchor" in activity:
        return start.index, f"a value cannot begin with {opening}", "put it in quotes"
    if "end of stream" in message:
        return start.index, f"{opening} is opened here and never closed", "close it"
    if "quoted scalar" in activity:
        return problem.index, "a backslash that escapes nothing", "write it twice, or use single quotes"
    if character == "\t":
        return problem.index, "a tab in the indentation", "use spaces"
    if character in {"@", "`", "%"}:
        return problem.index, f"a value cannot begin with {character}", "put it in quotes"
    if "mapping values are not allowed" in message:
        hint = "indent it as its neighbours, or put the value in quotes"
        return problem.index, "a colon where no key can be", hint
    if opening in {"[", "{"}:
        line = source.position(start.index).line
        return problem.index, f"no comma or end after an entry of the {opening} in line {line}", "close it"
    if text[: problem.index].rpartition("\n")[2].strip():
        return problem.index, f"{character} cannot stand here", "put the whole value in quotes"
    return problem.index, "this does not line up with what is above it", "indent it as its neighbours"


def format_value(value: Any, plain: re.Pattern[str] = PLAIN_NAME) -> str:
    """A value of lists, mappings and scalars, on one line of YAML; `plain` is what needs no quotes."""
    if isinstance(value, dict):
        items = (f"{format_scalar(key, plain)}: {format_value(item, plain)}" for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_value(item, plain) for item in value) + "]"
    return format_scalar(value, plain)


def format_scalar(value: Any, plain: re.Pattern[str] = PLAIN_NAME) -> str:
    """A scalar of YAML: text that matches `plain` without quotes, unless it is a keyword of YAML."""
    if isinstance(value, str) and plain.fullmatch(value) and value.lower() not in KEYWORDS:
        return value
    return UNSAFE_CHARACTERS.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
