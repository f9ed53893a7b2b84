"""Redis over TCP, a server of a test's own on a free port of 127.0.0.1; and what starting servers needs."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Below those that the kernel gives to whoever connects: one of these is taken by chance while its server starts.
PORTS = (15_000, 32_000)
_DICE = random.SystemRandom()  # several runs may go on at once
_TAKEN: list[socket.socket] = []

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
    """One that stays free until it is wanted, and between two lives of a server: no other test process is given it."""
    for _ in range(1_000):
        port = _DICE.randrange(*PORTS)
        if _is_ours(port) and not accepts(port):
            return port
    raise AssertionError("no port is free")


def _is_ours(port: int) -> bool:
    """Takes it with a name that the kernel gives once, and takes back when this process ends; elsewhere by chance."""
    name = socket.socket(socket.AF_UNIX)
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
        if sys.platform == "linux":
            name.bind(f"\0livectl-tests-port-{port}")
    except OSError:
        name.close()
        return False
    _TAKEN.append(name)
    return True


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def accepts_at(path: Path) -> bool:
    """Whether somebody listens there, which is a moment after the file is there."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def needed(binary: str | None, name: str) -> str:
    """Skipped at a desk that lacks the service; in CI its absence is a failure."""
    if binary is None and "CI" in os.environ:
        pytest.fail(f"CI has to install {name}")
    if binary is None:
        pytest.skip(f"{name} is not installed here")
    return binary


def waits(client: Any) -> int:
    """How often this server was asked to wait for its replicas."""
    return int(client.info("commandstats").get("cmdstat_wait", {}).get("calls", 0))
