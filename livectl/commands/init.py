"""Writes the first files of a folder."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from livectl.context import CommandContext, pass_command_context
from livectl.errors import SettingsError

FILES = ("livectl.yaml", "schedules.yaml", "follows.yaml")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@pass_command_context
def command(context: CommandContext, folder: Path) -> None:
    """They hold an example of everything, commented out, and work as they are.
    FOLDER is made if it is not there; nothing in it is overwritten.

    \b
    Examples:
      livectl init
      livectl init /srv/streams
    """
    from livectl.render import sentence

    paths = _write_files(context.cwd / folder)
    lines = [f"Wrote {path}" for path in paths]
    context.show(sentence("\n".join(lines), {"written": [str(path) for path in paths]}))
    context.say_needs_restart(context.cwd / folder)
    context.say("Next: `livectl up` there, or edit them first.")


def _write_files(folder: Path) -> list[Path]:
    """Writes all files or none: each is complete before the first one gets its name."""
    paths = [folder / name for name in FILES]
    if existing := [path.name for path in paths if path.exists() or path.is_symlink()]:
        raise SettingsError(
            f"{folder} already has {', '.join(existing)}; nothing was written",
            "Move it away, or name another folder: `livectl init FOLDER`.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".livectl-") as drafts:
            for name in FILES:
                Path(drafts, name).write_bytes(files("livectl").joinpath("templates", name).read_bytes())
            for path in paths:
                Path(drafts, path.name).rename(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{folder}: cannot write there: {reason}", "Name a folder that is yours.") from error
    return paths
