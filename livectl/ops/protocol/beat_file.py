"""Reads the `celerybeat-schedule` file of Celery's own beat: a shelve, that is pickles in a dbm.

A pickle may name any function of Python, and loading it runs that. Here nothing is run: every name in it becomes a
Record, an inert note of what would have been built, and those that Celery writes are read as what they stand for.
"""

from __future__ import annotations

import dbm
import io
import pickle
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from zoneinfo import ZoneInfo

from livectl.errors import FileError, Mistake

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIXES = ("", ".db", ".dat", ".dir", ".bak", ".pag")  # of the files of one dbm, by its kind
HEAD_BYTES = 1_024  # of a file, which tell its kind
SQLITE_MAGIC = b"SQLite format 3\x00"
PARTS = ("entries", "tz", "utc_enabled", "__version__")  # of the shelve
ENTRY_ARGUMENTS = ("name", "task", "last_run_at", "total_run_count", "schedule", "args", "kwargs", "options")
GETATTR = ("builtins.getattr", "__builtin__.getattr")
ENTRY_CLASS = "celery.beat.ScheduleEntry"
MAX_DEPTH = 50  # of one value in another: a pickle can hold a list that holds itself


class UnreadableValueError(ValueError):
    """Something in the file that stands for an object livectl does not know."""


class Record:
    """What a pickle would have built: a name, and the arguments that it was given. It does nothing."""

    path: ClassVar[str] = ""
    args: tuple[Any, ...]

    def __new__(cls, *args: Any, **_kwargs: Any) -> Self:
        record = super().__new__(cls)
        record.args = args
        return record

    def __setstate__(self, state: Any) -> None:
        """The state is not kept: what is read has everything in its arguments."""

    def __call__(self, *args: Any) -> Record:
        """What a pickle builds with the result of another call, such as `getattr(ZoneInfo, "_unpickle")`."""
        owner, *names = self.args if self.path in GETATTR else (None,)
        is_attribute = isinstance(owner, type) and issubclass(owner, Record)
        path = ".".join([owner.path, *map(str, names)]) if is_attribute else f"{self.path}()"
        return _make_record_class(path)(*args)


class BeatFile:
    """The parts of a celerybeat-schedule: `entries` are Records by name; `zone` is None where the file has none."""

    def __init__(self, parts: dict[str, Any]) -> None:
        entries = parts.get("entries")
        self.entries: dict[Any, Any] = entries if isinstance(entries, dict) else {}
        self.zone = parts["tz"] if isinstance(parts.get("tz"), str) else None


def find(path: Path) -> Path | None:
    """The dbm of this name, in one file or in several, of which this may be one; None where there is none.

    A file that is no text counts as well: this Python may lack what would read it, and says so.
    """
    names = [path, path.with_suffix("")] if path.suffix in SUFFIXES else [path]
    known = next((name for name in names if _is_sqlite(name) or dbm.whichdb(str(name))), None)
    return known or (path if _is_binary(path) else None)


