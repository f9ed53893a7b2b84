"""Recent jobs out of a result backend: read through as a stream, so that a hundred thousand fit in little memory."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import resp
from livectl.errors import LivectlError
from livectl.model import Job, JobState
from livectl.ops.jobs import outcome as outcomes
from livectl.ops.jobs import records
from livectl.ops.jobs.outcome import JobResult
from livectl.ops.jobs.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.jobs.records import JobLogEntry
    from livectl.resp import RedisConnection

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
        with resp.connect(deployment.results, LIST_TIMEOUT_S) as connection:
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
            if raw and (job_result := outcomes.parse_result(raw)):
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
    with resp.connect(deployment.store, LIST_TIMEOUT_S) as connection:
        for keys in _scan_keys(connection, records.entry_key("")):
            ids = [key.decode().removeprefix(records.entry_key("")) for key in keys]
            job_results |= {
                job_id: _result_from_log_entry(job_id, log_entry)
                for job_id, log_entry in records.read_entries(connection, ids).items()
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
        outcomes.check_database(app)
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
        raise outcomes.backend_error(error) from error


def _from_sqlalchemy(backend: Any, job_filter: ResultFilter) -> Iterator[JobResult]:
    with backend.ResultSession() as session:
        query = session.query(backend.task_cls).order_by(backend.task_cls.date_done.desc())
        if job_filter.since is not None:
            query = query.filter(backend.task_cls.date_done >= job_filter.since.replace(tzinfo=None))
        for row in query.yield_per(KEYS_PER_CALL):
            meta = row.to_dict()
            encoded = {column: value for column in ENCODED_COLUMNS if isinstance(value := meta.get(column), bytes)}
            decoded = {column: _decode_column(backend.decode, value_bytes) for column, value_bytes in encoded.items()}
            if job_result := outcomes.result_from_meta(meta | decoded):
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
        if job_result := outcomes.result_from_meta(row.as_dict() | {"name": row.task_name} | decoded):
            yield job_result


def _decode_column(decode: Callable[[Any], Any], text: Any) -> Any:
    """By the backend's own serializer, within what the app accepts; as it lies there, where that fails."""
    try:
        return decode(text)
    except Exception:  # each serializer has errors of its own; one row that nobody can read hides no other
        return text
