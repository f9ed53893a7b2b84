"""Somebody's projects: copied to a folder of their own, with a broker, and watched for changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.beats import Server
from tests.support.processes import Running, answer, livectl

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1] / "data"
IGNORED = ("__pycache__", "*.pyc")


class Project(NamedTuple):
    """One of them: its folder, what -A names, and its environment."""

    folder: Path
    app: str
    environ: dict[str, str]

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return answer("-A", self.app, *words, cwd=self.folder, environ=self.environ)

    def data(self, *words: str) -> Any:
        run = self.ask(*words, "--json")
        assert run.stdout, run.stderr
        return json.loads(run.stdout)

    def start(self, *words: str) -> Running:
        return livectl("-A", self.app, *words, cwd=self.folder, environ=self.environ)

    def files(self) -> dict[str, bytes]:
        """Everything in it that is the user's."""
        paths = (path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def copy(kind: str, folder: Path, app: str, broker: str, **more: str) -> Project:
    """A project of tests/data/apps or tests/data/doctor in a fresh folder."""
    there = folder / "project"
    shutil.copytree(ROOT / kind, there, ignore=shutil.ignore_patterns(*IGNORED))
    environ = {
        "PROJ_BROKER": broker,
        "PROJ_FOLDER": str(folder),
        "LIVECTL_HOME": str(folder / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }
    return Project(there, app, environ)


def manage(project: Project, *words: str) -> None:
    """manage.py of a Django project."""
    subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=project.folder,
        env={**os.environ, **project.environ},
        check=True,
        capture_output=True,
    )


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A server that keeps what it is given; its address as Celery wants it."""
    server = Server(folder)
    server.start()
    try:
        yield f"redis+socket://{server.path}?virtual_host=0"
    finally:
        server.stop()
