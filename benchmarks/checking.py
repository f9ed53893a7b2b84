"""Measures a check of 10,000 streamers, from due to recorded, beside plain Celery and streamlink.

The sites are played by a small C server (epoll, one thread; compiled here with gcc) that answers after 50 ms. livectl
runs a real worker, prefork with two processes, over a Valkey on a unix socket. Its time is from the sending of one
sweep until every streamer is recorded, its CPU that of worker and Valkey together. streamlink asks by its API, offline
rooms only, 32 threads. Plain Celery is one task a streamer with requests and one write, threads -c 100. Each runs once
before it counts, so that connections are open. The time of livectl is the median of four.
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

from benchmarks import run_valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIVECTL_STREAMERS, CELERY_STREAMERS, STREAMLINK_STREAMERS = 10_000, 1_000, 400  # the latter two are scaled
ANSWER_DELAY_MS = 50  # milliseconds until the site answers
SWEEPS = 5
WAIT_TIMEOUT_S = 120.0  # seconds
ROOM_LIMITS, BATCH_LIMITS = (2.0, 1.5), (0.5, 0.3)  # wall and CPU seconds for 10,000
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SETTINGS = """
polling: {{mode: uniform, fastest: 300s, slowest: 300s}}
platforms:
  douyu: {{budget: 100000/m}}
  twitch: {{client_id: x, client_secret: x, budget: 100000/m}}
network:
  connect_to: {{www.douyu.com: {url}, api.twitch.tv: {url}, id.twitch.tv: {url}}}
