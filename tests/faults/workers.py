"""The app of a row, its workers and its sender: livectl's own app or a plain one, on whichever broker, in any pool."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import redis
from amqp.exceptions import MessageNacked
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError

from livectl.address import Address
from livectl.ops.processes import die_with_parent
from tests.faults import brokers
from tests.faults.frame import HANG_S, Case, Outcome
from tests.faults.ledger import Ledger
from tests.support.celery_project import Project
from tests.support.processes import Running, alive, children
from tests.support.servers import free_port
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.brokers import Broker

# Jobs of either app. Each notes in the ledger that it began and ended, with one write.
JOBS = """
import os, time
from celery import shared_task

def note(event, job):
    line = f"{event} {job} {time.monotonic()} {os.getpid()}\\n".encode()
    descriptor = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)

@shared_task(name="faults.work", ignore_result=True)
def work(job, seconds):
    note("started", job)
    time.sleep(seconds)
    note("finished", job)

@shared_task(name="faults.answer", ignore_result=False)
def answer(job, seconds):
    work(job, seconds)
    return job

@shared_task(name="faults.kill", ignore_result=True)
def kill(job):
    note("started", job)
    os.kill(os.getpid(), 9)

@shared_task(name="faults.later", bind=True, max_retries=1, ignore_result=True)
def later(self, job, seconds):
    if not self.request.retries:
        raise self.retry(countdown=seconds)
    work(job, 0)
