"""The workers of `livectl up`: which there are by its settings, and what is asked of one while it runs.

Who asks lays a request into the state directory, where `up` finds it; each worker has a record there, by its name.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import msgspec

from livectl.atomic_write import write_file
from livectl.errors import LivectlError, SettingsError, UnfinishedError
from livectl.ops.processes import launch, process, state_dir
from livectl.ops.processes.launch import KILLED_JOBS_NOTE, REQUEUE_ON_QUIT_POOLS, WorkerOptions
from livectl.ops.processes.supervised_process import ChildSpec, spawn
from livectl.ops.processes.supervisor import MemberRequest
from livectl.ops.services.background import READY_SECONDS, BackgroundProcess

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from livectl.ops.services.health import LivenessProbe
    from livectl.pools import Pool
    from livectl.settings import Settings

DEFAULT_MEMBER = "worker"
NAME_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LOOK_S = 0.2
STOP_SECONDS = 30.0  # a worker of `up` has 15 s for its jobs, and some to put them back
SETTINGS_LOOK_S = 1.0


class WorkerMember(msgspec.Struct, frozen=True, kw_only=True):
    """A worker of `up`: what it is called, and its options."""

    name: str  # worker, or worker-NAME
    options: WorkerOptions


class MemberRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that `up` runs, as the state directory records it."""

    name: str
    node: str
    pid: int
    started: str

    @property
    def process(self) -> process.ProcessIdentity:
        return process.ProcessIdentity(self.pid, self.started)

    def is_called(self, name: str) -> bool:
        return name in {self.name, self.node, self.node.partition("@")[0], f"worker-{self.node.partition('@')[0]}"}


class LaidRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a worker of `up`."""

    action: Literal["stop", "restart"]
    name: str
    now: bool = False


def plan(settings: Settings, app: str | None, pool: Pool) -> list[WorkerMember]:
    """The workers that the settings name; `pool` is theirs where they say none."""
    members = []
    for name, worker in settings.workers.items():
        if not NAME_PATTERN.fullmatch(name):
            place = settings.sources.get(f"workers.{name}", "workers")
            raise SettingsError(f"{place}: {name!r} cannot be a worker's name", "Letters, digits, and _ . - will do.")
        options = WorkerOptions(
            app=app,
            pool=worker.pool or pool,
            concurrency=worker.concurrency,
            queues=",".join(worker.queues) or None,
            name=name,
            loglevel=worker.loglevel,
            guard=settings.worker.guard,
            tuning=worker.tuning(),
        )
        members.append(WorkerMember(name=f"{DEFAULT_MEMBER}-{name}", options=options))
    return members


class MemberFactory(msgspec.Struct, frozen=True, kw_only=True):
    """Makes children of `up` out of workers."""

    home: Path
    cwd: Path
    host: str
    processors: int
    environ: Mapping[str, str]
    probe: LivenessProbe

    def check(self, member: WorkerMember) -> None:
        """Raises what the pool or this machine does not allow."""
        try:
            launch.check_tuning(member.options, self.cwd, host=self.host)
        except LivectlError as error:
            raise SettingsError(f"{member.name}: {error.message}", error.hint) from error

    def spec(self, member: WorkerMember) -> ChildSpec:
        options, node = member.options, launch.full_node_name(member.options.name or "", self.host)
        command = launch.worker_command(options, processors=self.processors, process=0)
        argv = launch.argv_with_requeue_on_quit(command)

        def start() -> subprocess.Popen[bytes]:
            child = spawn(argv, self.environ)
            self._record(member.name, node, child.pid)
            return child

        def is_alive(_: int) -> bool | None:
            alive = self.probe.is_worker_alive(node)
            return None if options.pool == "solo" and not alive else alive  # solo is deaf while it works

        return ChildSpec(
            name=member.name,
            start=start,
            check_health=is_alive if options.app is None or self.probe.can_ask_workers() else None,
            requeues_on_quit=options.pool in REQUEUE_ON_QUIT_POOLS,
            if_killed=KILLED_JOBS_NOTE,
        )

    def _record(self, name: str, node: str, pid: int) -> None:
        identity = process.identify(pid)
        record = MemberRecord(name=name, node=node, pid=pid, started=identity.started if identity else "")
        with suppress(OSError):
            folder = _records(self.home)
            folder.mkdir(mode=state_dir.PRIVATE_MODE, parents=True, exist_ok=True)
            write_file(folder / f"{name}.json", msgspec.json.encode(record), mode=state_dir.PRIVATE_FILE_MODE)


class MemberRequests:
    """What is to be done with the workers of `up`: what was asked for since the last call, what settings changed.

    `read_plan` tells the workers that the settings name by now; None where it does not count.
    """

    def __init__(
        self,
        factory: MemberFactory,
        members: Iterable[WorkerMember],
        read_plan: Callable[[], Sequence[WorkerMember] | None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._factory, self._read_plan, self._say, self._clock = factory, read_plan, say, clock
        self._members = {member.name: member for member in members}
        self._look_at = 0.0
        self._refused = ""

    def __call__(self) -> list[MemberRequest]:
        return [*_take_laid(self._factory.home), *self._changed()]

    def _changed(self) -> list[MemberRequest]:
        """The workers whose settings have changed, and those that came and went. Mistakes leave all as it is."""
        if self._clock() < self._look_at:
            return []
        self._look_at = self._clock() + SETTINGS_LOOK_S
        try:
            wanted = self._read_plan()
            if not wanted:  # the last of them is not taken away from a running `up`
                return []
            new = {member.name: member for member in wanted}
            changed = [member for name, member in new.items() if self._members.get(name) != member]
            for member in changed:
                self._factory.check(member)
        except LivectlError as error:
            self._refuse(error)
            return []
        self._refused = ""
        requests = [MemberRequest(action="remove", name=name) for name in self._members if name not in new]
        for member in changed:
            action: Literal["restart", "add"] = "restart" if member.name in self._members else "add"
            spec = self._factory.spec(member)
            requests.append(MemberRequest(action=action, name=member.name, spec=spec, wakes=False))
        self._members = new
        return requests

    def _refuse(self, error: LivectlError) -> None:
        if error.message != self._refused:
            self._refused = error.message
            self._say(f"{error.message}: the workers go on as they are")


def _take_laid(home: Path) -> list[MemberRequest]:
    requests = []
    for path in sorted(_requests(home).glob("*.json")):
        with suppress(OSError, msgspec.DecodeError):
            laid = msgspec.json.decode(path.read_bytes(), type=LaidRequest)
            requests.append(MemberRequest(action=laid.action, name=laid.name, now=laid.now))
        path.unlink(missing_ok=True)
    return requests


def forget_requests(home: Path) -> None:
    """Drops what was asked of an `up` that is no more."""
    for path in _requests(home).glob("*.json"):
        path.unlink(missing_ok=True)


def running(home: Path, name: str) -> list[MemberRecord]:
    """The workers of a running `up` that are called so."""
    return [each for each in _all_records(home) if each.is_called(name) and process.is_alive(each.process)]


def names(home: Path) -> list[str]:
    """The workers of a running `up`, those that were stopped left out."""
    return [record.name for record in _all_records(home) if process.is_alive(record.process)]


def stop(home: Path, name: str, *, now: bool, say: Callable[[str], None]) -> list[BackgroundProcess]:
    """Lets `up` stop its workers of this name, until they are asked to start again. Returns them once they ended."""
    records = running(home, name)
    for record in records:
        say(f"stopping {record.name} of up (pid {record.pid}){'' if now else ', its running jobs first'}")
        lay(home, LaidRequest(action="stop", name=record.name, now=now))
    for record in records:
        _wait_for_end(record)
    return [_shown(home, record) for record in records]


def restart(home: Path, name: str, *, now: bool, say: Callable[[str], None]) -> list[BackgroundProcess]:
    """The same, and starts them again; also those that were stopped. Returns them once they run."""
    known = [record for record in _all_records(home) if record.is_called(name)]
    owner = state_dir.read_lock_owner(state_dir.up_lock_path(home))
    if not known or not (owner and process.identify(owner)):
        return []
    for record in known:
        say(f"restarting {record.name} of up{'' if now else ', its running jobs first'}")
        lay(home, LaidRequest(action="restart", name=record.name, now=now))
    return [_shown(home, _wait_for_next(home, record)) for record in known]


def _wait_for_end(record: MemberRecord) -> None:
    if not process.wait_for_exit(record.process, STOP_SECONDS):
        raise UnfinishedError(f"{record.name} has not ended (pid {record.pid})", "Does its `up` still run?")


def _wait_for_next(home: Path, old: MemberRecord) -> MemberRecord:
    deadline = time.monotonic() + STOP_SECONDS + READY_SECONDS
    while time.monotonic() < deadline:
        for record in running(home, old.name):
            if record.process != old.process:
                return record
        time.sleep(LOOK_S)
    raise UnfinishedError(f"{old.name} has not started again", f"Its log is {state_dir.log_path(home, old.name)}.")


def _all_records(home: Path) -> list[MemberRecord]:
    records = []
    for path in sorted(_records(home).glob("*.json")):
        with suppress(OSError, msgspec.DecodeError):
            records.append(msgspec.json.decode(path.read_bytes(), type=MemberRecord))
    return records


def _shown(home: Path, record: MemberRecord) -> BackgroundProcess:
    log = str(state_dir.log_path(home, record.name))
    return BackgroundProcess(
        name=record.name, argv=[], cwd="", environ={}, pid=record.pid, started=record.started, log=log
    )


def lay(home: Path, request: LaidRequest) -> None:
    """Asks the `up` of this state directory, which looks several times a second."""
    folder = _requests(home)
    folder.mkdir(mode=state_dir.PRIVATE_MODE, parents=True, exist_ok=True)
    path = folder / f"{time.time_ns()}-{uuid4()}.json"
    write_file(path, msgspec.json.encode(request), mode=state_dir.PRIVATE_FILE_MODE)


def _records(home: Path) -> Path:
    return home / "run" / "members"


def _requests(home: Path) -> Path:
    return home / "run" / "requests"
