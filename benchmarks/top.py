"""What `livectl top` costs: the share of a core that it takes at 80x24, beside 200 workers and a million jobs.

The workers are played: each hears commands over a connection of its own, and answers as a worker does.

python -m benchmarks.top [SECONDS]
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import pty
import selectors
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import redis

from benchmarks import run_valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS, QUEUED, RESULTS = 200, 1_000_000, 20_000
SECONDS, WARM_UP_S = 60.0, 10.0
ROWS, COLUMNS = 24, 80
PER_CALL = 10_000
ANSWERS: dict[str, Any] = {
    "ping": {"ok": "pong"},
    "stats": {
        "total": {"proj.add": 4_711},
        "pid": 4711,
        "clock": "815",
        "uptime": 86_400,
        "pool": {
            "implementation": "celery.concurrency.prefork:TaskPool",
            "max-concurrency": 8,
            "processes": list(range(100, 108)),
            "max-tasks-per-child": "N/A",
            "writes": {"total": 4_711, "avg": "0.12", "all": "0.12, 0.13", "inqueues": {"total": 8, "active": 0}},
        },
        "broker": {"hostname": "localhost", "transport": "redis", "port": 6379, "transport_options": {}},
        "prefetch_count": 32,
        "rusage": {"utime": 1.5, "stime": 0.5, "maxrss": 81_234, "minflt": 9, "nvcsw": 8, "nivcsw": 7},
    },
    "active": [],
    "reserved": [],
    "active_queues": [{"name": "celery", "exchange": {"name": "celery", "type": "direct"}, "routing_key": "celery"}],
    "report": {"ok": "software -> celery:5.5.3 (immunity) kombu:5.5.4 py:3.11\nplatform -> system:Linux"},
    "memsample": "81.2MB",
}


def play_workers(address: str) -> None:
    """Answers commands for all workers, until this process ends."""
    selector, replies = selectors.DefaultSelector(), redis.Redis(unix_socket_path=address)
    for number in range(WORKERS):
        subscription: Any = redis.Redis(unix_socket_path=address).pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        subscription.subscribe("/0.celery.pidbox")
        subscription.get_message(timeout=5)
        selector.register(subscription.connection._sock, selectors.EVENT_READ, (f"w{number}@bench", subscription))
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            name, subscription = key.data
            while heard := subscription.get_message():
                _answer(replies, name, msgspec.json.decode(heard["data"]))
                if not subscription.connection.can_read(timeout=0):
                    break


def _answer(replies: redis.Redis, worker: str, envelope: dict[str, Any]) -> None:
    command = msgspec.json.decode(base64.b64decode(envelope["body"]))
    if (command["destination"] and worker not in command["destination"]) or command["method"] not in ANSWERS:
        return
    body = base64.b64encode(msgspec.json.encode({worker: ANSWERS[command["method"]]})).decode()
    reply = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"ticket": command["ticket"]},
        "properties": {"body_encoding": "base64", "delivery_info": {}, "delivery_tag": str(uuid4())},
    }
    queue = f"{command['reply_to']['routing_key']}.{command['reply_to']['exchange']}"
    replies.lpush(queue, msgspec.json.encode(reply))


def fill(client: redis.Redis) -> None:
    """A queue of a million jobs, and as many results as an hour leaves."""
    body = base64.b64encode(b"[[1, 2], {}, {}]").decode()
    headers = {"task": "proj.add", "id": str(uuid4()), "argsrepr": "(1, 2)", "kwargsrepr": "{}", "retries": 0}
    message = msgspec.json.encode(
        {
            "body": body,
            "headers": headers,
            "properties": {"body_encoding": "base64", "delivery_info": {"routing_key": "celery"}},
        }
    )
    client.sadd("_kombu.binding.celery", "celery\x06\x16\x06\x16celery")
    for _ in range(QUEUED // PER_CALL):
        client.lpush("celery", *[message] * PER_CALL)
    pipe = client.pipeline(transaction=False)
    for _ in range(RESULTS):
        job_id = str(uuid4())
        meta = {"task_id": job_id, "status": "SUCCESS", "result": 3, "date_done": "2026-01-01T00:00:00+00:00"}
        pipe.set(f"celery-task-meta-{job_id}", msgspec.json.encode(meta))
    pipe.execute()


@contextlib.contextmanager
def run_top(address: str, folder: Path) -> Iterator[tuple[int, bytearray]]:
    """The screen on a terminal of its own: its pid, and all that it writes."""
    url = f"unix://{address}?db=0"
    (folder / "proj.py").write_text(
        f"from celery import Celery\napp = Celery('proj', broker={f'redis+socket://{address}'!r}, "
        f"backend={f'redis+socket://{address}'!r})\n"
    )
    environ = {**os.environ, "LIVECTL_HOME": str(folder / "home"), "LIVECTL_STORE": url, "TERM": "xterm-256color"}
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    argv = [sys.executable, "-m", "livectl", "-A", "proj", "top"]
    with subprocess.Popen(argv, cwd=folder, env=environ, stdin=slave, stdout=slave, stderr=slave) as top:
        os.close(slave)
        shown = bytearray()
        threading.Thread(target=_read, args=(master, shown), daemon=True).start()
        try:
            yield top.pid, shown
        finally:
            top.terminate()
            top.wait()
            os.close(master)


def _read(descriptor: int, shown: bytearray) -> None:
    with contextlib.suppress(OSError):
        while read := os.read(descriptor, 65_536):
            shown += read


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="lv-") as name, run_valkey(Path(name)) as (path, _):
        folder, client = Path(name), redis.Redis(unix_socket_path=str(path))
        fill(client)
        command = [sys.executable, "-m", "benchmarks.top", "--workers", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as workers:
            assert workers.stdout
            assert workers.stdout.readline() == b"ready\n"
            try:
                with run_top(str(path), folder) as (pid, shown):
                    time.sleep(WARM_UP_S)
                    before = cpu_seconds(pid)
                    time.sleep(seconds)
                    used = cpu_seconds(pid) - before
                subscribed = dict(client.pubsub_numsub("/0.celery.pidbox"))
            finally:
                workers.kill()
        assert f"{WORKERS} workers".encode() in shown
        assert f"{QUEUED:,} ready".encode() in shown
        share = f"{used / seconds:.1%} of a core over {seconds:.0f} s, {len(shown) / seconds:,.0f} bytes a second"
        print(f"{WORKERS} workers, {client.llen('celery'):,} queued: {share}")
        print(f"subscribed afterwards: {subscribed}, keys of replies: {len(client.keys('*.reply.celery.pidbox'))}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--workers"]:
        play_workers(sys.argv[2])
    else:
        main(float(sys.argv[1]) if sys.argv[1:] else SECONDS)
