"""Imports schedules from Celery's Python into the text of a schedules.yaml, and shows what came of it."""

from __future__ import annotations

import json
import re
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from livectl.errors import EXIT_DONE, FileError, LivectlError, UsageError
from livectl.ops.schedules import schedule_file
from livectl.ops.schedules.portable import (
    ConvertedSchedule,
    ImportedSchedule,
    PortableEntry,
    PortingNote,
)
from livectl.render import View
from livectl.units import UNIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.models import Schedule


PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
RESERVED = {"true", "false", "null"}
UNSAFE_CHARACTERS = re.compile(
    "[\x7f-\x9f\u2028\u2029\ufeff]"
)  # YAML breaks lines at some of these, and refuses others
WHOLE_UNITS = ("d", "h", "m")


def to_yaml(imported: ImportedSchedule) -> ConvertedSchedule:
    """Entries that do not read back as they are said join what is left out."""
    sayable = []
    for entry in imported.entries:
        reason = _find_problem(imported.timezone, entry)
        if reason:
            imported.left.append(PortingNote(name=entry.name, line=entry.line, why=reason))
        else:
            sayable.append(entry)
    imported.entries = sayable
    imported.left.sort(key=lambda note: note.line)
    return ConvertedSchedule(_build_text(imported), imported.left)


def _build_text(imported: ImportedSchedule) -> str:
    zone = [f"timezone: {format_scalar(imported.timezone)}"] if imported.timezone != "UTC" else []
    lines = [f"# From {imported.origin}, by livectl schedules import.", *zone]
    lines += ["schedules:" if imported.entries else "schedules: {}"]
    for entry in imported.entries:
        lines += [f"  {line}" for line in _entry_lines(entry)]
    for note in imported.left:
        lines.append(f"# left out: {format_position(note)}: {note.why}".replace("\n", " "))
    return "\n".join(lines) + "\n"


def format_position(note: PortingNote) -> str:
    return f"{json.dumps(note.name)} in line {note.line}" if note.line else json.dumps(note.name)


def _entry_lines(entry: PortableEntry) -> list[str]:
    comments = [f"# {UNSAFE_CHARACTERS.sub(' ', comment)}" for comment in entry.comments]
    keys = [f"  {key}: {_format_value(key, value)}" for key, value in entry.keys.items()]
    return [*comments, f"{format_scalar(entry.name)}:", *keys]


def _format_value(key: str, value: Any) -> str:
    if key == "every":
        return format_duration(value)
    return format_flow(value)


def format_flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{format_scalar(key)}: {format_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(format_flow(item) for item in value) + "]"
    return format_scalar(value)


def format_scalar(value: Any) -> str:
    if isinstance(value, str) and PLAIN_NAME.fullmatch(value) and value.lower() not in RESERVED:
        return value
    return UNSAFE_CHARACTERS.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def format_duration(seconds: float) -> str:
    """In the largest unit that it is a whole number of."""
    for unit in WHOLE_UNITS:
        if seconds and seconds % UNIT_SECONDS[unit] == 0:
            return f"{int(seconds / UNIT_SECONDS[unit])}{unit}"
    return f"{Decimal(repr(seconds)).normalize():f}s"  # never 1e+06


def _find_problem(zone: str, entry: PortableEntry) -> str:
    """What our own reader has against an entry; nothing, if it understands exactly what was meant."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.yaml"
        lines = [f"timezone: {format_scalar(zone)}", "schedules:", *(f"  {line}" for line in _entry_lines(entry))]
        try:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            [schedule] = schedule_file.load(path).schedules
        except FileError as error:
            mistake = error.mistakes[0]
            return f"{mistake.text} ({mistake.hint})" if mistake.hint else mistake.text
        except UnicodeEncodeError:
            return "holds half a letter, which no file can"
    expected = (entry.name, entry.keys["task"], entry.keys.get("args", []), entry.keys.get("kwargs", {}))
    return (
        ""
        if expected == (schedule.name, schedule.task, list(schedule.args), schedule.kwargs)
        else "reads back as something else"
    )


MS_PER_SECOND = 1_000  # in a second
FORMATS_HINT = "Say --python, --django or --crontab."


class ConversionResult(Struct, frozen=True):
    """As programs see it."""

    text: str
    left: list[PortingNote]
    notes: list[PortingNote]


def import_schedule(source: str | None, app: str | None, cwd: Path) -> ConvertedSchedule:
    """A schedules.yaml from Python source, unrun; without one, from the app, whose code is imported for it."""
    from livectl.ops.schedules import import_python

    if source:
        return to_yaml(import_python.read(_find_source_file(source, cwd), source))
    if not app:
        raise UsageError("nothing to import from", "Name a file or module, or an app: livectl -A proj schedules import")
    from livectl.ops import apps
    from livectl.ops.schedules import import_app

    return to_yaml(import_app.read_app(apps.load(app, cwd), app))


def export_schedule(
    to: str | None, schedules: Sequence[Schedule], origin: str, app: str | None, now_ms: int
) -> ConvertedSchedule:
    from livectl.ops.schedules import exporting

    formats: dict[str | None, Callable[[], ConvertedSchedule]] = {
        "python": lambda: exporting.to_python(schedules, origin),
        "django": lambda: exporting.to_django(
            schedules, datetime.fromtimestamp(now_ms / MS_PER_SECOND, UTC).isoformat()
        ),
        "crontab": lambda: exporting.to_crontab(schedules, origin, app),
    }
    if to not in formats:
        raise UsageError("no format", FORMATS_HINT)
    return formats[to]()


def show_result(converted: ConvertedSchedule, say: Callable[[str], None], show_view: Callable[[View], None]) -> int:
    """The text is the answer; what stayed behind is told beside it, and makes the exit code 1."""
    for label, notes in (("left out", converted.left), ("note", converted.notes)):
        for note in notes:
            say(f"{label}: {note.name}{f' (line {note.line})' if note.line else ''}: {note.why}")
    show_view(
        View(ConversionResult(converted.text, converted.left, converted.notes), lambda: converted.text.rstrip("\n"))
    )
    return LivectlError.code if converted.left else EXIT_DONE


def _find_source_file(source: str, cwd: Path) -> Path:
    """A file, or a module as Python would find it from here."""
    path = cwd / source
    if path.is_file():
        return path
    module = cwd / Path(*source.split("."))
    for candidate in (module.with_name(f"{module.name}.py"), module / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise UsageError(f"no file and no module {source} in {cwd}", "Say proj.settings or proj/settings.py.")
