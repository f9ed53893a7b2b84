"""Counts jobs and runs for Prometheus, in the store: any page that is asked has the numbers of all workers.

livectl:numbers               hash  group, app, two names and a field -> how often, or milliseconds
livectl:numbers:names:GROUP   set   the names that have numbers of their own; MAX_NAMES, the rest are "other"
livectl:numbers:long          hash  app, task and process -> when it was noted, milliseconds so far and id of the oldest
                                    job that the process runs, of tasks with an `expect:`
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl import redis_client
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from livectl.ops.deployment import Deployment
    from livectl.task_settings import Expect

    Command = tuple[str | float | bytes, ...]

NUMBERS_KEY = "livectl:numbers"
MAX_NAMES = 200  # tasks and queues together, and schedules; the script counts the rest as `other`
MAX_NAME_CHARS = 200
BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
SEPARATOR = "\x1f"
FIELDS = {  # of a measure: its buckets, and the sum
    measure: (tuple(f"{measure}:{number}" for number in range(len(BUCKETS_S) + 1)), f"{measure}_ms")
    for measure in ("wait", "ran", "late")
}
LATE, OVERLONG = "late", "overlong"  # fields: jobs that began or ended later than expected
LONG_KEY = "livectl:numbers:long"
LONG_S, LONG_LOOK_S, LONG_STALE_MS = 1.0, 5.0, 30_000

# The clock of the store: those of workers differ. ARGV: field, milliseconds that it has run, job.
NOTE_LONG_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
"""

# most names, then (group, app, two names, how many fields, each field and its number). KEYS are numbers.
COUNT_SCRIPT = """
local i, separator = 2, string.char(31)
while i <= #ARGV do
  local group, app, first, second = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local names, name = KEYS[1] .. ':names:' .. group, table.concat({app, first, second}, separator)
  if redis.call('SISMEMBER', names, name) == 0 then
    if redis.call('SCARD', names) < tonumber(ARGV[1]) then
      redis.call('SADD', names, name)
    else
      name = table.concat({app, 'other', 'other'}, separator)
    end
  end
  local count = tonumber(ARGV[i + 4])
  for at = i + 5, i + 3 + 2 * count, 2 do
    redis.call('HINCRBY', KEYS[1], table.concat({group, name, ARGV[at]}, separator), ARGV[at + 1])
  end
  i = i + 5 + 2 * count
end
return 0
"""


class JobNumbers:
    """What was counted and is not in the store yet."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Counter[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def job_started(self, task: str, queue: str, wait: float | None, expect: Expect | None = None) -> None:
        counts = self._count("job", task, queue, "started", "wait", wait)
        if expect and expect.start_within and wait is not None and wait > expect.start_within:
            counts[LATE] += 1

    def job_ended(self, task: str, queue: str, outcome: str, ran: float | None, expect: Expect | None = None) -> None:
        counts = self._count("job", task, queue, outcome, "ran", ran)
        if expect and expect.end_within and ran is not None and ran > expect.end_within:
            counts[OVERLONG] += 1

    def run_sent(self, schedule: str, late: float) -> None:
        self._count("run", schedule, "", "sent", "late", late)

    def runs_missed(self, schedule: str, count: int) -> None:
        self._counts.setdefault(("run", schedule[:MAX_NAME_CHARS], ""), Counter())["missed"] += count

    def _count(
        self, group: str, first: str, second: str, field: str, measure: str, seconds: float | None
    ) -> Counter[str]:
        names = group, first, second
        if (counts := self._counts.get(names)) is None:
            names = group, first[:MAX_NAME_CHARS], second[:MAX_NAME_CHARS]
            counts = self._counts.setdefault(names, Counter())
        counts[field] += 1
        if seconds is not None:
            buckets, total = FIELDS[measure]
            seconds = max(0.0, seconds)
            counts[buckets[bisect_left(BUCKETS_S, seconds)]] += 1
            counts[total] += round(seconds * MS_PER_SECOND)
        return counts

    def add(self, later: JobNumbers) -> None:
        for names, counts in later._counts.items():
            self._counts.setdefault(names, Counter()).update(counts)

    def arguments(self, app: str) -> list[str | int]:
        """The arguments of the script that adds them to the numbers of an app."""
        arguments: list[str | int] = [MAX_NAMES]
        for (group, first, second), counts in self._counts.items():
            arguments += [group, app, first, second, len(counts)]
            arguments += [word for pair in counts.items() for word in pair]
        return arguments

    def command(self, app: str) -> Command:
        return ("EVAL", COUNT_SCRIPT, 1, NUMBERS_KEY, *self.arguments(app))


class RunningJobs:
    """The jobs that this process runs of tasks of which something is expected: the oldest of each task is noted."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._jobs: dict[str, tuple[str, float]] = {}
        self._noted: dict[str, str] = {}  # task -> the job that the store knows
        self._noted_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._jobs or self._noted)

    def begin(self, job_id: str, task: str, started: float) -> None:
        self._jobs[job_id] = task, started

    def end(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)

    def commands(self, app: str, now: float) -> list[Command]:
        """The commands that note what has changed, or has to be said again."""
        oldest: dict[str, tuple[float, str]] = {}
        for job_id, (task, started) in [*self._jobs.items()]:
            if now - started >= LONG_S:
                oldest[task] = min(oldest.get(task, (started, job_id)), (started, job_id))
        jobs = {task: job_id for task, (_, job_id) in oldest.items()}
        if jobs == self._noted and (now - self._noted_at < LONG_LOOK_S or not jobs):
            return []
        commands: list[Command] = [
            ("HDEL", LONG_KEY, self._field(app, task)) for task in self._noted.keys() - jobs.keys()
        ]
        for task, (started, job_id) in oldest.items():
            age = round((now - started) * MS_PER_SECOND)
            commands.append(("EVAL", NOTE_LONG_SCRIPT, 1, LONG_KEY, self._field(app, task), age, job_id))
        self._noted, self._noted_at = jobs, now
        return commands

    def _field(self, app: str, task: str) -> str:
        return SEPARATOR.join((app, task, self._owner))


