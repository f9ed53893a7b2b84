"""A look at 10,000 streamers, whole: due, claimed, sent, asked, parsed, recorded; beside what others take for it.

The sites are played by a small C server (epoll, one thread; compiled here with gcc) that answers after 50 ms. livectl
runs a real worker, prefork with two processes, over a Valkey on a unix socket; its time is from the sending of one
sweep until everyone is recorded, its CPU that of worker and Valkey together. streamlink asks by its API, offline rooms
only, 32 threads. Plain Celery is one task a streamer with requests and one write, threads -c 100. Everyone runs once
before it counts: connections stand by then. Ours is the median of four.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANY, SOME, FEW = 10_000, 1_000, 400  # streamers: ours, plain Celery's, streamlink's; the latter two are scaled
DELAY = 50  # milliseconds until the site answers
SWEEPS = 5
PATIENCE = 120.0  # seconds
ROOM_BAR, BATCH_BAR = (2.0, 1.5), (0.5, 0.3)  # wall and CPU seconds for 10,000
TICK = os.sysconf("SC_CLK_TCK")
SETTINGS = """
polling: {{mode: uniform, fastest: 300s, slowest: 300s}}
platforms:
  douyu: {{budget: 100000/m}}
  twitch: {{client_id: x, client_secret: x, budget: 100000/m}}
network:
  connect_to: {{www.douyu.com: {url}, api.twitch.tv: {url}, id.twitch.tv: {url}}}
