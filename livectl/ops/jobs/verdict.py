"""What the evidence about a job amounts to: one word, what is known besides, and what a person should know of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.model import Child, Job, JobState
from livectl.ops.jobs.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.ops.cluster.workers import Held
    from livectl.ops.jobs.outcome import Outcome
    from livectl.ops.jobs.records import Record
    from livectl.ops.jobs.search import Found

ENDS = {JobState.SUCCEEDED, JobState.FAILED, JobState.REVOKED}
WAITING = {JobState.QUEUED, JobState.ETA, JobState.RECEIVED, JobState.REDELIVERY}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found out about one job."""

    id: str
    outcome: Outcome | None = None
    record: Record | None = None
    found: Found | None = None
    held: Held | None = None
    silent: int = 0  # workers that gave no answer
    searched: bool = True  # whether every queue was looked through

    @property
    def state(self) -> JobState:
        return word(self)


class Verdict(msgspec.Struct, frozen=True):
    """The job, and what a person should know about that answer."""

    job: Job
    note: str = ""
    traceback: str = ""
    progress: tuple[float, float] | None = None  # current and total, of a task that reports them
    sure: bool = True  # whether every place was looked into


def judge(evidence: Evidence, visibility: float, children: tuple[Child, ...] = ()) -> Verdict:
    """What the evidence amounts to. Nothing is asked here."""
    state = word(evidence)
    job = _job(evidence, state, children)
    return Verdict(
        job, _note(evidence, state, visibility), _traceback(evidence), _progress(evidence), evidence.searched
    )


def word(evidence: Evidence) -> JobState:
    outcome, record, held, found = evidence.outcome, evidence.record, evidence.held, evidence.found
    if outcome and outcome.end:
        return outcome.end
    if held and held.holding != "ready":
        return _word_of_held(evidence, held)
    if end := ended(record):
        return end
    if found:
        return _word_of_message(evidence, found)
    begun = (record and record.started) or (outcome and outcome.state is JobState.RUNNING)
    if evidence.silent and begun:
        return JobState.RUNNING
    if not evidence.searched and record and record.sent and not begun:
        return JobState.QUEUED
    return JobState.UNKNOWN


def _word_of_held(evidence: Evidence, held: Held) -> JobState:
    if held.holding == "active":
        return JobState.RUNNING
    if _tries(evidence):
        return JobState.RETRYING
    eta = held.eta or (evidence.found.message.eta if evidence.found else None)
    return JobState.ETA if held.holding == "scheduled" or _ahead(eta) else JobState.RECEIVED


def _word_of_message(evidence: Evidence, found: Found) -> JobState:
    """Of a message that no worker says it has: in its queue, or taken from it."""
    if found.tag and not evidence.silent:
        return JobState.REDELIVERY
    if _tries(evidence):
        return JobState.RETRYING
    if _ahead(found.message.eta):
        return JobState.ETA
    if not found.tag:
        return JobState.QUEUED
    begun = evidence.record and evidence.record.started
    return JobState.RUNNING if begun or evidence.outcome else JobState.RECEIVED


def together(states: Sequence[JobState]) -> JobState:
    """One word for a group: finished when all are, failed when one has."""
    if not states or all(state is JobState.SUCCEEDED for state in states):
        return JobState.SUCCEEDED
    for telling in (JobState.FAILED, JobState.REVOKED, JobState.RUNNING, JobState.RETRYING, JobState.REDELIVERY):
        if telling in states:
            return telling
    waiting = [state for state in states if state is not JobState.SUCCEEDED]
    return JobState.RUNNING if len(waiting) < len(states) and waiting[0] in WAITING else waiting[0]


