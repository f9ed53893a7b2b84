"""Adds and removes streamers in the follow list's file, line by line: comments and order stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from livectl.atomic_write import write_file
from livectl.errors import FileError, LivectlError, SettingsError
from livectl.live.follows import follow_list, formats

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from livectl.live.follows.follow_list import FollowLine
    from livectl.models import Streamer

NEW_FILE_TEXT = "# livectl: whom you follow. An address as your browser shows it, or platform/id.\n\nfollows:\n"
INDENT = "  "
EMPTY_LIST_LINES = ("follows:", "follows: []", "follows: null", "follows: ~")
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

    def remove(self, streamers: Iterable[Streamer]) -> FollowEdit:
        """Takes out every entry of these, also those that are no streamer and are shown under such a name."""
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
        """SettingsError, and nothing is written, if the text does not read back with these streamers."""
        try:
            lines = self._parse_lines(text)
            is_expected = (_keys(lines), _count_invalid(lines)) == (expected_keys, invalid_count)
        except FileError:
            is_expected = False
        if not is_expected:
            raise SettingsError(f"{self.name} is written in a way that only people change", BY_HAND_HINT)
        self.path.resolve().parent.mkdir(parents=True, exist_ok=True)
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
