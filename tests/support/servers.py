"""Redis over TCP, a server of a test's own on a free port of 127.0.0.1; and what starting servers needs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


ANSWER_S = 0.05  # that a Redis needs at most to write its answers


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


class LastingRedis:
    """A Redis on a port of its own that keeps all that it acknowledged, however often it is killed and started."""

    def __init__(self, folder: Path, binary: str | None = None) -> None:
        port = free_port()
        binary = binary or needed(shutil.which("redis-server"), "redis-server")
        lasting = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", str(folder)]
        self._argv = [binary, "--port", str(port), "--bind", "127.0.0.1", *lasting]
        self._port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command(), stdout=subprocess.DEVNULL)
        wait_for(lambda: accepts(self._port), what="redis-server")

    def _command(self) -> list[str]:
        return self._argv

    def kill(self) -> None:
        """At once, but for the answers to what it has done: one who dies before those has given a message to nobody."""
        with redis.Redis.from_url(self.url) as client:
            client.client_pause(60_000)
        time.sleep(ANSWER_S)
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def lasting_redis(folder: Path) -> Iterator[LastingRedis]:
    server = LastingRedis(folder)
    try:
        yield server
    finally:
        server._end()


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
