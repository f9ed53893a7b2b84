"""Counts jobs and runs for Prometheus, in the store: any page that is asked has the numbers of all workers.

livectl:numbers               hash  group, app, two names and a field -> how often, or milliseconds
livectl:numbers:names:GROUP   set   the names that have numbers of their own; MAX_NAMES, the rest are "other"
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from livectl.ops.deployment import Deployment

    Command = tuple[str | float | bytes, ...]

NUMBERS_KEY = "livectl:numbers"
MAX_NAMES = 200  # tasks and queues together, and schedules; the script counts the rest as `other`
MAX_NAME_CHARS = 200
BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
SEPARATOR = "\x1f"

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

    def job_started(self, task: str, queue: str, wait: float | None) -> None:
        self._count("job", task, queue, "started", "wait", wait)

    def job_ended(self, task: str, queue: str, outcome: str, ran: float | None) -> None:
        self._count("job", task, queue, outcome, "ran", ran)

    def run_sent(self, schedule: str, late: float) -> None:
        self._count("run", schedule, "", "sent", "late", late)

    def runs_missed(self, schedule: str, count: int) -> None:
        self._counts.setdefault(("run", schedule[:MAX_NAME_CHARS], ""), Counter())["missed"] += count

    def _count(self, group: str, first: str, second: str, field: str, measure: str, seconds: float | None) -> None:
        names = group, first[:MAX_NAME_CHARS], second[:MAX_NAME_CHARS]
        if (counts := self._counts.get(names)) is None:
            counts = self._counts[names] = Counter()
        counts[field] += 1
        if seconds is not None:
            seconds = max(0.0, seconds)
            counts[f"{measure}:{bisect_left(BUCKETS_S, seconds)}"] += 1
            counts[f"{measure}_ms"] += round(seconds * MS_PER_SECOND)

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
