"""Waits for a job to end: looks it up again and again, less and less often."""

from __future__ import annotations

import re
import time
from itertools import chain, repeat
from typing import TYPE_CHECKING

from livectl.errors import UnfinishedError, UsageError, shorten
from livectl.models import JobState
from livectl.ops.jobs import canvas
from livectl.ops.jobs.status import END_STATES, StatusLookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.status import JobStatus


FOREVER = float("inf")
POLL_PAUSES_S = (0.1, 0.2, 0.4)  # between the first look-ups; afterwards always the longest pause
MAX_POLL_PAUSE_S = 0.8
MAX_UNKNOWN_LOOKUPS = 3  # look-ups in a row that find nothing: a job that is nowhere does not end

JOB_ID_PATTERN = re.compile(r"[^\s*?\x00-\x1f]{1,255}")


def check_job_id(job_id: str) -> str:
    """The id as it is. Raises UsageError for text that cannot be one."""
    if not JOB_ID_PATTERN.fullmatch(job_id):
        shown = shorten(job_id)
        raise UsageError(
            f"{shown!r} is no task id",
            "An id is what sending a task returns, like 8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1.",
        )
    return job_id


def require_result_backend(deployment: Deployment) -> None:
    """Raises UsageError for an app without a result backend. Called before a job is sent that would be waited for."""
    if not deployment.keeps_results:
        raise UsageError(
            f"{deployment.no_results_text}: livectl cannot wait for it",
            "Set result_backend in its settings to a Redis or a database.",
        )


def look_up(deployment: Deployment, job_id: str) -> JobStatus:
    """The status of a job or group at this moment."""
    with StatusLookup(deployment) as lookup:
        return lookup.status(job_id)


def look_up_repeatedly(deployment: Deployment, job_id: str) -> Iterator[tuple[JobStatus, bool]]:
    """The status, looked up each time that it is asked for, and whether it will stay as it is."""
    unknown_lookups = 0
    while True:
        status = look_up(deployment, job_id)
        is_nowhere = status.job.state is JobState.UNKNOWN and status.complete
        unknown_lookups = unknown_lookups + 1 if is_nowhere else 0
        yield status, status.job.state in END_STATES or unknown_lookups >= MAX_UNKNOWN_LOOKUPS


def follow(deployment: Deployment, job_id: str, timeout_s: float) -> Iterator[JobStatus]:
    """Yields the status whenever it has changed, until the job has ended or the time is over. Yields at least once."""
    deadline = time.monotonic() + timeout_s
    last: JobStatus | None = None
    lookups = look_up_repeatedly(deployment, job_id)
    for pause, (status, has_ended) in zip(chain(POLL_PAUSES_S, repeat(MAX_POLL_PAUSE_S)), lookups, strict=False):
        if last is None or (status.job, status.progress) != (last.job, last.progress):
            yield status
        last = status
        if has_ended or time.monotonic() + pause > deadline:
            return
        time.sleep(pause)


def follow_canvas(deployment: Deployment, last_id: str, ids: Sequence[str], timeout_s: float) -> Iterator[JobStatus]:
    """The same of what ends last of several jobs, and may not be sent yet; or of the first that failed."""
    deadline = time.monotonic() + timeout_s
    last: JobStatus | None = None
    for pause in chain(POLL_PAUSES_S, repeat(MAX_POLL_PAUSE_S)):
        with StatusLookup(deployment) as lookup:
            status = lookup.status(last_id)
            if canvas.first_failed(ids, lookup.end_states(ids)):
                time.sleep(POLL_PAUSES_S[0])  # Celery marks what would have followed first, and then the one itself
                status = lookup.status(canvas.first_failed(ids, lookup.end_states(ids)))
        if last is None or (status.job, status.progress) != (last.job, last.progress):
            yield status
        last = status
        if status.job.state in END_STATES or time.monotonic() + pause > deadline:
            return
        time.sleep(pause)


def exit_code(status: JobStatus) -> int:
    """0 when it succeeded, 1 when it never will, 6 as long as it may."""
    if status.job.state is JobState.SUCCEEDED:
        return 0
    return 1 if status.job.state in {*END_STATES, JobState.UNKNOWN} else UnfinishedError.code
