"""What livectl costs, beside others; each module prints its own numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@contextmanager
def run_valkey(folder: Path) -> Iterator[tuple[Path, int]]:
    """A server that keeps nothing: its socket in the folder, and its pid."""
    from livectl.ops.processes.embedded_broker import locate_binary, server_environment

    path = folder / "v.sock"
    command = [locate_binary(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=server_environment(os.environ)) as server:
        try:
            while not path.exists():
                assert server.poll() is None, "the server did not start"
                time.sleep(0.01)
            yield path, server.pid
        finally:
            server.terminate()


@contextmanager
def run_process(argv: Sequence[str], folder: Path, environ: Mapping[str, str], log: Path) -> Iterator[int]:
    """A process and its children, killed at the end: its pid. A benchmark that gives up shows the end of its log."""
    with (
        log.open("w") as out,
        subprocess.Popen(argv, cwd=folder, env=environ, stdout=out, stderr=out, start_new_session=True) as process,
    ):
        try:
            yield process.pid
        except SystemExit:
            print(log.read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            os.killpg(process.pid, signal.SIGKILL)