"""
QUIET_S = 40.0  # without any entry in the ledger: then what is open is lost
QUIET_WITHOUT_MECHANISM_S = 15.0


class System:
    """An app on a broker, in a folder of its own, as one row wants it."""

    def __init__(self, case: Case, broker: Broker, stack: ExitStack, **options: Any) -> None:
        """Options are those of the app."""
        _, app, pool = case.setup.split()
        self.case, self.broker, self.pool, self.folder = case, broker, pool, case.folder
        self.is_own = app == "own"
        self.stack = stack
        self.ledger = Ledger(case.folder / "ledger")
        self.workers: list[Worker] = []
        self.exits = 0
        self.names: dict[str, str] = {}  # of jobs in the ledger, by their ids
        self.store = broker.url if not broker.url.startswith("amqp") else self._make_store()
        self._write_app(options)

    def _make_store(self) -> str:
        folder = self.folder / "store"
        folder.mkdir()
        store = brokers.RedisBroker(folder)
        self.stack.callback(store.kill)
        return store.url

    def _write_app(self, options: dict[str, Any]) -> None:
        (self.folder / "faults_jobs.py").write_text(JOBS)
        without = self.case.without
        lines = [without.settings] if without else []
        lines += [f"web: {{port: {free_port()}}}"] if self.pool == "up" else []
        results = options.pop("results", self.store)
        options = {"imports": ["faults_jobs"], **options}
        if self.is_own:
            lines.append(f"celery: {options!r}")
            self.environ = {"LIVECTL_HOME": str(self.folder / "home")}
            if results != self.broker.url or not isinstance(self.broker, brokers.EmbeddedServer):
                self.environ |= {"LIVECTL_STORE": results}
            if not isinstance(self.broker, brokers.EmbeddedServer):  # which is found by itself
                self.environ |= {"LIVECTL_BROKER": self.broker.url}
        else:
            if self.broker.url.startswith("amqp"):
                options |= {"task_default_queue_type": "quorum", "broker_transport_options": {"confirm_publish": True}}
            project = Project(self.folder, self.broker.url, results, **options)
            project.close()
            self.environ = project.environ
        (self.folder / "livectl.yaml").write_text("\n".join(lines))
        self.environ |= {"LEDGER": str(self.ledger.path)}
        if without and without.patch:
            (self.folder / "patch").mkdir()
            (self.folder / "patch" / "sitecustomize.py").write_text(without.patch)
            self.environ |= {"PYTHONPATH": str(self.folder / "patch")}

    @property
    def on_redis(self) -> bool:
        return not self.broker.url.startswith("amqp")

    @property
    def queue(self) -> str:
        return "livectl" if self.is_own else "celery"

    def go_through(self, port: int) -> None:
        """Workers that start from now on reach the broker through this port."""
        scheme = "amqp://guest:guest@" if self.broker.url.startswith("amqp") else "redis://"
        path = "v1" if self.broker.url.startswith("amqp") else "0"
        self.environ["LIVECTL_BROKER" if self.is_own else "PROJ_BROKER"] = f"{scheme}127.0.0.1:{port}/{path}"

    def end_workers(self) -> None:
        for worker in self.workers:
            worker.kill_tree()
            worker.wait()

    def start_worker(self, name: str = "w1", concurrency: int = 2, *words: str, is_waited_for: bool = True) -> Worker:
        worker = Worker(self, name, concurrency, *words)
        if is_waited_for:
            worker.wait_until_ready()
        self.workers.append(worker)
        return worker

    def replace_dead(self) -> None:
        """Starts those again that ended by themselves, as their service would; each is counted."""
        for worker in list(self.workers):
            if worker.has_exited:
                self.exits += 1
                self.workers.remove(worker)
                self.start_worker(worker.name, worker.concurrency)

    def replace_killed(self) -> None:
        """As above, of workers that a job kills: those are counted by it."""
        exits = self.exits
        self.replace_dead()
        self.exits = exits

    def did_work(self, worker: Worker, since: float) -> bool:
        """Whether one of its processes began a job after this moment."""
        pids = {worker.pid, *children(worker.pid)}
        found = reversed(self.ledger.read().entries)
        return any(entry.pid in pids for entry in found if entry.event == "started" and entry.at > since)

    def wait_until_done(self, quiet_s: float = QUIET_S) -> None:
        """Until all that was acknowledged is done, or nothing happened for so long."""
        began = time.monotonic()
        quiet_s = min(quiet_s, QUIET_WITHOUT_MECHANISM_S) if self.case.without else quiet_s
        while self.ledger.read().open_jobs:
            self.replace_dead()
            if time.monotonic() - max(began, self.ledger.last_at) > quiet_s:
                return
            time.sleep(0.05)

    def set_aside(self) -> set[str]:
        """The jobs that are dead letters by now."""
        with redis.Redis.from_url(self.store) as store:
            return {self.names.get(key.decode(), "") for key in cast("list[bytes]", store.hkeys("livectl:dead"))}

    def outcome(self, fault_ends: list[float], **counts: Any) -> Outcome:
        """What the ledger says, and the workers: call it when all is done."""
        ledger, set_aside = self.ledger.read(), self.set_aside()
        exits = self.exits + sum(worker.has_exited for worker in self.workers)
        # Where nothing came any more, or nothing was left to come, there is nothing to measure.
        times = [back for at in fault_ends if (back := ledger.first_work_after(at)) is not None]
        whole = {
            "acknowledged": len(ledger.acknowledged),
            "lost": len(ledger.open_jobs - set_aside),
            "set_aside": len(ledger.open_jobs & set_aside),
            "repeated": ledger.repeated,
            "doubled": ledger.doubled,
            "back_within_s": max(times, default=None),
            "exits": exits,
            "hangs": sum(back > HANG_S for back in times) + (len(times) < len(fault_ends) and bool(ledger.open_jobs)),
            **counts,
        }
        return Outcome(**whole)


class Worker:
    """One worker process, started as its row says, that is killed only by its row."""

    def __init__(self, system: System, name: str, concurrency: int, *words: str) -> None:
        self.name, self.concurrency, self._is_ours = name, concurrency, False
        self.runs_broker = system.pool == "up"
        if self.runs_broker:
            system.broker.kill()
        argv = die_with_parent.command_line(os.getpid(), [sys.executable, "-m", *_command(system, name, concurrency)])
        self.process = Running(*argv, *words, cwd=system.folder, environ=system.environ)
        system.stack.enter_context(self.process)

    def wait_until_ready(self) -> None:
        self.process.wait_for("at work" if self.runs_broker else "ready.")

    @property
    def pid(self) -> int:
        return self.process.process.pid

    @property
    def has_exited(self) -> bool:
        return not self._is_ours and self.process.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """A signal that may end it."""
        self._is_ours = self._is_ours or number not in {signal.SIGSTOP, signal.SIGCONT}
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill_tree(self) -> None:
        self._is_ours = True
        for pid in (*children(self.pid), self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_child(self) -> None:
        """One that lives: it takes a moment until one that was killed has its successor."""
        found = wait_for(lambda: [pid for pid in children(self.pid) if alive(pid)], what="a child")
        with suppress(ProcessLookupError):
            os.kill(found[-1], signal.SIGKILL)

    def wait(self) -> int:
        return self.process.wait()


def _command(system: System, name: str, concurrency: int) -> list[str]:
    without = system.case.without
    options = ["-c", str(concurrency), "-n", name]
    app = ["-A", "livectl.celeryapp" if system.is_own else "proj"]
    if without and without.is_stock:
        return ["celery", *app, "worker", "-l", "INFO", "-P", system.pool, *options]
    app = [] if system.is_own else app
    if system.pool == "up":
        return ["livectl", *app, "up", "-P", "prefork", *options]
    return ["livectl", *app, "worker", "-P", system.pool, *options]


class Sender(threading.Thread):
    """Sends jobs one by one, on a connection of its own, and notes in the ledger which were taken.

    One that fails is of unknown fate, and not counted; the next one is sent with a number of its own.
    """

    def __init__(self, system: System, count: int, per_second: float = 0.0, **message: Any) -> None:
        super().__init__(daemon=True)
        self._system, self._count, self._pause_s = system, count, 1 / per_second if per_second else 0.0
        self._message = message
        self._is_ended = threading.Event()
        self.failures = 0

    def run(self) -> None:
        number, began = 0, time.monotonic()
        while not self._is_ended.is_set() and number < self._count:
            try:
                with client_of(self._system) as (app, connection):
                    producer = app.amqp.Producer(connection)
                    while not self._is_ended.is_set() and number < self._count:
                        number += 1
                        send(self._system, app, producer, f"j{number}", **self._message)
                        time.sleep(max(0.0, began + number * self._pause_s - time.monotonic()))
            except (*ERRORS, *AMQP_ERRORS):
                self.failures += 1
                time.sleep(0.2)

    def wait_for_work(self, jobs: int) -> None:
        """Until so many more jobs of it have ended."""
        ledger = self._system.ledger
        wanted = len(ledger.read().ends) + jobs
        wait_for(lambda: len(ledger.read().ends) >= wanted, what=f"{jobs} more jobs")

    def finish(self) -> None:
        self._is_ended.set()
        self.join()


ERRORS = (OperationalError, OSError)
AMQP_ERRORS = (
    MessageNacked,  # a quorum queue that has no leader yet takes nothing
    *Connection("amqp://").connection_errors,
    *Connection("redis://").connection_errors,
)


@contextmanager
def client_of(system: System) -> Iterator[tuple[Celery, Connection]]:
    """The app as another program has it, with a connection that nobody else uses."""
    url = Address.parse(system.broker.url).celery_url
    options = {"confirm_publish": True} if url.startswith("amqp") else {"socket_timeout": 5}
    with Celery("client", broker=url, set_as_current=False) as app:
        app.conf.broker_transport_options = options
        connection = app.connection_for_write()
        try:
            yield app, connection
        finally:
            with suppress(Exception):
                connection.collect()


def send(
    system: System, app: Celery, producer: Any, job: str, task: str = "faults.work", args: Any = None, **options: Any
) -> str:
    """Sends one job; it is in the ledger when this returns. Returns its id."""
    job_id = str(uuid4())
    system.names[job_id] = job
    arguments = (job, 0.05) if args is None else (job, *args)
    message = app.amqp.as_task_v2(job_id, task, arguments, {}, **options)
    properties = {**message.properties, "delivery_mode": 2}
    producer.publish(
        message.body, routing_key=system.queue, exchange="", headers=message.headers, serializer="json", **properties
    )
    system.ledger.note("acknowledged", job)
    return job_id


def send_all(system: System, count: int, prefix: str = "", **message: Any) -> list[str]:
    """Sends so many jobs now. Returns their ids."""
    with client_of(system) as (app, connection):
        producer = app.amqp.Producer(connection)
        return [send(system, app, producer, f"{prefix}j{number}", **message) for number in range(1, count + 1)]


def wait_for_work(system: System, jobs: int = 1) -> None:
    """Until so many more jobs have ended, or all that were sent."""
    sent = len(system.ledger.read().acknowledged)
    wanted = min(len(system.ledger.ends) + jobs, sent)
    wait_for(lambda: len(system.ledger.read().ends) >= wanted, what=f"{jobs} more jobs")


@contextmanager
def running_system(case: Case, **options: Any) -> Iterator[System]:
    """Broker, app and ledger; all processes are gone at the end."""
    with ExitStack() as stack:
        kind = brokers.KINDS[case.setup.split()[0]]
        folder = case.folder / "broker"
        folder.mkdir()
        broker = kind(case.folder if kind is brokers.EmbeddedServer else folder)
        stack.callback(brokers.close, broker)
        yield System(case, broker, stack, **options)
