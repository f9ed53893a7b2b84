"""What an import brings: entries as schedules.yaml says them, and what could not be said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import Struct

from livectl.ops.schedules.options import OPTION_READERS as OPTIONS
from livectl.units import UNIT_SECONDS

KNOWN_KEYS = {"task", "schedule", "args", "kwargs", "options", "relative"}
CRON_LINES_BY_SECONDS = {UNIT_SECONDS["m"]: "* * * * *", UNIT_SECONDS["h"]: "0 * * * *", UNIT_SECONDS["d"]: "0 0 * * *"}
RELATIVE_REASON = "relative: its runs follow the start of beat, on full units; say a cron line"


class NotPortable(ValueError):  # noqa: N818
    """Why something has no words in schedules.yaml."""


class PortableTiming(Struct, frozen=True):
    """A time as an entry says it: one of the keys `every`, `cron`, `crontab`, `solar`, and its value."""

    key: str
    value: Any
    zone: str = ""
    relative: bool = False


class PortableEntry(Struct, frozen=True, kw_only=True):
    name: str
    line: int = 0
    keys: dict[str, Any]
    comments: tuple[str, ...] = ()


class PortingNote(Struct, frozen=True, kw_only=True):
    """An entry that stays behind, and why."""

    name: str
    line: int = 0
    why: str


class ConvertedSchedule(Struct, frozen=True):
    """Schedules in the words of another program; `notes` are entries that lost something on the way."""

    text: str
    left: list[PortingNote]
    notes: list[PortingNote] = []


class ImportedSchedule(Struct, kw_only=True):
    origin: str
    timezone: str = "UTC"
    entries: list[PortableEntry] = []
    left: list[PortingNote] = []


def portable_keys(entry: Any) -> dict[str, Any]:
    """An entry of Celery's `beat_schedule` in the words of ours."""
    if not isinstance(entry, dict):
        raise NotPortable("its entry is no dict")
    for key in entry.keys() - KNOWN_KEYS:
        raise NotPortable(f"{key!r} is no key of an entry")
    if not entry.get("task") or not isinstance(entry["task"], str):
        raise NotPortable("it names no task")
    timing = portable_timing(entry.get("schedule"), relative=bool(entry.get("relative")))
    keys = {"task": entry["task"], timing.key: timing.value}
    if timing.zone:
        keys["timezone"] = timing.zone
    if entry.get("args"):
        keys["args"] = to_yaml_value(entry["args"])
    if entry.get("kwargs"):
        keys["kwargs"] = to_yaml_value(entry["kwargs"])
    if entry.get("options"):
        keys["options"] = {key: _option_value(key, value) for key, value in entry["options"].items()}
    return keys


def portable_timing(value: Any, *, relative: bool = False) -> PortableTiming:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _interval_timing(float(value), relative=relative)
    if isinstance(value, PortableTiming):
        return (
            _interval_timing(value.value, relative=True)
            if value.relative or (relative and value.key == "every")
            else value
        )
    raise NotPortable("its schedule is not seconds, timedelta, crontab, schedule or solar")


def _interval_timing(seconds: float, *, relative: bool) -> PortableTiming:
    if not relative:
        return PortableTiming("every", int(seconds) if seconds.is_integer() else seconds)
    if seconds in CRON_LINES_BY_SECONDS:
        return PortableTiming(
            "cron", CRON_LINES_BY_SECONDS[seconds]
        )  # on the full minute, hour or day, which is what relative means there
    raise NotPortable(RELATIVE_REASON)


def to_yaml_value(value: Any) -> Any:
    """A value that YAML has as well: text, numbers, true, false, null, lists, mappings of text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [to_yaml_value(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: to_yaml_value(item) for key, item in value.items()}
    raise NotPortable(f"YAML has no {type(value).__name__}: {_short_repr(value)}")


def _option_value(key: str, value: Any) -> Any:
    if key not in OPTIONS:
        raise NotPortable(f"option {key!r} cannot be said in YAML")
    return value.total_seconds() if isinstance(value, timedelta) else to_yaml_value(value)


def _short_repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
