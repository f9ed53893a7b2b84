"""Adds and removes streamers in the follow list's file, line by line: comments and order stay as they are."""

from __future__ import annotations

from array import array
from codecs import BOM_UTF8
from contextlib import closing, suppress
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.atomic_write import changing, replacing
from livectl.errors import FileError, LivectlError, SettingsError
from livectl.live.cells import bucket_of
from livectl.live.follows import follow_list, formats, lines
from livectl.live.follows.entries import Meaning, find_cut, same_entries
from livectl.live.follows.lines import TABLE_SUFFIX
from livectl.live.list_spool import Row, Spool
from livectl.live.store_follows import chunks
from livectl.models import Streamer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from livectl.live.follows.follow_list import FollowLine

NEW_FILE_TEXT = "# livectl: whom you follow. An address as your browser shows it, or platform/id.\n\nfollows:\n"
INDENT = "  "
HEADINGS_BYTES = 65_536  # of a table: its first rows
COMMENT = follow_list.COMMENT.encode()
EMPTY_LIST_LINES = ("follows:", "follows: []", "follows: null", "follows: ~")
CLOSING_SIGNS = {"{": "}", '"': '"', "'": "'"}
YAML_HINT = "Keep the list as YAML: livectl follow export > follows.yaml"
BY_HAND_HINT = "Change it by hand; the lines of a list begin with `- `."


class FollowEdit(NamedTuple):
    """The streamers that an edit changed, and those that it did not need to."""

    changed: tuple[Streamer, ...]  # added or removed
    unchanged: tuple[Streamer, ...] = ()  # followed already, or not followed


class NewOnes(NamedTuple):
    """Who of many is not on the list: by their numbers, in order; and how many are on it."""

    numbers: Sequence[int]
    known: int

    @property
    def added(self) -> int:
        return len(self.numbers)

    def among(self, streamers: Iterable[Streamer]) -> Iterator[Streamer]:
        """The same, out of all of these."""
        numbers = iter(self.numbers)
        number = next(numbers, None)
        for at, streamer in enumerate(streamers):
            if at == number:
                yield streamer
                number = next(numbers, None)


class _Change(NamedTuple):
    """Other lines for the entries that begin at some lines of the file, and what comes behind all of it."""

    rewrites: Mapping[int, Callable[[list[str]], Iterable[str]]]
    added: Iterable[str] = ()
    keep: bool = True  # what the file has so far

    def lines(self, file: BinaryIO, *, is_yaml: bool) -> Iterator[bytes]:
        """The lines of the file with that, as they are read."""
        entry, begun, between = list[str](), 0, list[bytes]()
        for number, line in enumerate(_whole_lines(file) if self.keep else (), 1):
            if begun and is_yaml and (not line.strip() or line.lstrip().startswith(COMMENT)):
                between.append(line)  # belongs to the entry only if the entry goes on after it
                continue
            if begun and is_yaml and _indent(line) > _indent(entry[0]):
                entry += [each.decode() for each in (*between, line)]
                between.clear()
                continue
            if begun:
                yield from self._rewritten(begun, entry, between)
                begun = 0
            if number in self.rewrites:
                entry, begun, between = [line.decode()], number, []
            else:
                yield line
        if begun:
            yield from self._rewritten(begun, entry, between)

    def _rewritten(self, begun: int, entry: list[str], after: list[bytes]) -> Iterator[bytes]:
        yield from (line.encode() for line in self.rewrites[begun](entry))
        yield from after


