"""Orders outside of time: the job of a schedule's entry, sent now."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from livectl import connect
from livectl.errors import LivectlError, ServerError
from livectl.model import Run
from livectl.ops.beat.dues import to_beat_entry
from livectl.ops.jobs import desk

if TYPE_CHECKING:
    from livectl.model import Schedule
    from livectl.ops.cluster.deployment import Deployment


def send_now(deployment: Deployment, app: Any, schedule: Schedule) -> str:
    """As beat would send it, with an id of its own, which comes back."""
    from kombu.exceptions import OperationalError

    from livectl.ops.beat.runs import Claim
    from livectl.ops.jobs import sending

    if deployment.broker is not None:
        connect.check_reachable(deployment.broker)
    task_id, now = str(uuid4()), time.time()
    claim = Claim(Run(schedule.name, int(now * 1000)), 0)
    try:
        sending.publish(app, sending.ClaimedJob(claim, to_beat_entry(schedule), task_id), None, retry=False)
    except OperationalError as error:
        raise ServerError(f"the broker did not take the job: {error}", "Look whether it still runs.") from error
    with suppress(LivectlError, OSError):
        desk.write_job_log(deployment, task_id, task=schedule.task, queue=schedule.options.get("queue"), sent=now)
    return task_id