def read(path: Path, name: str) -> BeatFile:
    """The parts of the file, which messages call `name`. A copy is read: a beat may have the file open."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            for suffix in SUFFIXES:
                if (part := path.with_name(path.name + suffix)).is_file():
                    shutil.copyfile(part, Path(folder) / f"copy{suffix}")
            data = _read_sqlite(Path(folder) / "copy") if _is_sqlite(path) else _read_dbm(Path(folder) / "copy")
        parts = {key: _load(data[key.encode()]) for key in PARTS if key.encode() in data}
    except (*dbm.error, sqlite3.Error, OSError, SyntaxError, ValueError) as error:
        hint = "Run livectl with the Python that wrote it, or ask the app: livectl -A proj schedules import"
        raise FileError([Mistake(name, 1, 1, f"cannot be read: {error}")], hint) from error
    if "entries" not in parts:
        raise FileError([Mistake(name, 1, 1, "holds no schedule of Celery's beat")])
    return BeatFile(parts)


def _is_sqlite(path: Path) -> bool:
    return _head(path).startswith(SQLITE_MAGIC)


def _is_binary(path: Path) -> bool:
    return path.suffix != ".py" and b"\0" in _head(path)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _read_sqlite(path: Path) -> dict[bytes, bytes]:
    """The dbm of Python 3.13 and newer, which older ones do not know."""
    with closing(sqlite3.connect(path)) as connection:
        return {bytes(key): bytes(value) for key, value in connection.execute("SELECT key, value FROM Dict")}


def _read_dbm(path: Path) -> dict[bytes, bytes]:
    with dbm.open(str(path), "r") as database:
        return {part.encode(): database[part] for part in PARTS if part in database}


class _RecordUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _make_record_class(f"{module}.{name}")


def _make_record_class(path: str) -> type[Record]:
    return type("Record", (Record,), {"path": path})


def _load(data: bytes) -> Any:
    """The value of a pickle, with Records for everything that has a name. Text of Python 2 is taken for UTF-8."""
    try:
        return _RecordUnpickler(io.BytesIO(data), encoding="utf-8", errors="surrogateescape").load()
    except Exception as error:  # a pickle that is no good raises anything
        raise ValueError(f"a pickle in it is broken ({type(error).__name__})") from error


def entry_values(entry: Any) -> dict[str, Any]:
    """The fields of a ScheduleEntry by name, its schedule still a Record. Raises UnreadableValueError."""
    if not isinstance(entry, Record) or entry.path != ENTRY_CLASS:
        raise UnreadableValueError(f"{_describe(entry)} is no entry of Celery's beat")
    values = dict(zip(ENTRY_ARGUMENTS, entry.args, strict=False))
    return {
        key: _read_last_run(value) if key == "last_run_at" else value if key == "schedule" else plain_value(value)
        for key, value in values.items()
    }


def _read_last_run(value: Any) -> datetime | None:
    """When an entry last ran; None where that is in a zone of a kind that is not known: it is only shown."""
    with suppress(UnreadableValueError):
        moment = plain_value(value)
        return moment if isinstance(moment, datetime) else None
    return None


def plain_value(value: Any, depth: int = 0) -> Any:
    """A value with its Records read as what they stand for. Raises UnreadableValueError for all other Records."""
    if depth > MAX_DEPTH:
        raise UnreadableValueError("its values are nested too deep")
    if isinstance(value, Record):
        return _read_record(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(plain_value(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return {plain_value(key, depth + 1): plain_value(item, depth + 1) for key, item in value.items()}
    return value


def _read_record(record: Record, depth: int) -> Any:
    reader = READERS.get(record.path)
    if reader is None:
        raise UnreadableValueError(f"{_describe(record)} is not read from a file")
    try:
        return reader(*(plain_value(argument, depth + 1) for argument in record.args))
    except UnreadableValueError:
        raise
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise UnreadableValueError(f"{_describe(record)}: {error}") from error


def _read_datetime(state: Any, zone: Any = None) -> datetime:
    """A datetime from the bytes of its pickle; one without a zone is in UTC."""
    data = state.encode("utf-8", "surrogateescape") if isinstance(state, str) else state
    if not isinstance(data, bytes):
        raise UnreadableValueError("a time of a kind that is not known")
    moment = datetime(data)  # type: ignore[arg-type, call-arg]  # noqa: DTZ001 - as datetime itself reads its pickle
    return moment.replace(tzinfo=zone if isinstance(zone, tzinfo) else UTC)


def _read_zone(name: str, *_: Any) -> ZoneInfo:
    return ZoneInfo(name)


def _describe(value: Any) -> str:
    return value.path if isinstance(value, Record) else type(value).__name__


READERS: dict[str, Callable[..., Any]] = {
    "datetime.datetime": _read_datetime,
    "datetime.timedelta": timedelta,
    "datetime.timezone": timezone,
    "zoneinfo.ZoneInfo._unpickle": _read_zone,
    "pytz._UTC": lambda *_: UTC,
    "pytz._p": _read_zone,
    "_codecs.encode": lambda text, encoding: str(text).encode(str(encoding)),
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "__builtin__.set": set,
    "__builtin__.frozenset": frozenset,
}
