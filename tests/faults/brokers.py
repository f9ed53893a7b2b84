"""Brokers that are killed and started again, and keep what they acknowledged: each of its row's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from livectl.ops.processes import die_with_parent
from livectl.ops.processes.embedded_broker import EmbeddedBroker, locate_binary
from tests.support.processes import alive
from tests.support.rabbitmq import BINARY, RabbitMQ
from tests.support.servers import LastingRedis, accepts, free_port, needed
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class RedisBroker(LastingRedis):
    """Redis over TCP, its data on the disk before it answers. Killed in the middle of whatever it does.

    Where there is no redis-server it is the Valkey that livectl brings along.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, shutil.which("redis-server") or locate_binary())

    def _command(self) -> list[str]:
        return die_with_parent.command_line(os.getpid(), super()._command())

    def kill(self) -> None:
        self._end()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


class EmbeddedServer:
    """The server of a home of livectl's."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._server = EmbeddedBroker(self.home)
        self.start()
        self.url = f"unix://{self._server.socket}?db=0"

    def start(self) -> None:
        self._process = self._server.launch()
        wait_for(self._server.is_ready, what="the embedded broker")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


# Runs the server $0 as long as the process $1 runs; then ends it.
WHILE_OWNED = """
"$0" & server=$!
while kill -0 "$1" 2>/dev/null && kill -0 "$server" 2>/dev/null; do sleep 0.5; done
kill -9 "$server" $(cat "$RABBITMQ_PID_FILE"); sleep 1; epmd -port "$ERL_EPMD_PORT" -kill
"""


class RabbitBroker:
    """A RabbitMQ that can be killed. Its data stays, and its port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "rabbitmq"
        self._folder.mkdir()
        self._port, self._mapper, self._distribution = free_port(), free_port(), free_port()
        self._server = RabbitMQ(self._folder, os.getpid())
        self._server.prepare()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}/v1"
        self.start()

    def start(self) -> None:
        binary = needed(str(BINARY) if BINARY.exists() else None, "rabbitmq-server")
        environ = os.environ | self._server.places(self._port, self._mapper, self._distribution)
        argv = ["/bin/sh", "-c", WHILE_OWNED, binary, str(os.getpid())]
        self._process = subprocess.Popen(
            argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        wait_for(lambda: accepts(self._port), what="rabbitmq-server")

    def kill(self) -> None:
        pid = int((self._folder / "pid").read_text())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        wait_for(lambda: not alive(pid), what="the end of RabbitMQ")

    def close(self) -> None:
        self.kill()
        environ = {**os.environ, "ERL_EPMD_PORT": str(self._mapper)}
        subprocess.run(
            ["epmd", "-kill"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )


Broker = RedisBroker | EmbeddedServer | RabbitBroker
KINDS: dict[str, Callable[[Path], Broker]] = {
    "redis": RedisBroker,
    "embedded": EmbeddedServer,
    "rabbitmq": RabbitBroker,
}


def close(broker: Broker) -> None:
    if isinstance(broker, RabbitBroker):
        broker.close()
    else:
        broker.kill()


def take_down(broker: Broker, seconds: float) -> float:
    """Kills it for so long; returns the moment since when it answers again."""
    broker.kill()
    time.sleep(seconds)
    broker.start()
    return time.monotonic()
