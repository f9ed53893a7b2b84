"""What the page costs: `/` for many streamers under many readers, while workers record, beside one that asks itself.

Readers ask each second, or are told by events and ask then. The page's CPU and memory are those of its process.

python -m benchmarks.page [STREAMERS]
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import redis

from benchmarks import run_valkey
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STREAMERS = 1000
READERS = 50
SECONDS = 16.0
EVERY = 1.0  # seconds between two requests of a reader: four times what the page's own script asks
LIVE = 10  # one streamer in so many
SWEPT = 100  # streamers recorded at once, ten times a second: each once a second
SHOWN, TOLD, SPREAD = 4.0, 8.0, 0.6  # seconds, as in live.js
ASKED = 0.25  # seconds that a platform takes for an answer, of the handler that asks while visitors wait
BATCH = 100
TERMS = PollingLimits(platform="bench", batch=BATCH, rate=1000.0)


@contextlib.contextmanager
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lv-") as folder, run_valkey(Path(folder)) as (socket, _):
        yield f"unix://{socket}?db=0"


class PageProcess(NamedTuple):
    """A server of ours in a process of its own."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextlib.contextmanager
def page(code: str, *words: str) -> Iterator[PageProcess]:
    with subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield PageProcess(int(process.stdout.readline()), process.pid)
        process.terminate()


OURS = """
import sys
from flask import Flask
from livectl.web import blueprint
from livectl.web import server
app = Flask("bench")
app.register_blueprint(blueprint(sys.argv[1], images=False))
line = server.bind("127.0.0.1", 0)
print(line.getsockname()[1], flush=True)
server.serve(app, line)
"""
# The way it began: every visit asks the platforms, a batch after the other.
ASKING = """
import sys, time
from flask import Flask
from livectl.web import server
app = Flask("bench")
@app.get("/")
def index():
    for _ in range(int(sys.argv[1])):
        time.sleep(float(sys.argv[2]))
    return "<p>" * 1000
line = server.bind("127.0.0.1", 0)
print(line.getsockname()[1], flush=True)
server.serve(app, line)
"""


BEGAN = time.time() - 600  # at every look the same, or each look would be news


def seen(name: str, number: int, at: float, viewers: int | None) -> Observation:
    return Observation(
        platform="bench",
        id=name,
        state=State.OFFLINE if number % LIVE else State.LIVE,
        at=at,
        session=f"s{number}",
        title=f"Climbing the ladder, day {number}: 今日も配信する",
        category="Just Chatting",
        name=f"Streamer {name}",
        url=f"https://www.example.test/{name}",
        cover=f"https://static.example.test/{name}.jpg",
        viewers=viewers,
        started_at=None if number % LIVE else BEGAN,
    )


def sweep(url: str, names: list[str], over: threading.Event, *, hanging: bool, retitle: bool = False) -> None:
    """Workers that record what platforms say; when those hang, only that they do.

    With `retitle` a live streamer has another title each second, which is news; otherwise only viewers change.
    """
    store, dice, turn = Store(redis.Redis.from_url(url, decode_responses=True)), Random(5), 0
    while not over.wait(SWEPT / len(names)):
        start = turn * SWEPT % len(names)
        some = [
            seen(names[at], at, time.time(), dice.randrange(9999))
            for at in range(start, min(start + SWEPT, len(names)))
        ]
        if hanging:
            some = [
                Observation(platform="bench", id=one.id, state=State.NETWORK, at=one.at, problem="no answer")
                for one in some
            ]
        if retitle and start == 0:
            some[0] = msgspec.structs.replace(some[0], title=f"Title {turn}")
        store.record(TERMS, some)
        turn += 1


def read(port: int, seconds: float, *, marked: bool, told_of_news: bool = False, every: float = EVERY) -> list[float]:
    """How long each request of all readers took, in ms, from the readers' own process."""
    words = [str(port), str(seconds), str(READERS), str(every), str(int(marked)), str(int(told_of_news))]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.page", "--read", *words], capture_output=True, text=True, check=True
    )
    return [float(word) for word in ran.stdout.split()]


