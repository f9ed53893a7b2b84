"""Adds, changes and removes entries of schedules.yaml, place by place: comments, order and layout of all else stay."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import yaml
from msgspec import Struct

from livectl import yamlfile
from livectl.atomic_write import changing, write_file
from livectl.errors import FileError, SettingsError, UsageError
from livectl.ops.schedules import entry_reading, schedule_file
from livectl.suggestions import did_you_mean
from livectl.validation import DEFAULT_ZONE
from livectl.yaml_pieces import MAX_WHOLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Words = dict[str, Any]
    KeyPath = tuple[str, ...]
    NewEntry = tuple[str, Words, Sequence[str]]  # its name, its words, the comments above it

NEW_FILE_TEXT = "# What is sent when. `livectl docs schedules` has every key.\n\nschedules:\n"
BY_HAND_HINT = "Change it by hand, or write that part over more lines."
ENTRIES = "schedules"  # the key of the file that has them
STEP = 2  # columns that a level is indented by, where the file does not show another number
MAX_LINE_CHARS = 120  # of an entry in one line
COMMA = re.compile(r"\s*,")
# What is written without quotes: names, durations, dates and instants.
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9]+(ms|[smhd])|\d{4}-\d\d-\d\d(T[0-9:]+Z?|\.\.\d{4}-\d\d-\d\d)?")


class FileChange(Struct, frozen=True):
    """A schedule file before and after a change."""

    name: str
    before: str
    after: str

    @property
    def diff(self) -> str:
        """The lines that differ, as `diff -u` shows them."""
        old, new = (text.splitlines(keepends=True) for text in (self.before, self.after))
        lines = difflib.unified_diff(old, new, self.name, self.name)
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines).rstrip("\n")


class EditableSchedule:
    """A schedule file that can be changed. A change is written only if the file reads back as meant, without mistake.

    Given the tasks of an app, entries are checked against them. A rehearsal writes nothing.
    """

    def __init__(
        self, path: Path, name: str = "", tasks: Mapping[str, Any] | None = None, *, rehearses: bool = False
    ) -> None:
        self.path = path
        self.name = name or str(path)
        self._tasks = tasks
        self._rehearses = rehearses

    def add(self, name: str, words: Words, comments: Sequence[str] = ()) -> FileChange:
        """Adds an entry behind the others, in the layout of the one before it."""
        return self.add_all([(name, words, comments)])

    def add_all(self, entries: Sequence[NewEntry]) -> FileChange:
        """Adds entries, each with the comments above it."""

        def edit(text: str, value: Any) -> tuple[str, Any]:
            present = (value or {}).get(ENTRIES) or {}
            for name, _, _ in entries:
                if name in present:
                    hint = "Change that one, or take another name."
                    raise SettingsError(f"{self.name} has an entry {name} already", hint)
            value = {**(value or {}), ENTRIES: {**present, **{name: words for name, words, _ in entries}}}
            text = add_entries(text, entries)
            return text, value

        return self._change(edit)

    def set(self, name: str, changes: Sequence[tuple[KeyPath, Any]]) -> FileChange:
        """Gives keys of an entry these values; None takes a key out."""
        _check_changes(changes)

        def edit(text: str, value: Any) -> tuple[str, Any]:
            self._check_known(name, value)
            for path, new in changes:
                old = value[ENTRIES][name]
                value = deepcopy(value)
                value[ENTRIES][name] = change_words(old, [(path, new)])
                text = _apply(text, (ENTRIES, name), old, path, new)
            return text, value

        return self._change(edit)

    def remove(self, names: Sequence[str]) -> FileChange:
        def edit(text: str, value: Any) -> tuple[str, Any]:
            value = deepcopy(value)
            for name in dict.fromkeys(names):
                self._check_known(name, value)
                del value[ENTRIES][name]
                text = delete(text, (ENTRIES, name))
            return text, value

        return self._change(edit)

    def read_names(self) -> list[str]:
        """The names of the entries; none where there is no file."""
        if not self.path.exists():
            return []
        value = yamlfile.load(self.path, self.name, MAX_WHOLE_BYTES).value
        present = value.get(ENTRIES) if isinstance(value, dict) else None
        return list(present) if isinstance(present, dict) else []

    def read_zone(self) -> str:
        """The zone of the entries that name none."""
        value = yamlfile.load(self.path, self.name, MAX_WHOLE_BYTES).value if self.path.exists() else None
        zone = value.get("timezone") if isinstance(value, dict) else None
        return zone if isinstance(zone, str) else DEFAULT_ZONE

    def _check_known(self, name: str, value: Any) -> None:
        present = value.get(ENTRIES) if isinstance(value, dict) else None
        if not isinstance(present, dict) or not isinstance(present.get(name), dict):
            hint = did_you_mean(name, present or ()) or "livectl schedules list"
            raise UsageError(f"{self.name} has no entry called {name}", hint)

    def _change(self, edit: Callable[[str, Any], tuple[str, Any]]) -> FileChange:
        if self._rehearses:
            return self._edited(edit)
        with changing(self.path, self.name):
            change = self._edited(edit)
            if change.after != change.before:
                write_file(self.path, change.after.encode())
            return change

    def _edited(self, edit: Callable[[str, Any], tuple[str, Any]]) -> FileChange:
        before = self.path.read_bytes().decode(errors="surrogateescape") if self.path.exists() else ""
        document = yamlfile.loads(before, self.name, MAX_WHOLE_BYTES)
        value = document.value
        if not isinstance(value, dict | None) or not isinstance((value or {}).get(ENTRIES), dict | None):
            schedule_file.read_document(document, self.path.parent)
        has_breaks = "\r\n" in before
        try:
            text, expected = edit(before.replace("\r\n", "\n"), value)
        except (yaml.YAMLError, ValueError) as error:  # after a first change it is no YAML, or a key has no colon
            raise SettingsError(f"{self.name} is written in a way that only people change", BY_HAND_HINT) from error
        document = self._read_back(text, expected)
        schedule_file.read_document(document, self.path.parent, tasks=self._tasks)
        return FileChange(self.name, before, text.replace("\n", "\r\n") if has_breaks else text)

    def _read_back(self, text: str, expected: Any) -> yamlfile.Document:
        """SettingsError if the text does not say what was meant."""
        try:
            document = yamlfile.loads(text, self.name, MAX_WHOLE_BYTES)
        except FileError as error:
            if "larger than" in error.message:
                raise
            document = None
        if document is None or _without_empty(document.value) != _without_empty(expected):
            raise SettingsError(f"{self.name} is written in a way that only people change", BY_HAND_HINT)
        return document


def _without_empty(value: Any) -> Any:
    """A file that has no entries left may say so in more than one way."""
    return {key: item for key, item in value.items() if key != ENTRIES or item} if isinstance(value, dict) else value


def change_words(words: Words, changes: Sequence[tuple[KeyPath, Any]]) -> Words:
    """The words of an entry after changes; None takes a key out. A new timing takes the place of the old one.

    Raises UsageError for changes that contradict each other.
    """
    _check_changes(changes)
    words = deepcopy(words)
    for path, value in changes:
        if value is not None and path[0] in entry_reading.TIMING_READERS:
            words = {
                key: item for key, item in words.items() if key == path[0] or key not in entry_reading.TIMING_READERS
            }
        _set_in(words, path, value)
    return words


def _check_changes(changes: Sequence[tuple[KeyPath, Any]]) -> None:
    paths = Counter(path for path, _ in changes)
    if twice := [path for path, count in paths.items() if count > 1]:
        raise UsageError(f"{'.'.join(map(str, twice[0]))} is said twice", "Keep one of the two.")
    timings = dict.fromkeys(path[0] for path, value in changes if value is not None)
    first, *others = [key for key in timings if key in entry_reading.TIMING_READERS] or [""]
    if others:
        raise UsageError(f"{first} and {others[0]} are two times for one entry", "Keep one of the two.")


def _set_in(mapping: Any, path: KeyPath, value: Any) -> None:
    first, *rest = path
    if rest:
        inner = mapping.get(first)
        inner = inner if isinstance(inner, dict) else {}
        _set_in(inner, tuple(rest), value)
        value = inner or None
    if value is None:
        mapping.pop(first, None)
    else:
        mapping[first] = value


def _apply(text: str, place: KeyPath, old: Words, path: KeyPath, value: Any) -> str:
    """The text after one change of an entry that stands at this place."""
    new = change_words(old, [(path, value)])
    for key in [key for key in old if key not in new]:
        text = delete(text, (*place, key))
    if path[0] not in new:
        return text
    if value is None:
        return delete(text, (*place, *path)) if old.get(path[0]) != new[path[0]] else text
    return put(text, (*place, *path), value)


# Text of YAML, in which one place changes


def put(text: str, path: KeyPath, value: Any) -> str:
    """The text with this value at a place that may be new; the mapping around it is there."""
    node = _compose(text)
    for depth, key in enumerate(path):
        pair = _find(node, key)
        rest = _nested(path[depth + 1 :], value)
        if pair is None:
            return _insert(text, node, key, rest)
        if depth == len(path) - 1 or not isinstance(pair[1], yaml.MappingNode) or not pair[1].value:
            return _replace(text, pair[0], pair[1], _format(rest))
        node = pair[1]
    return text


def delete(text: str, path: KeyPath) -> str:
    """The text without a key and its value. A comment on its line goes with it, those above it stay."""
    node = _compose(text)
    for key in path[:-1]:
        pair = _find(node, key)
        if pair is None:
            return text
        node = pair[1]
    pair = _find(node, path[-1])
    if pair is None:
        return text
    start, end = pair[0].start_mark.index, _end(text, pair[1], pair[0])
    if node.flow_style:
        return _cut_flow(text, node, pair, start, end)
    start, end = text.rfind("\n", 0, start) + 1, _line_end(text, end)
    before, after = text[:start], text[end:]
    if before.endswith("\n\n") and (after.startswith("\n") or not after):
        before = before[:-1]
    return before + after


def add_entries(text: str, entries: Sequence[NewEntry]) -> str:
    """The text with more entries at the end of the others."""
    if not entries:
        return text
    if not text.strip().removeprefix("\ufeff"):
        text += NEW_FILE_TEXT
    root = _compose(text)
    if not isinstance(root, yaml.MappingNode):  # comments alone
        return add_entries(f"{text.rstrip()}\n\n{ENTRIES}:\n", entries)
    lines = "".join(_entry_text(*entry, STEP, STEP) for entry in entries)
    pair = _find(root, ENTRIES)
    if pair is None:
        at = _line_end(text, _end(text, root))
        return f"{_whole_lines(text[:at])}{ENTRIES}:\n{lines}{text[at:]}"
    key, present = pair
    if isinstance(present, yaml.MappingNode) and present.value:
        return _add_behind(text, present, entries)
    at = _line_end(text, _end(text, present, key))
    colon = text.index(":", key.end_mark.index) + 1
    rest = text[_end(text, present, key) : at].rstrip("\n")
    return f"{text[:colon]}{rest}\n{lines}{text[at:]}"


def _add_behind(text: str, present: Any, entries: Sequence[NewEntry]) -> str:
    """The text with more entries behind those that are there, in the layout of the last of them."""
    if present.flow_style:
        at = _end(text, present.value[-1][1], present.value[-1][0])
        items = "".join(f", {yamlfile.format_scalar(name, PLAIN)}: {_format(words)}" for name, words, _ in entries)
        return f"{text[:at]}{items}{text[at:]}"
    (key, last), indent = present.value[-1], present.start_mark.column
    at = _line_end(text, _end(text, last, key))
    in_one_line = isinstance(last, yaml.MappingNode) and last.flow_style and last.start_mark.line == key.start_mark.line
    column = last.start_mark.column if in_one_line else 0
    step = STEP if in_one_line or not isinstance(last, yaml.MappingNode) else last.start_mark.column - indent
    gap = ""
    if len(present.value) > 1:
        before_key, before = present.value[-2]
        gap = "\n" if "\n\n" in text[_end(text, before, before_key) : key.start_mark.index] else ""
    lines = "".join(f"{gap}{_entry_text(*entry, indent, step, column)}" for entry in entries)
    return f"{_whole_lines(text[:at])}{lines}{text[at:]}"


def _whole_lines(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def entry_text(name: str, words: Words) -> str:
    """An entry as a file has it, a key in each line."""
    return _entry_text(name, words, (), 0, STEP)


def _entry_text(name: str, words: Words, comments: Sequence[str], indent: int, step: int, column: int = 0) -> str:
    """An entry in lines of its own; in one, with its value in this column, where the entry before is written so."""
    margin = " " * indent
    above = "".join(f"{margin}# {yamlfile.UNSAFE_CHARACTERS.sub(' ', comment)}\n" for comment in comments)
    label = f"{margin}{yamlfile.format_scalar(name, PLAIN)}:"
    line = f"{label}{' ' * max(1, column - len(label))}{_format(words)}"
    if column and len(line) <= MAX_LINE_CHARS:
        return f"{above}{line}\n"
    inner = " " * (indent + step)
    keys = "".join(f"{inner}{yamlfile.format_scalar(key, PLAIN)}: {_format(value)}\n" for key, value in words.items())
    return f"{above}{label}\n{keys}"


def _insert(text: str, node: Any, key: str, value: Any) -> str:
    """The text with one more key at the end of a mapping."""
    item = f"{yamlfile.format_scalar(key, PLAIN)}: {_format(value)}"
    if node.flow_style:
        if not node.value:
            return f"{text[: node.start_mark.index]}{{{item}}}{text[node.end_mark.index :]}"
        at = _end(text, node.value[-1][1], node.value[-1][0])
        return f"{text[:at]}, {item}{text[at:]}"
    at = _line_end(text, _end(text, node))
    return f"{_whole_lines(text[:at])}{' ' * node.start_mark.column}{item}\n{text[at:]}"


def _replace(text: str, key: Any, old: Any, new: str) -> str:
    """The text with another value behind a key, in the line of the key. Comments around it stay."""
    colon = text.index(":", key.end_mark.index) + 1
    start, end = old.start_mark.index, _end(text, old, key)
    between = text[colon:start]
    if "\n" not in between:
        return f"{text[:colon]}{between or ' '}{new}{text[end:]}"
    comments = between.rstrip() if "#" in between else ""
    return f"{text[:colon]} {new}{comments}{text[end:]}"


def _cut_flow(text: str, node: Any, pair: Any, start: int, end: int) -> str:
    at = next(number for number, each in enumerate(node.value) if each is pair)
    if at + 1 < len(node.value):
        return text[:start] + text[node.value[at + 1][0].start_mark.index :]
    before = _end(text, node.value[at - 1][1], node.value[at - 1][0]) if at else start
    if "#" in text[before:start]:  # that comment is another key's, and so its comma goes instead
        comma = COMMA.match(text, end)
        return text[:start] + text[comma.end() if comma else end :]
    return text[:before] + text[end:]


def _compose(text: str) -> Any:
    return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _find(node: Any, name: str) -> Any:
    """The nodes of a key and its value."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((pair for pair in pairs if pair[0].value == name), None)


def _end(text: str, node: Any, key: Any = None) -> int:
    """Where a value ends: without the lines behind it that a block takes in, its comments among them."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1], last[0]) if isinstance(last, tuple) else _end(text, last)
    end = int(node.end_mark.index)
    if isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}:
        return len(text[:end].rstrip())
    return max(end, key.end_mark.index + 1) if key is not None and node.start_mark.index == end else end


def _line_end(text: str, at: int) -> int:
    """Behind the end of the line in which this character stands."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _nested(path: KeyPath, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _format(value: Any) -> str:
    return yamlfile.format_value(value, PLAIN)
