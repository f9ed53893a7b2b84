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


def in_words(argv: list[str]) -> View:
    return render.sentence(shlex.join(argv), {"argv": argv})


def start(
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
        connect.reach(broker.addresses(settings).broker)
    if not detach:
        launch.become(argv, environ)
    one = detached.start(settings.home, name, argv, environ=environ, cwd=cwd, host=socket.gethostname(), say=say)
    said = f"{name} runs in the background (pid {one.pid}). Its log is {one.log}; `livectl stop {name}` ends it."
    return render.sentence(said, {"name": name, "pid": one.pid, "log": str(one.log)})