"""
PLAIN_CELERY_APP = """
import os, requests, threading
from celery import Celery
app = Celery("plain", broker=os.environ["BROKER"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True)
import redis
store, mine = redis.Redis(unix_socket_path=os.environ["SOCKET"]), threading.local()

@app.task(name="plain.check")
def check(room):
    mine.session = session = getattr(mine, "session", None) or requests.Session()
    room_info = session.get(f"{os.environ['MOCK']}/betard/{room}", timeout=15).json()["room"]
    store.hset("plain", room, "live" if room_info["show_status"] == 1 else "offline")
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
        socket, server = running.enter_context(run_valkey(folder))
        url = running.enter_context(run_mock(folder))
        rooms, batches = measure_livectl(folder, socket, server, url)
        by_celery = measure_celery(folder, socket, server, url)
        by_streamlink = measure_streamlink(url) if find_spec("streamlink") else None
    print_cost("livectl, a request a streamer", rooms, rooms)
    print_cost("plain Celery, a task a streamer", by_celery, rooms)
    if by_streamlink:
        print_cost("streamlink's API, offline rooms", by_streamlink, rooms)
    print_cost("livectl, 100 a request", batches, rooms)
    (room_wall, room_cpu), (batch_wall, batch_cpu) = ROOM_LIMITS, BATCH_LIMITS
    print(
        f"\nBars for {LIVECTL_STREAMERS:,}: {room_wall} s and {room_cpu} CPU-s, 0.15 CPU-ms each, 1/7 of streamlink's;"
    )
    print(f"on a batch platform {batch_wall} s and {batch_cpu} CPU-s.")


def print_cost(label: str, cost: Cost, base: Cost) -> None:
    scale = LIVECTL_STREAMERS / cost.streamers
    scaled = "" if scale == 1 else f"  (scaled from {cost.streamers:,})"
    print(
        f"{label:34} {cost.wall * scale:>8.2f} s {cost.cpu * scale:>8.2f} CPU-s {cost.each:>8.3f} CPU-ms each "
        f"{cost.each / base.each:>6.2f} x{scaled}",
        flush=True,
    )


@contextmanager
def run_mock(folder: Path) -> Iterator[str]:
    source, program = Path(__file__).with_name("mock.c"), folder / "mock"
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", str(program), str(source)], check=True)
    with subprocess.Popen([str(program), str(ANSWER_DELAY_MS)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.terminate()


@contextmanager
def run_worker(folder: Path, environ: dict[str, str], *arguments: str) -> Iterator[int]:
    command = [
        sys.executable,
        "-m",
        "celery",
        *arguments,
        "--loglevel",
        "ERROR",
        "--without-gossip",
        "--without-mingle",
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env={**os.environ, **environ}, stdout=quiet, stderr=quiet) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(WAIT_TIMEOUT_S)


def measure_livectl(folder: Path, socket: Path, server: int, url: str) -> tuple[Cost, Cost]:
    from livectl import redis_client, settings
    from livectl.celeryapp import create_app
    from livectl.live.store import Store
    from livectl.models import Streamer

    (folder / "livectl.yaml").write_text(SETTINGS.format(url=url))
    environ = {"LIVECTL_BROKER": f"unix://{socket}?db=0", "LIVECTL_HOME": str(folder)}
    app = create_app(settings.load(environ, folder))
    client = redis_client.open_store(environ["LIVECTL_BROKER"])
    store, costs = Store(client), []
    with run_worker(folder, environ, "-A", "livectl.celeryapp", "worker", "-P", "prefork", "-c", "2") as pid:
        for platform in ("douyu", "twitch"):
            streamers = [Streamer(platform=platform, id=str(number)) for number in range(1, LIVECTL_STREAMERS + 1)]
            store.set_followed(streamers, time.time())
            costs.append(median_by_cpu([sweep(app, client, platform, (pid, server)) for _ in range(SWEEPS)][1:]))
    return costs[0], costs[1]


def sweep(app: Any, client: Any, platform: str, processes: tuple[int, int]) -> Cost:
    """Makes every streamer due at once, with a full budget."""
    from livectl.live.cells import Cells, platform_place

    places, count = [cell.place for cell in Cells(client).of(platform)], 0
    for place in places:
        ids = client.hkeys(f"{place}follows")
        client.zadd(f"{place}due", dict.fromkeys(ids, time.time() - 1))
        client.delete(f"{place}unlearned")
        count += len(ids)
    client.hdel(f"{platform_place(platform)}health", "tokens", "refilled")
    before, started = cpu_seconds(*processes), time.monotonic()
    app.send_task("livectl.sweep")
    at = time.time()
    wait_for(lambda: not any(count_unread(client, places, at) for _ in range(2)))  # claims move between two round trips
    wall = time.monotonic() - started
    time.sleep(0.3)  # jobs are acknowledged and logged
    return Cost(wall, cpu_seconds(*processes) - before, count)


def count_unread(client: Any, places: list[str], at: float) -> int:
    """Who is due or being asked, in two round trips: what it costs the server to say so counts as livectl's."""
    pipe = client.pipeline(transaction=False)
    for place in places:
        pipe.zrange(f"{place}leases", 0, -1)
    lapses = pipe.execute()
    for place, own in zip(places, lapses, strict=True):
        pipe.zcount(f"{place}due", "-inf", at)
        for lapse in own:
            pipe.zcount(f"{place}due", lapse, lapse)
    return sum(pipe.execute())


def measure_celery(folder: Path, socket: Path, server: int, url: str) -> Cost:
    import redis

    (folder / "plain.py").write_text(PLAIN_CELERY_APP)
    environ = {"BROKER": f"redis+socket://{socket}?virtual_host=1", "SOCKET": str(socket), "MOCK": url}
    sender = f"from plain import check\nfor room in range(1, {CELERY_STREAMERS} + 1): check.delay(room)"
    client = redis.Redis(unix_socket_path=str(socket))
    costs = []
    with run_worker(folder, environ, "-A", "plain", "worker", "-P", "threads", "-c", "100") as pid:
        for _ in range(2):
            client.delete("plain")
            before, started = cpu_seconds(pid, server) + children_cpu_seconds(), time.monotonic()
            subprocess.run([sys.executable, "-c", sender], cwd=folder, env={**os.environ, **environ}, check=True)
            wait_for(lambda: client.hlen("plain") == CELERY_STREAMERS)
            wall = time.monotonic() - started
            costs.append(Cost(wall, cpu_seconds(pid, server) + children_cpu_seconds() - before, CELERY_STREAMERS))
    return costs[-1]


def measure_streamlink(url: str) -> Cost:
    from streamlink import Streamlink

    session = Streamlink()
    session.set_option("webbrowser", False)
    _send_elsewhere(session.http, url)

    def is_live(room: int) -> bool:
        address = f"https://www.douyu.com/{room * 5 + 1}"
        _, plugin, resolved = session.resolve_url_no_redirect(address)
        return bool(plugin(session, resolved).streams())

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(is_live, range(64)))
        before, started = time.process_time(), time.monotonic()
        assert not any(pool.map(is_live, range(STREAMLINK_STREAMERS)))
        return Cost(time.monotonic() - started, time.process_time() - before, STREAMLINK_STREAMERS)


def _send_elsewhere(http: Any, url: str) -> None:
    """As livectl's `connect_to` does. By requests' own mount: streamlink's would take TCP_NODELAY away."""
    import requests
    from requests.adapters import HTTPAdapter

    class Elsewhere(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            request.url = request.url.replace("https://www.douyu.com", url)
            return super().send(request, *args, **options)

    requests.Session.mount(http, "https://www.douyu.com", Elsewhere(pool_maxsize=64))


def median_by_cpu(costs: list[Cost]) -> Cost:
    """The median by CPU: the machine may be shared."""
    return sorted(costs, key=lambda cost: cost.cpu)[len(costs) // 2]


def cpu_seconds(*pids: int) -> float:
    """CPU-seconds of these processes and their living children."""
    total = 0.0
    for pid in pids:
        family = [pid, *(int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for member in family:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return total


def children_cpu_seconds() -> float:
    """CPU-seconds of child processes that have ended."""
    return sum(os.times()[2:4])


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_TIMEOUT_S
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("This takes too long: something is wrong.")
        time.sleep(0.005)


if __name__ == "__main__":
    main()
