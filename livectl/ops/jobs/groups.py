"""A group of jobs of one task: sent in one go under one id, and followed until each has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec

from livectl import resp
from livectl.ops.jobs import outcome as outcomes
from livectl.ops.jobs import posting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celery import Celery

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.jobs.outcome import JobResult
    from livectl.ops.jobs.posting import JobDraft, SendOptions

GROUP_POLL_INTERVAL_S = 0.1  # seconds between two looks at what has ended
GROUP_READ_TIMEOUT_S = 10.0  # seconds for one look at thousands of results


class SavedGroup(NamedTuple):
    """A group as Celery saves it. Celery's own results would each open a connection, only to stop listening."""

    group: str
    jobs: list[str]

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.group, None), [((job_id, None), None) for job_id in self.jobs]


def send_group(app: Celery, task: str, drafts: Sequence[JobDraft], options: SendOptions) -> str:
    """On their way; the id of the group, which `livectl status` understands. One job alone is its own group."""
    if len(drafts) == 1:
        posting.publish_jobs(app, task, drafts, options)
        return drafts[0].id
    group = str(uuid4())
    app.backend.save_group(group, SavedGroup(group, [draft.id for draft in drafts]))
    posting.publish_jobs(app, task, drafts, msgspec.structs.replace(options, group=group))
    return group


def follow_results(deployment: Deployment, ids: Sequence[str], deadline: float) -> Iterator[dict[str, JobResult]]:
    """Those that have ended since the last look, until all have or the time, of the monotonic clock, is over."""
    waiting = dict.fromkeys(ids)
    while waiting and time.monotonic() < deadline:
        ended = {
            job_id: job_result
            for job_id, job_result in _read_results(deployment, list(waiting)).items()
            if job_result.end_state
        }
        for job_id in ended:
            del waiting[job_id]
        if ended:
            yield ended
        elif waiting:
            time.sleep(GROUP_POLL_INTERVAL_S)


def _read_results(deployment: Deployment, ids: Sequence[str]) -> dict[str, JobResult]:
    if deployment.results is None:
        from livectl.ops.cluster import deployment as deployments

        app: Any = deployments.celery_client(deployment)
        return outcomes.read_results_through_celery(app, ids)
    with resp.connect(deployment.results, GROUP_READ_TIMEOUT_S) as connection:
        return outcomes.read_results(connection, deployment.layout, ids)
