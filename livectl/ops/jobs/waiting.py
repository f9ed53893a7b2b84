"""Waits for jobs to end: looks again and again, less and less often."""

from __future__ import annotations

import re
import time
from itertools import chain, repeat
from typing import TYPE_CHECKING

from livectl.errors import UnfinishedError, UsageError
from livectl.model import JobState
from livectl.ops.jobs.verdict import ENDS
from livectl.ops.jobs.whereabouts import Inquiry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.jobs.verdict import Verdict

FOREVER = float("inf")
PAUSES = (0.1, 0.2, 0.4)  # seconds between looks; then one every SLOWEST
SLOWEST = 0.8
LOST_AFTER = 3  # looks in a row that find nothing: what is nowhere does not end

ID = re.compile(r"[^\s*?\x00-\x1f]{1,255}")


def checked(job: str) -> str:
    """The id, if it can be one."""
    if not ID.fullmatch(job):
        shown = job if len(job) < 40 else f"{job[:40]}…"
        raise UsageError(
            f"{shown!r} is no task id",
            "An id is what sending a task returns, like 8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1.",
        )
    return job


def insist_on_results(deployment: Deployment) -> None:
    """Before anything is sent: without a backend nobody would ever know how it went."""
    if not deployment.keeps_results:
        raise UsageError(
            "this app keeps no results: there is nothing to wait for", "Set result_backend in its settings."
        )


def look(deployment: Deployment, job: str) -> Verdict:
    """Once."""
    with Inquiry(deployment) as inquiry:
        return inquiry.answer(job)


def follow(deployment: Deployment, job: str, patience: float) -> Iterator[Verdict]:
    """What is found each time it has changed, until it has ended or patience has."""
    until, lost = time.monotonic() + patience, 0
    last: Verdict | None = None
    for pause in chain(PAUSES, repeat(SLOWEST)):
        found = look(deployment, job)
        if last is None or (found.job, found.progress) != (last.job, last.progress):
            yield found
        last, lost = found, lost + 1 if found.job.state is JobState.UNKNOWN and found.sure else 0
        if found.job.state in ENDS or lost >= LOST_AFTER or time.monotonic() + pause > until:
            return
        time.sleep(pause)


def exit_code(found: Verdict) -> int:
    """0 when it succeeded, 1 when it never will, 6 as long as it may."""
    if found.job.state is JobState.SUCCEEDED:
        return 0
    return 1 if found.job.state in {*ENDS, JobState.UNKNOWN} else UnfinishedError.code
