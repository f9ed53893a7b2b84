"""Reads the results of jobs from their backend: from Redis as they lie there, from any other through Celery."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client, server_check
from livectl.errors import LivectlError, ServerError
from livectl.models import Job, JobState
from livectl.ops import deployment as deployments
from livectl.ops.jobs import history
from livectl.ops.jobs.history import JobHistory
from livectl.ops.protocol import result
from livectl.ops.protocol.result import MAX_ERROR_CHARS, STATUS_OF_STATE, JobResult
from livectl.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.history import JobLogEntry
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.redis_client import RedisConnection


SQLALCHEMY_PREFIX = "db+"  # begins the address of a database of SQLAlchemy's
KEYS_PER_CALL = 1000
LIST_TIMEOUT_S = 60.0  # for millions of results; a hundred thousand take one or two
ENCODED_COLUMNS = ("result", "args", "kwargs", "children")  # columns that hold what a serializer made
EARLIEST_TIME = datetime.min.replace(tzinfo=UTC)


class JobList(list[Job]):
    """Jobs, the newest first; `nameless` others were left out only because nobody kept their task and worker."""

    nameless = 0


class ResultFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list, the newest first."""

    state: JobState | None = None
    task: str | None = None
    worker: str | None = None
    since: datetime | None = None
    routine: frozenset[str] = frozenset()  # tasks that are left out unless they failed
    limit: int = 50

    def matches(self, job_result: JobResult) -> bool:
        worker = job_result.worker or ""
        return (
            not (job_result.task in self.routine and job_result.state is not JobState.FAILED)
            and (self.state is None or job_result.state == self.state)
            and (self.task is None or job_result.task == self.task)
            and (self.worker is None or self.worker in {worker, worker.split("@")[0]})
            and (self.since is None or (job_result.finished is not None and job_result.finished >= self.since))
        )


def read_results(connection: RedisConnection, layout: KeyLayout, ids: Sequence[str]) -> dict[str, JobResult]:
    """The results that a Redis keeps of these jobs, by id."""
    if not ids:
        return {}
    job_results = (result.parse(raw) for raw in connection.execute("MGET", *map(layout.result_key, ids)) if raw)
    return {job_result.id: job_result for job_result in job_results if job_result}


def read_group_members(connection: RedisConnection, layout: KeyLayout, group_id: str) -> tuple[str, ...] | None:
    """The members of a saved group; None when there is none of that id."""
    return result.parse_group(connection.execute("GET", layout.group_key(group_id)))


def read_results_through_celery(app: Any, ids: Sequence[str]) -> dict[str, JobResult]:
    """The results in a backend that only Celery can read: a database, a cache, files."""
    try:
        check_backend(app)
        metas = [dict(app.backend.get_task_meta(job_id, cache=False)) | {"task_id": job_id} for job_id in ids]
    except NotImplementedError:  # results are disabled
        return {}
    except LivectlError:
        raise
    except Exception as error:  # each backend has errors of its own
        raise backend_error(error) from error
    job_results = (result.from_meta(meta) for meta in metas if meta.get("status") != "PENDING")
    return {job_result.id: job_result for job_result in job_results if job_result}


def list_recent(deployment: Deployment, job_filter: ResultFilter) -> JobList:
    """The newest jobs that match, by result backend and job log. Raises for a backend that cannot list its results."""
    logged = _read_logged_if_there(deployment)
    if deployment.results is not None:
        with redis_client.connect(deployment.results, LIST_TIMEOUT_S) as connection:
            stored = _read_redis_results(connection, deployment.layout.result_key(""))
            return _pick(_with_unstored(_add_logged(stored, logged), logged), job_filter)
    if deployment.app is not None and deployment.keeps_results:
        stored = _add_logged(_read_backend_results(deployment, job_filter), logged)
        return _pick(_with_unstored(_until_enough(stored, job_filter), logged), job_filter)
    if not _started(logged):
        raise LivectlError(deployment.no_results_text, "Set result_backend in its settings to a Redis or a database.")
    return _pick(_started(logged), job_filter)


def list_logged(deployment: Deployment, job_filter: ResultFilter) -> JobList:
    """The newest jobs that match, by the log of livectl's workers alone."""
    return _pick(_started(_read_logged(deployment)), job_filter)


