"""Writes the first files of a folder."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from livectl.context import CommandContext, pass_command_context
from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEDULES_HEADING = """\
# What beat sends, and when: the beat_schedule of {app}. As long as an entry is the same in both places it is sent once:
# take it out there, and change it here. `livectl schedules validate` checks this file, and a running beat reads it
# again when it changes.

"""
FILES = ("livectl.yaml", "schedules.yaml", "follows.yaml")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@pass_command_context
def command(context: CommandContext, folder: Path) -> None:
    """They hold an example of everything, commented out, and work as they are.
    FOLDER is made if it is not there; nothing in it is overwritten.

    With -A they are for that app, and every command in that folder is from then
    on: its beat_schedule becomes schedules.yaml, and there is nothing of streamers.

    \b
    Examples:
      livectl init
      livectl init /srv/streams
      livectl init -A proj
    """
    from livectl.render import sentence

    texts = _own_texts() if context.app is None else _app_texts(context, context.app)
    paths = _write_files(context.cwd / folder, texts)
    lines = [f"Wrote {path}" for path in paths]
    context.show(sentence("\n".join(lines), {"written": [str(path) for path in paths]}))
    context.say_needs_restart(context.cwd / folder)
    context.say("\n".join(_next_steps(context, folder)))


def _own_texts() -> dict[str, str]:
    return {name: _template(name) for name in FILES}


def _app_texts(context: CommandContext, app: str) -> dict[str, str]:
    """Settings for an app, and its own beat_schedule. Says which entries stay where they are."""
    from datetime import UTC, datetime

    from livectl.ops.schedules import importing

    imported = importing.import_schedule(importing.ImportSource(app=app), context.cwd, datetime.now(UTC))
    for note in imported.left:
        context.say(f"{note.name} stays with the app: {note.why}")
    body = imported.text.partition("\n")[2].replace("schedules: {}", "schedules: {}  # with an entry, no braces")
    _, first_example, others = _template("schedules.yaml").partition("  # Every so often")
    schedules = f"{SCHEDULES_HEADING.format(app=app)}{body}\n{first_example}{others}"
    return {"livectl.yaml": re.sub(r"\bAPP\b", app, _template("app.yaml")), "schedules.yaml": schedules}


def _template(name: str) -> str:
    return files("livectl").joinpath("templates", name).read_text(encoding="utf-8")


def _next_steps(context: CommandContext, folder: Path) -> list[str]:
    go = "" if folder == Path() else f"cd {folder} && "
    if context.app is not None:
        return [
            "Next:",
            f"  {go}livectl doctor    what could go wrong, and its cure",
            f"  {go}livectl up        worker and beat, kept running",
        ]
    return [
        "Next:",
        f"  {go}livectl up".ljust(24) + "  everything in one, and a page to look at",
        "  livectl follow add ...  a streamer of your own",
    ]


def _write_files(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Writes all files or none: each is complete before the first one gets its name."""
    paths = [folder / name for name in texts]
    if existing := [path.name for path in paths if path.exists() or path.is_symlink()]:
        raise SettingsError(
            f"{folder} already has {', '.join(existing)}; nothing was written",
            "Move it away, or name another folder: `livectl init FOLDER`.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".livectl-") as drafts:
            for name, text in texts.items():
                Path(drafts, name).write_text(text, encoding="utf-8")
            for path in paths:
                Path(drafts, path.name).rename(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{folder}: cannot write there: {reason}", "Name a folder that is yours.") from error
    return paths
