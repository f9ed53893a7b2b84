"""The way in and out: what is asked for is found, turned into text, and told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import EXIT_DONE, LivectlError, UsageError
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.model import Schedule
    from livectl.ops.schedules.porting.brought import ConvertedSchedule, PortingNote

MS_PER_SECOND = 1_000  # in a second
FORMATS_HINT = "Say --python, --django or --crontab."


class ConversionResult(Struct, frozen=True):
    """As programs see it."""

    text: str
    left: list[PortingNote]
    notes: list[PortingNote]


def import_schedule(source: str | None, app: str | None, cwd: Path) -> ConvertedSchedule:
    """A schedules.yaml from Python source, unrun; without one, from the app, whose code is imported for it."""
    from livectl.ops.schedules.porting import app_in, python_in, yaml_out

    if source:
        return yaml_out.to_yaml(python_in.read(_find_source_file(source, cwd), source))
    if not app:
        raise UsageError("nothing to import from", "Name a file or module, or an app: livectl -A proj schedules import")
    from livectl.ops import apps

    return yaml_out.to_yaml(app_in.read_app(apps.load(app, cwd), app))


def export_schedule(
    to: str | None, schedules: Sequence[Schedule], origin: str, app: str | None, now_ms: int
) -> ConvertedSchedule:
    from livectl.ops.schedules.porting import crontab_out, django_out, python_out

    formats: dict[str | None, Callable[[], ConvertedSchedule]] = {
        "python": lambda: python_out.to_python(schedules, origin),
        "django": lambda: django_out.to_django(
            schedules, datetime.fromtimestamp(now_ms / MS_PER_SECOND, UTC).isoformat()
        ),
        "crontab": lambda: crontab_out.to_crontab(schedules, origin, app),
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
