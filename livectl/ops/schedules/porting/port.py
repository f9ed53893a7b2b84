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
    from livectl.ops.schedules.porting.brought import Export, LeftOut

MILLISECONDS = 1_000  # in a second
FORMATS = "Say --python, --django or --crontab."


class Answer(Struct, frozen=True):
    """As programs see it."""

    text: str
    left: list[LeftOut]
    notes: list[LeftOut]


def bring(source: str | None, app: str | None, cwd: Path) -> Export:
    """A schedules.yaml from Python source, unrun; without one, from the app, whose code is imported for it."""
    from livectl.ops.schedules.porting import app_in, python_in, yaml_out

    if source:
        return yaml_out.text(python_in.read(_file(source, cwd), source))
    if not app:
        raise UsageError("nothing to import from", "Name a file or module, or an app: livectl -A proj schedules import")
    from livectl.ops import apps

    return yaml_out.text(app_in.read(apps.load(app, cwd), app))


def export(to: str | None, schedules: Sequence[Schedule], origin: str, app: str | None, now_ms: int) -> Export:
    from livectl.ops.schedules.porting import crontab_out, django_out, python_out

    formats: dict[str | None, Callable[[], Export]] = {
        "python": lambda: python_out.text(schedules, origin),
        "django": lambda: django_out.text(schedules, datetime.fromtimestamp(now_ms / MILLISECONDS, UTC).isoformat()),
        "crontab": lambda: crontab_out.text(schedules, origin, app),
    }
    if to not in formats:
        raise UsageError("no format", FORMATS)
    return formats[to]()


def show(found: Export, say: Callable[[str], None], put: Callable[[View], None]) -> int:
    """The text is the answer; what stayed behind is told beside it, and makes the exit code 1."""
    for what, told in (("left out", found.left), ("note", found.notes)):
        for each in told:
            say(f"{what}: {each.name}{f' (line {each.line})' if each.line else ''}: {each.why}")
    put(View(Answer(found.text, found.left, found.notes), lambda: found.text.rstrip("\n")))
    return LivectlError.code if found.left else EXIT_DONE


def _file(source: str, cwd: Path) -> Path:
    """A file, or a module as Python would find it from here."""
    path = cwd / source
    if path.is_file():
        return path
    module = cwd / Path(*source.split("."))
    for candidate in (module.with_name(f"{module.name}.py"), module / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise UsageError(f"no file and no module {source} in {cwd}", "Say proj.settings or proj/settings.py.")
