"""Adds and removes streamers in the follow list's file, line by line: comments and order stay as they are."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.atomic_write import changing, write_file
from livectl.errors import FileError, LivectlError, SettingsError
from livectl.live.follows import follow_list, formats
from livectl.live.follows.lines import TABLE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from livectl.live.follows.follow_list import FollowLine
    from livectl.models import Streamer

NEW_FILE_TEXT = "# livectl: whom you follow. An address as your browser shows it, or platform/id.\n\nfollows:\n"
INDENT = "  "
EMPTY_LIST_LINES = ("follows:", "follows: []", "follows: null", "follows: ~")
CLOSING_SIGNS = {"{": "}", '"': '"', "'": "'"}
YAML_HINT = "Keep the list as YAML: livectl follow export > follows.yaml"
BY_HAND_HINT = "Change it by hand; the lines of a list begin with `- `."


class FollowEdit(NamedTuple):
    """The streamers that an edit changed, and those that it did not need to."""

    changed: tuple[Streamer, ...]  # added or removed
    unchanged: tuple[Streamer, ...] = ()  # followed already, or not followed


class FollowFile:
    """A follow list that can be changed. A change is written only if it reads back as meant."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or str(path)

    def add(self, streamers: Iterable[Streamer]) -> FollowEdit:
        with changing(self.path, self.name):
            return self._add(streamers)

    def remove(self, streamers: Iterable[Streamer]) -> FollowEdit:
        """Takes out every entry of these, also those that are no streamer and are shown under such a name."""
        with changing(self.path, self.name):
            return self._remove(streamers)

    def set_tags(self, streamer: Streamer, tags: Sequence[str]) -> FollowEdit:
        """Gives somebody of the list these tags instead of theirs."""
        with changing(self.path, self.name):
            return self._set_tags(streamer, tuple(dict.fromkeys(tags)))

    def _add(self, streamers: Iterable[Streamer]) -> FollowEdit:
        text = self._read_text()
        wanted: dict[tuple[str, str], Streamer] = {}
        for streamer in streamers:
            wanted.setdefault(streamer.key, streamer)
        known: set[tuple[str, str] | None] = set()
        last: FollowLine | None = None
        for line in self._parse_lines(text):
            last = line
            if (key := _key(line)) in wanted:
                known.add(key)
        new = [streamer for key, streamer in wanted.items() if key not in known]
        if new:
            expected = chain(map(_key, self._parse_lines(text)), (streamer.key for streamer in new))
            self._write_if(self._text_with(text, last, new), _key, expected)
        return FollowEdit(tuple(new), tuple(streamer for key, streamer in wanted.items() if key in known))

    def _remove(self, streamers: Iterable[Streamer]) -> FollowEdit:
        text = self._read_text()
        unwanted = {streamer.key: streamer for streamer in streamers}
        lines = [line for line in self._parse_lines(text) if _shown_key(line) in unwanted]
        there = {_shown_key(line) for line in lines}
        if there:
            kept = (line for line in self._parse_lines(text) if _shown_key(line) not in there)
            self._write_if(self._text_without(text, lines), _key, map(_key, kept))
        return FollowEdit(
            tuple(streamer for key, streamer in unwanted.items() if key in there),
            tuple(streamer for key, streamer in unwanted.items() if key not in there),
        )

    def _set_tags(self, streamer: Streamer, tags: tuple[str, ...]) -> FollowEdit:
        if not self._is_yaml:
            raise SettingsError(f"{self.name} has no place for tags", YAML_HINT)
        text = self._read_text()
        entries = [line for line in self._parse_lines(text) if _key(line) == streamer.key]
        if not entries:
            return FollowEdit((), (streamer,))
        # several entries for one streamer: the first has the tags
        changed = [_with_tags(line, () if at else tags) for at, line in enumerate(entries)]
        if any(new != line.streamer for new, line in zip(changed, entries, strict=True)):
            lines = _split_lines(text)
            for line, new in zip(entries, changed, strict=True):
                _write_tags(lines, line, new.tags)
            left = iter(changed)
            expected = (
                next(left) if _key(line) == streamer.key else _readable(line) for line in self._parse_lines(text)
            )
            self._write_if("".join(lines), _readable, expected)
        return FollowEdit(tuple(new for new, line in zip(changed, entries, strict=True) if new != line.streamer)[:1])

    @property
    def _is_yaml(self) -> bool:
        return self.path.suffix.lower() in follow_list.YAML_SUFFIXES

    def _read_text(self) -> str:
        return follow_list.decode(follow_list.read_content(self.path, self.name), self.name)

    def _parse_lines(self, text: str) -> Iterator[FollowLine]:
        return follow_list.parse_lines(text.encode(), self.path.suffix, self.name)

    def _text_with(self, text: str, last_line: FollowLine | None, new: list[Streamer]) -> str:
        if self.path.suffix.lower() == TABLE_SUFFIX:
            return _with_final_newline(text) + formats.rows_for(text, new)
        if not self._is_yaml:
            return _with_final_newline(text) + formats.as_text(new)
        lines = _split_lines(text or NEW_FILE_TEXT)
        if last_line is None:
            return _with_first_entries(lines, new)
        start = last_line.location[0] - 1
        last, indent = _entry_end(lines, start), lines[start].partition("-")[0]
        return "".join(
            [*lines[:last], *(f"{indent}- {formats.render_entry(streamer)}\n" for streamer in new), *lines[last:]]
        )

    def _text_without(self, text: str, removed: list[FollowLine]) -> str:
        lines = _split_lines(text)
        starts = {line.location[0] - 1 for line in removed}  # a line may hold several entries
        for start in sorted(starts, reverse=True):
            del lines[start : _entry_end(lines, start) if self._is_yaml else start + 1]
        return "".join(lines)

    def _write_if(self, text: str, shown: Callable[[FollowLine], object], expected: Iterable[object]) -> None:
        """SettingsError, and nothing is written, if the text does not read back as expected."""
        try:
            lines = zip_longest(map(shown, self._parse_lines(text)), expected, fillvalue="")
            is_as_meant = all(found == wanted for found, wanted in lines)
        except FileError:
            is_as_meant = False
        if not is_as_meant:
            raise SettingsError(f"{self.name} is written in a way that only people change", BY_HAND_HINT)
        write_file(self.path, text)


