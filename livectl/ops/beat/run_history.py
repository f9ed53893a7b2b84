"""Reads the last run of each entry, how its job ended, and which entries are paused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl import redis_client
from livectl.models import JobState, Run  # noqa: TC001 - msgspec reads the annotations
from livectl.ops.beat import run_store
from livectl.ops.beat.run_store import Pause  # noqa: TC001
from livectl.ops.jobs.status import StatusLookup

if TYPE_CHECKING:
    from livectl.address import Address
    from livectl.ops.deployment import Deployment


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What the store and the results have of entries, by entry. Entries without are left out."""

    last_runs: dict[str, Run] = {}
    job_states: dict[str, JobState] = {}
    pauses: dict[str, Pause] = {}


def read(store: Address, deployment: Deployment) -> RunHistory:
    """Reads it. How jobs ended is known where results are kept, or where the workers are livectl's own."""
    with redis_client.open_store(store) as client:
        last_runs, pauses = run_store.read_last_runs(client), run_store.read_pauses(client)
        task_ids = run_store.read_task_ids(client, last_runs.values())
    with StatusLookup(deployment) as lookup:
        states = lookup.end_states(list(task_ids.values())) if task_ids else {}
    job_states = {run.name: states[task_id] for run, task_id in task_ids.items() if task_id in states}
    return RunHistory(last_runs=last_runs, job_states=job_states, pauses=pauses)
