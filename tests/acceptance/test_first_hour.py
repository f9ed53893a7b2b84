"""The first hour as the documents tell it: each command of the start page and of any-app.md, and what it answers.

Every command that the README shows is one of these, with the same answer (tests/unit/test_docs.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.servers import LastingRedis, free_port
from tests.support.waiting import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?<=\n\n) {4}.*\n(?:(?: {4}.*)?\n)*")
CODE = re.compile(r"```python\n(from celery .*?)```", re.DOTALL)
IDENTIFIER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
READING = {"live", "doctor", "workers", "queues", "results"}  # asked again until the answer is the one that is shown
LOOK_S = 0.5


class Step(NamedTuple):
    """A command that a page shows, and the lines of its answer; none where the page shows none."""

    command: str
    answer: list[str]


class Reader:
    """Somebody who types what the pages show, in a folder and a home of their own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._home = folder / "home"
        self._home.mkdir()
        self._folder = folder / "watch"
        self._redis = redis_url.removesuffix("/0")
        programs = folder / "bin"
        programs.mkdir()
        (programs / "livectl").write_text(f'#!/bin/sh\nexec {sys.executable} -m livectl "$@"\n')
        (programs / "livectl").chmod(0o755)
        self._environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}",
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            "PHONE_URL": "syslog://",
        }

    def begin(self, name: str) -> None:
        """Goes to a folder, with the app of any-app.md in it."""
        self._folder = self._folder.parent / name
        self._folder.mkdir(exist_ok=True)
        (code,) = CODE.findall((ROOT / "docs" / "any-app.md").read_text())
        (self._folder / "proj.py").write_text(code.replace("redis://localhost:6379", self._redis))

    def add_settings(self, lines: str) -> None:
        with (self._folder / "livectl.yaml").open("a") as file:
            file.write(f"\n{lines}\n")

    def type(self, step: Step) -> None:
        if step.command.startswith("cd ~/"):
            self.begin(step.command.removeprefix("cd ~/"))
            return
        deadline = time.monotonic() + HANG_SECONDS
        while (difference := self._try(step)) and _is_reading(step.command) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        assert not difference, difference

    def _try(self, step: Step) -> str:
        ran = self._run(step.command)
        if not step.answer:
            return "" if ran.returncode == 0 else ran.stdout
        (shown, rows), (answered, all_rows) = map(self._comparable, (step.answer, ran.stdout.rstrip("\n").split("\n")))
        same = shown == answered and rows <= all_rows | {"…"}
        return "" if same else f"$ {step.command}\n{ran.stdout}\nbut the page shows\n" + "\n".join(step.answer)

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self._folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=2 * HANG_SECONDS,
        )

    def stop(self) -> None:
        self._run("livectl stop --now")

    def _comparable(self, lines: list[str]) -> tuple[list[str], set[str]]:
        """The lines without what differs each time: numbers, ids and folders. And what the rows of a table are about;
        others may be there at the moment."""
        found: list[str] = []
        rows: set[str] = set()
        in_table = False
        for line in lines:
            text = IDENTIFIER.sub("ID", line.replace(str(self._home), "~").replace(str(self._folder.parent), "~"))
            text = re.sub(r"\S*/(watch|proj)/", r"\1/", text)
            words = re.sub(r"@\w+", "@host", re.sub(r"[0-9]+", "0", text)).split()
            if in_table:
                rows |= set(words[:1])
            elif set(line.strip()) == {"─"}:
                in_table = True
            else:
                found.append(" ".join(words))
        return found, rows


def _is_reading(command: str) -> bool:
    return bool(READING & set(command.split()))


def _steps(page: str) -> Iterator[Step | str]:
    """What a page says to do: commands with their answers, and lines for livectl.yaml."""
    for block in BLOCK.findall((ROOT / "docs" / page).read_text()):
        lines = [line[4:] for line in block.rstrip("\n").split("\n")]
        if lines[0] == "# livectl.yaml":
            yield "\n".join(lines)
        elif lines[0].startswith("$ "):
            for part in re.split(r"^\$ ", "\n".join(lines), flags=re.MULTILINE)[1:]:
                command, *answer = part.rstrip("\n").split("\n")
                yield Step(command, answer)
        elif page == "start.md":
            yield from (Step(line, []) for line in lines if line.startswith(("cd ", "livectl ")))


@pytest.fixture
def reader() -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="lv-") as name:
        server = LastingRedis(Path(name))
        somebody = Reader(Path(name), server.url)
        try:
            yield somebody
        finally:
            somebody.stop()
            server.kill()


def test_the_pages_are_so(reader: Reader) -> None:
    """In one go, since the second page goes on where the first one ends."""
    for page, folder in (("start.md", "watch"), ("any-app.md", "proj")):
        reader.begin(folder)
        count = 0
        for step in _steps(page):
            if isinstance(step, str):
                reader.add_settings(step)
                continue
            reader.type(step)
            count += 1
            if step.command == "livectl init":  # no other test's port, and nobody outside is asked
                reader.add_settings(
                    f"web: {{port: {free_port()}}}\nnetwork: {{proxy: 'http://127.0.0.1:{free_port()}'}}"
                )
        assert count > 6
