"""What a result backend keeps of a job: read from Redis as it lies there, from any other backend through Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import ServerError
from livectl.model import JobState
from livectl.ops.jobs.message import parse_time
from livectl.ops.jobs.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from livectl.ops.cluster.layout import KeyLayout
    from livectl.resp import RedisConnection

MAX_ERROR_CHARS = 300  # characters, of the one line
SQLALCHEMY_PREFIX = "db+"  # begins the address of such a backend

# The states of Celery that are an end, and what they are called here.
STATE_OF_CELERY_STATUS = {
    "SUCCESS": JobState.SUCCEEDED,
    "FAILURE": JobState.FAILED,
    "REVOKED": JobState.REVOKED,
    "REJECTED": JobState.FAILED,
    "IGNORED": JobState.SUCCEEDED,
}


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as its backend has it."""

    id: str
    status: str  # Celery's word: SUCCESS, FAILURE, RETRY, STARTED, or one of the app's own
    result: Any = None
    traceback: str = ""
    finished: datetime | None = None
    children: tuple[str, ...] = ()
    group: str = ""
    task: str | None = None  # from here on: only where the app keeps them (result_extended)
    args: Any = None
    kwargs: Any = None
    worker: str | None = None
    queue: str | None = None
    retries: int | None = None

    @property
    def end_state(self) -> JobState | None:
        """The word for its end, if this is one."""
        return STATE_OF_CELERY_STATUS.get(self.status)

    @property
    def state(self) -> JobState:
        """The word for it as far as a backend alone can tell."""
        return self.end_state or {"RETRY": JobState.RETRYING, "RECEIVED": JobState.RECEIVED}.get(
            self.status, JobState.RUNNING
        )

    @property
    def redacted_result(self) -> Any:
        """The result, for people and programs."""
        return redact(self.result) if self.status == "SUCCESS" else None

    @property
    def error(self) -> str | None:
        """In one line what went wrong."""
        if self.end_state not in {JobState.FAILED, JobState.REVOKED} and self.status != "RETRY":
            return None
        return redact_text(" ".join(_exception_text(self.result).split()), MAX_ERROR_CHARS)


def read_results(connection: RedisConnection, layout: KeyLayout, ids: Sequence[str]) -> dict[str, JobResult]:
    """The outcomes there are, by id."""
    if not ids:
        return {}
    job_results = (parse_result(raw) for raw in connection.execute("MGET", *map(layout.result_key, ids)) if raw)
    return {job_result.id: job_result for job_result in job_results if job_result}


def read_group_members(connection: RedisConnection, layout: KeyLayout, group_id: str) -> tuple[str, ...] | None:
    """The members of a saved group, or None when there is none of that id."""
    raw = connection.execute("GET", layout.group_key(group_id))
    try:
        return parse_group_members((msgspec.json.decode(raw) if raw else {}).get("result"))
    except (msgspec.DecodeError, AttributeError):
        return None


def parse_group_members(saved: Any) -> tuple[str, ...] | None:
    """The ids in a group as Celery saves it: its own, and its members with theirs."""
    match saved:
        case [_, [*children]]:
            return tuple(_child_ids(children))
    return None


def parse_result(raw: bytes) -> JobResult | None:
    """A result as the Redis backend wrote it; None for one that is no JSON."""
    try:
        meta = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    return result_from_meta(meta) if isinstance(meta, dict) else None


def result_from_meta(meta: Mapping[str, Any]) -> JobResult | None:
    if not isinstance(meta.get("task_id"), str) or not isinstance(meta.get("status"), str):
        return None
    retries = meta.get("retries")
    return JobResult(
        id=meta["task_id"],
        status=meta["status"],
        result=meta.get("result"),
        traceback=str(meta.get("traceback") or ""),
        finished=_parse_done_time(meta.get("date_done")),
        children=tuple(_child_ids(meta.get("children") or ())),
        group=str(meta.get("group_id") or ""),
        task=_text_or_none(meta.get("name") or meta.get("task_name")),  # Django's rows have the latter
        args=decode_json_text(meta.get("args")),
        kwargs=decode_json_text(meta.get("kwargs")),
        worker=_text_or_none(meta.get("worker")),
        queue=_text_or_none(meta.get("queue")),
        retries=retries if isinstance(retries, int) else None,
    )


def read_results_through_celery(app: Any, ids: Sequence[str]) -> dict[str, JobResult]:
    """The same from a backend that only Celery can read: a database, a cache, files."""
    try:
        check_database(app)
        metas = [dict(app.backend.get_task_meta(job_id, cache=False)) | {"task_id": job_id} for job_id in ids]
    except NotImplementedError:  # results are disabled
        return {}
    except Exception as error:  # each backend has errors of its own
        raise backend_error(error) from error
    job_results = (result_from_meta(meta) for meta in metas if meta.get("status") != "PENDING")
    return {job_result.id: job_result for job_result in job_results if job_result}


def check_database(app: Any) -> None:
    """Connects to a database of SQLAlchemy's, which Celery would try for eight seconds before it said why not."""
    url = str(app.conf.result_backend or "")
    if not url.startswith(SQLALCHEMY_PREFIX) or app.conf.get("database_engine_callback"):  # who may bring the password
        return
    from celery.backends.database.session import SessionManager

    options = app.conf.database_engine_options or {}
    SessionManager().get_engine(url.removeprefix(SQLALCHEMY_PREFIX), **options).connect().close()


def backend_error(error: Exception) -> ServerError:
    """What is said of a backend that fails: the first of its lines, and the cause of what was tried again in vain."""
    from celery.exceptions import ImproperlyConfigured

    if isinstance(error, ImproperlyConfigured | ImportError):
        return ServerError(f"the result backend cannot be asked: {error}", "Mend result_backend of the app.")
    cause = error.__cause__ or error.__context__ or error
    line = redact_text((str(cause).splitlines() or [type(cause).__name__])[0], MAX_ERROR_CHARS)
    return ServerError(f"the result backend does not answer: {line}", "Look at result_backend, and whether it runs.")


def _child_ids(children: Sequence[Any]) -> list[str]:
    """The ids in Celery's nested tuples: [[id, parent], members], or a bare id."""
    ids = []
    for child in children:
        id_and_parent = child[0] if isinstance(child, list | tuple) and child else child
        child_id = id_and_parent[0] if isinstance(id_and_parent, list | tuple) and id_and_parent else id_and_parent
        if isinstance(child_id, str):
            ids.append(child_id)
    return ids


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


def decode_json_text(value: Any) -> Any:
    """Arguments that a database keeps as JSON inside JSON."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
