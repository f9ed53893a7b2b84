"""Says in a few lines what is going on here, or how to begin: the answer of `livectl` without a command."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.context import CommandContext
    from livectl.models import BoardReading
    from livectl.ops.processes.running_settings import StartNote
    from livectl.render import View
    from livectl.settings import Settings

MAX_PROBLEMS = 3
LABEL_CHARS = 10
BEGIN = """\
livectl runs Celery well, and knows which of the streamers you follow is live.
Nothing is set up here yet. To begin:

  livectl init                settings, a schedule and two invented streamers
  livectl up                  everything in one, with a page to look at
  livectl follow add ADDRESS  a streamer of your own
  livectl -A proj up          or: run your own Celery app
  livectl help                all commands"""


def show(context: CommandContext) -> None:
    """Asks the state directory, the store and the broker. A server that is away is a problem among others."""
    context.show(_find_out(context))


def _find_out(context: CommandContext) -> View:
    from livectl.ops.processes import running_settings
    from livectl.render import View

    problems: list[str] = []
    settings = _read_settings(context, problems)
    notes = [note for note in running_settings.running(settings.home) if note.own == (context.app is None)]
    is_set_up = bool(notes or settings.file or settings.follows.exists() or settings.broker or context.app)
    readings: list[BoardReading] = []
    if notes or settings.broker or settings.store:
        readings = _read_pulses(context, settings, problems)
    problems += [problem for reading in readings for problem in reading.problems]
    data = {
        "set_up": is_set_up,
        "running": [{"kind": note.kind, "name": note.name, "pid": note.pid} for note in notes],
        "page": next((note.page[0] for note in notes if note.page[0]), None),
        "problems": problems,
        **{name: value for reading in readings for name, value in reading.facts.items()},
    }
    if not is_set_up:
        return View(data, lambda: BEGIN)
    return View(data, lambda: "\n".join(_lines(context, settings, notes, readings, problems)))


def _read_settings(context: CommandContext, problems: list[str]) -> Settings:
    """As much of the settings as can be used; what is wrong with the rest is a problem."""
    from livectl import settings
    from livectl.errors import SettingsError

    try:
        return context.settings
    except SettingsError as error:
        problems.append(error.message.splitlines()[0])
        return settings.load_usable(context.environ, context.cwd, file=context.config)


def _read_pulses(context: CommandContext, settings: Settings, problems: list[str]) -> list[BoardReading]:
    """How streamers and queues stand. The app of -A is not imported: its queues are read where its broker is known."""
    from livectl.live import pulse as live_pulse
    from livectl.ops import deployment
    from livectl.ops.processes import embedded_broker
    from livectl.ops.services import pulse as job_pulse

    def read_live() -> BoardReading:
        return live_pulse.read_pulse(embedded_broker.resolve_addresses(settings).store, time.time(), settings.push)

    def read_jobs() -> BoardReading | None:
        app = context.app
        if app is not None and settings.broker is None and "CELERY_BROKER_URL" not in context.environ:
            return None
        found = deployment.find_without_import(app, settings, context.environ, context.cwd)
        return job_pulse.read_pulse(found) if found.redis_broker is not None else None

    asked: list[Callable[[], BoardReading | None]] = [read_jobs] if context.app else [read_live, read_jobs]
    readings = []
    for read in asked:
        try:
            if reading := read():
                readings.append(reading)
        except LivectlError as error:
            if error.message not in problems:
                problems.append(error.message)
    return readings


def _lines(
    context: CommandContext,
    settings: Settings,
    notes: list[StartNote],
    readings: list[BoardReading],
    problems: list[str],
) -> list[str]:
    from livectl.live import pulse

    app = f"-A {context.given_app} " if context.given_app else ""
    words = [part.words[0] for reading in readings for part in reading.parts]
    rows: list[tuple[str, str]] = [("now", word) for word in words[:1]] + [("", word) for word in words[1:]]
    if not notes:
        rows.append(("start", f"livectl {app}up, or livectl {app}up --detach for the background"))
    if page := next((note.page[0] for note in notes if note.page[0]), ""):
        rows.insert(0, ("page", page))
    if context.app is None and not words:
        follows = pulse.describe_follows(settings.follows, context.display_path(settings.follows))
        rows.insert(0, ("follows", follows))
    shown = [*problems[:MAX_PROBLEMS], *([f"and {len(problems) - MAX_PROBLEMS} more"] * (len(problems) > MAX_PROBLEMS))]
    rows += [("problems" if number == 0 else "", problem) for number, problem in enumerate(shown)]
    rows.append(
        ("more", f"livectl {app}doctor, livectl help" if problems else "livectl live, livectl doctor, livectl help")
    )
    return [_headline(notes, context.app), *(f"  {label:<{LABEL_CHARS}}{text}" for label, text in rows)]


def _headline(notes: list[StartNote], app: str | None) -> str:
    if not notes:
        return f"Nothing of {app} runs here." if app else "livectl is set up here, and does not run."
    ups = [note for note in notes if note.kind == "up" and not app]
    labels = sorted(note.label for note in ups or notes)
    return f"livectl runs here: {', '.join(labels)}."
