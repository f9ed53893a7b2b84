"""Workers of livectl's own app note when each job began and how it ended: for this, Celery itself needs events (-E).

Two writes a job. Where the store is away, jobs run on without notes: a note is worth no delay.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from celery import signals

from livectl.errors import LivectlError
from livectl.model import JobState
from livectl.ops.jobs import records
from livectl.ops.jobs.desk import Order

if TYPE_CHECKING:
    from redis import Redis

    from livectl.address import Address

PAUSE = 10.0  # seconds without a try after the store was away
STATES = {"SUCCESS": JobState.SUCCEEDED, "IGNORED": JobState.SUCCEEDED, "RETRY": JobState.RETRYING}
OVER = ("state", "error", "finished", "message")  # of an earlier try of the same job


class Notes:
    """Listens to a worker's signals and writes them down. One store for the process, opened at the first job."""

    def __init__(self, address: Address, app: str) -> None:
        self._address = address
        self._app = app
        self._store: Redis | None = None
        self._away_until = 0.0

    def listen(self) -> None:
        """Once a process, however often an app is made in it."""
        for signal, hear in (
            (signals.task_prerun, self.began),
            (signals.task_postrun, self.ended),
            (signals.task_failure, self.failed),
            (signals.task_revoked, self.revoked),
        ):
            signal.connect(hear, weak=False, dispatch_uid=f"livectl.{hear.__name__}")

    def began(self, sender: Any, task_id: str, **_: Any) -> None:
        request = sender.request
        queue = (request.delivery_info or {}).get("routing_key")
        facts = {"task": sender.name, "queue": queue, "worker": request.hostname, "retries": request.retries}
        sent = request.get("sent")
        self._note(sender, task_id, clear=True, started=time.time(), sent=_number(sent), **facts)

    def ended(self, sender: Any, task_id: str, state: str | None = None, **_: Any) -> None:
        if state == "RETRY":
            self._note(sender, task_id, state=JobState.RETRYING)
        elif state in STATES:
            self._note(sender, task_id, state=STATES[state], finished=time.time())

    def failed(self, sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any) -> None:
        """With its arguments, so that it can be tried again."""
        error = f"{type(exception).__name__}: {exception}"
        order = _order(sender.name, args, kwargs)
        self._note(sender, task_id, state=JobState.FAILED, finished=time.time(), error=error, message=order)

    def revoked(self, sender: Any, request: Any, **_: Any) -> None:
        self._note(sender, request.id, state=JobState.REVOKED, finished=time.time())

    def _note(self, owner: Any, job: str, /, *, clear: bool = False, **facts: records.Fact) -> None:
        from redis.exceptions import RedisError

        if owner.app.main != self._app or time.monotonic() < self._away_until:
            return
        try:
            records.note(self._open(), job, forget=OVER if clear else (), **facts)
        except (LivectlError, RedisError, OSError):
            self._away_until = time.monotonic() + PAUSE

    def _open(self) -> Redis:
        from livectl import connect

        if self._store is None:
            self._store = connect.open_store(self._address)
        return self._store


def _order(task: str, args: Any, kwargs: Any) -> bytes | None:
    """None for arguments that no message could carry."""
    try:
        return msgspec.json.encode(Order(task=task, args=tuple(args or ()), kwargs=dict(kwargs or {})))
    except (TypeError, ValueError):
        return None


def _number(said: Any) -> float | None:
    return float(said) if isinstance(said, int | float) else None
