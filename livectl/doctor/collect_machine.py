"""Collects what this machine knows: whether it is a container, and which processes run the app."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from livectl.doctor.facts import AppProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))
PROC = Path("/proc")  # where Linux tells of each process
PS_TIMEOUT_S = 2.0
APP_OPTIONS = ("-A", "--app")


def in_container(environ: Mapping[str, str]) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ or any(path.exists() for path in CONTAINER_FILES)


def list_processes(app: str, folder: Path) -> tuple[AppProcess, ...]:
    """The Celery processes that name this app and run in this folder: another folder's `-A proj` is another project.

    Where a process runs cannot always be known; then its app alone counts. The children of a worker have its command
    line, and are left out.
    """
    app_processes = {
        pid: (parent, arguments)
        for pid, parent, arguments in _celery_processes()
        if app_name(arguments) == app and _runs_in(pid, folder)
    }
    return tuple(
        AppProcess(pid, arguments)
        for pid, (parent, arguments) in app_processes.items()
        if app_processes.get(parent, (0, ()))[1] != arguments
    )


def app_name(arguments: tuple[str, ...]) -> str | None:
    """The app that a command line names."""
    for index, argument in enumerate(arguments[:-1]):
        if argument in APP_OPTIONS:
            return arguments[index + 1]
    return next((argument.partition("=")[2] for argument in arguments if argument.startswith("--app=")), None)


def _celery_processes() -> list[tuple[int, int, tuple[str, ...]]]:
    """Pid, parent's pid and arguments of every process with celery in its command line."""
    ps = subprocess.run(
        ["ps", "-axwwo", "pid=,ppid=,args="],  # noqa: S607 - wherever this system keeps it
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PS_TIMEOUT_S,
        check=False,
    )
    rows = [line.split(None, 2) for line in ps.stdout.splitlines()]
    return [
        (int(row[0]), int(row[1]), _split_command_line(row[2])) for row in rows if len(row) > 2 and "celery" in row[2]
    ]


def _split_command_line(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line))
    except ValueError:
        return tuple(line.split())


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether this is the working directory of the process; True where nobody can tell.

    Linux alone tells, and of the user's own processes alone. A process that has ended meanwhile runs nowhere.
    """
    if not PROC.exists():
        return True
    try:
        return (PROC / str(pid) / "cwd").samefile(folder)
    except PermissionError:
        return True
    except OSError:
        return not folder.exists() and (PROC / str(pid) / "cwd").exists()
