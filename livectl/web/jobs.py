"""The jobs behind the wall: workers, queues, schedule, recent jobs, dead letters, read without Celery."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from livectl.errors import LivectlError
from livectl.ops.beat import history, runs
from livectl.ops.cluster import fleet, queues
from livectl.ops.jobs import deadletters, results
from livectl.ops.schedules import listing
from livectl.resp import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from livectl.address import Address
    from livectl.model import Job, Schedule
    from livectl.ops.cluster.deployment import Deployment

SectionT = TypeVar("SectionT")

MAX_RECENT_JOBS = 25  # jobs shown
MAX_DEAD_LETTERS = 50
MS_PER_SECOND = 1000
NOT_REDIS_REASON = "this broker does not tell without Celery"
NO_RESULTS_REASON = "these results cannot be listed without Celery"


class PageSection(msgspec.Struct, Generic[SectionT], frozen=True):
    """What was found, or why nothing is known."""

    found: SectionT | None = None
    why: str = ""


class JobsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of all of it."""

    workers: PageSection[fleet.WorkerList]
    queues: PageSection[queues.QueueDepths]
    recent: PageSection[list[Job]]
    dead: PageSection[list[deadletters.DeadLetterSummary]]


class BeatSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """What the running beats send, as `livectl schedules list` tells it, and when one of them last looked in."""

    beats: int
    looked_in: float | None  # seconds since the epoch
    rows: list[dict[str, Any]]


def read_jobs(deployment: Deployment) -> JobsSnapshot:
    on_redis, can_list_results = deployment.on_redis, deployment.results is not None
    return JobsSnapshot(
        workers=_read_section(lambda: _list_workers(deployment)) if on_redis else PageSection(why=NOT_REDIS_REASON),
        queues=_read_section(lambda: queues.measure(deployment)) if on_redis else PageSection(why=NOT_REDIS_REASON),
        recent=_read_section(lambda: _recent_jobs(deployment))
        if can_list_results
        else PageSection(why=NO_RESULTS_REASON),
        dead=_read_section(lambda: deadletters.list_summaries(deployment)[:MAX_DEAD_LETTERS]),
    )


def read_beat_schedule(client: Redis, deployment: Deployment, store: Address, zone: str) -> BeatSchedule:
    beats, loaded_schedules = runs.read_running_beats(client), runs.read_loaded_schedules(client)
    schedules: dict[str, Schedule] = {
        entry.name: entry for loaded in loaded_schedules.values() for entry in loaded.schedules
    }
    previous_runs = history.read(store, deployment)
    table_view = listing.render_entries(list(schedules.values()), previous_runs, int(time.time() * MS_PER_SECOND), zone)
    looked_in = max((beat.at / MS_PER_SECOND for beat in beats.values()), default=None)
    return BeatSchedule(beats=len(beats), looked_in=looked_in, rows=table_view.data)


def _list_workers(deployment: Deployment) -> fleet.WorkerList:
    with fleet.WorkerControl(deployment) as control:
        return control.list_workers()


def _recent_jobs(deployment: Deployment) -> list[Job]:
    return results.list_recent(deployment, results.ResultFilter(limit=MAX_RECENT_JOBS))


def _read_section(read: Callable[[], SectionT]) -> PageSection[SectionT]:
    """One part that cannot be read hides no other."""
    try:
        return PageSection(read())
    except LivectlError as error:
        return PageSection(why=error.message)
    except RedisReplyError as refusal:
        return PageSection(why=str(refusal))
