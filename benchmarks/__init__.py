"""What livectl costs, beside others; each module prints its own numbers."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def run_valkey(folder: Path) -> Iterator[tuple[Path, int]]:
    """A server that keeps nothing: its socket in the folder, and its pid."""
    from livectl.ops.processes.embedded_broker import locate_binary

    path = folder / "v.sock"
    command = [locate_binary(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            while not path.exists():
                assert server.poll() is None, "the server did not start"
                time.sleep(0.01)
            yield path, server.pid
        finally:
            server.terminate()
