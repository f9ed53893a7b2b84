"""What an import brings: entries as schedules.yaml says them, and what could not be said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import Struct

from livectl.ops.schedules.options import READERS as OPTIONS
from livectl.quantity import SECONDS

KNOWN = {"task", "schedule", "args", "kwargs", "options", "relative"}
UNITS = {SECONDS["m"]: "* * * * *", SECONDS["h"]: "0 * * * *", SECONDS["d"]: "0 0 * * *"}
RELATIVE = "relative: its runs follow the start of beat, on full units; say a cron line"


class CannotSay(ValueError):  # noqa: N818
    """Why something has no words in schedules.yaml."""


class When(Struct, frozen=True):
    """A time as an entry says it: one of the keys `every`, `cron`, `crontab`, `solar`, and its value."""

    key: str
    value: Any
    zone: str = ""
    relative: bool = False


class Entry(Struct, frozen=True, kw_only=True):
    name: str
    line: int = 0
    keys: dict[str, Any]
    comments: tuple[str, ...] = ()


class LeftOut(Struct, frozen=True, kw_only=True):
    """An entry that stays behind, and why."""

    name: str
    line: int = 0
    why: str


class Export(Struct, frozen=True):
    """Schedules in the words of another program; `notes` are entries that lost something on the way."""

    text: str
    left: list[LeftOut]
    notes: list[LeftOut] = []


class Import(Struct, kw_only=True):
    origin: str
    timezone: str = "UTC"
    entries: list[Entry] = []
    left: list[LeftOut] = []


def keys_of(said: Any) -> dict[str, Any]:
    """An entry of Celery's `beat_schedule` in the words of ours."""
    if not isinstance(said, dict):
        raise CannotSay("its entry is no dict")
    for key in said.keys() - KNOWN:
        raise CannotSay(f"{key!r} is no key of an entry")
    if not said.get("task") or not isinstance(said["task"], str):
        raise CannotSay("it names no task")
    when = when_of(said.get("schedule"), relative=bool(said.get("relative")))
    keys = {"task": said["task"], when.key: when.value}
    if when.zone:
        keys["timezone"] = when.zone
    if said.get("args"):
        keys["args"] = plain(said["args"])
    if said.get("kwargs"):
        keys["kwargs"] = plain(said["kwargs"])
    if said.get("options"):
        keys["options"] = {key: _option(key, value) for key, value in said["options"].items()}
    return keys


def when_of(said: Any, *, relative: bool = False) -> When:
    if isinstance(said, timedelta):
        said = said.total_seconds()
    if isinstance(said, int | float) and not isinstance(said, bool):
        return _interval(float(said), relative=relative)
    if isinstance(said, When):
        return _interval(said.value, relative=True) if said.relative or (relative and said.key == "every") else said
    raise CannotSay("its schedule is not seconds, timedelta, crontab, schedule or solar")


def _interval(seconds: float, *, relative: bool) -> When:
    if not relative:
        return When("every", int(seconds) if seconds.is_integer() else seconds)
    if seconds in UNITS:
        return When("cron", UNITS[seconds])  # on the full minute, hour or day, which is what relative means there
    raise CannotSay(RELATIVE)


def plain(value: Any) -> Any:
    """A value that YAML has as well: text, numbers, true, false, null, lists, mappings of text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(each) for key, each in value.items()}
    raise CannotSay(f"YAML has no {type(value).__name__}: {_short(value)}")


def _option(key: str, value: Any) -> Any:
    if key not in OPTIONS:
        raise CannotSay(f"option {key!r} cannot be said in YAML")
    return value.total_seconds() if isinstance(value, timedelta) else plain(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
