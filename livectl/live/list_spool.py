"""Holds a follow list by the buckets of the store while it is brought there, however long it is.

What is too much for memory lies in a file without a name, in the folder for temporary files: it is gone with the
process, whatever ends that.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from livectl.errors import SettingsError
from livectl.live import store_records
from livectl.live.cells import bucket_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.live.store_records import StoredFollow
    from livectl.models import Streamer, UnresolvedFollow

    Bucket = tuple[str, int]  # of a platform: those whose names have this number

MAX_HELD = 20_000  # rows in memory: some 10 MB
MERGES_KEPT = 5  # of a bucket: the others are counted

NO_ROOM_HINT = "Make room in the folder for temporary files, or let TMPDIR name another one."

Entry = TypeVar("Entry", "Streamer", "StoredFollow")
_decoder = msgspec.msgpack.Decoder(list[tuple[str, str, tuple[int, int]]])


class NoRoomError(SettingsError):
    """The folder for temporary files takes no more."""


def no_room(error: OSError) -> NoRoomError:
    problem = (error.strerror or str(error)).lower()
    return NoRoomError(f"no room for its lines in temporary files: {problem}", NO_ROOM_HINT)


class Row(NamedTuple):
    """A name or an id, what is written of it, and its line and column."""

    name: str
    text: str
    place: tuple[int, int] = (0, 0)


class Merge(NamedTuple):
    """A line for somebody whom an earlier one follows."""

    place: tuple[int, int]
    earlier: int
    key: str


class Spool:
    """Rows by bucket, each in the order in which they came."""

    def __init__(self) -> None:
        self._held: dict[Bucket, list[Row]] = defaultdict(list)
        self._count = 0
        self._file: IO[bytes] | None = None
        self._written: dict[Bucket, array[int]] = {}  # where blocks of a bucket begin, and how long each is

    def add(self, bucket: Bucket, row: Row) -> None:
        self._held[bucket].append(row)
        self._count += 1
        if self._count >= MAX_HELD:
            try:
                self._write()
            except OSError as error:
                raise no_room(error) from error

    def buckets(self) -> list[Bucket]:
        return sorted({*self._held, *self._written})

    def rows(self, bucket: Bucket) -> Iterator[Row]:
        blocks = self._written.get(bucket, ())
        for at, length in zip(blocks[::2], blocks[1::2], strict=True):
            yield from (Row(*row) for row in _decoder.decode(self._read(at, length)))
        yield from self._held.get(bucket, ())

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _read(self, at: int, length: int) -> bytes:
        if self._file is None:
            return b""
        self._file.seek(at)
        return self._file.read(length)

    def _write(self) -> None:
        import tempfile

        file = self._file = self._file or tempfile.TemporaryFile(prefix="livectl-")  # noqa: SIM115 - see close
        at = file.seek(0, 2)
        for bucket, rows in self._held.items():
            block = msgspec.msgpack.encode(rows)
            file.write(block)
            self._written.setdefault(bucket, array("Q")).extend((at, len(block)))
            at += len(block)
        file.flush()
        self._held.clear()
        self._count = 0


class SpooledList:
    """The streamers of a follow list by their ids, and its lines that lead to nobody by their names."""

    def __init__(self) -> None:
        self._streamers, self._lines = Spool(), Spool()
        self._merged: dict[Bucket, tuple[int, list[Merge]]] = {}

    def __enter__(self) -> SpooledList:
        return self

    def __exit__(self, *exc: object) -> None:
        self._streamers.close()
        self._lines.close()

    def add(self, streamer: Streamer, place: tuple[int, int] = (0, 0)) -> None:
        row = Row(streamer.id, store_records.encode_follow(streamer), place)
        self._streamers.add((streamer.platform, bucket_of(streamer.id)), row)

    def add_unresolved(self, follow: UnresolvedFollow) -> None:
        platform, name = follow.streamer.key
        self._lines.add((platform, bucket_of(name)), Row(name, store_records.encode_unresolved(follow)))

    def buckets(self) -> list[Bucket]:
        """Where there are streamers."""
        return self._streamers.buckets()

    def follows(self, bucket: Bucket) -> dict[str, str]:
        """What is written of each streamer; several lines of one are taken together, the first one first."""
        found: dict[str, Row] = {}
        count, merges = 0, list[Merge]()
        for row in self._streamers.rows(bucket):
            if (first := found.get(row.name)) is None:
                found[row.name] = row
                continue
            if row.text != first.text:
                found[row.name] = first._replace(text=merge_follows(first.text, row.text))
            count += 1
            if len(merges) < MERGES_KEPT:
                merges.append(Merge(row.place, first.place[0], f"{bucket[0]}/{row.name}"))
        if count:
            self._merged[bucket] = (count, merges)
        return {name: row.text for name, row in found.items()}

    def merged(self) -> tuple[int, list[Merge]]:
        """How many lines were taken together with earlier ones, as far as these were read, and the first of them."""
        first = sorted(merge for _, merges in self._merged.values() for merge in merges)[:MERGES_KEPT]
        return sum(count for count, _ in self._merged.values()), first

    def unresolved(self) -> Iterator[Row]:
        """The lines that lead to nobody who is followed by another."""
        for bucket in self._lines.buckets():
            yield from self._unresolved_of(bucket).values()

    def gone(self, names: Spool, *, of_lines: bool = False) -> Iterator[tuple[Bucket, Row]]:
        """Which of these are not on the list: streamers, or lines that lead to nobody."""
        for bucket in names.buckets():
            here = self._unresolved_of(bucket) if of_lines else {row.name for row in self._streamers.rows(bucket)}
            missing = {row.name: row for row in names.rows(bucket) if row.name not in here}
            yield from ((bucket, row) for row in missing.values())

    def _unresolved_of(self, bucket: Bucket) -> dict[str, Row]:
        rows = {row.name: row for row in self._lines.rows(bucket)}
        for row in self._streamers.rows(bucket) if rows else ():
            rows.pop(row.name, None)
        platform, _ = bucket
        return {name: row._replace(name=f"{platform}/{name}") for name, row in rows.items()}


def merge_entries(first: Entry, other: Entry) -> Entry:
    """One streamer with the names, tags, alerts and weight of two entries."""
    changes: dict[str, Any] = {
        "name": first.name or other.name,
        "tags": tuple(dict.fromkeys((*first.tags, *other.tags))),
        "alerts": _join_alerts(first.alerts, other.alerts),
        "weight": max(first.weight, other.weight),
    }
    return msgspec.structs.replace(first, **changes)


def _join_alerts(first: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return first if other is None else tuple(dict.fromkeys((*(first or ()), *other)))


def merge_follows(first: str, other: str) -> str:
    """The same of two as the store has them."""
    decode = store_records.decode_follow
    return store_records.encode_json(merge_entries(decode(first), decode(other)))
