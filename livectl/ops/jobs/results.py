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
from livectl.ops.jobs.outcome import Outcome
from livectl.ops.jobs.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.jobs.records import Record
    from livectl.resp import Wire

KEYS_A_CALL = 1000
PATIENCE = 60.0  # seconds for millions of results; a hundred thousand take one or two
STATUSES = {"succeeded": "SUCCESS", "failed": "FAILURE", "revoked": "REVOKED", "retrying": "RETRY"}
ENCODED = ("result", "args", "kwargs", "children")  # columns that hold what a serializer made
LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs are wanted, the newest of them first."""

    state: JobState | None = None
    task: str | None = None
    worker: str | None = None
    since: datetime | None = None
    limit: int = 50

    def takes(self, found: Outcome) -> bool:
        return (
            (self.state is None or found.state == self.state)
            and (self.task is None or found.task == self.task)
            and (
                self.worker is None or (found.worker or "").split("@")[0] == self.worker or found.worker == self.worker
            )
            and (self.since is None or (found.finished is not None and found.finished >= self.since))
        )


def recent(deployment: Deployment, wanted: Filter) -> list[Job]:
    """The newest that fit. A backend that cannot list says so."""
    if deployment.results is not None:
        with resp.dial(deployment.results, PATIENCE) as wire:
            kept = _on_redis(wire, deployment.layout.result(""))
            return _newest(_with_notes(kept, _noted(deployment)) if deployment.app is None else kept, wanted)
    if deployment.app is None or not deployment.keeps_results:
        raise LivectlError("this app keeps no results", "Set result_backend in its settings.")
    fitting = (one for one in _listed(deployment.app, wanted) if wanted.takes(one))
    return [describe(one) for one in islice(fitting, wanted.limit)]


def describe(found: Outcome) -> Job:
    return Job(
        id=found.id,
        state=found.state,
        task=found.task,
        args=redact(found.args),
        kwargs=redact(found.kwargs),
        queue=found.queue,
        worker=found.worker,
        finished_at=found.finished,
        retries=found.retries,
        result=found.shown,
        error=found.error,
    )


def _newest(found: Iterable[Outcome], wanted: Filter) -> list[Job]:
    fitting = (one for one in found if wanted.takes(one))
    newest = heapq.nlargest(wanted.limit, fitting, key=lambda one: (one.finished or LONG_AGO, one.id))
    return [describe(one) for one in newest]


def _on_redis(wire: Wire, prefix: str) -> Iterator[Outcome]:
    for keys in _scan(wire, prefix):
        for raw in wire.ask("MGET", *keys):
            if raw and (found := outcomes.understand(raw)):
                yield found


def _scan(wire: Wire, prefix: str) -> Iterator[list[bytes]]:
    cursor: bytes | str = "0"
    while True:
        cursor, keys = wire.ask("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_A_CALL)
        if keys:
            yield keys
        if cursor == b"0":
            return


def _with_notes(kept: Iterable[Outcome], noted: dict[str, Outcome]) -> Iterator[Outcome]:
    """Both, each job once: most jobs of livectl's own leave a note and no result."""
    for one in kept:
        note = noted.pop(one.id, None)
        yield msgspec.structs.replace(one, task=note.task, worker=note.worker, queue=note.queue) if note else one
    yield from noted.values()


def _noted(deployment: Deployment) -> dict[str, Outcome]:
    """The jobs that livectl's own workers noted."""
    if deployment.store is None:
        return {}
    found: dict[str, Outcome] = {}
    with resp.dial(deployment.store, PATIENCE) as wire:
        for keys in _scan(wire, records.key("")):
            ids = [key.decode().removeprefix(records.key("")) for key in keys]
            found |= {job: _from_note(job, note) for job, note in records.read(wire, ids).items() if note.started}
    return found


def _from_note(job: str, note: Record) -> Outcome:
    return Outcome(
        id=job,
        status=STATUSES.get(note.state, "STARTED"),
        result=note.error or None,
        finished=note.finished,
        task=note.task or None,
        worker=note.worker or None,
        queue=note.queue or None,
        retries=note.retries,
    )


def _listed(app: Any, wanted: Filter) -> Iterator[Outcome]:
    """From a database, the newest first, as its own index knows them."""
    try:
        outcomes.try_once(app)
        kind = type(app.backend).__module__
        if kind.startswith("celery.backends.database"):
            yield from _from_sqlalchemy(app.backend, wanted)
        elif kind.startswith("django_celery_results.backends.database"):
            yield from _from_django(app.backend, wanted)
        else:
            raise LivectlError(
                f"{type(app.backend).__name__} gives results by their ids only",
                "Redis, SQLAlchemy and Django's database can list them.",
            )
    except LivectlError:
        raise
    except Exception as error:  # each database has errors of its own
        raise outcomes.unreachable(error) from error


def _from_sqlalchemy(backend: Any, wanted: Filter) -> Iterator[Outcome]:
    with backend.ResultSession() as session:
        query = session.query(backend.task_cls).order_by(backend.task_cls.date_done.desc())
        if wanted.since is not None:
            query = query.filter(backend.task_cls.date_done >= wanted.since.replace(tzinfo=None))
        for row in query.yield_per(KEYS_A_CALL):
            meta = row.to_dict()
            texts = {part: said for part in ENCODED if isinstance(said := meta.get(part), bytes)}
            decoded = {part: _decoded(backend.decode, text) for part, text in texts.items()}
            if found := outcomes.from_meta(meta | decoded):
                yield found


def _from_django(backend: Any, wanted: Filter) -> Iterator[Outcome]:
    rows = backend.TaskModel.objects.order_by("-date_done")
    if wanted.since is not None:
        rows = rows.filter(date_done__gte=wanted.since)
    for row in rows.iterator(chunk_size=KEYS_A_CALL):
        told = {"result": row.result, "args": row.task_args, "kwargs": row.task_kwargs}
        decoded = {part: _decoded(partial(backend.decode_content, row), text) for part, text in told.items()}
        if found := outcomes.from_meta(row.as_dict() | {"name": row.task_name} | decoded):
            yield found


def _decoded(decode: Callable[[Any], Any], text: Any) -> Any:
    """By the backend's own serializer, within what the app accepts; as it lies there, where that fails."""
    try:
        return decode(text)
    except Exception:  # each serializer has errors of its own; one row that nobody can read hides no other
        return text