def readers(port: int, seconds: float, count: int, every: float, marked: bool, told_of_news: bool) -> None:
    took: list[float] = []
    threads = [
        threading.Thread(target=listen, args=(port, seconds, took, n / count))
        if told_of_news
        else threading.Thread(target=visit, args=(port, seconds, every, marked, took, n / count))
        for n in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(*took)


def visit(port: int, seconds: float, every: float, marked: bool, took: list[float], offset: float) -> None:
    line = http.client.HTTPConnection("127.0.0.1", port)
    until = time.monotonic() + seconds
    headers: dict[str, str] = {}
    time.sleep(offset * every)
    while time.monotonic() < until:
        began = time.perf_counter()
        line.request("GET", "/", headers=headers)
        answer = line.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status not in {200, 304}:
            raise SystemExit(f"answered {answer.status}")
        mark = answer.headers.get("ETag")
        headers = {"If-None-Match": mark} if marked and mark else {}
        time.sleep(max(0.0, every - (time.perf_counter() - began)))


def listen(port: int, seconds: float, took: list[float], offset: float) -> None:
    """A reader as the page's own script is one: told of news it asks within SPREAD, and else every TOLD seconds."""
    dice, until, mark = Random(offset), time.monotonic() + seconds, ""
    asked_at = time.monotonic() - offset * TOLD
    line = http.client.HTTPConnection("127.0.0.1", port)
    events = socket.create_connection(("127.0.0.1", port))
    events.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    while time.monotonic() < until:
        is_readable, _, _ = select.select([events], [], [], 1)
        has_news = bool(is_readable) and b"event: streamers" in events.recv(65_536)
        if not has_news and time.monotonic() - asked_at < TOLD:
            continue
        time.sleep(dice.random() * SPREAD if has_news else 0)
        asked_at, began = time.monotonic(), time.perf_counter()
        line.request("GET", "/", headers={"Livectl-Again": "1", "If-None-Match": mark})
        answer = line.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1000)
        mark = answer.headers.get("ETag") or mark


def first(port: int) -> list[float]:
    """Modules and templates are read at the first visit; everybody after that finds them."""
    took: list[float] = []
    visit(port, 0.1, 1.0, False, took, 0.0)
    return took


def told(what: str, took: list[float]) -> None:
    took.sort()
    at: Callable[[float], float] = lambda share: took[min(len(took) - 1, int(share * len(took)))]  # noqa: E731
    print(f"{what:<46}{len(took):>6} requests  p50 {at(0.5):>7.1f}  p99 {at(0.99):>7.1f}  max {took[-1]:>7.1f} ms")


def under(
    url: str,
    names: list[str],
    what: str,
    server_process: PageProcess,
    *,
    hanging: bool = False,
    marked: bool = False,
    told_of_news: bool = False,
    retitle: bool = False,
    every: float = EVERY,
) -> None:
    over = threading.Event()
    worker = threading.Thread(target=sweep, args=(url, names, over), kwargs={"hanging": hanging, "retitle": retitle})
    worker.start()
    cpu = server_process.cpu_seconds()
    try:
        told(what, read(server_process.port, SECONDS, marked=marked, told_of_news=told_of_news, every=every))
        cpu = server_process.cpu_seconds() - cpu
        print(f"{'':<46}{cpu / SECONDS:>6.1%} of a core, {server_process.memory_mb():.0f} MB")
    finally:
        over.set()
        worker.join()


def main(count: int) -> None:
    names = [f"u{number:05}" for number in range(count)]
    with server() as url:
        client: Any = redis.Redis.from_url(url, decode_responses=True)
        store = Store(client)
        store.prepare()
        store.set_followed([Streamer(platform="bench", id=name) for name in names], time.time())
        store.record(TERMS, [seen(name, at, time.time() - 1, 5) for at, name in enumerate(names)])
        print(f"{count} streamers, {READERS} readers, a request each {EVERY:g} s")
        with page(OURS, url) as ours:
            told("the first visit of all", first(ours.port))
            under(url, names, "the page, while workers sweep", ours)
            under(url, names, "... asked whether it changed", ours, marked=True)
            for news in (False, True):
                what = "news each second" if news else "only viewers change"
                under(url, names, f"... as the script polls, {what}", ours, marked=True, every=SHOWN, retitle=news)
                under(url, names, f"... told by events, {what}", ours, told_of_news=True, retitle=news)
            under(url, names, "... while every platform hangs", ours, hanging=True)
    with page(ASKING, str(-(-count // BATCH)), str(ASKED)) as asking:
        told(f"a page that asks ({ASKED:g} s a batch of {BATCH})", read(asking.port, SECONDS, marked=False))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        readers(
            int(sys.argv[2]),
            float(sys.argv[3]),
            int(sys.argv[4]),
            float(sys.argv[5]),
            sys.argv[6] == "1",
            sys.argv[7] == "1",
        )
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else STREAMERS)
