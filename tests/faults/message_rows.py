"""Rows that harm workers by what they are given: messages that are none, jobs that kill, delays that are long."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from tests.faults.frame import Limits, Mechanism, Row
from tests.faults.workers import client_of, running_system, send_all
from tests.support import bad_messages
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.faults.frame import Case, Outcome
    from tests.faults.workers import System

FUZZED = 1000
TWINS = 3  # that fuzzing may make: of one id, tag and body, which are one letter
GOOD_EVERY = 100  # messages, a job that has to be done
BOMB_BYTES = 300_000_000  # when it is opened
MAX_MEMORY_MB = 250  # of a worker that was sent bombs; without any it has about 80
MAX_STARTS = 3
KILLER = "killer-j1"
KILLER_S = 60.0  # to its dead letter; each look of Celery for dead children takes five seconds
NO_RENEWAL = """
from livectl.ops.transport.leases import LeaseKeeper
LeaseKeeper.renew = lambda self, client: None
"""


def send_what_is_wrong(case: Case) -> Outcome:
    """F21. Malformed, fuzzed and compressed without measure, good jobs between them; each is a dead letter or a job.

    `missed` are messages that are neither; and 1 if the worker's memory grew beyond measure.
    """
    on_redis = not case.setup.startswith("rabbitmq")
    messages = [*(bad_messages.MESSAGES if on_redis else bad_messages.NO_JOBS).values(), *bombs(case.either(1, 3))]
    if on_redis:
        messages += bad_messages.fuzzed(case.seed, case.either(FUZZED // 4, FUZZED))
    with running_system(case) as system, redis.Redis.from_url(system.store) as store:
        worker = system.start_worker()
        began, times = time.monotonic(), []
        for start in range(0, len(messages), GOOD_EVERY):
            publish_raw(system, messages[start : start + GOOD_EVERY])
            times.append(time.monotonic())
            send_all(system, 1, prefix=f"good{start}-")
            system.wait_until_done()
        wait_for(lambda: not worker.has_exited and is_drained(system), what="an empty queue")
        jobs = sum("Task proj.add[" in line and "received" in line for line in worker.process.lines)
        letters = sum(" dead letter " in line for line in worker.process.lines)
        missed = abs(len(messages) - letters - jobs) + max(0, letters - TWINS - store.hlen("livectl:dead"))
        peak = peak_memory_mb(worker.pid)
        missed += peak > MAX_MEMORY_MB
        note = f"{len(messages)} messages in {time.monotonic() - began:.0f} s, {jobs} of them jobs, {peak} MB"
        return system.outcome(times, missed=missed, note=note)


def bombs(kinds: int) -> list[bytes]:
    """Messages whose compressed bodies are small, and huge when they are opened."""
    compressors: dict[str, Any] = {
        "application/x-gzip": zlib.compressobj(),
        "application/x-bz2": bz2.BZ2Compressor(),
        "application/x-lzma": lzma.LZMACompressor(preset=0),
    }
    step = b"x" * 1_000_000
    found = []
    for name, compressor in list(compressors.items())[:kinds]:
        parts = [compressor.compress(b'[["')]
        parts += [compressor.compress(step) for _ in range(BOMB_BYTES // len(step))]
        parts += [compressor.compress(b'"], {}, {}]'), compressor.flush()]
        found.append(json.dumps(bad_messages.envelope(body=b"".join(parts), compression=name)).encode())
    return found


def publish_raw(system: System, messages: list[bytes]) -> None:
    """As they are, into the queue, behind what waits there."""
    if not system.on_redis:
        publish_over_amqp(system, messages)
        return
    with redis.Redis.from_url(system.broker.url) as client:
        client.lpush(system.queue, *messages)


def publish_over_amqp(system: System, messages: list[bytes]) -> None:
    with client_of(system) as (app, connection):
        producer = app.amqp.Producer(connection)
        for message in map(json.loads, messages):
            producer.publish(
                base64.b64decode(message["body"]),
                routing_key=system.queue,
                content_type=message["content-type"],
                content_encoding=message["content-encoding"],
                headers=message.get("headers"),
                exchange="",
            )


def is_drained(system: System) -> bool:
    if not system.on_redis:
        return True
    with redis.Redis.from_url(system.broker.url) as client:
        prefix = "livectl:" if system.is_own else ""
        return not client.exists(system.queue, f"{prefix}unacked")


def peak_memory_mb(pid: int) -> int:
    """The most that a process ever held; 0 where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1000 for line in lines if line.startswith("VmHWM")), 0)


def send_killer(case: Case) -> Outcome:
    """F22. A job that kills whatever runs it, before others; `missed` are starts beyond the third, and no letter."""
    with running_system(case) as system, redis.Redis.from_url(system.store) as store:
        system.start_worker()
        (killer,) = send_all(system, 1, prefix="killer-", task="faults.kill", args=[])
        send_all(system, 20)
        until = time.monotonic() + KILLER_S
        while not store.hexists("livectl:dead", killer) and time.monotonic() < until:
            system.replace_killed()
            if system.ledger.read().starts[KILLER] > MAX_STARTS + 2:
                break
            time.sleep(0.1)
        system.ledger.acknowledged.discard(KILLER)
        system.wait_until_done()
        starts = system.ledger.read().starts[KILLER]
        missed = max(0, starts - MAX_STARTS) + (not store.hexists("livectl:dead", killer))
        # Where all jobs of a worker share its process, one that ran beside the killer each time is set aside with it.
        beside = system.ledger.open_jobs & system.set_aside()
        missed += len(beside) if system.pool == "prefork" else 0
        return system.outcome([], missed=missed, note=f"killed {starts} times")


def send_for_later(case: Case) -> Outcome:
    """F20. Jobs that take, wait or are tried again for longer than the visibility timeout: each once."""
    options = {"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    with running_system(case, broker_transport_options=options) as system:
        for name in ("w1", "w2"):
            system.start_worker(name)
        count, seconds = case.either(1, 4), case.either(10, 30)
        send_all(system, count, prefix="long-", args=[seconds])
        send_all(system, count, prefix="due-", countdown=seconds)
        send_all(system, count, prefix="again-", task="faults.later", args=[seconds])
        system.wait_until_done(seconds + 20)
        return system.outcome([])


ROWS = (
    Row(
        "F20",
        "a run, a delay and a retry longer than the visibility timeout",
        send_for_later,
        ("redis plain prefork", "embedded own prefork", "redis plain gevent"),
        Mechanism("leases that are renewed", patch=NO_RENEWAL),
        short_setups=("redis plain prefork",),
        limits=Limits(repeated=0, doubled=0),
    ),
    Row(
        "F21",
        "52 malformed, 1,000 fuzzed, 3 compressed without measure",
        send_what_is_wrong,
        ("redis plain threads", "redis plain prefork", "redis plain gevent", "redis plain solo", "redis plain eventlet")
        + ("embedded own prefork", "rabbitmq plain prefork"),
        Mechanism("the guard", settings="worker: {guard: false}"),
        short_setups=("redis plain threads",),
        limits=Limits(repeated=0),
    ),
    Row(
        "F22",
        "a job that kills its process each time",
        send_killer,
        ("redis plain prefork", "redis plain threads", "embedded own prefork", "rabbitmq plain prefork"),
        Mechanism("the count of starts", settings="worker: {max_starts: 1000}"),
        short_setups=("redis plain prefork",),
        limits=Limits(set_aside=19),
    ),
)
