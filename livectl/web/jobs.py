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
from livectl.resp import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from livectl.address import Address
    from livectl.model import Job, Schedule
    from livectl.ops.cluster.deployment import Deployment

T = TypeVar("T")

RECENT = 25  # jobs shown
MOST_DEAD = 50
MILLISECONDS = 1000
NOT_REDIS = "this broker does not tell without Celery"
NO_RESULTS = "these results cannot be listed without Celery"


class Part(msgspec.Struct, Generic[T], frozen=True):
    """What was found, or why nothing is known."""

    found: T | None = None
    why: str = ""


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of all of it."""

    workers: Part[fleet.Workers]
    queues: Part[queues.Depths]
    recent: Part[list[Job]]
    dead: Part[list[deadletters.Summary]]


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """What the running beats send, as `livectl schedules list` tells it, and when one of them last looked in."""

    beats: int
    looked_in: float | None  # seconds since the epoch
    rows: list[dict[str, Any]]


def read(deployment: Deployment) -> Jobs:
    on_redis, listed = deployment.on_redis, deployment.results is not None
    return Jobs(
        workers=_part(lambda: _workers(deployment)) if on_redis else Part(why=NOT_REDIS),
        queues=_part(lambda: queues.measure(deployment)) if on_redis else Part(why=NOT_REDIS),
        recent=_part(lambda: _recent(deployment)) if listed else Part(why=NO_RESULTS),
        dead=_part(lambda: deadletters.listed(deployment)[:MOST_DEAD]),
    )


def timetable(client: Redis, deployment: Deployment, store: Address, zone: str) -> Timetable:
    beats, held = runs.seen(client), runs.held(client)
    schedules: dict[str, Schedule] = {each.name: each for one in held.values() for each in one.schedules}
    past = history.read(store, deployment)
    view = listing.entries(list(schedules.values()), past, int(time.time() * MILLISECONDS), zone)
    looked_in = max((beat.at / MILLISECONDS for beat in beats.values()), default=None)
    return Timetable(beats=len(beats), looked_in=looked_in, rows=view.data)


def _workers(deployment: Deployment) -> fleet.Workers:
    with fleet.Crew(deployment) as crew:
        return crew.look()


def _recent(deployment: Deployment) -> list[Job]:
    return results.recent(deployment, results.Filter(limit=RECENT))


def _part(look: Callable[[], T]) -> Part[T]:
    """One part that cannot be read hides no other."""
    try:
        return Part(look())
    except LivectlError as error:
        return Part(why=error.message)
    except Refused as refusal:
        return Part(why=str(refusal))
