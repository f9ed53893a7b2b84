"""Values that stand between schedules.yaml and the schedules of other programs, and what a conversion leaves out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from livectl.errors import EXIT_DONE, LivectlError, shorten
from livectl.ops.schedules.options import OPTION_READERS
from livectl.render import View
from livectl.units import UNIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

CRONTAB_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")  # in the order of Celery's crontab
SOLAR_FIELDS = ("event", "lat", "lon")
CELERY_KEYS = {
    "task",
    "schedule",
    "args",
    "kwargs",
    "options",
    "relative",
    "description",
}  # of an entry in beat_schedule
CRON_LINES_BY_SECONDS = {UNIT_SECONDS["m"]: "* * * * *", UNIT_SECONDS["h"]: "0 * * * *", UNIT_SECONDS["d"]: "0 0 * * *"}
RELATIVE_REASON = "relative: its runs follow the start of beat, on full units; say a cron line"
WHOLE_SCHEDULE = "(all of it)"  # in the place of a name


class NotPortable(ValueError):  # noqa: N818
    """Why another format cannot hold an entry."""


class PortableTiming(Struct, frozen=True):
    """When an entry is due: a key of schedules.yaml, such as `every`, `crontab` or `at`, and its value."""

    key: str
    value: Any
    relative: bool = False


class PortableEntry(Struct, frozen=True, kw_only=True):
    """An entry for schedules.yaml: its keys and comments there, and its line in the source."""

    name: str
    line: int = 0
    keys: dict[str, Any]
    comments: tuple[str, ...] = ()


class PortingNote(Struct, frozen=True, kw_only=True):
    """An entry that is left out or loses something, and why."""

    name: str
    line: int = 0
    why: str


class ConvertedSchedule(Struct, frozen=True):
    """The text of schedules in another format; `left` are entries that it leaves out, `notes` those that it changes."""

    text: str
    left: list[PortingNote]
    notes: list[PortingNote] = []

    def without(self, left: dict[str, str]) -> ConvertedSchedule:
        """The same, and these entries are left out too, each with its reason."""
        more = [PortingNote(name=name, why=why) for name, why in left.items()]
        return ConvertedSchedule(self.text, [*more, *self.left], self.notes)


class ImportedSchedule(Struct, kw_only=True):
    """The entries found in a source, and those that schedules.yaml cannot hold."""

    origin: str
    timezone: str = "UTC"
    entries: list[PortableEntry] = []
    left: list[PortingNote] = []
    notes: list[PortingNote] = []


def show(converted: ConvertedSchedule, say: Callable[[str], None], show_view: Callable[[View], None]) -> int:
    """Shows the text, and says what it leaves out. Returns the exit code: 1 when anything is left out."""
    say_notes(say, converted.left, converted.notes)
    show_view(View(converted, lambda: converted.text.rstrip("\n")))
    return LivectlError.code if converted.left else EXIT_DONE


def say_notes(say: Callable[[str], None], left: list[PortingNote], changed: list[PortingNote]) -> None:
    """Says a line for each entry that is left out, and each that is changed."""
    for label, notes in (("left out", left), ("note", changed)):
        for note in notes:
            say(f"{label}: {note.name}{f' (line {note.line})' if note.line else ''}: {note.why}")


def portable_keys(entry: Any) -> dict[str, Any]:
    """The keys in schedules.yaml of an entry of Celery's `beat_schedule`, given as a dict. Raises NotPortable."""
    if not isinstance(entry, dict):
        raise NotPortable("its entry is no dict")
    for key in entry.keys() - CELERY_KEYS:
        raise NotPortable(f"{key!r} is no key of an entry")
    if not entry.get("task") or not isinstance(entry["task"], str):
        raise NotPortable("it names no task")
    timing = _portable_timing(entry.get("schedule"), relative=bool(entry.get("relative")))
    keys = {"task": entry["task"], timing.key: timing.value}
    if entry.get("args"):
        keys["args"] = _yaml_value(entry["args"])
    if entry.get("kwargs"):
        keys["kwargs"] = _yaml_value(entry["kwargs"])
    if entry.get("options"):
        keys["options"] = {key: _option_value(key, value) for key, value in entry["options"].items()}
    return keys


def crontab_timing(given: dict[str, Any]) -> PortableTiming:
    """A crontab of Celery's fields; a field that is left out is `*`."""
    fields = {key: _field_value(given[key]) for key in CRONTAB_FIELDS if given.get(key, "*") != "*"}
    return PortableTiming("crontab", fields or {"minute": "*"})


def _field_value(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return list(value) if isinstance(value, list | tuple | range) else value


def _portable_timing(value: Any, *, relative: bool) -> PortableTiming:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _interval_timing(float(value), relative=relative)
    if not isinstance(value, PortableTiming):
        raise NotPortable("its schedule is not seconds, timedelta, crontab, schedule or solar")
    if value.relative or (relative and value.key == "every"):
        return _interval_timing(value.value, relative=True)
    return value


def _interval_timing(seconds: float, *, relative: bool) -> PortableTiming:
    if not relative:
        return PortableTiming("every", int(seconds) if seconds.is_integer() else seconds)
    if seconds not in CRON_LINES_BY_SECONDS:
        raise NotPortable(RELATIVE_REASON)
    # Celery runs a relative interval of one unit on the full minute, hour or day.
    return PortableTiming("cron", CRON_LINES_BY_SECONDS[seconds])


def _yaml_value(value: Any) -> Any:
    """A value that YAML has as well: text, numbers, true, false, null, lists, mappings of text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_yaml_value(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _yaml_value(item) for key, item in value.items()}
    raise NotPortable(f"YAML has no {type(value).__name__}: {_short_repr(value)}")


def _option_value(key: str, value: Any) -> Any:
    if key not in OPTION_READERS:
        raise NotPortable(f"option {key!r} cannot be said in YAML")
    return value.total_seconds() if isinstance(value, timedelta) else _yaml_value(value)


def _short_repr(value: Any) -> str:
    return shorten(repr(value))
