"""Redis over TCP, a server of a test's own on a free port of 127.0.0.1; and what starting servers needs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def redis_over_tcp(folder: Path) -> Iterator[str]:
    """A Redis with a password, as on another machine."""
    binary = needed(shutil.which("redis-server"), "redis-server")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", "p@ss", "--save", "", "--dir", str(folder)]
    with subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: accepts(port), what="redis-server")
            yield f"redis://:p%40ss@127.0.0.1:{port}/0"
        finally:
            server.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def needed(binary: str | None, name: str) -> str:
    """Skipped at a desk that lacks the service; in CI its absence is a failure."""
    if binary is None and "CI" in os.environ:
        pytest.fail(f"CI has to install {name}")
    if binary is None:
        pytest.skip(f"{name} is not installed here")
    return binary
