"""Counts jobs and runs for Prometheus, in the store: any page that is asked has the numbers of all workers.

livectl:numbers               hash  group, app, two names and a field -> how often, or milliseconds
livectl:numbers:names:GROUP   set   the names that have numbers of their own; MAX_NAMES, the rest are "other", but for
                                    tasks with an `expect:`, which are in a group that Prometheus is shown as "other"
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
MAX_WATCHED = 10_000  # beyond those, of tasks of which something is expected
WATCHED_GROUP = "watch"
OTHER = "other"
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

COUNT_KEYS = [NUMBERS_KEY, *(f"{NUMBERS_KEY}:names:{group}" for group in ("job", "run", "watch"))]
# ARGV: most names, most that are watched, then (group, app, two names, 1 if watched, how many fields, each field and
# its number). KEYS are numbers, and the names of each group.
COUNT_SCRIPT = """
local i, separator = 3, string.char(31)
local names_of = {job = KEYS[2], run = KEYS[3], watch = KEYS[4]}
local function has_place(group, name, most)
  local names = names_of[group]
  if redis.call('SISMEMBER', names, name) == 1 then return true end
  return redis.call('SCARD', names) < tonumber(most) and redis.call('SADD', names, name)
end
while i <= #ARGV do
  local group, app, first, second = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local name = table.concat({app, first, second}, separator)
  if not has_place(group, name, ARGV[1]) then
    if ARGV[i + 4] == '1' and has_place('watch', name, ARGV[2]) then
      group = 'watch'
    else
      name = table.concat({app, 'other', 'other'}, separator)
    end
  end
  local count = tonumber(ARGV[i + 5])
  for at = i + 6, i + 4 + 2 * count, 2 do
    redis.call('HINCRBY', KEYS[1], table.concat({group, name, ARGV[at]}, separator), ARGV[at + 1])
  end
  i = i + 6 + 2 * count
end
return 0
"""


class JobNumbers:
    """What was counted and is not in the store yet."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Counter[str]] = {}
        self._seconds: dict[tuple[str, str, str, str, str], list[float | None]] = {}  # not counted yet
        self._watched: set[tuple[str, str, str]] = set()

    def __bool__(self) -> bool:
        return bool(self._counts or self._seconds)

    def job_started(self, task: str, queue: str, wait: float | None, expect: Expect | None = None) -> None:
        self._count("job", task, queue, "started", "wait", wait)
        if expect:
            self._watch(task, queue, LATE if _is_longer(wait, expect.start_within) else "")

    def job_ended(self, task: str, queue: str, outcome: str, ran: float | None, expect: Expect | None = None) -> None:
        self._count("job", task, queue, outcome, "ran", ran)
        if expect:
            self._watch(task, queue, OVERLONG if _is_longer(ran, expect.end_within) else "")

    def run_sent(self, schedule: str, late: float) -> None:
        self._count("run", schedule, "", "sent", "late", late)

    def runs_missed(self, schedule: str, count: int) -> None:
        self._counts_of("run", schedule, "")["missed"] += count

    def _count(self, group: str, first: str, second: str, field: str, measure: str, seconds: float | None) -> None:
        """For each job: what can be done for many at once is left to `settle`."""
        key = group, first, second, field, measure
        if (known := self._seconds.get(key)) is None:
            known = self._seconds[key] = []
        known.append(seconds)

    def _watch(self, task: str, queue: str, field: str) -> None:
        self._watched.add(_names("job", task, queue))
        if field:
            self._counts_of("job", task, queue)[field] += 1

    def _counts_of(self, group: str, first: str, second: str) -> Counter[str]:
        return self._counts.setdefault(_names(group, first, second), Counter())

    def settle(self) -> None:
        """Counts what came since: times become counts, which take no more room however many there are."""
        noted, self._seconds = self._seconds, {}
        for (group, first, second, field, measure), known in noted.items():
            counts, (buckets, total) = self._counts_of(group, first, second), FIELDS[measure]
            counts[field] += len(known)
            seconds = [max(0.0, each) for each in known if each is not None]
            if seconds:
                counts.update(buckets[bisect_left(BUCKETS_S, each)] for each in seconds)
                counts[total] += sum(round(each * MS_PER_SECOND) for each in seconds)

    def add(self, later: JobNumbers) -> None:
        later.settle()
        for names, counts in later._counts.items():
            self._counts.setdefault(names, Counter()).update(counts)
        self._watched |= later._watched

    def arguments(self, app: str) -> list[str | int]:
        """The arguments of the script that adds them to the numbers of an app."""
        self.settle()
        arguments: list[str | int] = [MAX_NAMES, MAX_WATCHED]
        for names, counts in self._counts.items():
            group, first, second = names
            arguments += [group, app, first, second, int(names in self._watched), len(counts)]
            arguments += [word for pair in counts.items() for word in pair]
        return arguments

    def command(self, app: str) -> Command:
        return ("EVAL", COUNT_SCRIPT, len(COUNT_KEYS), *COUNT_KEYS, *self.arguments(app))


def _names(group: str, first: str, second: str) -> tuple[str, str, str]:
    return group, first[:MAX_NAME_CHARS], second[:MAX_NAME_CHARS]


def _is_longer(seconds: float | None, limit: float | None) -> bool:
    return bool(limit) and seconds is not None and seconds > (limit or 0.0)


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
    """The series of an app out of the hash, by group, at most MAX_NAMES and one for all others in each."""
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for group, first, second, field, number in _rows(flat, app):
        names = ("job", OTHER, OTHER) if group == WATCHED_GROUP else (group, first, second)
        found.setdefault(names, Counter())[field] += number
    groups: dict[str, list[Series]] = {"job": [], "run": []}
    for (group, first, second), fields in sorted(found.items()):
        groups.setdefault(group, []).append(Series(first, second, fields))
    return dict(groups)


def parse_tasks(flat: Mapping[Any, Any], app: str) -> dict[str, Counter[str]]:
    """What was counted of each task of an app over all its queues, also of those that Prometheus is not shown."""
    found: dict[str, Counter[str]] = {}
    for group, task, _, field, number in _rows(flat, app):
        if group in {"job", WATCHED_GROUP}:
            found.setdefault(task, Counter())[field] += number
    return found


def _rows(flat: Mapping[Any, Any], app: str) -> Iterator[tuple[str, str, str, str, int]]:
    for key, value in flat.items():
        text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
        parts = text.split(SEPARATOR)
        if len(parts) == 5 and parts[1] == app and value.isdigit():
            yield parts[0], parts[2], parts[3], parts[4], int(value)
