"""Adds and removes streamers in the follow list's file, line by line: comments and order stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.atomic_write import changing, write_file
from livectl.errors import FileError, LivectlError, SettingsError
from livectl.live.follows import follow_list, formats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
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
        lines = self._parse_lines(text)
        known_keys = _keys(lines)
        new: dict[tuple[str, str], Streamer] = {}
        existing = []
        for streamer in streamers:
            if streamer.key in known_keys:
                existing.append(streamer)
            else:
                new.setdefault(streamer.key, streamer)
        if new:
            self._write(self._text_with(text, lines, list(new.values())), known_keys | set(new), _count_invalid(lines))
        return FollowEdit(tuple(new.values()), tuple(existing))

    def _remove(self, streamers: Iterable[Streamer]) -> FollowEdit:
        text = self._read_text()
        lines = self._parse_lines(text)
        unwanted = {streamer.key: streamer for streamer in streamers}
        there = {_shown_key(line) for line in lines} & set(unwanted)
        if there:
            kept = [line for line in lines if _shown_key(line) not in there]
            self._write(self._text_without(text, lines, there), _keys(kept), _count_invalid(kept))
        return FollowEdit(
            tuple(streamer for key, streamer in unwanted.items() if key in there),
            tuple(streamer for key, streamer in unwanted.items() if key not in there),
        )

    def _set_tags(self, streamer: Streamer, tags: tuple[str, ...]) -> FollowEdit:
        if not self._is_yaml:
            raise SettingsError(f"{self.name} has no place for tags", YAML_HINT)
        text = self._read_text()
        follow_lines = self._parse_lines(text)
        expected = [line.streamer for line in follow_lines]
        lines, left = _split_lines(text), tags  # several entries for one streamer: the first has the tags
        for at, (line, entry) in enumerate(zip(follow_lines, expected, strict=True)):
            if not isinstance(entry, LivectlError) and entry.key == streamer.key:
                expected[at] = msgspec.structs.replace(entry, tags=left)
                _write_tags(lines, line, left)
                left = ()
        changed = [new for line, new in zip(follow_lines, expected, strict=True) if new != line.streamer]
        if changed:
            self._write_if("".join(lines), lambda after: [line.streamer for line in after] == expected)
        streamers = [new for new in changed if not isinstance(new, LivectlError)]
        return FollowEdit(tuple(streamers[:1]), () if streamers else (streamer,))

    @property
    def _is_yaml(self) -> bool:
        return self.path.suffix.lower() in follow_list.YAML_SUFFIXES

    def _read_text(self) -> str:
        return follow_list.decode(follow_list.read_content(self.path, self.name), self.name)

    def _parse_lines(self, text: str) -> list[FollowLine]:
        return follow_list.parse_lines(text.encode(), self.path.suffix, self.name)

    def _text_with(self, text: str, follow_lines: list[FollowLine], new: list[Streamer]) -> str:
        if not self._is_yaml:
            return _with_final_newline(text) + formats.as_text(new)
        lines = _split_lines(text or NEW_FILE_TEXT)
        if not follow_lines:
            return _with_first_entries(lines, new)
        start = follow_lines[-1].location[0] - 1
        last, indent = _entry_end(lines, start), lines[start].partition("-")[0]
        return "".join(
            [*lines[:last], *(f"{indent}- {formats.render_entry(streamer)}\n" for streamer in new), *lines[last:]]
        )

    def _text_without(self, text: str, follow_lines: list[FollowLine], removed_keys: set[tuple[str, str]]) -> str:
        lines = _split_lines(text)
        starts = {  # a line may hold several entries
            line.location[0] - 1 for line in follow_lines if _shown_key(line) in removed_keys
        }
        for start in sorted(starts, reverse=True):
            del lines[start : _entry_end(lines, start) if self._is_yaml else start + 1]
        return "".join(lines)

    def _write(self, text: str, expected_keys: set[tuple[str, str]], invalid_count: int) -> None:
        self._write_if(text, lambda lines: (_keys(lines), _count_invalid(lines)) == (expected_keys, invalid_count))

    def _write_if(self, text: str, is_expected: Callable[[list[FollowLine]], bool]) -> None:
        """SettingsError, and nothing is written, if the text does not read back as expected."""
        try:
            is_as_meant = is_expected(self._parse_lines(text))
        except FileError:
            is_as_meant = False
        if not is_as_meant:
            raise SettingsError(f"{self.name} is written in a way that only people change", BY_HAND_HINT)
        write_file(self.path, text)


def _shown_key(line: FollowLine) -> tuple[str, str]:
    streamer = line.streamer
    return (follow_list.name_refused(line.written) if isinstance(streamer, LivectlError) else streamer).key


def _keys(lines: Iterable[FollowLine]) -> set[tuple[str, str]]:
    return {line.streamer.key for line in lines if not isinstance(line.streamer, LivectlError)}


def _count_invalid(lines: Iterable[FollowLine]) -> int:
    """How many entries are no streamer."""
    return sum(isinstance(line.streamer, LivectlError) for line in lines)


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
