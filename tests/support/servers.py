"""Redis over TCP and RabbitMQ, each a server of this test run's own on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's; the one on PATH switches user first


@contextmanager
def redis_over_tcp(folder: Path) -> Iterator[str]:
    """A Redis with a password, as on another machine."""
    binary = _needed(shutil.which("redis-server"), "redis-server")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", "p@ss", "--save", "", "--dir", str(folder)]
    with subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: _answers(port), what="redis-server")
            yield f"redis://:p%40ss@127.0.0.1:{port}/0"
        finally:
            server.terminate()


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """A RabbitMQ node with its own port mapper, so that both can be ended."""
    binary = _needed(str(RABBITMQ) if RABBITMQ.exists() else None, "rabbitmq-server")
    port, mapper = free_port(), free_port()
    places = {
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_NODENAME": f"livectl{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    environ = {**os.environ, **places}
    with subprocess.Popen([binary], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: _answers(port), what="rabbitmq-server")
            yield f"amqp://guest:guest@127.0.0.1:{port}//"
        finally:
            server.terminate()
            server.wait(HANG_SECONDS)
            subprocess.run(["epmd", "-port", str(mapper), "-kill"], env=environ, capture_output=True, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _needed(binary: str | None, name: str) -> str:
    """Skipped at a desk that lacks the service; in CI its absence is a failure."""
    if binary is None and "CI" in os.environ:
        pytest.fail(f"CI has to install {name}")
    if binary is None:
        pytest.skip(f"{name} is not installed here")
    return binary
