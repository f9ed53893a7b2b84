"""Holds the facts that the checks look at, collected once. What could not be learned is empty or None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from livectl.live.push.push_store import PushHealth  # noqa: TC001 - msgspec reads the annotations
from livectl.models import PlatformHealth, Schedule, StreamerRecord  # noqa: TC001 - msgspec reads the annotations
from livectl.ops.cluster.queues import Queue  # noqa: TC001
from livectl.ops.protocol.delayed import OverdueDelays

if TYPE_CHECKING:
    from collections.abc import Iterator

ServerRole = Literal["broker", "store", "results"]


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Broker, store or result backend. What is known of a Redis alone is marked so."""

    role: ServerRole
    address: str  # without its password
    is_local: bool = False  # its host is this machine, or this container
    error: str = ""  # why it cannot be used
    is_away: bool = False  # nothing takes the connection: no word of the server's own is known
    cure: str = ""
    info: dict[str, str] = {}  # Redis: the fields of INFO
    save_setting: str = ""  # Redis: when it saves itself to disk
    clock_ahead: float = 0.0  # Redis: seconds by which its clock is ahead of this machine's
    nodes: tuple[ServerFacts, ...] = ()  # Redis Cluster: each of its nodes, replicas among them

    @property
    def each(self) -> tuple[ServerFacts, ...]:
        """The server itself, or the nodes of a cluster that answer."""
        return tuple(node for node in self.nodes if not node.error) or (self,)


class WrittenSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as its author wrote it: the name, and where."""

    name: str
    location: str
    namespace: str | None = None


class SettingsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The Celery settings in force, where each comes from, and the names as they were written."""

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}  # of those that are not Celery's defaults
    written: tuple[WrittenSetting, ...] = ()
    overridden: dict[str, str] = {}  # environment variable -> the address that the app has instead
    source: str = ""  # the module that the app reads its settings from


class TaskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How jobs of a task are acknowledged, and how long they may run."""

    name: str
    acks_late: bool = False  # acknowledged after the job ran
    reject_on_worker_lost: bool = False  # to be put back when its worker is lost
    time_limit: float | None = None  # seconds
    wraps_run: bool = False  # its class has a __call__ of its own, which may open a context round each job


class RabbitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How an app on RabbitMQ sends and keeps its messages, by its settings."""

    confirms: bool = False  # whether its publishers wait until the server has a message
    sends_transient: bool = False  # messages that no restart of the server outlives
    transient_queues: tuple[str, ...] = ()  # that none outlives, or that go with their last reader
    globally_prefetched: tuple[str, ...] = ()  # quorum queues whose workers ask for what these refuse


class WorkerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, as it replied to remote control."""

    name: str
    pid: int | None = None
    version: str = ""
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    active: int = 0
    started: float | None = None
    reserved: tuple[str, ...] = ()  # ids of its reserved jobs, without those that wait for their ETA
    visibility_timeout: float | None = None
    unacked_key: str = ""  # Redis: workers that share it give back each other's messages


class WorkerSurvey(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that replied, and how many received the question and did not."""

    workers: tuple[WorkerFacts, ...] = ()
    silent: int = 0
    asked: bool = False
    hoarded_jobs: tuple[str, ...] = ()  # ids that a busy worker had in two looks, while an idle one had nothing to do

    @property
    def complete(self) -> bool:
        return bool(self.workers) and not self.silent


class DelayedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message in a worker's hands whose ETA is further away than the broker waits before it delivers it again."""

    id: str
    task: str
    seconds: float


class StoreUnfit(msgspec.Struct, frozen=True):
    """Why livectl's own workers and beats can do nothing in their store, and what helps; empty where they can."""

    problem: str = ""
    cure: str = ""


class BeatFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The beats of livectl, as the store knows them."""

    names: tuple[str, ...] = ()  # host:pid of each running beat
    heartbeat_age: float | None = None  # seconds since the latest heartbeat
    unsent_run: str = ""  # a run that was claimed long ago and not sent
    has_run: bool = False  # whether any beat ever claimed a run in this store
    failing_entries: dict[str, str] = {}  # entry that has paused itself -> why
    shared_entries: dict[str, str] = {}  # entry that running beats send as different tasks -> which of them sends what


class AppProcess(msgspec.Struct, frozen=True):
    """A process on this machine that runs the app."""

    pid: int
    arguments: tuple[str, ...]
    is_root: bool = False

    @property
    def command_line(self) -> str:
        return " ".join(self.arguments)


class FailedJob(msgspec.Struct, frozen=True):
    """A job that failed lately."""

    id: str
    task: str
    error: str
    finished: float | None = None
    has_succeeded_since: bool = False  # a later job of the same task


class DeadLetterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters there are, and the newest in words."""

    count: int = 0
    newest: str = ""


class FailingTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target of alerts that refuses them, or does not answer."""

    target: str
    since: float
    tries: int
    problem: str


class Gap(msgspec.Struct, frozen=True):
    """Why something could not be looked at, and the ids of the findings that report it already."""

    reason: str
    reported_by: tuple[str, ...] = ()


class PlatformFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The platforms of the streamers who are followed."""

    health: tuple[PlatformHealth, ...] = ()
    followed: int = 0  # streamers that are asked
    slowest: float = 900.0  # seconds between two looks at a streamer, where the budget allows it
    unresolved: tuple[StreamerRecord, ...] = ()  # lines of the follow list that lead to nobody
    more_unresolved: int = 0  # that are not among these
    unread: tuple[StreamerRecord, ...] = ()  # streamers with trouble
    more_unread: tuple[str, ...] = ()  # platforms that have more of them than these
    waiting: int = 0  # streamers of the follow list that no worker has read since it changed
    list_changed: float | None = None  # when that was
    list_path: str = ""
    list_problem: str = ""  # why its file cannot be read
    without_key: tuple[str, ...] = ()  # platforms that answer only with a key, which the settings do not have
    pushed: tuple[PushHealth, ...] = ()  # platforms that the settings let tell of go-lives by themselves


class AlertFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The targets of alerts: of streamers, and of what beats of any app watch."""

    targets: int = 0
    failing: tuple[FailingTarget, ...] = ()


class MisnamedPlatform(msgspec.Struct, frozen=True, kw_only=True):
    """A platform that livectl.yaml names and that there is not."""

    place: str  # platforms, or alerts.NAME.platforms
    name: str
    cure: str  # the one that may be meant, or all that there are


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of an app, its servers, its workers and this machine."""

    app: str | None = None  # as -A names it; None: livectl's own
    app_source: str = ""  # who names it: -A, LIVECTL_APP, or a line of livectl.yaml
    now: float = 0.0
    environ: dict[str, str] = {}
    in_container: bool = False
    needs_restart: tuple[str, ...] = ()  # settings that running processes cannot take over, a line each
    unset_secrets: tuple[str, ...] = ()  # of livectl.yaml, each as a line with its place
    misnamed_platforms: tuple[MisnamedPlatform, ...] = ()  # of livectl.yaml
    job_targets: tuple[str, ...] = ()  # of alerts: those that are told what beats see of runs, workers and queues
    settings_error: str = ""
    app_error: str = ""
    app_hint: str = ""
    settings: SettingsFacts = SettingsFacts()
    rabbitmq: RabbitFacts | None = None  # of an app that is on one
    tasks: tuple[TaskFacts, ...] = ()
    task_entries: tuple[str, ...] = ()  # names and patterns under `tasks:` in livectl.yaml
    schedule: tuple[Schedule, ...] = ()  # the entries that are enabled
    schedule_error: str = ""
    timezone_error: str = ""  # of the app
    broken_entries: dict[str, str] = {}  # entry of the app's beat_schedule -> why it cannot be run
    argument_errors: dict[str, str] = {}  # entry -> why its task does not take its arguments
    routes: dict[str, str] = {}  # task, as the routes spell it -> queue
    destinations: dict[str, str] = {}  # entry -> the queue that its jobs are sent to
    platform_queues: dict[str, str] = {}  # platform -> the queue of its own, where livectl's own app checks it
    task_queues: dict[str, str] = {}  # task of the app -> the queue that its jobs are sent to
    refused_queues: dict[str, str] = {}  # queue or exchange -> why RabbitMQ does not let the app declare it
    classic_queues: tuple[str, ...] = ()  # of the app, as RabbitMQ has them
    waiting_tasks: dict[str, tuple[str, ...]] = {}  # queue of the app -> the tasks of some of the jobs that wait there
    servers: tuple[ServerFacts, ...] = ()
    why_stock: str = ""  # why its workers on Redis have Celery's own transport
    takes_by_plus: bool = False  # whether its workers take their jobs by celery-redis-plus
    plus_messages: dict[str, int] = {}  # queue of the app -> the messages that celery-redis-plus keeps of it
    store_unfit: StoreUnfit = StoreUnfit()
    store_missing: str = ""  # why beats of this app have no store to claim their runs in
    visibility_timeout: float | None = None  # seconds, on a Redis broker
    counts_consumers: bool = False  # whether the broker itself tells who reads a queue, as RabbitMQ does
    survey: WorkerSurvey = WorkerSurvey()
    queues: tuple[Queue, ...] = ()
    delayed_messages: tuple[DelayedMessage, ...] = ()
    overdue_delays: OverdueDelays = OverdueDelays()
    beats: BeatFacts = BeatFacts()
    processes: tuple[AppProcess, ...] = ()
    failed_jobs: tuple[FailedJob, ...] = ()
    endless_results: tuple[str, ...] = ()  # keys of some results without expiry
    dead_letters: DeadLetterFacts = DeadLetterFacts()
    platforms: PlatformFacts = PlatformFacts()
    alerts: AlertFacts = AlertFacts()
    gaps: dict[str, Gap] = {}  # what could not be looked at
    not_applicable: dict[str, str] = {}  # what this app has not, and why

    def setting(self, key: str) -> Any:
        return self.settings.values.get(key)

    def task_names(self) -> set[str]:
        return {task.name for task in self.tasks}

    def reachable_servers(self) -> Iterator[ServerFacts]:
        return (server for server in self.servers if not server.error)
