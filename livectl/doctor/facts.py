"""The facts that checks look at: gathered once, changed by nobody. Empty or None is what could not be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from livectl.models import PlatformHealth, Schedule  # noqa: TC001 - msgspec reads the annotations
from livectl.ops.cluster.queues import Queue  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Iterator

ServerRole = Literal["broker", "store", "results"]


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Broker, store or result backend, and what it says of itself. A Redis tells more than others."""

    role: ServerRole
    address: str  # without its password
    is_local: bool = False  # its host is this machine, or this container
    error: str = ""  # why it cannot be used
    cure: str = ""
    info: dict[str, str] = {}  # of a Redis: INFO
    save_setting: str = ""  # ... and when it writes itself to disk
    clock_ahead: float = 0.0  # seconds by which its clock is ahead of ours


class WrittenSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as somebody wrote it: the name, and where."""

    name: str
    location: str
    namespace: str | None = None


class SettingsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The Celery settings in force, where each comes from, and the names that were written."""

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}  # of those that are not Celery's defaults
    written: tuple[WrittenSetting, ...] = ()
    overridden: dict[str, str] = {}  # by an environment variable: key -> the value it would have
    source: str = ""  # the module that the app reads its settings from


class TaskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the app, as far as its delivery goes."""

    name: str
    acks_late: bool = False  # acknowledged after it ran
    reject_on_worker_lost: bool = False  # wants to be put back when its worker is lost
    time_limit: float | None = None  # seconds
    unbound: str = ""


class WorkerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, as it answered."""

    name: str
    pid: int | None = None
    pool: str = ""
    concurrency: int | None = None
    version: str = ""
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    active: int = 0
    reserved: tuple[str, ...] = ()  # ids at hand that do not wait for their time
    visibility_timeout: float | None = None


class WorkerSurvey(msgspec.Struct, frozen=True, kw_only=True):
    """Who answered, and how many heard the question and did not."""

    workers: tuple[WorkerFacts, ...] = ()
    silent: int = 0
    hoarded: tuple[str, ...] = ()  # ids that lay with a busy worker in two looks, while an idle one had nothing

    @property
    def complete(self) -> bool:
        return bool(self.workers) and not self.silent


class DelayedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits for its time in a worker's hands beyond the time it will be given out again."""

    id: str
    task: str
    seconds: float


class BeatFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Our own beats, as the store tells of them."""

    names: tuple[str, ...] = ()  # host:pid of those at work
    heartbeat_age: float | None = None  # seconds since the latest of them looked in
    unsent_run: str = ""  # a run that was claimed long ago and not sent
    has_run: bool = False  # whether any beat ever claimed a run here


class AppProcess(msgspec.Struct, frozen=True):
    """A process of this machine that has to do with the app."""

    pid: int
    arguments: tuple[str, ...]

    @property
    def command_line(self) -> str:
        return " ".join(self.arguments)


class FailedJob(msgspec.Struct, frozen=True):
    """A job that failed lately."""

    id: str
    task: str
    error: str


class DeadLetterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The dead letters that wait."""

    count: int = 0
    newest: str = ""


class FailingTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target of alerts that refuses them, or does not answer."""

    target: str
    since: float
    tries: int
    problem: str


class PlatformFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the platforms fare, and which of those followed cannot be asked without a key that is not there."""

    health: tuple[PlatformHealth, ...] = ()
    keyless: tuple[str, ...] = ()
    failing: tuple[FailingTarget, ...] = ()


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    app: str | None = None  # as -A names it; None: livectl's own
    now: float = 0.0
    environ: dict[str, str] = {}
    container: bool = False
    settings_error: str = ""
    app_error: str = ""
    app_hint: str = ""
    conf: SettingsFacts = SettingsFacts()
    store_missing: str = ""  # why beats of this app have nowhere to claim their runs
    servers: tuple[ServerFacts, ...] = ()
    tasks: tuple[TaskFacts, ...] = ()
    schedule: tuple[Schedule, ...] = ()
    schedule_error: str = ""
    unbound: dict[str, str] = {}  # entry -> why its arguments do not fit its task
    routes: dict[str, str] = {}  # task, as the routes spell it -> queue
    destinations: dict[str, str] = {}  # entry -> the queue its job will lie in
    roll: WorkerSurvey = WorkerSurvey()
    queues: tuple[Queue, ...] = ()
    delayed: tuple[DelayedMessage, ...] = ()
    visibility: float | None = None  # seconds, on a Redis broker
    beats: BeatFacts = BeatFacts()
    processes: tuple[AppProcess, ...] = ()
    failures: tuple[FailedJob, ...] = ()
    endless: tuple[str, ...] = ()  # results without expiry, some of them
    letters: DeadLetterFacts = DeadLetterFacts()
    platforms: PlatformFacts = PlatformFacts()

    def setting(self, key: str) -> Any:
        return self.conf.values.get(key)

    def task_names(self) -> set[str]:
        return {task.name for task in self.tasks}

    def reachable_servers(self) -> Iterator[ServerFacts]:
        return (server for server in self.servers if not server.error)
