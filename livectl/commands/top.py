"""Shows queues, workers, jobs, schedules, dead letters and streamers on one screen."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from livectl.context import CommandContext, pass_command_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.top.panels import CommandOutcome, Panel, TopSource

MAX_COMMAND_S = 120.0


@click.command()
@click.option("--demo", is_flag=True, help="Play a busy deployment: nothing is asked, nothing is sent.")
@pass_command_context
def command(context: CommandContext, *, demo: bool) -> None:
    """Queues, workers, jobs as they happen, schedules with their last and next runs, dead letters and streamers, one
    panel open at a time. Enter shows all of a row, `/` filters, one key retries, revokes, pauses, runs or purges;
    `?` names the keys. Each of them calls the command of that name. Nothing is subscribed to: workers and queues are
    asked as `livectl workers` and `livectl queues` ask. For a pipe, a file or --json all panels are written once.

    \b
    Examples:
      livectl top
      livectl -A proj top
      livectl top --demo
    """
    from livectl import extras, terminal

    source, panels = _played() if demo else _read(context)
    if context.json or not terminal.is_terminal(context.out, context.environ):
        from livectl.top.panels import show_once
        from livectl.top.reading import read_rows

        context.show(show_once(panels, [read_rows(panel, source) for panel in panels]))
        return
    extras.require("top", "top is drawn with Textual")
    from livectl.top.screen import TopApp

    run_command = _play_command if demo else partial(_run_command, context)
    TopApp(f"livectl top {context.app or ''}".rstrip(), source, panels, run_command).run()


def _played() -> tuple[TopSource, Sequence[Panel]]:
    from livectl.top.panels import ALL_PANELS
    from livectl.top.played import PlayedSource

    return PlayedSource(), ALL_PANELS


def _read(context: CommandContext) -> tuple[TopSource, Sequence[Panel]]:
    from livectl.top.panels import ALL_PANELS, OPS_PANELS
    from livectl.top.sources import DeploymentSource

    deployment = context.deployment  # what is wrong with it is said before the screen is taken
    context.quiet = True  # nothing else may write there
    if context.app is None:
        return DeploymentSource(context.find_deployment, context.settings, lambda: context.own_store), ALL_PANELS
    return DeploymentSource(lambda: deployment, context.settings, None), OPS_PANELS


def _run_command(context: CommandContext, argv: Sequence[str], width: int) -> CommandOutcome:
    """Runs a command in a process of its own, as if it had been typed: it may load the app, and take its time."""
    import subprocess

    from livectl.ops.processes import launch
    from livectl.top.panels import CommandOutcome

    app = ["-A", context.app] if context.app else []
    environ = {
        **launch.child_environment(context.environ, context.config),
        "COLUMNS": str(width),
        "FORCE_COLOR": "" if context.environ.get("NO_COLOR") else "1",
    }
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "livectl", *app, *argv],
            cwd=context.cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=MAX_COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return CommandOutcome(1, f"it was not done within {MAX_COMMAND_S:.0f} s")
    except OSError as error:
        return CommandOutcome(1, f"it could not be started: {error.strerror}")
    return CommandOutcome(ran.returncode, ran.stdout.decode(errors="replace"))


def _play_command(argv: Sequence[str], width: int) -> CommandOutcome:  # noqa: ARG001
    from livectl.top.panels import CommandOutcome

    return CommandOutcome(0, f"This is played. Elsewhere this key calls: livectl {' '.join(argv)}")
