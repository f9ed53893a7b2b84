"""Changes to the follow list's file, line by line: comments and order stay as they are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from livectl.errors import FileError, LivectlError, SettingsError
from livectl.live.follows import export as follow_export
from livectl.live.follows import followlist

if TYPE_CHECKING:
    from collections.abc import Iterable

    from livectl.live.follows.followlist import Line
    from livectl.model import Streamer

NEW = "# livectl: whom you follow. An address as your browser shows it, or platform/id.\n\nfollows:\n"
INDENT = "  "
EMPTY = ("follows:", "follows: []", "follows: null", "follows: ~")
BY_HAND = "Change it by hand; the lines of a list begin with `- `."


class Edit(NamedTuple):
    """What came of a change."""

    changed: tuple[Streamer, ...]  # added, or removed
    unchanged: tuple[Streamer, ...] = ()  # followed already, or not followed


class FollowFile:
    """A follow list that can be changed. Nothing is written unless it reads back as meant."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or str(path)

    def add(self, streamers: Iterable[Streamer]) -> Edit:
        text = self._text()
        lines = self._lines(text)
        known = _keys(lines)
        new: dict[tuple[str, str], Streamer] = {}
        old = []
        for one in streamers:
            if _key(one) in known:
                old.append(one)
            else:
                new.setdefault(_key(one), one)
        if new:
            self._write(self._with(text, lines, list(new.values())), known | set(new), _odd(lines))
        return Edit(tuple(new.values()), tuple(old))

    def remove(self, streamers: Iterable[Streamer]) -> Edit:
        text = self._text()
        lines = self._lines(text)
        known, gone = _keys(lines), {_key(one): one for one in streamers}
        found = [one for key, one in gone.items() if key in known]
        if found:
            self._write(self._without(text, lines, set(gone)), known - set(gone), _odd(lines))
        return Edit(tuple(found), tuple(one for key, one in gone.items() if key not in known))

    @property
    def _yaml(self) -> bool:
        return self.path.suffix.lower() in followlist.YAML

    def _text(self) -> str:
        return followlist.decoded(followlist.content(self.path, self.name), self.name)

    def _lines(self, text: str) -> list[Line]:
        return followlist.lines(text.encode(), self.path.suffix, self.name)

    def _with(self, text: str, found: list[Line], new: list[Streamer]) -> str:
        if not self._yaml:
            return _ended(text) + follow_export.as_text(new)
        lines = _split(text or NEW)
        if not found:
            return _begun(lines, new)
        start = found[-1].place[0] - 1
        last, indent = _end(lines, start), lines[start].partition("-")[0]
        return "".join([*lines[:last], *(f"{indent}- {follow_export.entry(one)}\n" for one in new), *lines[last:]])

    def _without(self, text: str, found: list[Line], gone: set[tuple[str, str]]) -> str:
        lines = _split(text)
        for line in reversed(found):
            if not isinstance(line.streamer, LivectlError) and _key(line.streamer) in gone:
                start = line.place[0] - 1
                del lines[start : _end(lines, start) if self._yaml else start + 1]
        return "".join(lines)

    def _write(self, text: str, meant: set[tuple[str, str]], odd: int) -> None:
        """In one step, and only if the file then says what it is meant to."""
        try:
            lines = self._lines(text)
            right = (_keys(lines), _odd(lines)) == (meant, odd)
        except FileError:
            right = False
        if not right:
            raise SettingsError(f"{self.name} is written in a way that only people change", BY_HAND)
        _replace(self.path.resolve(), text)


def _replace(path: Path, text: str) -> None:
    """Old or new, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as new:  # noqa: PTH123 - it is open already
            new.write(text)
            new.flush()
            os.fsync(handle)
            os.fchmod(handle, mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _key(one: Streamer) -> tuple[str, str]:
    return one.platform, one.id


def _keys(lines: Iterable[Line]) -> set[tuple[str, str]]:
    return {_key(line.streamer) for line in lines if not isinstance(line.streamer, LivectlError)}


def _odd(lines: Iterable[Line]) -> int:
    """How many entries name nobody."""
    return sum(isinstance(line.streamer, LivectlError) for line in lines)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _split(text: str) -> list[str]:
    """Lines as editors count them: str.splitlines knows more ends of lines than they do."""
    return [f"{line}\n" for line in text.removesuffix("\n").split("\n")]


def _begun(lines: list[str], new: list[Streamer]) -> str:
    """The file with the first entries of its list."""
    at = next((number for number, line in enumerate(lines) if followlist.uncommented(line) in EMPTY), None)
    entries = [f"{INDENT}- {follow_export.entry(one)}\n" for one in new]
    if at is None:
        return "".join([*lines, "follows:\n", *entries])
    head = lines[at].replace(followlist.uncommented(lines[at]), "follows:", 1)
    return "".join([*lines[:at], head, *entries, *lines[at + 1 :]])


def _end(lines: list[str], start: int) -> int:
    """The line after an entry: it goes on as long as lines are indented deeper than its dash."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if not line.strip() or line.lstrip().startswith(followlist.COMMENT):
            continue  # belongs to the entry only if the entry goes on after it
        if len(line) - len(line.lstrip()) <= indent:
            break
        end = number + 1
    return end
