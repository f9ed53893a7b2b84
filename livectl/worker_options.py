"""What a worker may be told besides its pool and queues, in the words of `celery worker`, and what does not go with it.

`livectl worker` takes it as options, `workers:` of livectl.yaml as settings; both are checked before anything runs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from livectl.errors import SettingsError
from livectl.pools import GREEN_POOLS, Pool
from livectl.units import ByteSize, Duration  # noqa: TC001 - msgspec reads them

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALING_POOLS: tuple[Pool, ...] = ("prefork", *GREEN_POOLS)  # the others cannot grow or shrink
LIMITING_POOLS: tuple[Pool, ...] = ("prefork", "gevent")  # the others let a job run for as long as it likes
AUTOSCALE = re.compile(r"\s*(\d{1,6})\s*(?:,\s*(\d{1,6})\s*)?")
KIBIBYTE = 1024
MIN_CHILD_KIB = 10 * 1024  # Python alone takes more: each child would be replaced after each job


class WorkerTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `celery worker`, by its names."""

    events: bool = False
    autoscale: str | None = None  # most and fewest jobs at a time: 10,3
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None  # KiB
    time_limit: float | None = None  # seconds
    soft_time_limit: float | None = None  # seconds
    prefetch_multiplier: int | None = None
    exclude_queues: str | None = None
    optimization: Literal["default", "fair"] | None = None
    logfile: str | None = None
    pidfile: str | None = None
    uid: str | None = None
    gid: str | None = None

    def words(self) -> list[str]:
        """As they stand on the command line of `celery worker`."""
        values = msgspec.structs.asdict(self)
        words = ["--task-events"] if values.pop("events") else []
        for name, value in values.items():
            if value is not None:
                words += [_option(name), f"{value:g}" if isinstance(value, float) else str(value)]
        return words


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A worker of `up`, by its name."""

    # how its jobs run; threads for livectl's own app and prefork for others if left out
    pool: Literal["prefork", "threads", "eventlet", "gevent", "solo"] | None = None
    concurrency: int | None = None  # jobs at a time; by the processors if left out
    queues: tuple[str, ...] = ()  # queues that it reads; the app's own if left out
    exclude_queues: tuple[str, ...] = ()  # queues of the app that it does not read
    autoscale: str | None = None  # so many jobs at a time as there is work for, most and fewest: "10,3"
    events: bool = False  # whether it sends an event for each step of a job
    max_tasks_per_child: int | None = None  # a process of its pool is replaced after so many jobs
    max_memory_per_child: ByteSize | None = None  # a process of its pool is replaced once it has more: 200MB
    time_limit: Duration | None = None  # a job that takes longer is killed
    soft_time_limit: Duration | None = None  # a job that takes longer is interrupted
    prefetch_multiplier: int | None = None  # jobs at hand for each that runs; 0 is without a limit
    optimization: Literal["default", "fair"] | None = None  # how the processes of its pool are fed
    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"] = "INFO"  # of its log
    pidfile: str | None = None  # where its pid is written

    def __post_init__(self) -> None:
        for mistake in find_mistakes(self.tuning(), self.pool or "prefork", self.concurrency):
            raise SettingsError(f"{mistake.name}: {mistake.text}", mistake.hint)
        for name in ("concurrency", "max_tasks_per_child"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise SettingsError(f"{name} is {number}, and less than one", "Write 1 or more, or leave it out.")

    def tuning(self) -> WorkerTuning:
        """The options of `celery worker` that it stands for."""
        memory = self.max_memory_per_child
        return WorkerTuning(
            events=self.events,
            autoscale=self.autoscale,
            max_tasks_per_child=self.max_tasks_per_child,
            max_memory_per_child=memory // KIBIBYTE if memory is not None else None,
            time_limit=self.time_limit,
            soft_time_limit=self.soft_time_limit,
            prefetch_multiplier=self.prefetch_multiplier,
            exclude_queues=",".join(self.exclude_queues) or None,
            optimization=self.optimization,
            pidfile=self.pidfile,
        )


class OptionMistake(NamedTuple):
    """An option that cannot be so: its name as a setting, what is wrong, and the cure."""

    name: str
    text: str
    hint: str

    @property
    def option(self) -> str:
        return _option(self.name)


def find_mistakes(tuning: WorkerTuning, pool: Pool, concurrency: int | None) -> Iterator[OptionMistake]:
    """What does not go together, or not with the pool."""
    yield from _scaling_mistakes(tuning, pool, concurrency)
    yield from _limit_mistakes(tuning, pool)
    for name in ("max_tasks_per_child", "max_memory_per_child"):
        if getattr(tuning, name) is not None and pool != "prefork":
            text = f"the {pool} pool has no child processes that could be replaced"
            yield OptionMistake(name, text, "Choose the pool prefork, or leave it out.")
    if tuning.max_memory_per_child is not None and tuning.max_memory_per_child < MIN_CHILD_KIB:
        text = f"{tuning.max_memory_per_child} KiB is less than Python itself takes"
        yield OptionMistake("max_memory_per_child", text, "Write it with its unit: 200MB.")


def _scaling_mistakes(tuning: WorkerTuning, pool: Pool, concurrency: int | None) -> Iterator[OptionMistake]:
    if tuning.autoscale is None:
        return
    form = AUTOSCALE.fullmatch(tuning.autoscale)
    if form is None or not max(int(form[1]), int(form[2] or 0)):
        text = f"{tuning.autoscale!r} is not the most and the fewest jobs at a time"
        yield OptionMistake("autoscale", text, "Write 10,3.")
    if pool not in SCALING_POOLS:
        text = f"the {pool} pool cannot grow and shrink"
        yield OptionMistake("autoscale", text, f"Choose one of {', '.join(SCALING_POOLS)}, or a fixed concurrency.")
    if concurrency is not None:
        text = f"it says how many jobs run at a time, and so does concurrency ({concurrency})"
        yield OptionMistake("autoscale", text, "Keep one of the two.")


def _limit_mistakes(tuning: WorkerTuning, pool: Pool) -> Iterator[OptionMistake]:
    if tuning.time_limit is not None and pool not in LIMITING_POOLS:
        text = f"the {pool} pool cannot end a job that runs"
        yield OptionMistake("time_limit", text, f"Choose one of {', '.join(LIMITING_POOLS)}, or leave it out.")
    if tuning.soft_time_limit is not None and pool != "prefork":
        text = f"the {pool} pool cannot interrupt a job"
        yield OptionMistake("soft_time_limit", text, "Choose the pool prefork, or leave it out.")
    limits = tuning.soft_time_limit, tuning.time_limit
    if limits[0] is not None and limits[1] is not None and limits[0] >= limits[1]:
        text = f"after {limits[0]:g} s the job has been ended already, by the hard limit of {limits[1]:g} s"
        yield OptionMistake("soft_time_limit", text, "Make it shorter than time_limit.")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
