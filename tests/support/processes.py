"""Real livectl processes: started in a folder of their own, heard line by line, gone at the end."""

from __future__ import annotations

import atexit
import os
import pkgutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from livectl import commands as livectl_commands
from tests.support.fresh_python import FreshPython
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

RUN = "from livectl.__main__ import run; run()"
PACKAGES = (
    "celery.app.control",
    "celery.backends.redis",
    "celery.bin.celery",
    "kombu.transport.pyamqp",
    "kombu.transport.redis",
    "msgspec.json",
    "redis",
    "wcwidth",
)
TRIES, SERVER_AWAY = 4, 4
_alone = threading.Lock()


class Running:
    """A command in the background, in a process group of its own."""

    def __init__(self, *argv: str, cwd: Path, environ: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self.lines: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> None:
        """Until it has printed this; shows all it printed instead when it did not."""
        try:
            wait_for(lambda: text in self.text or not self._listener.is_alive(), what=repr(text))
            assert text in self.text, f"ended without {text!r}"
        except AssertionError as waited:
            message = f"{waited}; printed:\n{self.text}"
            raise AssertionError(message) from None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        code = self.process.wait(HANG_SECONDS)
        self._listener.join(HANG_SECONDS)
        return code

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whatever it started in its own group goes with it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def livectl(*words: str, cwd: Path, environ: Mapping[str, str]) -> Running:
    return Running(sys.executable, "-m", "livectl", *words, cwd=cwd, environ=environ)


def answer(*words: str, cwd: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself: its exit code and what it printed. What it needs has been imported before.

    It gives servers up in seconds, as a person wants it: on a busy machine it is tried a few times.
    """
    ran = answer_once(*words, cwd=cwd, environ=environ)
    for _ in range(TRIES - 1):
        if ran.returncode != SERVER_AWAY or "no answer in time" not in ran.stderr:
            break
        ran = answer_once(*words, cwd=cwd, environ=environ)
    return ran


def answer_once(*words: str, cwd: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The same where servers never answer in time, and need not be asked again to say so."""
    whole = {**os.environ, **environ}
    if not _alone.acquire(blocking=False):  # another thread of this test waits for a command
        argv = [sys.executable, "-m", "livectl", *words]
        return subprocess.run(
            argv,
            cwd=cwd,
            env=whole,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
    try:
        ran = _with_livectl().run(RUN, *words, cwd=cwd, environ=whole)
    finally:
        _alone.release()
    return subprocess.CompletedProcess(words, *ran)


@cache
def _with_livectl() -> FreshPython:
    """All that commands import; not the tasks, which would be those of somebody's app as well."""
    commands = [f"livectl.commands.{module.name}" for module in pkgutil.iter_modules(livectl_commands.__path__)]
    python = FreshPython(*commands, *PACKAGES, folder=Path(__file__).parents[2], options=())
    assert python.run("import sys; print('livectl.tasks' in sys.modules)") == (0, "False\n", "")
    atexit.register(python.close)
    return python


def children(pid: int) -> list[int]:
    """The living descendants of a process."""
    return list(commands_below(pid))


def commands_below(pid: int) -> dict[int, str]:
    """The living descendants of a process, by their command lines."""
    parents = _parents()
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return {child: _command(child) for child in found[1:]}


def _parents() -> dict[int, int]:
    """Of each process its parent. Asked often, as `alive` is."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        return {int(pid): int(parent) for pid, parent in map(str.split, listing.splitlines())}
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        with suppress(FileNotFoundError, ProcessLookupError):
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2].split()[1])
    return parents


def _command(pid: int) -> str:
    """Its words; none of one that has ended."""
    if not Path("/proc/self/stat").exists():
        asked = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    return ""


def alive(pid: int) -> bool:
    """Running, and no zombie. Asked often: a file is read where there is one, which takes much less than `ps`."""
    if Path("/proc/self/stat").exists():
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        asked = ["ps", "-o", "stat=", "-p", str(pid)]
        state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith(("Z", "X"))
