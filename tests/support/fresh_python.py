"""A Python that has only just started, in milliseconds: forked from one that did nothing but start, and waits."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.waiting import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

# Each line of its input is an order; it answers with a child's pid, and with its exit code once that has ended. The
# child ends as a program does, except that nothing is freed, which takes longest.
WAITING = """
import atexit, gc, importlib, json, os, sys, threading, time, traceback

def become(order):
    os.setsid()
    for descriptor, path in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        os.dup2(os.open(path, os.O_RDWR), descriptor)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environ"])
    time.tzset()
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:1] = [order["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = order["argv"]

def run(code):
    try:
        exec(code, {"__name__": "__main__"})
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

for name in sys.argv[1:]:
    importlib.import_module(name)
gc.freeze()
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        become(order)
        code = run(order["code"])
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class FreshPython:
    """Runs code in processes that know nothing but the modules named here."""

    def __init__(self, *loaded: str, folder: Path, options: tuple[str, ...] = ("-W", "error")) -> None:
        self._folder = folder
        self._files = tempfile.TemporaryDirectory(prefix="lv-")
        self._process = subprocess.Popen(
            [sys.executable, *options, "-c", WAITING, *loaded],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._unread = b""

    def run(self, code: str, *argv: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Ran:
        """What `python -c code argv` would do; killed where it hangs."""
        out, err = Path(self._files.name) / "out", Path(self._files.name) / "err"
        out.write_bytes(b"")
        err.write_bytes(b"")
        order = {
            "code": code,
            "argv": ["-c", *argv],
            "cwd": str(cwd or self._folder),
            "environ": dict(os.environ if environ is None else environ),
            "out": str(out),
            "err": str(err),
        }
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        pid = self._read_number()
        try:
            return Ran(self._read_number(), out.read_text(), err.read_text())
        except TimeoutError:
            os.killpg(pid, signal.SIGKILL)
            self._read_number()
            raise subprocess.TimeoutExpired(argv, HANG_SECONDS, out.read_bytes(), err.read_bytes()) from None

    def _read_number(self) -> int:
        """The next line. Read without Python's buffer, in which `select` would not see a line that came along early."""
        assert self._process.stdout
        while b"\n" not in self._unread:
            if not select.select([self._process.stdout], [], [], HANG_SECONDS)[0]:
                raise TimeoutError
            self._unread += os.read(self._process.stdout.fileno(), 1024)
        line, _, self._unread = self._unread.partition(b"\n")
        return int(line)

    def close(self) -> None:
        self._process.communicate()
        self._files.cleanup()

    def __enter__(self) -> FreshPython:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
