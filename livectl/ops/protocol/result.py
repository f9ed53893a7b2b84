"""Reads what a result backend of Celery keeps of a job."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.models import JobState
from livectl.ops.protocol.message import parse_time
from livectl.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MAX_ERROR_CHARS = 300  # of the one line

# The states of Celery that are an end, and what they are called here.
END_STATE_OF_STATUS = {
    "SUCCESS": JobState.SUCCEEDED,
    "FAILURE": JobState.FAILED,
    "REVOKED": JobState.REVOKED,
    "REJECTED": JobState.FAILED,
    "IGNORED": JobState.SUCCEEDED,
}
UNREADABLE = "UNREADABLE"  # our own word: it lies there, and cannot be decoded
STATUS_OF_STATE = {"succeeded": "SUCCESS", "failed": "FAILURE", "revoked": "REVOKED", "retrying": "RETRY"}
STATUS_OF_STATE |= {"dead": "FAILURE"}  # set aside as a dead letter


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as its backend has it."""

    id: str
    status: str  # Celery's word: SUCCESS, FAILURE, RETRY, STARTED, or one of the app's own
    result: Any = None
    traceback: str = ""
    finished: datetime | None = None
    children: tuple[str, ...] = ()
    task: str | None = None  # from here on: only where the app keeps them (result_extended)
    args: Any = None
    kwargs: Any = None
    worker: str | None = None
    queue: str | None = None
    retries: int | None = None
    sent: datetime | None = None  # from here on: only where the job log has them
    started: datetime | None = None

    @property
    def end_state(self) -> JobState | None:
        """The state in which the job ended; None while it may go on."""
        return END_STATE_OF_STATUS.get(self.status)

    @property
    def state(self) -> JobState:
        """The state of the job as far as a backend alone can tell."""
        open_states = {"RETRY": JobState.RETRYING, "RECEIVED": JobState.RECEIVED, UNREADABLE: JobState.UNKNOWN}
        return self.end_state or open_states.get(self.status, JobState.RUNNING)

    @property
    def redacted_result(self) -> Any:
        """The result, for people and programs."""
        return redact(self.result) if self.status == "SUCCESS" else None

    @property
    def error(self) -> str | None:
        """What went wrong, in one line."""
        if self.end_state not in {JobState.FAILED, JobState.REVOKED} and self.status not in {"RETRY", UNREADABLE}:
            return None
        return redact_text(" ".join(_exception_text(self.result).split()), MAX_ERROR_CHARS)


class SavedGroup(NamedTuple):
    """A group as backends save it. Celery's own class would open a connection for each job, only to stop listening."""

    group: str
    jobs: list[str]

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.group, None), [((job_id, None), None) for job_id in self.jobs]


def parse(raw: bytes) -> JobResult | None:
    """A result as the Redis backend wrote it; None for one that is no JSON."""
    try:
        meta = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return from_meta(meta) if isinstance(meta, dict) else None


def from_meta(meta: Mapping[str, Any]) -> JobResult | None:
    """A result as any backend of Celery gives it."""
    if not isinstance(meta.get("task_id"), str) or not isinstance(meta.get("status"), str):
        return None
    retries = meta.get("retries")
    return JobResult(
        id=meta["task_id"],
        status=meta["status"],
        result=meta.get("result"),
        traceback=str(meta.get("traceback") or ""),
        finished=_parse_done_time(meta.get("date_done")),
        children=_child_ids(meta.get("children") or ()),
        task=_text_or_none(meta.get("name") or meta.get("task_name")),  # Django's rows have the latter
        args=_decode_json_text(meta.get("args")),
        kwargs=_decode_json_text(meta.get("kwargs")),
        worker=_text_or_none(meta.get("worker")),
        queue=_text_or_none(meta.get("queue")),
        retries=retries if isinstance(retries, int) else None,
    )


def parse_group(raw: bytes | None) -> tuple[str, ...] | None:
    """The members of a group as the Redis backend saved it; None for what is no group."""
    try:
        saved = msgspec.json.decode(raw) if raw else None
    except (msgspec.DecodeError, RecursionError):
        return None
    match saved:
        case {"result": [_, [*members]]}:
            return _child_ids(members)
    return None


def _child_ids(children: Sequence[Any]) -> tuple[str, ...]:
    """The ids in Celery's nested tuples: [[id, parent], members], or a bare id."""
    ids = []
    for child in children:
        id_and_parent = child[0] if isinstance(child, list | tuple) and child else child
        child_id = id_and_parent[0] if isinstance(id_and_parent, list | tuple) and id_and_parent else id_and_parent
        if isinstance(child_id, str):
            ids.append(child_id)
    return tuple(ids)


def _exception_text(result: Any) -> str:
    if isinstance(result, dict) and "exc_type" in result:
        message = result.get("exc_message")
        parts = message if isinstance(message, list | tuple) else [message]
        return f"{result['exc_type']}: {', '.join(str(part) for part in parts if part is not None)}".removesuffix(": ")
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}".removesuffix(": ")
    return str(result or "")


def _parse_done_time(value: Any) -> datetime | None:
    return parse_time(value.isoformat()) if hasattr(value, "isoformat") else parse_time(value)


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _decode_json_text(value: Any) -> Any:
    """Arguments that a database keeps as JSON inside JSON."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