class LongJob(NamedTuple):
    """The oldest job of a task that a process runs. Times are UTC milliseconds by the store's clock."""

    started: int
    id: str


def read_long(store: Any, app: str, now: int) -> dict[str, LongJob]:
    """The oldest running job of each task of an app, of those that run for a second at least. Drops what nobody has
    said again: its worker is dead."""
    found: dict[str, LongJob] = {}
    stale = []
    for field, text in store.hgetall(LONG_KEY).items():
        field_app, task, _ = str(field).split(SEPARATOR)
        seen, age, job_id = str(text).split(" ", 2)
        if now - int(seen) > LONG_STALE_MS:
            stale.append(field)
        elif field_app == app:
            job = LongJob(int(seen) - int(age), job_id)
            found[task] = min(found.get(task, job), job)
    if stale:
        store.hdel(LONG_KEY, *stale)
    return found


class Series(msgspec.Struct, frozen=True):
    """The numbers of one task and queue, or of one schedule."""

    first: str
    second: str
    fields: dict[str, int]

    def buckets(self, measure: str) -> list[tuple[str, float]]:
        """The cumulative counts of a histogram, by its upper bounds."""
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        total, buckets = 0, []
        for number, bound in enumerate(bounds):
            total += self.fields.get(f"{measure}:{number}", 0)
            buckets.append((bound, float(total)))
        return buckets

    def seconds(self, measure: str) -> float:
        return self.fields.get(f"{measure}_ms", 0) / MS_PER_SECOND


def read_series(deployment: Deployment, app: str) -> dict[str, Sequence[Series]]:
    """What was counted of the jobs and runs of an app so far."""
    if deployment.store is None:
        return parse_series({}, "")
    with redis_client.connect(deployment.store, trial_write=False) as connection:
        flat = connection.execute("HGETALL", NUMBERS_KEY)
    return parse_series(dict(zip(flat[::2], flat[1::2], strict=True)), app)


def parse_series(flat: Mapping[Any, Any], app: str) -> dict[str, Sequence[Series]]:
    """The series of an app out of the hash, by group; what is none of ours is passed over."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for group, first, second, field, number in _rows(flat, app):
        found.setdefault((group, first, second), {})[field] = number
    groups: dict[str, list[Series]] = {"job": [], "run": []}
    for (group, first, second), fields in sorted(found.items()):
        groups.setdefault(group, []).append(Series(first, second, fields))
    return dict(groups)


def _rows(flat: Mapping[Any, Any], app: str) -> Iterator[tuple[str, str, str, str, int]]:
    for key, value in flat.items():
        text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
        parts = text.split(SEPARATOR)
        if len(parts) == 5 and parts[1] == app and value.isdigit():
            yield parts[0], parts[2], parts[3], parts[4], int(value)