def _pick(job_results: Iterable[JobResult], job_filter: ResultFilter) -> JobList:
    """Those that match, out of results in no order."""
    jobs, unnamed_filter = JobList(), msgspec.structs.replace(job_filter, task=None, worker=None)

    def count_nameless() -> Iterator[JobResult]:
        for job_result in job_results:
            is_nameless = job_result.task is None and not job_filter.matches(job_result)
            jobs.nameless += is_nameless and unnamed_filter.matches(job_result)
            yield job_result

    jobs += map(to_job, _newest(count_nameless(), job_filter))
    return jobs


def to_job(job_result: JobResult) -> Job:
    return Job(
        id=job_result.id,
        state=job_result.state,
        task=job_result.task,
        args=redact(job_result.args),
        kwargs=redact(job_result.kwargs),
        queue=job_result.queue,
        worker=job_result.worker,
        sent_at=job_result.sent,
        started_at=job_result.started,
        finished_at=job_result.finished,
        waited=seconds_between(job_result.sent, job_result.started),
        ran=seconds_between(job_result.started, job_result.finished),
        retries=job_result.retries,
        result=job_result.redacted_result,
        error=job_result.error,
    )


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return round(max(0.0, (end - start).total_seconds()), 3) if start and end else None


def check_backend(app: Any) -> None:
    """Connects to a Redis or a database of SQLAlchemy's: Celery would try for long before it says what is wrong."""
    if (redis_server := deployments.redis_backend(app)) is not None:
        server_check.check_server(redis_server)
        return
    url = str(app.conf.result_backend or "")
    if not url.startswith(SQLALCHEMY_PREFIX) or app.conf.get("database_engine_callback"):  # may bring the password
        return
    from celery.backends.database.session import SessionManager

    options = app.conf.database_engine_options or {}
    SessionManager().get_engine(url.removeprefix(SQLALCHEMY_PREFIX), **options).connect().close()


def backend_error(error: Exception) -> ServerError:
    """The error of a backend in one line: that of its cause, where it was tried again in vain."""
    from celery.exceptions import ImproperlyConfigured

    if isinstance(error, ImproperlyConfigured | ImportError):
        return ServerError(f"the result backend cannot be asked: {error}", "Mend result_backend of the app.")
    cause = error.__cause__ or error.__context__ or error
    line = redact_text((str(cause).splitlines() or [type(cause).__name__])[0], MAX_ERROR_CHARS)
    return ServerError(f"the result backend does not answer: {line}", "Look at result_backend, and whether it runs.")


def _newest(job_results: Iterable[JobResult], job_filter: ResultFilter) -> list[JobResult]:
    """Those that match, the newest first, out of results in no order."""
    matching = (job_result for job_result in job_results if job_filter.matches(job_result))
    return heapq.nlargest(
        job_filter.limit, matching, key=lambda job_result: (job_result.finished or EARLIEST_TIME, job_result.id)
    )


def _read_redis_results(connection: RedisConnection, prefix: str) -> Iterator[JobResult]:
    for keys in _scan_keys(connection, prefix):
        for raw in connection.execute("MGET", *keys):
            if raw and (job_result := result.parse(raw)):
                yield job_result


