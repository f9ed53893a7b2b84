"""Records in the job log when a worker of livectl's own app began a job, and how it ended.

Celery itself needs events (-E) for this. Each job costs two writes. Where the store is away, jobs run on unrecorded: a
record is worth no delay.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from celery import signals

from livectl.errors import LivectlError
from livectl.models import JobState
from livectl.ops.jobs import job_log
from livectl.ops.jobs.job_request import JobRequest

if TYPE_CHECKING:
    from redis import Redis

    from livectl.address import Address
    from livectl.ops.jobs.job_log import Fact

STORE_RETRY_PAUSE_S = 10.0  # after the store was away
JOB_STATES = {"SUCCESS": JobState.SUCCEEDED, "IGNORED": JobState.SUCCEEDED, "RETRY": JobState.RETRYING}
CLEARED_FIELDS = ("state", "error", "finished", "message")  # of an earlier try of the same job


class JobEventRecorder:
    """Listens to the signals of a worker. One store for the process, opened at the first job."""

    def __init__(self, address: Address, app: str) -> None:
        self._address = address
        self._app = app
        self._store: Redis | None = None
        self._store_retry_at = 0.0

    def connect_signals(self) -> None:
        """Connects once a process, however often an app is made in it."""
        for signal, handler in (
            (signals.task_prerun, self.record_start),
            (signals.task_postrun, self.record_end),
            (signals.task_failure, self.record_failure),
            (signals.task_revoked, self.record_revocation),
        ):
            signal.connect(handler, weak=False, dispatch_uid=f"livectl.{handler.__name__}")

    def record_start(self, sender: Any, task_id: str, **_: Any) -> None:
        request = sender.request
        queue = (request.delivery_info or {}).get("routing_key")
        facts = {"task": sender.name, "queue": queue, "worker": request.hostname, "retries": request.retries}
        sent = request.get("sent")
        self._write(sender, task_id, clear_ended=True, started=time.time(), sent=_float_or_none(sent), **facts)

    def record_end(self, sender: Any, task_id: str, state: str | None = None, **_: Any) -> None:
        if state == "RETRY":
            self._write(sender, task_id, state=JobState.RETRYING)
        elif state in JOB_STATES:
            self._write(sender, task_id, state=JOB_STATES[state], finished=time.time())

    def record_failure(
        self, sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any
    ) -> None:
        """Records the arguments too, so that the job can be sent again."""
        error = f"{type(exception).__name__}: {exception}"
        request = _encode_request(sender.name, args, kwargs)
        self._write(sender, task_id, state=JobState.FAILED, finished=time.time(), error=error, message=request)

    def record_revocation(self, sender: Any, request: Any, **_: Any) -> None:
        self._write(sender, request.id, state=JobState.REVOKED, finished=time.time())

    def _write(self, task: Any, job_id: str, /, *, clear_ended: bool = False, **facts: Fact) -> None:
        from redis.exceptions import RedisError

        if task.app.main != self._app or time.monotonic() < self._store_retry_at:
            return
        try:
            job_log.write_entry(self._open_store(), job_id, clear=CLEARED_FIELDS if clear_ended else (), **facts)
        except (LivectlError, RedisError, OSError):
            self._store_retry_at = time.monotonic() + STORE_RETRY_PAUSE_S

    def _open_store(self) -> Redis:
        from livectl import redis_client

        if self._store is None:
            self._store = redis_client.open_store(self._address)
        return self._store


def _encode_request(task: str, args: Any, kwargs: Any) -> bytes | None:
    """None for arguments that no message could carry."""
    try:
        return msgspec.json.encode(JobRequest(task=task, args=tuple(args or ()), kwargs=dict(kwargs or {})))
    except (TypeError, ValueError):
        return None


def _float_or_none(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
