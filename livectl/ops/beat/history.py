"""What the store knows of a schedule: the last run of each entry, how its job ended, and who is paused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl import connect
from livectl.model import JobState, Run  # noqa: TC001 - msgspec reads the annotations
from livectl.ops.beat import pauses, runs
from livectl.ops.beat.pauses import Pause  # noqa: TC001
from livectl.ops.jobs.whereabouts import Inquiry

if TYPE_CHECKING:
    from livectl.address import Address
    from livectl.ops.cluster.deployment import Deployment


class History(msgspec.Struct, frozen=True, kw_only=True):
    """By the names of entries. Those without are left out."""

    last: dict[str, Run] = {}
    ended: dict[str, JobState] = {}
    paused: dict[str, Pause] = {}


def read(store: Address, deployment: Deployment) -> History:
    """All of it. How jobs ended is known where results are kept, or where the workers are livectl's own."""
    with connect.open_store(store) as client:
        last, paused = runs.last_runs(client), pauses.paused(client)
        jobs = runs.task_ids(client, last.values())
    with Inquiry(deployment) as inquiry:
        ends = inquiry.ended(list(jobs.values())) if jobs else {}
    ended = {run.name: ends[job] for run, job in jobs.items() if job in ends}
    return History(last=last, ended=ended, paused=paused)