def _shown_key(line: FollowLine) -> tuple[str, str]:
    streamer = line.streamer
    return (follow_list.name_refused(line.written) if isinstance(streamer, LivectlError) else streamer).key


def _readable(line: FollowLine) -> Streamer | None:
    """The streamer of an entry; None where it is none."""
    return None if isinstance(line.streamer, LivectlError) else line.streamer


def _key(line: FollowLine) -> tuple[str, str] | None:
    return None if isinstance(line.streamer, LivectlError) else line.streamer.key


def _with_tags(line: FollowLine, tags: tuple[str, ...]) -> Streamer:
    streamer = line.streamer
    if isinstance(streamer, LivectlError):
        raise streamer
    return msgspec.structs.replace(streamer, tags=tags)


def _with_final_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _split_lines(text: str) -> list[str]:
    """Lines as editors count them: str.splitlines splits at more characters than they do."""
    return [f"{line}\n" for line in text.removesuffix("\n").split("\n")]


def _with_first_entries(lines: list[str], new: list[Streamer]) -> str:
    """Adds the first entries to an empty list."""
    at = next(
        (number for number, line in enumerate(lines) if follow_list.strip_comment(line) in EMPTY_LIST_LINES), None
    )
    entries = [f"{INDENT}- {formats.render_entry(streamer)}\n" for streamer in new]
    if at is None:
        return "".join([*lines, "follows:\n", *entries])
    head = lines[at].replace(follow_list.strip_comment(lines[at]), "follows:", 1)
    return "".join([*lines[:at], head, *entries, *lines[at + 1 :]])


def _entry_end(lines: list[str], start: int) -> int:
    """The number of the line after an entry, which goes on while lines are indented deeper than its dash."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if not line.strip() or line.lstrip().startswith(follow_list.COMMENT):
            continue  # belongs to the entry only if the entry goes on after it
        if len(line) - len(line.lstrip()) <= indent:
            break
        end = number + 1
    return end


def _write_tags(lines: list[str], line: FollowLine, tags: Sequence[str]) -> None:
    """Gives the entry of this line its tags: in place, so that the lines of all others keep their numbers."""
    start, column = line.location[0] - 1, line.location[1] - 1
    end = _entry_end(lines, start)
    if end == start + 1:
        content, comment = _split_comment(lines[start][column:])
        if not content.endswith(CLOSING_SIGNS.get(content[:1], "")):  # a # in quotes begins no comment
            raise SettingsError(f"line {start + 1} is written in a way that only people change", BY_HAND_HINT)
        lines[start] = f"{lines[start][:column]}{_flow_entry(line.written, tags)}{comment}"
        return
    indent, text = " " * column, f"tags: {formats.render_list(tags)}" if tags else ""
    begin = next((at for at in range(start, end) if _key_at(lines[at], column) == "tags"), None)
    if begin is None:
        lines[end - 1] += f"{indent}{text}\n" if text else ""
        return
    for at in range(begin + 1, end):
        if _key_at(lines[at], column):
            break
        lines[at] = _comment_line(lines[at], indent)
    if begin == start:  # beside the dash
        text = text or "tags: []"
    _, comment = _split_comment(lines[begin][column:])
    lines[begin] = f"{lines[begin][:column]}{text}{comment}" if text else _comment_line(lines[begin], indent)


def _flow_entry(written: Any, tags: Sequence[str]) -> str:
    """An entry in one line, in the words that were written, with these tags."""
    fields: dict[str, Any] = dict(written) if isinstance(written, dict) else {"url": written}
    fields["tags"] = list(tags)
    if not tags:
        del fields["tags"]
    if not isinstance(written, dict) and not tags:
        return formats.render_scalar(str(written))
    return "{" + ", ".join(f"{key}: {formats.render_value(value)}" for key, value in fields.items()) + "}"


def _key_at(line: str, column: int) -> str:
    """The key of an entry's field that begins in this column; empty where none does."""
    before, rest = line[:column], line[column:]
    return "" if before.strip(" -") or not rest.strip() or rest[0] in " \t-#" else rest.partition(":")[0].strip()


def _split_comment(text: str) -> tuple[str, str]:
    """What is written, and the comment after it, with the blanks in between and the end of the line."""
    content = follow_list.strip_comment(text)
    end = text.index(content) + len(content)
    return text[:end], text[end:]


def _comment_line(line: str, indent: str) -> str:
    """The comment of a line whose content goes; a line without one goes as well."""
    _, comment = _split_comment(line)
    return f"{indent}{comment.lstrip()}" if comment.strip() else ""