"""
PLAIN = """
import os, requests, threading
from celery import Celery
app = Celery("plain", broker=os.environ["BROKER"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True)
import redis
store, mine = redis.Redis(unix_socket_path=os.environ["SOCKET"]), threading.local()

@app.task(name="plain.check")
def check(room):
    mine.session = session = getattr(mine, "session", None) or requests.Session()
    said = session.get(f"{os.environ['MOCK']}/betard/{room}", timeout=15).json()["room"]
    store.hset("plain", room, "live" if said["show_status"] == 1 else "offline")
"""


class Cost(NamedTuple):
    """Seconds of wall and CPU for so many streamers."""

    wall: float
    cpu: float
    streamers: int

    @property
    def each(self) -> float:
        """CPU-milliseconds a streamer."""
        return self.cpu / self.streamers * 1000


def main() -> None:
    print(__doc__)
    if not which("gcc"):
        raise SystemExit("gcc is needed for the server that plays the sites.")
    with tempfile.TemporaryDirectory(prefix="lv-") as name, ExitStack() as running:
        folder = Path(name)
        socket, server = running.enter_context(valkey(folder))
        url = running.enter_context(mock(folder))
        rooms, batches = ours(folder, socket, server, url)
        plain = celery(folder, socket, server, url)
        link = streamlink(url) if find_spec("streamlink") else None
    show("livectl, a request a streamer", rooms, rooms)
    show("plain Celery, a task a streamer", plain, rooms)
    if link:
        show("streamlink's API, offline rooms", link, rooms)
    show("livectl, 100 a request", batches, rooms)
    print(f"\nBars for {MANY:,}: {ROOM_BAR[0]} s and {ROOM_BAR[1]} CPU-s, 0.15 CPU-ms each, 1/7 of streamlink's;")
    print(f"on a batch platform {BATCH_BAR[0]} s and {BATCH_BAR[1]} CPU-s.")


def show(what: str, cost: Cost, base: Cost) -> None:
    scale = MANY / cost.streamers
    scaled = "" if scale == 1 else f"  (scaled from {cost.streamers:,})"
    print(
        f"{what:34} {cost.wall * scale:>8.2f} s {cost.cpu * scale:>8.2f} CPU-s {cost.each:>8.3f} CPU-ms each "
        f"{cost.each / base.each:>6.2f} x{scaled}",
        flush=True,
    )


@contextmanager
def valkey(folder: Path) -> Iterator[tuple[Path, int]]:
    from livectl.ops.processes.embedded_broker import locate_binary

    path = folder / "v.sock"
    words = [locate_binary(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as server:
        wait(path.exists)
        yield path, server.pid
        server.terminate()


@contextmanager
def mock(folder: Path) -> Iterator[str]:
    source, program = Path(__file__).with_name("mock.c"), folder / "mock"
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", str(program), str(source)], check=True)
    with subprocess.Popen([str(program), str(DELAY)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.terminate()


@contextmanager
def worker(folder: Path, environ: dict[str, str], *words: str) -> Iterator[int]:
    command = [sys.executable, "-m", "celery", *words, "--loglevel", "ERROR", "--without-gossip", "--without-mingle"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env={**os.environ, **environ}, stdout=quiet, stderr=quiet) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(PATIENCE)


def ours(folder: Path, socket: Path, server: int, url: str) -> tuple[Cost, Cost]:
    from livectl import redis_client, settings
    from livectl.celeryapp import create_app
    from livectl.live.store import Store
    from livectl.models import Streamer

    (folder / "livectl.yaml").write_text(SETTINGS.format(url=url))
    environ = {"LIVECTL_BROKER": f"unix://{socket}?db=0", "LIVECTL_HOME": str(folder)}
    app = create_app(settings.load(environ, folder))
    client = redis_client.open_store(environ["LIVECTL_BROKER"])
    store, costs = Store(client), []
    with worker(folder, environ, "-A", "livectl.celeryapp", "worker", "-P", "prefork", "-c", "2") as pid:
        for platform in ("douyu", "twitch"):
            streamers = [Streamer(platform=platform, id=str(number)) for number in range(1, MANY + 1)]
            store.set_followed(streamers, time.time())
            costs.append(best([sweep(app, client, platform, (pid, server)) for _ in range(SWEEPS)][1:]))
    return costs[0], costs[1]


def sweep(app: Any, client: Any, platform: str, processes: tuple[int, int]) -> Cost:
    """Everyone falls due at once; the budget is full."""
    ids = client.hkeys(f"livectl:follows:{platform}")
    client.zadd(f"livectl:due:{platform}", dict.fromkeys(ids, time.time() - 1))
    client.hdel(f"livectl:platform:{platform}", "tokens", "refilled")
    client.delete(f"livectl:unlearned:{platform}")
    before, began = cpu(*processes), time.monotonic()
    app.send_task("livectl.sweep")
    at = time.time()
    wait(lambda: client.zcount(f"livectl:due:{platform}", at + 30, "+inf") == len(ids))
    wall = time.monotonic() - began
    time.sleep(0.3)  # the jobs' own ends: acknowledged, noted
    return Cost(wall, cpu(*processes) - before, len(ids))


def celery(folder: Path, socket: Path, server: int, url: str) -> Cost:
    import redis

    (folder / "plain.py").write_text(PLAIN)
    environ = {"BROKER": f"redis+socket://{socket}?virtual_host=1", "SOCKET": str(socket), "MOCK": url}
    sender = f"from plain import check\nfor room in range(1, {SOME} + 1): check.delay(room)"
    client = redis.Redis(unix_socket_path=str(socket))
    costs = []
    with worker(folder, environ, "-A", "plain", "worker", "-P", "threads", "-c", "100") as pid:
        for _ in range(2):
            client.delete("plain")
            before, began = cpu(pid, server) + children(), time.monotonic()
            subprocess.run([sys.executable, "-c", sender], cwd=folder, env={**os.environ, **environ}, check=True)
            wait(lambda: client.hlen("plain") == SOME)
            wall = time.monotonic() - began
            costs.append(Cost(wall, cpu(pid, server) + children() - before, SOME))
    return costs[-1]


def streamlink(url: str) -> Cost:
    from streamlink import Streamlink

    session = Streamlink()
    session.set_option("webbrowser", False)
    _send_elsewhere(session.http, url)

    def look(room: int) -> bool:
        address = f"https://www.douyu.com/{room * 5 + 1}"
        _, plugin, resolved = session.resolve_url_no_redirect(address)
        return bool(plugin(session, resolved).streams())

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(look, range(64)))
        before, began = time.process_time(), time.monotonic()
        assert not any(pool.map(look, range(FEW)))
        return Cost(time.monotonic() - began, time.process_time() - before, FEW)


def _send_elsewhere(http: Any, url: str) -> None:
    """As livectl's `connect_to` does. By requests' own mount: streamlink's would take TCP_NODELAY away."""
    import requests
    from requests.adapters import HTTPAdapter

    class Elsewhere(HTTPAdapter):
        def send(self, request: Any, *args: Any, **more: Any) -> Any:
            request.url = request.url.replace("https://www.douyu.com", url)
            return super().send(request, *args, **more)

    requests.Session.mount(http, "https://www.douyu.com", Elsewhere(pool_maxsize=64))


def best(costs: list[Cost]) -> Cost:
    """The median by CPU: the machine may be shared."""
    return sorted(costs, key=lambda cost: cost.cpu)[len(costs) // 2]


def cpu(*pids: int) -> float:
    """CPU-seconds of these processes and their living children."""
    total = 0.0
    for pid in pids:
        family = [pid, *(int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for one in family:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def children() -> float:
    """CPU-seconds of processes of ours that have ended."""
    return sum(os.times()[2:4])


def wait(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("This takes too long: something is wrong.")
        time.sleep(0.005)


if __name__ == "__main__":
    main()
