"""A Python that has only just started, in milliseconds: forked from one that did nothing but start, and waits."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import TracebackType

# Each line of its input is an order: code, and the two files that its child writes to. It answers with the exit code.
# Its child ends as a program does, except that nothing is freed, which takes longest.
WAITING = """
import atexit, gc, importlib, json, os, sys, traceback
for name in sys.argv[1:]:
    importlib.import_module(name)
del sys.argv[1:]
gc.freeze()
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        for descriptor, path in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
            os.dup2(os.open(path, os.O_RDWR), descriptor)
        ended = 0
        try:
            exec(order["code"], {"__name__": "__main__"})
        except SystemExit as end:
            ended = end.code or 0
        except BaseException:
            traceback.print_exc()
            ended = 1
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class FreshPython:
    """Runs code in processes that know nothing but the modules named here."""

    def __init__(self, *loaded: str, folder: Path) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="lv-")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WAITING, *loaded],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> Ran:
        out, err = Path(self._files.name) / "out", Path(self._files.name) / "err"
        out.write_bytes(b"")
        err.write_bytes(b"")
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"code": code, "out": str(out), "err": str(err)}) + "\n")
        self._process.stdin.flush()
        return Ran(int(self._process.stdout.readline()), out.read_text(), err.read_text())

    def __enter__(self) -> FreshPython:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()
        self._files.cleanup()
