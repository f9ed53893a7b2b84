"""What a result backend keeps of a job: read from Redis as it lies there, from any other backend through Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import ServerError
from livectl.model import JobState
from livectl.ops.jobs.message import instant
from livectl.ops.jobs.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from livectl.ops.cluster.layout import Layout
    from livectl.resp import Wire

LONGEST_ERROR = 300  # characters, of the one line
SQLALCHEMY = "db+"  # begins the address of such a backend

# The states of Celery that are an end, and what they are called here.
ENDS = {
    "SUCCESS": JobState.SUCCEEDED,
    "FAILURE": JobState.FAILED,
    "REVOKED": JobState.REVOKED,
    "REJECTED": JobState.FAILED,
    "IGNORED": JobState.SUCCEEDED,
}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
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
    def end(self) -> JobState | None:
        """The word for its end, if this is one."""
        return ENDS.get(self.status)

    @property
    def state(self) -> JobState:
        """The word for it as far as a backend alone can tell."""
        return self.end or {"RETRY": JobState.RETRYING, "RECEIVED": JobState.RECEIVED}.get(
            self.status, JobState.RUNNING
        )

    @property
    def shown(self) -> Any:
        """The result, for people and programs."""
        return redact(self.result) if self.status == "SUCCESS" else None

    @property
    def error(self) -> str | None:
        """In one line what went wrong."""
        if self.end not in {JobState.FAILED, JobState.REVOKED} and self.status != "RETRY":
            return None
        return redact_text(" ".join(_exception(self.result).split()), LONGEST_ERROR)


def read(wire: Wire, layout: Layout, ids: Sequence[str]) -> dict[str, Outcome]:
    """The outcomes there are, by id."""
    if not ids:
        return {}
    found = (understand(raw) for raw in wire.ask("MGET", *map(layout.result, ids)) if raw)
    return {outcome.id: outcome for outcome in found if outcome}


def read_group(wire: Wire, layout: Layout, group: str) -> tuple[str, ...] | None:
    """The members of a saved group, or None when there is none of that id."""
    raw = wire.ask("GET", layout.group(group))
    try:
        return members((msgspec.json.decode(raw) if raw else {}).get("result"))
    except (msgspec.DecodeError, AttributeError):
        return None


def members(saved: Any) -> tuple[str, ...] | None:
    """The ids in a group as Celery saves it: its own, and its members with theirs."""
    match saved:
        case [_, [*found]]:
            return tuple(_ids(found))
    return None


def understand(raw: bytes) -> Outcome | None:
    """A result as the Redis backend wrote it; None for one that is no JSON."""
    try:
        meta = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    return from_meta(meta) if isinstance(meta, dict) else None


def from_meta(meta: Mapping[str, Any]) -> Outcome | None:
    if not isinstance(meta.get("task_id"), str) or not isinstance(meta.get("status"), str):
        return None
    retries = meta.get("retries")
    return Outcome(
        id=meta["task_id"],
        status=meta["status"],
        result=meta.get("result"),
        traceback=str(meta.get("traceback") or ""),
        finished=_moment(meta.get("date_done")),
        children=tuple(_ids(meta.get("children") or ())),
        group=str(meta.get("group_id") or ""),
        task=_text(meta.get("name") or meta.get("task_name")),  # Django's rows have the latter
        args=plain(meta.get("args")),
        kwargs=plain(meta.get("kwargs")),
        worker=_text(meta.get("worker")),
        queue=_text(meta.get("queue")),
        retries=retries if isinstance(retries, int) else None,
    )


def through_celery(app: Any, ids: Sequence[str]) -> dict[str, Outcome]:
    """The same from a backend that only Celery can read: a database, a cache, files."""
    try:
        try_once(app)
        metas = [dict(app.backend.get_task_meta(job, cache=False)) | {"task_id": job} for job in ids]
    except NotImplementedError:  # results are disabled
        return {}
    except Exception as error:  # each backend has errors of its own
        raise unreachable(error) from error
    found = (from_meta(meta) for meta in metas if meta.get("status") != "PENDING")
    return {outcome.id: outcome for outcome in found if outcome}


def try_once(app: Any) -> None:
    """Connects to a database of SQLAlchemy's, which Celery would try for eight seconds before it said why not."""
    url = str(app.conf.result_backend or "")
    if not url.startswith(SQLALCHEMY) or app.conf.get("database_engine_callback"):  # who may bring the password
        return
    from celery.backends.database.session import SessionManager

    options = app.conf.database_engine_options or {}
    SessionManager().get_engine(url.removeprefix(SQLALCHEMY), **options).connect().close()


def unreachable(error: Exception) -> ServerError:
    """What is said of a backend that fails: the first of its lines, and the cause of what was tried again in vain."""
    from celery.exceptions import ImproperlyConfigured

    if isinstance(error, ImproperlyConfigured | ImportError):
        return ServerError(f"the result backend cannot be asked: {error}", "Mend result_backend of the app.")
    cause = error.__cause__ or error.__context__ or error
    line = redact_text((str(cause).splitlines() or [type(cause).__name__])[0], LONGEST_ERROR)
    return ServerError(f"the result backend does not answer: {line}", "Look at result_backend, and whether it runs.")


def _ids(children: Sequence[Any]) -> list[str]:
    """The ids in Celery's nested tuples: [[id, parent], members], or a bare id."""
    found = []
    for child in children:
        own = child[0] if isinstance(child, list | tuple) and child else child
        first = own[0] if isinstance(own, list | tuple) and own else own
        if isinstance(first, str):
            found.append(first)
    return found


def _exception(result: Any) -> str:
    if isinstance(result, dict) and "exc_type" in result:
        told = result.get("exc_message")
        parts = told if isinstance(told, list | tuple) else [told]
        return f"{result['exc_type']}: {', '.join(str(part) for part in parts if part is not None)}".removesuffix(": ")
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}".removesuffix(": ")
    return str(result or "")


def _moment(said: Any) -> datetime | None:
    return instant(said.isoformat()) if hasattr(said, "isoformat") else instant(said)


def _text(said: Any) -> str | None:
    return said if isinstance(said, str) and said else None


def plain(said: Any) -> Any:
    """Arguments that a database keeps as JSON inside JSON."""
    if not isinstance(said, str | bytes):
        return said
    try:
        return msgspec.json.decode(said)
    except msgspec.DecodeError:
        return said
