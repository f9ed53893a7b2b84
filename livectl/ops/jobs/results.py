"""What a result backend keeps of a job: read from Redis as it lies there, from any other backend through Celery."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError
from livectl.models import Job, JobState
from livectl.ops.jobs import job_log
from livectl.ops.protocol.message import parse_time
from livectl.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.job_log import JobLogEntry
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection


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


KEYS_PER_CALL = 1000
LIST_TIMEOUT_S = 60.0  # seconds for millions of results; a hundred thousand take one or two
CELERY_STATUSES = {"succeeded": "SUCCESS", "failed": "FAILURE", "revoked": "REVOKED", "retrying": "RETRY"}
ENCODED_COLUMNS = ("result", "args", "kwargs", "children")  # columns that hold what a serializer made
EARLIEST_TIME = datetime.min.replace(tzinfo=UTC)


class ResultFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs are wanted, the newest of them first."""

    state: JobState | None = None
    task: str | None = None
    worker: str | None = None
    since: datetime | None = None
    limit: int = 50

    def matches(self, job_result: JobResult) -> bool:
        return (
            (self.state is None or job_result.state == self.state)
            and (self.task is None or job_result.task == self.task)
            and (
                self.worker is None
                or (job_result.worker or "").split("@")[0] == self.worker
                or job_result.worker == self.worker
            )
            and (self.since is None or (job_result.finished is not None and job_result.finished >= self.since))
        )


def list_recent(deployment: Deployment, job_filter: ResultFilter) -> list[Job]:
    """The newest that fit. A backend that cannot list says so."""
    if deployment.results is not None:
        with redis_client.connect(deployment.results, LIST_TIMEOUT_S) as connection:
            stored = _read_redis_results(connection, deployment.layout.result_key(""))
            return _newest(
                _merge_logged(stored, _read_logged(deployment)) if deployment.app is None else stored, job_filter
            )
    if deployment.app is None or not deployment.keeps_results:
        raise LivectlError("this app keeps no results", "Set result_backend in its settings.")
    matching = (
        job_result
        for job_result in _read_database_results(deployment.app, job_filter)
        if job_filter.matches(job_result)
    )
    return [to_job(job_result) for job_result in islice(matching, job_filter.limit)]


def to_job(job_result: JobResult) -> Job:
    return Job(
        id=job_result.id,
        state=job_result.state,
        task=job_result.task,
        args=redact(job_result.args),
        kwargs=redact(job_result.kwargs),
        queue=job_result.queue,
        worker=job_result.worker,
        finished_at=job_result.finished,
        retries=job_result.retries,
        result=job_result.redacted_result,
        error=job_result.error,
    )


def _newest(job_results: Iterable[JobResult], job_filter: ResultFilter) -> list[Job]:
    matching = (job_result for job_result in job_results if job_filter.matches(job_result))
    newest = heapq.nlargest(
        job_filter.limit, matching, key=lambda job_result: (job_result.finished or EARLIEST_TIME, job_result.id)
    )
    return [to_job(job_result) for job_result in newest]


def _read_redis_results(connection: RedisConnection, prefix: str) -> Iterator[JobResult]:
    for keys in _scan_keys(connection, prefix):
        for raw in connection.execute("MGET", *keys):
            if raw and (job_result := parse_result(raw)):
                yield job_result


def _scan_keys(connection: RedisConnection, prefix: str) -> Iterator[list[bytes]]:
    cursor: bytes | str = "0"
    while True:
        cursor, keys = connection.execute("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_PER_CALL)
        if keys:
            yield keys
        if cursor == b"0":
            return


def _merge_logged(stored: Iterable[JobResult], logged: dict[str, JobResult]) -> Iterator[JobResult]:
    """Both, each job once: most jobs of livectl's own leave a note and no result."""
    for job_result in stored:
        logged_result = logged.pop(job_result.id, None)
        yield (
            msgspec.structs.replace(
                job_result, task=logged_result.task, worker=logged_result.worker, queue=logged_result.queue
            )
            if logged_result
            else job_result
        )
    yield from logged.values()


def _read_logged(deployment: Deployment) -> dict[str, JobResult]:
    """The jobs that livectl's own workers noted."""
    if deployment.store is None:
        return {}
    job_results: dict[str, JobResult] = {}
    with redis_client.connect(deployment.store, LIST_TIMEOUT_S) as connection:
        for keys in _scan_keys(connection, job_log.entry_key("")):
            ids = [key.decode().removeprefix(job_log.entry_key("")) for key in keys]
            job_results |= {
                job_id: _result_from_log_entry(job_id, log_entry)
                for job_id, log_entry in job_log.read_entries(connection, ids).items()
                if log_entry.started
            }
    return job_results


def _result_from_log_entry(job_id: str, log_entry: JobLogEntry) -> JobResult:
    return JobResult(
        id=job_id,
        status=CELERY_STATUSES.get(log_entry.state, "STARTED"),
        result=log_entry.error or None,
        finished=log_entry.finished,
        task=log_entry.task or None,
        worker=log_entry.worker or None,
        queue=log_entry.queue or None,
        retries=log_entry.retries,
    )


def _read_database_results(app: Any, job_filter: ResultFilter) -> Iterator[JobResult]:
    """From a database, the newest first, as its own index knows them."""
    try:
        check_database(app)
        backend_module = type(app.backend).__module__
        if backend_module.startswith("celery.backends.database"):
            yield from _from_sqlalchemy(app.backend, job_filter)
        elif backend_module.startswith("django_celery_results.backends.database"):
            yield from _from_django(app.backend, job_filter)
        else:
            raise LivectlError(
                f"{type(app.backend).__name__} gives results by their ids only",
                "Redis, SQLAlchemy and Django's database can list them.",
            )
    except LivectlError:
        raise
    except Exception as error:  # each database has errors of its own
        raise backend_error(error) from error


def _from_sqlalchemy(backend: Any, job_filter: ResultFilter) -> Iterator[JobResult]:
    with backend.ResultSession() as session:
        query = session.query(backend.task_cls).order_by(backend.task_cls.date_done.desc())
        if job_filter.since is not None:
            query = query.filter(backend.task_cls.date_done >= job_filter.since.replace(tzinfo=None))
        for row in query.yield_per(KEYS_PER_CALL):
            meta = row.to_dict()
            encoded = {column: value for column in ENCODED_COLUMNS if isinstance(value := meta.get(column), bytes)}
            decoded = {column: _decode_column(backend.decode, value_bytes) for column, value_bytes in encoded.items()}
            if job_result := result_from_meta(meta | decoded):
                yield job_result


def _from_django(backend: Any, job_filter: ResultFilter) -> Iterator[JobResult]:
    rows = backend.TaskModel.objects.order_by("-date_done")
    if job_filter.since is not None:
        rows = rows.filter(date_done__gte=job_filter.since)
    for row in rows.iterator(chunk_size=KEYS_PER_CALL):
        encoded = {"result": row.result, "args": row.task_args, "kwargs": row.task_kwargs}
        decoded = {
            column: _decode_column(partial(backend.decode_content, row), text) for column, text in encoded.items()
        }
        if job_result := result_from_meta(row.as_dict() | {"name": row.task_name} | decoded):
            yield job_result


def _decode_column(decode: Callable[[Any], Any], text: Any) -> Any:
    """By the backend's own serializer, within what the app accepts; as it lies there, where that fails."""
    try:
        return decode(text)
    except Exception:  # each serializer has errors of its own; one row that nobody can read hides no other
        return text
