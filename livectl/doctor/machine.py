"""This machine: its processes that have to do with an app, and whether it is a container."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from livectl.doctor.facts import Process

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
LIST_SECONDS = 2.0
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - compared with, not listened on
APP_OPTIONS = ("-A", "--app")


def in_container(environ: Mapping[str, str]) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ or any(mark.exists() for mark in CONTAINER_MARKS)


def processes(app: str) -> tuple[Process, ...]:
    """The processes of Celery's that name this app. Children carry the words of their parent: told once."""
    listed = subprocess.run(
        ["ps", "-axwwo", "pid=,ppid=,args="],  # noqa: S607 - wherever this system keeps it
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIST_SECONDS,
        check=False,
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    found = {row[0]: (row[1], _words(row[2])) for row in rows if len(row) > 2 and "celery" in row[2]}
    mine = {pid: (parent, words) for pid, (parent, words) in found.items() if app_of(words) == app}
    return tuple(
        Process(int(pid), words) for pid, (parent, words) in mine.items() if mine.get(parent, ("", ()))[1] != words
    )


def app_of(words: tuple[str, ...]) -> str | None:
    """The app that a command line names."""
    for place, word in enumerate(words[:-1]):
        if word in APP_OPTIONS:
            return words[place + 1]
    return next((word.partition("=")[2] for word in words if word.startswith("--app=")), None)


def _words(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line))
    except ValueError:
        return tuple(line.split())
