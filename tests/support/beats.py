"""Beats under a clock that a test moves: the real scheduler, a real store and broker, no waiting."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from celery import Celery

from livectl import redis_client
from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.ops.beat import heartbeats
from livectl.ops.beat.run_store import StoreClock
from livectl.ops.processes.embedded_broker import locate_binary
from livectl.ops.scheduler import Scheduler
from livectl.ops.schedules import due_times, schedule_file
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.ops.beat.heartbeats import Heartbeat

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


def utc(text: str) -> int:
    """`2026-03-29 01:00` in UTC, as milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def format_utc(moment: int) -> str:
    """`03-29 01:00:00` in UTC, of milliseconds."""
    return datetime.fromtimestamp(moment / SECOND, UTC).strftime("%m-%d %H:%M:%S")


class Time:
    """The time, which passes when a test says so; the store's clock may be set meanwhile."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed = 0.0

    def wait(self, seconds: float) -> None:
        self.at += round(seconds * SECOND)
        self.passed += seconds

    def set_by(self, seconds: float) -> None:
        self.at += round(seconds * SECOND)


class FakeClock(StoreClock):
    """The clock of a beat in that time."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self._time = time

    def script_time(self) -> str:
        return str(self._time.at)

    def monotonic(self) -> float:
        return self._time.passed


class Sent(NamedTuple):
    """A message that was found in the queue: when, of which entry, and with which task id."""

    at: int
    entry: str
    task_id: str
    message: dict[str, Any]


class World:
    """A store, a broker, a schedule file, and any number of beats."""

    def __init__(self, folder: Path, store_url: str, at: str = "2026-06-01 12:00", broker_url: str = "") -> None:
        self.folder = folder
        self.file = folder / "schedules.yaml"
        self.store_url = store_url
        self.clock = Time(utc(at))
        self.app = make_app(broker_url or store_url)
        self.store = redis_client.store_client(Address.parse_store(store_url))
        self.broker = redis.Redis.from_url(broker_url or store_url, decode_responses=True)
        self.beats: list[Scheduler] = []
        self.sent: list[Sent] = []

    def write(self, **entries: dict[str, Any]) -> None:
        """Writes the schedule file. An entry sends its own name unless it has other arguments."""
        schedules = {name: {"task": "t.note", "args": [name], **entry} for name, entry in entries.items()}
        self.file.write_text(json.dumps({"schedules": schedules}))

    def beat(self, **options: Any) -> Scheduler:
        settings = livectl_settings.load({"LIVECTL_STORE": self.store_url, "HOME": str(self.folder)}, self.folder)
        beat = Scheduler(self.app, **{"settings": settings, "clock": FakeClock(self.clock), **options})
        self.beats.append(beat)
        return beat

    def drop(self, beat: Scheduler) -> None:
        """Ends a beat as kill -9 does: it gives nothing back."""
        self.beats.remove(beat)
        beat._close_publisher()
        beat._close_store()

    def tick(self, *beats: Scheduler) -> list[Sent]:
        """Lets each beat tick once. Returns what they put into the queue."""
        for beat in beats or self.beats:
            beat.tick()
        sent = self.collect()
        self.sent += sent
        return sent

    def collect(self, queue: str = "celery") -> list[Sent]:
        sent = []
        while raw := self.broker.rpop(queue):
            message = json.loads(str(raw))
            args, _, _ = json.loads(_body(message))
            sent.append(Sent(self.clock.at, args[0] if args else "", message["headers"]["id"], message))
        return sent

    def run(self, seconds: float, *, step: float = 1.0) -> list[Sent]:
        """Lets all beats tick for so many seconds."""
        sent = self.tick()
        end = self.clock.passed + seconds
        while self.clock.passed < end:
            self.clock.wait(min(step, end - self.clock.passed))
            sent += self.tick()
        return sent

    def heartbeats(self) -> dict[str, Heartbeat]:
        with redis_client.connect(Address.parse_store(self.store_url)) as connection:
            return heartbeats.read_activity(connection).heartbeats

    def close(self) -> None:
        for beat in self.beats:
            beat.close()
        self.store.close()
        self.broker.close()
        self.app.close()


def end_job(world: World, job_id: str, state: str = "SUCCESS") -> None:
    """What a worker leaves in the result backend."""
    result: dict[str, Any] = {"status": state, "result": None, "traceback": None, "children": [], "task_id": job_id}
    world.broker.set(f"celery-task-meta-{job_id}", json.dumps(result))


def make_app(url: str) -> Celery:
    broker = url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    app = Celery("t", broker=broker, backend=broker)
    app.conf.task_ignore_result = True
    app.task(name="t.note")(_note)
    app.finalize()
    return app


def _note(*args: Any, **kwargs: Any) -> None:
    """The task. No worker runs it here."""


def _body(message: dict[str, Any]) -> bytes:
    from base64 import b64decode

    return b64decode(message["body"])


def count_due(world: World, name: str, start: int, end: int) -> int:
    """The number of runs that an entry of the file has after the start, up to the end."""
    (schedule,) = [entry for entry in schedule_file.load(world.file).schedules if entry.name == name]
    count, moment = 0, due_times.next_due(schedule, start)
    while moment is not None and moment <= end:
        count, moment = count + 1, due_times.next_due(schedule, moment)
    return count


def entries(sent: list[Sent]) -> list[str]:
    return [message.entry for message in sent]


class Server:
    """A Valkey that a test may stop and start again, its data kept."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "own.sock"
        self.url = f"unix://{self.path}?db=0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        # Written at once, and never waiting for a slow disk: it is the process that is killed, and not the machine.
        keeps = ["--appendonly", "yes", "--appendfsync", "no", "--save", "", "--dir", str(self._folder)]
        command = [locate_binary(), "--port", "0", "--unixsocket", str(self.path), *keeps]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(self._answers)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def server() -> Iterator[Server]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lv-") as folder:
        own_server = Server(Path(folder))
        own_server.start()
        try:
            yield own_server
        finally:
            own_server.stop()
