"""One RabbitMQ for a whole run of the tests, started when the first test wants it, with a virtual host for each."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kombu import Connection

from tests.support.processes import alive
from tests.support.servers import accepts, free_port, needed
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARY = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's; the one on PATH switches user first
VHOSTS = 40  # are there from the start: making one later takes seconds
# Runs the server as long as the file $2 is there and the process $1 runs; then ends it, and its port mapper.
WHILE_WANTED = """
"$0" & server=$!
while [ -e "$2" ] && kill -0 "$1" 2>/dev/null; do sleep 0.1; done
kill "$server"; wait "$server"
epmd -port "$ERL_EPMD_PORT" -kill
"""


class RabbitMQ:
    """What the processes of a run know of it through a folder that they share."""

    def __init__(self, folder: Path, owner: int) -> None:
        self._folder = folder
        self._owner = owner  # the process with whose end the server ends at the latest
        self._wanted = folder / "wanted"
        self._state = folder / "state.json"

    def vhost(self) -> str:
        """The address of a virtual host that nobody used."""
        binary = needed(str(BINARY) if BINARY.exists() else None, "rabbitmq-server")
        with self._locked():
            state = json.loads(self._state.read_text()) if self._state.exists() else self._start(binary)
            state["used"] += 1
            assert state["used"] <= VHOSTS, f"more than {VHOSTS} virtual hosts are wanted in one run"
            self._state.write_text(json.dumps(state))
        return f"amqp://guest:guest@127.0.0.1:{state['port']}/v{state['used']}"

    def end(self) -> None:
        """It is gone when this returns."""
        if not self._state.exists():
            return
        state = json.loads(self._state.read_text())
        self._wanted.unlink(missing_ok=True)
        wait_for(lambda: not alive(state["pid"]), what="RabbitMQ to end")

    def _start(self, binary: str) -> dict[str, int]:
        port = free_port()
        self._wanted.touch()
        self.prepare()
        argv = ["/bin/sh", "-c", f"{WHILE_WANTED}", binary, str(self._owner), str(self._wanted)]
        start = ["/bin/sh", "-c", '"$@" >/dev/null 2>&1 & echo $!', "sh", *argv]
        environ = os.environ | self.places(port, free_port(), free_port())
        started = subprocess.run(
            start, env=environ, stdout=subprocess.PIPE, check=True, text=True, start_new_session=True
        )
        wait_for(lambda: accepts(port), what="rabbitmq-server")
        _log_in(port)
        return {"port": port, "pid": int(started.stdout), "used": 0}

    def prepare(self) -> None:
        """Writes what the server reads when it starts."""
        (self._folder / "definitions.json").write_text(json.dumps(_definitions()))
        (self._folder / "rabbitmq.conf").write_text(f"load_definitions = {self._folder / 'definitions.json'}\n")

    def places(self, port: int, mapper: int, distribution: int) -> dict[str, str]:
        return {
            "HOME": str(self._folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(mapper),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_NODENAME": f"livectl{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
        }

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _log_in(port: int) -> None:
    """The first who does has to wait for what the server only then loads: longer than a command waits for an answer."""
    with Connection(f"amqp://guest:guest@127.0.0.1:{port}/v1", connect_timeout=HANG_SECONDS) as first:
        first.connect()


def _definitions() -> dict[str, object]:
    """The one user, who may do everything everywhere."""
    salt = b"salt"
    hashed = base64.b64encode(salt + hashlib.sha256(salt + b"guest").digest()).decode()
    algorithm = "rabbit_password_hashing_sha256"
    vhosts = [f"v{number}" for number in range(1, VHOSTS + 1)]
    may = {"user": "guest", "configure": ".*", "read": ".*", "write": ".*"}
    return {
        "users": [{"name": "guest", "password_hash": hashed, "hashing_algorithm": algorithm, "tags": "administrator"}],
        "vhosts": [{"name": name} for name in vhosts],
        "permissions": [{"vhost": name, **may} for name in vhosts],
    }