def _job(evidence: Evidence, state: JobState, children: tuple[Child, ...]) -> Job:
    outcome, record, held = evidence.outcome, evidence.record, evidence.held
    sent_message = evidence.found.message if evidence.found else None
    over = state in ENDS
    sent = _first(sent_message and sent_message.sent, record and record.sent)
    started = _first(held and held.started, record and record.started)
    finished = _first(outcome and outcome.finished, record and record.finished) if over else None
    return Job(
        id=evidence.id,
        state=state,
        task=_first(sent_message and sent_message.task, held and held.task, _of(outcome, "task"), _of(record, "task")),
        args=_first(sent_message and sent_message.args, held and held.args, redact(_of(outcome, "args"))),
        kwargs=_first(sent_message and sent_message.kwargs, held and held.kwargs, redact(_of(outcome, "kwargs"))),
        queue=_first(
            evidence.found and evidence.found.queue, _of(held, "queue"), _of(outcome, "queue"), _of(record, "queue")
        ),
        position=evidence.found.position if evidence.found and state is not JobState.REDELIVERY else None,
        worker=_first(_of(held, "worker"), _of(outcome, "worker"), _of(record, "worker")),
        eta=_first(_of(held, "eta"), sent_message and sent_message.eta, _of(record, "eta")),
        sent_at=sent,
        started_at=started,
        finished_at=finished,
        waited=_between(sent, started),
        ran=_between(started, finished),
        retries=_tries(evidence),
        result=outcome.shown if outcome else None,
        error=_first(outcome and outcome.error, record and over and record.error),
        children=children,
    )


def _note(evidence: Evidence, state: JobState, visibility: float) -> str:
    outcome, found = evidence.outcome, evidence.found
    if state is JobState.REDELIVERY and found and found.delivered:
        back = datetime.fromtimestamp(found.delivered, UTC) + timedelta(seconds=visibility)
        return f"no worker has it any more; it is given to another from {back:%Y-%m-%d %H:%M:%S}Z on"
    if state is JobState.RECEIVED and evidence.held is None:
        return (
            f"{evidence.silent} worker(s) did not answer, as a busy solo pool does: whether it has begun is not known"
        )
    if state is not JobState.UNKNOWN:
        return ""
    began = evidence.record and evidence.record.started
    if began or outcome:
        word = outcome.status if outcome else "STARTED"
        return f"lost: it was {word} when last heard of, and is with no worker and in no queue now"
    if evidence.record and evidence.record.sent and evidence.searched:
        return "lost: it was sent, and is with no worker and in no queue now"
    if not evidence.searched:
        return "no result, no worker has it, and its queues could not be searched to the end"
    return "no result, in no queue, with no worker: never sent here, or its result has expired"


def _traceback(evidence: Evidence) -> str:
    return evidence.outcome.traceback if evidence.outcome else ""


def _progress(evidence: Evidence) -> tuple[float, float] | None:
    """As many tasks report it: a state of their own whose meta has `current` and `total`."""
    meta = evidence.outcome.result if evidence.outcome and not evidence.outcome.end else None
    match meta:
        case {"current": int() | float() as current, "total": int() | float() as total} if total > 0:
            return current, total
    return None


def ended(record: Record | None) -> JobState | None:
    if record is None or not record.finished or record.state not in ENDS:
        return None
    state = JobState(record.state)
    return state if state in ENDS else None


def _tries(evidence: Evidence) -> int | None:
    """How often it was tried again, as far as anyone knows."""
    known = [
        evidence.found.message.retries if evidence.found else None,
        evidence.outcome.retries if evidence.outcome else None,
        evidence.record.retries if evidence.record else None,
        1 if evidence.outcome and evidence.outcome.status == "RETRY" else None,
    ]
    return max((count for count in known if count is not None), default=None)


def _ahead(eta: datetime | None) -> bool:
    return eta is not None and eta > datetime.now(UTC)


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return round(max(0.0, (end - start).total_seconds()), 3) if start and end else None


def _of(thing: Any, name: str) -> Any:
    return getattr(thing, name, None)


def _first(*known: Any) -> Any:
    """The first that says something. An empty list of arguments says something."""
    return next((one for one in known if one not in (None, "", False)), None)
