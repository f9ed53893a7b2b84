"""Reads what the board of `livectl up` tells of jobs: which failed, how deep the queues are, how many a minute."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from livectl import redis_client
from livectl.models import BoardEvent, BoardReading, StatusPart
from livectl.ops.cluster import queues
from livectl.ops.jobs import job_log
from livectl.ops.schedules import schedule_file
from livectl.settings_watch import FileChanges
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from livectl.address import Address
    from livectl.ops.deployment import Deployment


RATE_S = 60.0  # jobs are counted over so long
REPEAT_S = 60.0  # a failure that comes again within it is counted, and told at its end
MAX_FAILURES = 50  # read at once; the rest comes with the next reading
MAX_ERROR_CHARS = 300
AMQP_INTERVAL_S = 10.0  # between two questions to a broker that needs a whole connection for one
QUEUE_RANK, FAILED_RANK, RATE_RANK = 4, 2, 6


class Failure(NamedTuple):
    """A job that has failed, as the job log tells it."""

    id: str
    task: str
    error: str


class JobPulse:
    """Reads the job log and the queues again and again, and tells what has failed since."""

    def __init__(self, find_deployment: Callable[[], Deployment], schedules: Callable[[], Path], since: float) -> None:
        self._find_deployment = find_deployment
        self._schedules = schedules
        self._last = f"{int(since * 1000)}-0"  # the number of the last failure that was read
        self._deployment: Deployment | None = None
        self._ready: int | None = None
        self._counted_at = 0.0
        self._ended = deque[tuple[float, int]]()  # how many had ended, by when that was read
        self._failed = 0
        self._repeats: dict[tuple[str, str], tuple[float, int]] = {}  # told at, and how often since
        self._file = FileChanges(read_schedules)

    def read(self, now: float) -> BoardReading:
        deployment = self._deployment = self._deployment or self._find_deployment()
        events = self._file.events(self._schedules(), now)
        if deployment.store is not None:
            failures, ended = self._read_log(deployment.store, deployment.app_name)
            self._failed += len(failures)
            events += self._tell(failures, now)
            self._count(ended, now)
        if self._ready is None or deployment.on_redis or now - self._counted_at >= AMQP_INTERVAL_S:
            self._ready, self._counted_at = queues.count_ready(deployment), now
        return BoardReading(events=tuple(events), parts=tuple(self._parts()))

    def _read_log(self, store: Address, app: str) -> tuple[list[Failure], int]:
        """What has failed since the last look, and how many jobs have ended so far."""
        with redis_client.connect(store, trial_write=False) as connection:
            entries, ended = connection.execute_all(
                [
                    ("XRANGE", job_log.FAILED_KEY, f"({self._last}", "+", "COUNT", MAX_FAILURES),
                    ("HGET", job_log.ENDED_KEY, app),
                ]
            )
        if entries:
            self._last = entries[-1][0].decode()
        failures = [_parse(flat) for _, flat in entries]
        return [failure for name, failure in failures if name == app], int(ended or 0)

    def _count(self, ended: int, now: float) -> None:
        if self._ended and ended < self._ended[-1][1]:  # a store that was emptied counts anew
            self._ended.clear()
        self._ended.append((now, ended))
        while len(self._ended) > 1 and now - self._ended[1][0] >= RATE_S:
            self._ended.popleft()

    def _tell(self, failures: Sequence[Failure], now: float) -> list[BoardEvent]:
        """A line for each failure, but one a minute for the same again and again."""
        events = []
        for failure in failures:
            kind = (failure.task, failure.error.partition(":")[0])
            told_at, repeated = self._repeats.get(kind, (0.0, 0))
            if now - told_at < REPEAT_S:
                self._repeats[kind] = (told_at, repeated + 1)
                continue
            events.append(_failure_event(failure, now))
            self._repeats[kind] = (now, 0)
        for (task, error), (told_at, repeated) in list(self._repeats.items()):
            if now - told_at >= REPEAT_S:
                del self._repeats[task, error]
                if repeated:
                    text = f"{task}: {error}, {format_count(repeated, 'time')} more within a minute"
                    events.append(
                        BoardEvent(at=now, event="failed", text=text, details={"task": task, "count": repeated})
                    )
        return events

    def _parts(self) -> list[StatusPart]:
        parts = []
        if self._ready is not None:
            parts.append(StatusPart((f"{self._ready:,} queued", ""), QUEUE_RANK))
        if len(self._ended) > 1:
            (since, before), (now, ended) = self._ended[0], self._ended[-1]
            rate = (ended - before) / max(now - since, 1.0) * 60
            parts.append(StatusPart((f"{rate:,.0f} jobs a minute", f"{rate:,.0f}/min", ""), RATE_RANK))
        if self._failed:
            parts.append(StatusPart((f"{self._failed:,} failed",), FAILED_RANK, "bad"))
        return parts


def read_pulse(deployment: Deployment) -> BoardReading:
    """How deep the queues are, for one look."""
    ready = queues.count_ready(deployment)
    return BoardReading(parts=(StatusPart((f"{ready:,} queued",), QUEUE_RANK),), facts={"queued": ready})


def read_schedules(path: Path) -> dict[str, Any]:
    """The entries of the file by name."""
    return {schedule.name: schedule for schedule in schedule_file.load(path, name=path.name).schedules}


def _parse(flat: Sequence[bytes]) -> tuple[str, Failure]:
    """The app of a failure, and the failure."""
    fields = {name.decode(): value.decode(errors="replace") for name, value in zip(flat[::2], flat[1::2], strict=True)}
    return fields.get("app", ""), Failure(fields.get("id", ""), fields.get("task", ""), fields.get("error", ""))


def _failure_event(failure: Failure, now: float) -> BoardEvent:
    error = failure.error[:MAX_ERROR_CHARS]
    details = {"task": failure.task, "job": failure.id, "error": error}
    return BoardEvent(at=now, event="failed", text=f"{failure.task}: {error}", details=details)
