"""Checks streamers through the workers: sends the jobs, waits for their observations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from livectl import server_check
from livectl.live import check_request
from livectl.models import JobState
from livectl.ops.cluster.workers import WorkerControl
from livectl.ops.jobs import publish_many
from livectl.ops.jobs.publish_many import JobDraft
from livectl.ops.protocol import remote_control

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery import Celery

    from livectl.live.check_request import CheckRequest, StreamerKey
    from livectl.live.polling import CheckBatch
    from livectl.live.views import StreamerView
    from livectl.models import Observation
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.publish_many import SendOptions
    from livectl.ops.protocol.result import JobResult


TASK = "livectl.check"
DUE_NOT_RESERVED = 0.0  # tells the task to reserve its requests from the platform's budget first


def job_args(batch: CheckBatch) -> tuple[str, list[str], float]:
    """The arguments of the task that checks this batch."""
    return batch.platform, batch.ids, DUE_NOT_RESERVED


class RemoteCheck:
    """One check request, with a job for each of its batches."""

    def __init__(self, request: CheckRequest, deployment: Deployment, platform_queues: Mapping[str, str]) -> None:
        self._request = request
        self._deployment = deployment
        self._platform_queues = platform_queues
        self._batches: dict[str, CheckBatch] = {str(uuid4()): batch for batch in request.batches}

    @property
    def jobs(self) -> list[tuple[str, CheckBatch]]:
        """The jobs without a result so far."""
        return list(self._batches.items())

    @property
    def queues(self) -> set[str | None]:
        """Where the jobs go, unless whoever sends them names another queue; None is the usual one."""
        return {self._platform_queues.get(batch.platform) for batch in self._request.batches}

    def unread_queues(self) -> set[str | None]:
        """Those of them that no worker reads which answers: on a shared broker, those of other apps answer too."""
        with WorkerControl(self._deployment) as control:
            replies = control.ask("active_queues").by_worker
        read = {name for reply in replies.values() for name in remote_control.queue_names(reply)}
        return {queue for queue in self.queues if (queue or self._deployment.layout.queues[0]) not in read}

    def send(self, app: Celery, options: SendOptions) -> str:
        """Sends the jobs. Returns the id that `livectl status` takes: of the group, or of the only job."""
        if self._deployment.results is not None:
            server_check.check_server(self._deployment.results)  # Celery would try again for half a minute
        drafts = [
            JobDraft(
                id=job_id,
                args=job_args(batch),
                brief=f"({batch})",
                queue=self._platform_queues.get(batch.platform),
            )
            for job_id, batch in self._batches.items()
        ]
        return publish_many.send_group(app, TASK, drafts, options)

    def wait_for_views(self, until: float) -> Iterator[dict[StreamerKey, StreamerView]]:
        """Yields results as they come, until all are there or the time is up; `jobs` then has the missing ones."""
        for outcomes in publish_many.follow_results(self._deployment, list(self._batches), until):
            views: dict[StreamerKey, StreamerView] = {}
            for job_id, outcome in outcomes.items():
                batch = self._batches.pop(job_id)
                views |= check_request.to_views(self._request, batch, _read_observations(batch, outcome))
            yield views


def _read_observations(batch: CheckBatch, outcome: JobResult) -> list[Observation]:
    if outcome.end_state is JobState.SUCCEEDED:
        return check_request.read_result(batch, outcome.result)
    if outcome.end_state is JobState.REVOKED:
        return check_request.unknown_observations(batch, "its job was taken back, or no worker took it in time")
    return check_request.unknown_observations(batch, f"its job failed: {outcome.error}")
