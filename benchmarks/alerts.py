"""What an alert costs: go-lives that are recorded, collected, and told to a webhook, one after the other.

    python -m benchmarks.alerts [GO_LIVES]

The CPU is that of this process, which does what a worker does in `livectl.deliver`, and of the server; the receiver is
a process of its own. What one target is sent in a second is by wall time: it tells of how busy the machine is as well.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import run_valkey
from benchmarks.checking import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

GO_LIVES = 2_000
BATCH = 500  # streamers that are recorded together, as a check does
RECEIVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Receiver(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
SETTINGS = """
alerts: {{hook: {{webhook: "http://127.0.0.1:{port}/", allow_private: true}}}}
"""


def main(count: int) -> None:
    print(__doc__)
    with tempfile.TemporaryDirectory(prefix="lv-") as name, ExitStack() as running:
        socket, server = running.enter_context(run_valkey(Path(name)))
        measure(Path(name), socket, server, running.enter_context(run_receiver()), count)


@contextmanager
def run_receiver() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def measure(folder: Path, socket: Path, server: int, port: int, count: int) -> None:
    from livectl import redis_client, settings
    from livectl.alert_sending import build_dispatcher
    from livectl.live.store import Store

    (folder / "livectl.yaml").write_text(SETTINGS.format(port=port))
    client = redis_client.open_store(f"unix://{socket}?db=0")
    loaded = settings.load({"LIVECTL_BROKER": f"unix://{socket}?db=0", "LIVECTL_HOME": str(folder)}, folder)
    store = Store(client)
    store.prepare()
    dispatcher = build_dispatcher(loaded, store, client, lambda: False)
    dispatcher.deliver()  # so that the target listens from now on
    go_live(store, count)
    before = time.process_time(), cpu_seconds(server), time.monotonic()
    told = 0
    while told < count:
        told += (sent := dispatcher.deliver_to("hook"))
        assert sent, "nothing more is sent"
    own, of_server = time.process_time() - before[0], cpu_seconds(server) - before[1]
    wall = time.monotonic() - before[2]
    print(f"{told:,} alerts: {told / wall:.0f} a second to one target")
    print(f"{own / told * 1e3:.2f} CPU-ms each in the worker, {of_server / told * 1e3:.2f} in the server")


def go_live(store: Any, count: int) -> None:
    from livectl.models import Observation, PollingLimits, State, Streamer

    limits, now = PollingLimits(platform="bench", batch=100, rate=1000.0), time.time()
    names = [f"u{number:06}" for number in range(count)]
    store.set_followed([Streamer(platform="bench", id=name) for name in names], now - 100)
    for state, at in ((State.OFFLINE, now - 60), (State.LIVE, now)):
        for first in range(0, count, BATCH):
            part = names[first : first + BATCH]
            seen = [
                Observation(platform="bench", id=name, state=state, at=at, session="1", title=name) for name in part
            ]
            store.record(limits, seen)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else GO_LIVES)