class FollowFile:
    """A follow list that can be changed. A change is written only if it reads back as meant."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or str(path)

    def add(self, streamers: Iterable[Streamer]) -> FollowEdit:
        with changing(self.path, self.name):
            return self._add(streamers)

    def add_many(self, read: Callable[[], Iterable[Streamer]]) -> NewOnes:
        """The same of however many: each call of `read` begins to read them anew."""
        with changing(self.path, self.name):
            last, new = self._find_new(read())
            if new.added:
                keys = (streamer.key for streamer in new.among(read()))
                self._write(self._addition(last, new.among(read())), Meaning(_key, added=keys))
            return new

    def remove(self, streamers: Iterable[Streamer]) -> FollowEdit:
        """Takes out every entry of these, also those that are no streamer and are shown under such a name."""
        with changing(self.path, self.name):
            return self._remove(streamers)

    def set_tags(self, streamer: Streamer, tags: Sequence[str]) -> FollowEdit:
        """Gives somebody of the list these tags instead of theirs."""
        with changing(self.path, self.name):
            return self._set_tags(streamer, tuple(dict.fromkeys(tags)))

    def _add(self, streamers: Iterable[Streamer]) -> FollowEdit:
        wanted: dict[tuple[str, str], Streamer] = {}
        for streamer in streamers:
            wanted.setdefault(streamer.key, streamer)
        known: set[tuple[str, str] | None] = set()
        last: FollowLine | None = None
        for line in self._lines_about(wanted):
            last = line
            if (key := _key(line)) in wanted:
                known.add(key)
        new = [streamer for key, streamer in wanted.items() if key not in known]
        if new:
            self._write(self._addition(last, new), Meaning(_key, added=[streamer.key for streamer in new]))
        return FollowEdit(tuple(new), tuple(streamer for key, streamer in wanted.items() if key in known))

    def _find_new(self, streamers: Iterable[Streamer]) -> tuple[FollowLine | None, NewOnes]:
        """The last line of the list, and who is not on it."""
        last: FollowLine | None = None
        with closing(Spool()) as there, closing(Spool()) as wanted:
            for line in self._lines():
                last = line
                if isinstance(line.streamer, Streamer):
                    there.add(_bucket(line.streamer), Row(line.streamer.id, ""))
            for number, streamer in enumerate(streamers):
                wanted.add(_bucket(streamer), Row(streamer.id, "", (number, 0)))
            numbers, known = array("Q"), 0
            for bucket in wanted.buckets():
                names, first = {row.name for row in there.rows(bucket)}, dict[str, int]()
                for row in wanted.rows(bucket):
                    first.setdefault(row.name, row.place[0])
                known += len(first.keys() & names)
                numbers.extend(number for name, number in first.items() if name not in names)
        return last, NewOnes(array("Q", sorted(numbers)), known)

    def _remove(self, streamers: Iterable[Streamer]) -> FollowEdit:
        unwanted = {streamer.key: streamer for streamer in streamers}
        lines = [line for line in self._lines_about(unwanted) if _shown_key(line) in unwanted]
        there = {_shown_key(line) for line in lines}
        if there:
            gone = Meaning(_key, lambda line: [] if _shown_key(line) in there else [_key(line)])
            self._write(_Change({line.location[0]: lambda entry: [] for line in lines}), gone)
        return FollowEdit(
            tuple(streamer for key, streamer in unwanted.items() if key in there),
            tuple(streamer for key, streamer in unwanted.items() if key not in there),
        )

    def _set_tags(self, streamer: Streamer, tags: tuple[str, ...]) -> FollowEdit:
        if not self._is_yaml:
            raise SettingsError(f"{self.name} has no place for tags", YAML_HINT)
        entries = [line for line in self._lines_about([streamer.key]) if _key(line) == streamer.key]
        if not entries:
            return FollowEdit((), (streamer,))
        # several entries for one streamer: the first has the tags
        changed = [_with_tags(line, () if at else tags) for at, line in enumerate(entries)]
        if any(new != line.streamer for new, line in zip(changed, entries, strict=True)):
            rewrites = {
                line.location[0]: partial(_write_tags, line, new.tags)
                for line, new in zip(entries, changed, strict=True)
            }
            left = iter(changed)
            tagged = Meaning(_readable, lambda line: [next(left) if _key(line) == streamer.key else _readable(line)])
            self._write(_Change(rewrites), tagged)
        return FollowEdit(tuple(new for new, line in zip(changed, entries, strict=True) if new != line.streamer)[:1])

    @property
    def _suffix(self) -> str:
        return self.path.suffix.lower()

    @property
    def _is_yaml(self) -> bool:
        return self._suffix in follow_list.YAML_SUFFIXES

    def _lines(self) -> Iterator[FollowLine]:
        return follow_list.read_lines(self.path, self.name)

    def _lines_about(self, keys: Collection[tuple[str, str]]) -> Iterator[FollowLine]:
        return follow_list.lines_about(self.path, self.name, keys)

    def _addition(self, last: FollowLine | None, new: Iterable[Streamer]) -> _Change:
        if self._suffix == TABLE_SUFFIX:
            return _Change({}, _more_rows(self._beginning(), new))
        if not self._is_yaml:
            return _Change({}, map(formats.as_text, chunks(new)))
        if last is None:
            text = follow_list.decode(follow_list.read_content(self.path, self.name), self.name)
            return _Change({}, _with_first_entries(_split_lines(text or NEW_FILE_TEXT), new), keep=False)

        def go_on(entry: list[str]) -> Iterable[str]:
            indent = entry[0].partition("-")[0]
            return chain(entry, (f"{indent}- {formats.render_entry(streamer)}\n" for streamer in new))

        return _Change({last.location[0]: go_on})

    def _beginning(self) -> str:
        """The first lines of the file, with the headings of a table."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            return file.read(HEADINGS_BYTES).decode("utf-8-sig", errors="replace")
        return ""

    def _write(self, change: _Change, meaning: Meaning) -> None:
        """SettingsError, and nothing is written, if the file does not read back as meant."""
        with replacing(self.path) as new:
            with suppress(FileNotFoundError), self.path.open("rb") as old:
                new.writelines(change.lines(old, is_yaml=self._is_yaml))
            new.writelines(text.encode() for text in change.added)
            new.flush()
            try:
                is_as_meant = self._reads_as_meant(Path(new.name), change, meaning)
            except FileError:
                is_as_meant = False
            if not is_as_meant:
                raise SettingsError(f"{self.name} is written in a way that only people change", BY_HAND_HINT)

    def _reads_as_meant(self, written: Path, change: _Change, meaning: Meaning) -> bool:
        old, new = (find_cut(path, self.name, self._suffix) for path in (self.path, written))
        if change.keep and old and new:
            return same_entries(old, new, change.rewrites, meaning)
        found = map(meaning.shown, lines.read(written, self._suffix, self.name))
        expected = chain(chain.from_iterable(map(meaning.of, self._lines())), meaning.added)
        return all(one == other for one, other in zip_longest(found, expected, fillvalue=""))


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


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines as editors count them, each with its end."""
    for number, line in enumerate(file):
        whole = line if number else line.removeprefix(BOM_UTF8)
        yield whole if whole.endswith(b"\n") else whole + b"\n"


def _indent(line: bytes | str) -> int:
    return len(line) - len(line.lstrip())


def _split_lines(text: str) -> list[str]:
    """Lines as editors count them: str.splitlines splits at more characters than they do."""
    return [f"{line}\n" for line in text.removesuffix("\n").split("\n")]


def _bucket(streamer: Streamer) -> tuple[str, int]:
    return streamer.platform, bucket_of(streamer.id)


def _more_rows(beginning: str, new: Iterable[Streamer]) -> Iterator[str]:
    """Rows for a table that begins so; for an empty one its headings as well."""
    for some in chunks(new):
        rows = formats.rows_for(beginning, some)
        yield rows
        beginning = beginning if beginning.strip() else rows


def _with_first_entries(lines: list[str], new: Iterable[Streamer]) -> Iterator[str]:
    """Adds the first entries to an empty list."""
    at = next(
        (number for number, line in enumerate(lines) if follow_list.strip_comment(line) in EMPTY_LIST_LINES), None
    )
    entries = (f"{INDENT}- {formats.render_entry(streamer)}\n" for streamer in new)
    if at is None:
        return chain(lines, ["follows:\n"], entries)
    head = lines[at].replace(follow_list.strip_comment(lines[at]), "follows:", 1)
    return chain(lines[:at], [head], entries, lines[at + 1 :])


def _write_tags(line: FollowLine, tags: Sequence[str], entry: list[str]) -> list[str]:
    """The entry of this line with these tags: and its other words as they were."""
    number, column, lines = line.location[0], line.location[1] - 1, list(entry)
    if len(lines) == 1:
        content, comment = _split_comment(lines[0][column:])
        if not content.endswith(CLOSING_SIGNS.get(content[:1], "")):  # a # in quotes begins no comment
            raise SettingsError(f"line {number} is written in a way that only people change", BY_HAND_HINT)
        return [f"{lines[0][:column]}{_flow_entry(line.written, tags)}{comment}"]
    indent, text = " " * column, f"tags: {formats.render_list(tags)}" if tags else ""
    begin = next((at for at, each in enumerate(lines) if _key_at(each, column) == "tags"), None)
    if begin is None:
        return [*lines, f"{indent}{text}\n"] if text else lines
    for at in range(begin + 1, len(lines)):
        if _key_at(lines[at], column):
            break
        lines[at] = _comment_line(lines[at], indent)
    if not begin:  # beside the dash
        text = text or "tags: []"
    _, comment = _split_comment(lines[begin][column:])
    lines[begin] = f"{lines[begin][:column]}{text}{comment}" if text else _comment_line(lines[begin], indent)
    return lines


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
