"""Imports schedules as the text of a schedules.yaml: from Celery's Python, an app, or what another scheduler keeps."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from livectl.errors import FileError, UsageError
from livectl.ops import apps
from livectl.ops.processes import launch
from livectl.ops.protocol import beat_file
from livectl.ops.schedules import conditions, django_tables, import_python, other_schedulers, schedule_file
from livectl.ops.schedules.conversion import WHOLE_SCHEDULE, ConvertedSchedule, PortableEntry, PortingNote
from livectl.units import format_yaml_duration
from livectl.yamlfile import UNSAFE_CHARACTERS, format_scalar, format_value

if TYPE_CHECKING:
    from datetime import datetime

    from livectl.ops.schedules.conversion import ImportedSchedule


class ImportSource(Struct, frozen=True, kw_only=True):
    """Where schedules are imported from: a file or module, or an app, whose code is imported."""

    source: str | None = None
    app: str | None = None
    kept_in: str | None = None  # `django` or `redbeat`: what its scheduler keeps; None: as the app sets it
    assumed: tuple[str, ...] = ()


def import_schedule(wanted: ImportSource, cwd: Path, now: datetime) -> ConvertedSchedule:
    """A schedules.yaml from Python source, which is not run, or from what another scheduler keeps."""
    return to_yaml(read_source(wanted, cwd, now))


def read_source(wanted: ImportSource, cwd: Path, now: datetime) -> ImportedSchedule:
    """The entries of Python source, which is not run, or of what another scheduler keeps."""
    if wanted.source and wanted.kept_in:
        raise UsageError(f"{wanted.source} and --{wanted.kept_in} are two sources", "Leave one of them out.")
    if wanted.source:
        return _read_file(_find_source_file(wanted.source, cwd), wanted, now)
    if not wanted.app:
        hint = "Name a file or module, or an app: livectl -A proj schedules import"
        raise UsageError("nothing to import from", hint)
    app = apps.load(wanted.app, cwd)
    apps.load_tasks(app, cwd)  # a module that it includes may set the schedule
    zone = apps.find_zone(app) or str(app.timezone)
    kept_in = wanted.kept_in or launch.find_entry_source(str(app.conf.beat_scheduler or ""))
    if kept_in == "django":
        return django_tables.read_django(app, wanted.app, now)
    if kept_in == "redbeat":
        return other_schedulers.read_redbeat(app, wanted.app)
    imported = other_schedulers.read_app(app, wanted.app, zone)
    if kept_in == "other":
        why = f"what {app.conf.beat_scheduler} keeps cannot be read; this is the app's beat_schedule"
        imported.left.append(PortingNote(name=WHOLE_SCHEDULE, why=why))
    return imported


def _find_source_file(source: str, cwd: Path) -> Path:
    """A file, or a module as Python would find it from here."""
    path = cwd / source
    if (dbm := beat_file.find(path)) or path.is_file():
        return dbm or path
    module = cwd / Path(*source.split("."))
    for candidate in (module.with_name(f"{module.name}.py"), module / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise UsageError(f"no file and no module {source} in {cwd}", "Say proj.settings or proj/settings.py.")


def _read_file(path: Path, wanted: ImportSource, now: datetime) -> ImportedSchedule:
    """What a file has: a celerybeat-schedule, a fixture of Django, or Python source."""
    name = wanted.source or path.name
    if beat_file.find(path):
        return other_schedulers.read_beat_file(path, name)
    if path.suffix == ".json":
        return django_tables.read_fixture(path, name, now)
    return import_python.read(path, name, conditions.parse_assumed(wanted.assumed))


def to_yaml(imported: ImportedSchedule) -> ConvertedSchedule:
    """The text of a schedules.yaml. An entry that would not read back as it was is left out."""
    kept, left = sort_out(imported)
    zone = [f"timezone: {format_scalar(imported.timezone)}"] if imported.timezone != "UTC" else []
    lines = [f"# From {imported.origin}, by livectl schedules import.", *zone]
    lines += ["schedules:" if kept else "schedules: {}"]
    lines += [f"  {line}" for entry in kept for line in _entry_lines(entry)]
    lines += [f"# left out: {_format_position(note)}: {note.why}".replace("\n", " ") for note in left]
    return ConvertedSchedule("\n".join(lines) + "\n", left, imported.notes)


def sort_out(imported: ImportedSchedule) -> tuple[list[PortableEntry], list[PortingNote]]:
    """The entries that read back as they were, and what is left out, each with the reason."""
    kept, left = [], list(imported.left)
    for entry in imported.entries:
        if reason := find_problem(imported.timezone, entry):
            left.append(PortingNote(name=entry.name, line=entry.line, why=reason))
        else:
            kept.append(entry)
    return kept, sorted(left, key=lambda note: note.line)


def to_words(entry: PortableEntry, zone: str, around: str) -> dict[str, Any]:
    """The keys of an entry in a place whose entries are in the zone `around`, where the source was in `zone`."""
    words = dict(entry.keys)
    if "every" in words:
        words["every"] = format_yaml_duration(words["every"])
    if zone != around and not {"cron", "crontab"}.isdisjoint(words):
        words.setdefault("timezone", zone)
    return words


def find_problem(zone: str, entry: PortableEntry) -> str:
    """Why schedules.yaml cannot hold an entry; empty when the entry reads back as it is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.yaml"
        lines = [f"timezone: {format_scalar(zone)}", "schedules:", *(f"  {line}" for line in _entry_lines(entry))]
        try:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            [schedule] = schedule_file.load(path).schedules
        except FileError as error:
            mistake = error.mistakes[0]
            text = mistake.text.removeprefix(f"{entry.name}: ")
            return f"{text} ({mistake.hint})" if mistake.hint else text
        except UnicodeEncodeError:
            return "holds half a letter, which no file can"
    expected = (entry.name, entry.keys["task"], entry.keys.get("args", []), entry.keys.get("kwargs", {}))
    is_expected = expected == (schedule.name, schedule.task, list(schedule.args), schedule.kwargs)
    return "" if is_expected else "reads back as something else"


def _entry_lines(entry: PortableEntry) -> list[str]:
    comments = [f"# {UNSAFE_CHARACTERS.sub(' ', comment)}" for comment in entry.comments]
    values = {
        key: format_yaml_duration(value) if key == "every" else format_value(value) for key, value in entry.keys.items()
    }
    return [*comments, f"{format_scalar(entry.name)}:", *(f"  {key}: {value}" for key, value in values.items())]


def _format_position(note: PortingNote) -> str:
    return f"{json.dumps(note.name)} in line {note.line}" if note.line else json.dumps(note.name)