def _scan_keys(connection: RedisConnection, prefix: str) -> Iterator[list[bytes]]:
    cursor: bytes | str = "0"
    while True:
        cursor, keys = connection.execute("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_PER_CALL)
        if keys:
            yield keys
        if cursor == b"0":
            return


def _add_logged(stored: Iterable[JobResult], logged: dict[str, JobResult]) -> Iterator[JobResult]:
    """The results with what the job log has beyond them; what is found there is taken out of `logged`."""
    for job_result in stored:
        log = logged.pop(job_result.id, None)
        yield (
            job_result
            if log is None
            else msgspec.structs.replace(
                job_result,
                task=log.task or job_result.task,
                worker=log.worker or job_result.worker,
                queue=log.queue or job_result.queue,
                sent=log.sent,
                started=log.started,
            )
        )


def _with_unstored(stored: Iterable[JobResult], logged: dict[str, JobResult]) -> Iterator[JobResult]:
    """Then the jobs that left no result, as most of livectl's own do."""
    yield from stored
    yield from _started(logged)


def _started(logged: dict[str, JobResult]) -> list[JobResult]:
    """Those that a worker took: of others nothing but their sending is known."""
    return [job_result for job_result in logged.values() if job_result.started]


def _until_enough(newest_first: Iterable[JobResult], job_filter: ResultFilter) -> Iterator[JobResult]:
    """The first of them, with as many that match as are wanted: a database may have millions."""
    wanted = job_filter.limit
    for job_result in newest_first:
        yield job_result
        wanted -= job_filter.matches(job_result)
        if not wanted:
            return


def _read_logged_if_there(deployment: Deployment) -> dict[str, JobResult]:
    """A store that is away costs an app that keeps its results elsewhere no answer."""
    try:
        return _read_logged(deployment)
    except ServerError:
        if deployment.app is None or not deployment.keeps_results:
            raise
        return {}


def _read_logged(deployment: Deployment) -> dict[str, JobResult]:
    """The jobs of the app in the log that livectl's workers write."""
    if deployment.store is None:
        return {}
    name = deployment.app_name
    with redis_client.connect(deployment.store, LIST_TIMEOUT_S) as connection:
        return {
            entry.id: _result_from_log_entry(entry)
            for entry in JobHistory.over(connection).newest_first()
            if entry.app == name and entry.state not in history.UNSENT_STATES
        }


def _result_from_log_entry(log_entry: JobLogEntry) -> JobResult:
    return JobResult(
        id=log_entry.id,
        status=STATUS_OF_STATE.get(log_entry.state, "STARTED"),
        result=log_entry.error or None,
        finished=log_entry.finished,
        task=log_entry.task or None,
        worker=log_entry.worker or None,
        queue=log_entry.queue or None,
        retries=log_entry.retries,
        sent=log_entry.sent,
        started=log_entry.started,
    )


def _read_backend_results(deployment: Deployment, job_filter: ResultFilter) -> Iterator[JobResult]:
    """The results that the app's own backend reads, the newest first: of a database as its index has them."""
    app = deployment.app
    try:
        check_backend(app)
        backend_module = type(app.backend).__module__
        if backend_module.startswith("celery.backends.database"):
            yield from _from_sqlalchemy(app.backend, job_filter)
        elif backend_module.startswith("django_celery_results.backends.database"):
            yield from _from_django(app.backend, job_filter)
        elif backend_module.startswith("celery.backends.redis"):
            yield from _newest(_from_redis(app.backend, deployment.layout.result_key("")), job_filter)
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
            if job_result := result.from_meta(meta | decoded):
                yield job_result


def _from_django(backend: Any, job_filter: ResultFilter) -> Iterator[JobResult]:
    rows = backend.TaskModel.objects.order_by("-date_done")
    if job_filter.since is not None:
        rows = rows.filter(date_done__gte=job_filter.since)
    for row in rows.iterator(chunk_size=KEYS_PER_CALL):
        encoded = {"result": row.result, "args": row.task_args, "kwargs": row.task_kwargs}
        decode = partial(backend.decode_content, row)
        decoded = {column: _decode_column(decode, text) for column, text in encoded.items()}
        if job_result := result.from_meta(row.as_dict() | {"name": row.task_name} | decoded):
            yield job_result


def _from_redis(backend: Any, prefix: str) -> Iterator[JobResult]:
    """The results of an app that writes them in another way than JSON, decoded within what the app accepts."""
    keys = backend.client.scan_iter(match=f"{prefix}*", count=KEYS_PER_CALL)
    while batch := list(islice(keys, KEYS_PER_CALL)):
        for key, raw in zip(batch, backend.client.mget(batch), strict=True):
            job_id = key.decode().removeprefix(prefix)
            if raw and (job_result := _decode_result(backend, job_id, raw)):
                yield job_result


def _decode_result(backend: Any, job_id: str, raw: bytes) -> JobResult | None:
    try:
        return result.from_meta(dict(backend.decode(raw)) | {"task_id": job_id})
    except Exception as error:  # each serializer has errors of its own, and so have the classes that it brings back
        reason = f"its result cannot be read: {type(error).__name__}: {error}"
        return JobResult(id=job_id, status=result.UNREADABLE, result=reason)


def _decode_column(decode: Callable[[Any], Any], text: Any) -> Any:
    """Decodes by the backend's own serializer, within what the app accepts; leaves the text where that fails."""
    try:
        return decode(text)
    except Exception:  # each serializer has errors of its own; one row that nobody can read hides no other
        return text
