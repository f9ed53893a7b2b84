"""What livectl.yaml says under `tasks:` of the jobs of a task, by its name or a pattern; and which entry counts."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec

from livectl.errors import SettingsError
from livectl.units import Duration, Rate, Times  # noqa: TC001 - msgspec reads them

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_PRIORITY = 255  # RabbitMQ's; Redis has ten
WILDCARDS = re.compile(r"[*?\[\]]")
PLACE = re.compile(r"args(?:\[(\d{1,3})\]|\.(\d{1,3}))|kwargs\.([^\W\d]\w*)")
PER_TASK = "task"
PER_HINT = "Write args.0 for the first argument, kwargs.customer for one by its name, or task."


class ArgumentPlace(NamedTuple):
    """An argument of a job by its position or its name, or none of these: the task itself."""

    text: str
    number: int | None = None
    name: str = ""


PlaceText = Annotated[ArgumentPlace, "args[0] or kwargs.customer"]


def parse_place(value: Any) -> ArgumentPlace:
    """`args[0]` or, within braces, `args.0`; `kwargs.customer`; `task`."""
    text = str(value).replace(" ", "")
    if text == PER_TASK:
        return ArgumentPlace(text)
    match = PLACE.fullmatch(text)
    if not isinstance(value, str) or not match:
        raise SettingsError("this names no argument", PER_HINT)
    number, other, name = match.groups()
    return ArgumentPlace(text, int(number or other) if number or other else None, name or "")


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How a job that failed is tried again."""

    short: ClassVar[str] = "times"

    times: int = 3  # so often at most, after the first try
    backoff: Duration = 1.0  # before the first of them; doubled each time, up to ten minutes, a random part of it taken
    # only after these errors, by their class or one that it is derived from: ConnectionError, requests.Timeout
    on: tuple[str, ...] = ("Exception",)

    def __post_init__(self) -> None:
        if self.times < 1 or not all(self.on):
            raise SettingsError("times is 1 or more, and on has names of errors", "Write {times: 3, backoff: 10s}.")


class Unique(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a job that is the same as an earlier one."""

    short: ClassVar[str] = "within"

    within: Duration = 0.0  # after a worker took the first; later ones are no duplicates
    by: tuple[PlaceText, ...] = ()  # the arguments that make them the same; all if left out
    # drop: the later is revoked; replace: the earlier is, unless it has begun; join: the later ends as the earlier does
    then: Literal["drop", "replace", "join"] = "drop"
    until: Literal["time", "end"] = "time"  # end: only as long as the first waits or runs

    def __post_init__(self) -> None:
        if self.within <= 0:
            raise SettingsError("there is no time within which jobs are unique", "Write 10m, or {within: 10m}.")


class Expect(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of the jobs of a task: beat tells when it is not so. What is left out, their history says."""

    start_within: Duration | None = None  # from when a job is sent, or its ETA
    end_within: Duration | None = None  # from its start
    succeed: bool = True  # that no job of it fails
    slower_than: Times | None = None  # so many times as long as usual is too slow, on average: 3x

    def __post_init__(self) -> None:
        for name in ("start_within", "end_within"):
            if getattr(self, name) == 0:
                raise SettingsError(f"{name} is some time", f"Write {name}: 1m, or leave it out.")


class TaskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How workers that livectl starts treat the jobs of a task. What an entry leaves out, a less specific one says."""

    concurrency: int | None = None  # so many run at a time, over all workers
    rate: Rate | None = None  # so many begin within a time, over all workers: 100/m
    per: PlaceText | None = None  # both count for each value of this argument apart: args[0], kwargs.customer, or task
    unique: Unique | None = None  # within this time the same job is done once: 10m
    debounce: Duration | None = None  # of jobs that come closer together the last is done, so long after it came
    retry: Retry | None = None  # how often a job that failed is tried again: 3
    timeout: Duration | None = None  # a job that takes longer fails, and is killed 10 s later if it goes on (prefork)
    queue: str | None = None  # where its jobs wait, sent by livectl or by jobs
    priority: int | None = None  # of its jobs, sent by livectl or by jobs: 0 to 9
    # late: acknowledged when it ended, and run again if its worker dies; early: when it begins. Left out it is late
    acks: Literal["late", "early"] | None = None
    expect: Expect | None = None  # what beat watches of its jobs: {start_within: 1m}, or {} for what is usual

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise SettingsError("concurrency is how many run at a time", "Write 1 or more; 1 is one after another.")
        if self.per is not None and self.concurrency is None and self.rate is None and self.debounce is None:
            raise SettingsError("per needs what it counts for", "Write concurrency, rate or debounce beside it.")
        if self.priority is not None and not 0 <= self.priority <= MAX_PRIORITY:
            raise SettingsError("a priority is a number", "Write 0 to 9.")
        if self.unique is not None and self.debounce is not None:
            raise SettingsError("unique and debounce exclude each other", "Keep one of the two.")
        if self.queue == "":
            raise SettingsError("queue has no name", "Write queue: mail, or leave it out.")
        for name in ("debounce", "timeout"):
            if getattr(self, name) == 0:
                raise SettingsError(f"{name} takes some time", f"Write {name}: 5s, or leave it out.")

    @property
    def is_held(self) -> bool:
        """Whether its jobs may have to wait, or are left out, because of others."""
        return any(getattr(self, name) is not None for name in TOGETHER)


TOGETHER = ("concurrency", "rate", "unique", "debounce", "per")


class TaskRule(NamedTuple):
    """What counts for a task: the settings of all entries that fit, and the one by which its jobs are held."""

    settings: TaskSettings
    limit: str = ""

    @property
    def has_limit(self) -> bool:
        return self.settings.concurrency is not None or self.settings.rate is not None


NO_RULE = TaskRule(TaskSettings())


def rule_for(tasks: Mapping[str, TaskSettings], name: str) -> TaskRule:
    """What counts for the task of this name: of each setting what the most specific entry says.

    Those by which a job is held belong together: they are all of one entry.
    """
    fitting = sorted((pattern for pattern in tasks if fnmatchcase(name, pattern)), key=_specificity, reverse=True)
    limit = next((pattern for pattern in fitting if tasks[pattern].is_held), "")
    values: dict[str, Any] = {}
    for pattern in reversed(fitting):
        for key in TaskSettings.__struct_fields__:
            value = getattr(tasks[pattern], key)
            if value is not None and (key not in TOGETHER or pattern == limit):
                values[key] = value
    return TaskRule(TaskSettings(**values), limit) if values else NO_RULE


def expected_of(current: Callable[[], Mapping[str, TaskSettings]]) -> Callable[[str], Expect | None]:
    """Tells by the name of a task what is expected of its jobs, by the settings as they are now."""
    known: dict[str, Expect | None] = {}
    read: Mapping[str, TaskSettings] = {}

    def find(task: str) -> Expect | None:
        nonlocal read
        if (tasks := current()) is not read:
            known.clear()
            read = tasks
        if task not in known:
            known[task] = rule_for(tasks, task).settings.expect
        return known[task]

    return find


def _specificity(pattern: str) -> tuple[bool, int]:
    """A name before each pattern, and a pattern before one of fewer letters."""
    return not WILDCARDS.search(pattern), len(WILDCARDS.sub("", pattern))
