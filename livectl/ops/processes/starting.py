"""The start of a worker or a beat: in the background, or as what this process becomes."""

from __future__ import annotations

import shlex
import socket
from typing import TYPE_CHECKING

from livectl import connect, render
from livectl.ops import broker, launch
from livectl.ops.processes import detached

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from livectl.config import Settings
    from livectl.render import View


def argv_view(argv: list[str]) -> View:
    return render.sentence(shlex.join(argv), {"argv": argv})


def start_or_exec(
    argv: list[str],
    name: str,
    settings: Settings,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    detach: bool,
    say: Callable[[str], None],
) -> View:
    """What was started, when it runs in the background; otherwise this process becomes it and never returns.

    livectl's own app is not started towards a broker that does not answer: stock Celery would try in silence.
    """
    if launch.OWN_APP in argv:
        connect.check_reachable(broker.resolve_addresses(settings).broker)
    if not detach:
        launch.exec_command(argv, environ)
    running = detached.start(settings.home, name, argv, environ=environ, cwd=cwd, host=socket.gethostname(), say=say)
    message = (
        f"{name} runs in the background (pid {running.pid}). Its log is {running.log}; `livectl stop {name}` ends it."
    )
    return render.sentence(message, {"name": name, "pid": running.pid, "log": str(running.log)})
