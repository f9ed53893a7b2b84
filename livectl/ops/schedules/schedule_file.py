"""Reads and checks schedules.yaml: what stands around its entries, and each of them, a piece of the file at a time."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import validation
from livectl.errors import FileError, LivectlError, Mistake, shorten
from livectl.models import After, Schedule
from livectl.ops.schedules import entry_reading, options, policies
from livectl.ops.schedules.policies import Surroundings
from livectl.validation import DEFAULT_ZONE, FileLocation, quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.yaml_pieces import Chunk, PiecedFile
    from livectl.yamlfile import Document


TOP_KEYS = ("timezone", "calendars", "schedules")
FILE_EXAMPLE = "schedules: {ping: {task: livectl.ping, every: 5s}}"
PIECE_SIZE, PIECE_BYTES = 1_000, 1_000_000  # entries that are read at once, and from so many bytes on fewer


class Remembered(msgspec.Struct, frozen=True):
    """What entries were read as of which nothing was to be told, by their lines: the same lines say the same again."""

    surroundings: Surroundings
    schedules: dict[bytes, Schedule]


class ScheduleFile(msgspec.Struct, frozen=True):
    """The schedules of a file, warnings of what may not be meant, and the other files that it reads."""

    schedules: tuple[Schedule, ...]
    warnings: tuple[Mistake, ...]
    calendar_files: tuple[Path, ...] = ()
    remembered: Remembered | None = None  # none of a file that is read whole


def load(
    path: Path,
    *,
    name: str = "",
    now_ms: int | None = None,
    tasks: Mapping[str, Any] | None = None,
    remembered: Remembered | None = None,
) -> ScheduleFile:
    """The schedules of a file, which messages call `name`. Raises FileError with every mistake in it.

    Given the tasks of an app, it checks the tasks and arguments of entries against them. Given the time, it warns of
    what changes of the clock will do to entries in the next years. Given what it remembered of the file before, it
    reads and checks the entries alone that have changed since.
    """
    from livectl import yaml_pieces, yamlfile

    try:
        pieces = yaml_pieces.PiecedFile(path, name, "schedules")
        return _load_pieces(pieces, now_ms, tasks, remembered)
    except yaml_pieces.NotCutError as error:
        if isinstance(error.__cause__, FileError) and path.stat().st_size > yaml_pieces.MAX_WHOLE_BYTES:
            raise error.__cause__ from None
    document = yamlfile.load(path, name, yaml_pieces.MAX_WHOLE_BYTES)
    return read_document(document, path.parent, now_ms=now_ms, tasks=tasks)


def read_document(
    document: Document, folder: Path, *, now_ms: int | None = None, tasks: Mapping[str, Any] | None = None
) -> ScheduleFile:
    """The same of a document that was read whole; its calendars are in this folder."""
    reader = _EntryReader(document, folder, now_ms, tasks)
    if isinstance(document.value, dict) and "schedules" in document.value:
        reader.read(document)
    return reader.result()


def _load_pieces(
    pieces: PiecedFile, now_ms: int | None, tasks: Mapping[str, Any] | None, remembered: Remembered | None
) -> ScheduleFile:
    """The same of a file that is read in pieces."""
    reader = _EntryReader(pieces.head, pieces.path.parent, now_ms, tasks)
    known = remembered.schedules if remembered and remembered.surroundings == reader.surroundings else {}
    fresh = dict[bytes, Schedule]()
    unread: list[Chunk] = []
    size = 0
    for line, lines in pieces.chunks():
        schedule, size = known.get(lines), size + len(lines)
        if unread and (schedule or len(unread) == PIECE_SIZE or size > PIECE_BYTES):
            fresh |= reader.read_piece(pieces, unread)
            unread, size = [], len(lines)
        if schedule:
            reader.add(schedule)
            fresh[lines] = schedule
        else:
            unread.append((line, lines))
    if unread:
        fresh |= reader.read_piece(pieces, unread)
    if not reader.names:
        reader.read(pieces.head)
    return reader.result(Remembered(reader.surroundings, fresh))


class _EntryReader:
    """Reads the entries of one file, and notes what is wrong with each and among them."""

    def __init__(self, head: Document, folder: Path, now_ms: int | None, tasks: Mapping[str, Any] | None) -> None:
        from livectl import yaml_pieces

        self._mistakes: list[Mistake] = []
        self.surroundings = _read_top_level(FileLocation(head, self._mistakes), head.value, folder)
        self.names: dict[str, None] = {}  # also of those with mistakes
        self._schedules: list[Schedule] = []
        self._places = yaml_pieces.PlacesDocument(head.name)
        self._calendar_files = policies.list_calendar_files(head.value, folder)
        self._now_ms, self._tasks = now_ms, tasks

    def read_piece(self, pieces: PiecedFile, chunks: Sequence[Chunk]) -> dict[bytes, Schedule]:
        """Reads entries that follow each other. Returns by their lines those of which nothing is to be told."""
        document = pieces.read(chunks)
        names = [*document.value["schedules"]]
        self._check_names(document)
        plain = self.read(document)
        if len(names) != len(chunks):
            return {}
        return {lines: plain[name] for name, (_, lines) in zip(names, chunks, strict=True) if name in plain}

    def read(self, document: Document) -> dict[str, Schedule]:
        """Reads the entries of a document. Returns those of which nothing is to be told, by name."""
        entries, location = document.value["schedules"], FileLocation(document, self._mistakes)
        location = location.child("schedules", silent=True)
        if entries is None:
            location.add_warning("schedules: no entries yet", f"add: {entry_reading.ENTRY_EXAMPLE}")
        elif not isinstance(entries, dict):
            location.add_mistake(f"schedules: {quote(entries)} is no mapping of names to entries", FILE_EXAMPLE)
        else:
            return {name: plain for name, value in entries.items() if (plain := self._read(location, name, value))}
        return {}

    def _read(self, entries: FileLocation, name: str, value: Any) -> Schedule | None:
        location, told_before = entries.child(name), len(self._mistakes)
        self.names[name] = None
        schedule = entry_reading.read(location, name, value, self.surroundings)
        if schedule:
            self._schedules.append(schedule)
            entry_reading.add_warnings(location, value, schedule, self._now_ms)
        if self._tasks is not None:
            options.check_task(location, value, self._tasks)
        if schedule and isinstance(schedule.timing, After):
            after = location.child("after")
            self._places.note(after.key_path, after.position)
            return None  # whether there is such an entry is looked at each time
        return schedule if len(self._mistakes) == told_before else None

    def _check_names(self, document: Document) -> None:
        from livectl.yaml_pieces import NotCutError

        for name in document.value["schedules"]:
            if name in self.names:
                again = document.mistake(
                    ("schedules", name), f"`{shorten(name)}` again", "keep one of the two", key=True
                )
                raise NotCutError from FileError([again])

    def add(self, schedule: Schedule) -> None:
        """Adds an entry that is remembered."""
        from livectl.yaml_pieces import NotCutError

        if schedule.name in self.names:
            raise NotCutError
        self.names[schedule.name] = None
        self._schedules.append(schedule)

    def result(self, remembered: Remembered | None = None) -> ScheduleFile:
        location = FileLocation(self._places, self._mistakes)
        by_name = {schedule.name: schedule for schedule in self._schedules}
        policies.check_after(location.child("schedules", silent=True), self.names, by_name)
        location.raise_mistakes()
        return ScheduleFile(tuple(self._schedules), tuple(self._mistakes), self._calendar_files, remembered)


def find_calendar_files(path: Path) -> tuple[Path, ...]:
    """The calendars that a file names, be it right or not."""
    from livectl import yaml_pieces, yamlfile

    try:
        try:
            value = yaml_pieces.PiecedFile(path, "", "schedules").head.value
        except yaml_pieces.NotCutError:
            value = yamlfile.load(path, max_bytes=yaml_pieces.MAX_WHOLE_BYTES).value
    except LivectlError:
        return ()
    return policies.list_calendar_files(value, path.parent)


def _read_top_level(location: FileLocation, value: Any, folder: Path) -> Surroundings:
    """Checks what stands around the entries, and returns what it says for them all."""
    if not isinstance(value, dict):
        location.add_mistake(
            "the file is empty" if value is None else f"{quote(value)} is no schedule file", FILE_EXAMPLE
        )
        return Surroundings(DEFAULT_ZONE)
    for key in value.keys() - TOP_KEYS:
        _add_misplaced_key(location, key, value[key])
    if "schedules" not in value and value.keys() <= set(TOP_KEYS):
        location.add_mistake("no schedules", FILE_EXAMPLE)
    zone = validation.read_zone(location.child("timezone"), value.get("timezone", DEFAULT_ZONE))
    calendars = policies.read_calendars(location.child("calendars"), value.get("calendars", {}), folder)
    return Surroundings(zone, calendars)


def _add_misplaced_key(location: FileLocation, key: str, value: Any) -> None:
    if isinstance(value, dict) and "task" in value:
        location.child(key).add_mistake("an entry beside schedules", "put it under schedules:", key=True)
    else:
        location.add_unknown("key", key, TOP_KEYS)
