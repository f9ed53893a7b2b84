"""Renders jobs, queues, workers and dead letters for people: sentences, and tables of 80 columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from livectl.errors import shorten
from livectl.models import JobState
from livectl.ops.jobs.status import END_STATES
from livectl.render import STATE_COLOURS, Column, Paragraph, Stack, View, one_line, sentence, table, with_lines
from livectl.units import format_precise_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.models import Job
    from livectl.ops.cluster.queues import QueueDepths, QueueRates
    from livectl.ops.cluster.workers import WorkerAnswer, WorkerDetails, WorkerList
    from livectl.ops.jobs import dead_letters
    from livectl.ops.jobs.publish_many import BatchSummary
    from livectl.ops.jobs.sender import RevokedJob
    from livectl.ops.jobs.status import JobStatus
    from livectl.ops.protocol.dead_letter import DeadLetter
    from livectl.ops.protocol.message import JobMessage
    from livectl.render import Renderable

MEBIBYTE = 1024 * 1024
LABEL_WIDTH = 10
NAMELESS_CURE = (
    "Jobs say both if the app sets result_extended = True, or if `livectl worker` runs them: from then on, not before."
)
BAR_WIDTH = 40
LONG_ARGUMENTS_CHARS, LONG_RESULT_CHARS = 200, 400

ID = Column("id", "whole")
JOB_COLUMNS = (
    ID,
    Column("state", "state"),
    Column("task", rank=1),
    Column("ago", "number", rank=3),
    Column("result", rank=2),
)
MESSAGE_COLUMNS = (
    ID,
    Column("task"),
    Column("args", rank=3),
    Column("due", "whole", rank=2),
    Column("waits", "number", rank=1),
)
LETTER_COLUMNS = (ID, Column("kind", rank=2), Column("ago", "number", rank=3), Column("task", rank=1), Column("reason"))
QUEUE_COLUMNS = (
    Column("queue"),
    Column("ready", "number"),
    Column("by priority", rank=4),
    Column("unacked", "number", rank=1),
    Column("eta", "number", rank=3),
    Column("oldest", "number", rank=5),
    Column("consumers", "number", rank=2),
)
RATE_COLUMNS = (Column("in/s", "number"), Column("out/s", "number"))
WORKER_COLUMNS = (
    Column("worker", least=16),
    Column("pool", rank=4),
    Column("active", "number"),
    Column("reserved", "number", rank=2),
    Column("done", "number", rank=3),
    Column("age", "number", rank=6),
    Column("memory", "number", rank=5),
    Column("celery", "number", rank=8),
    Column("skew", "number", rank=7),
    Column("queues", rank=1),
)

WORKER_JOB_COLUMNS = (ID, Column("state"), Column("task"), Column("since", "number", rank=2), Column("args", rank=3))

STATE_TEXTS = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.RUNNING: "running",
    JobState.RECEIVED: "received: a worker has it",
    JobState.ETA: "eta: waiting for its time",
    JobState.QUEUED: "queued",
    JobState.REDELIVERY: "redelivery: the worker that had it is gone",
    JobState.RETRYING: "retrying",
    JobState.REVOKED: "revoked",
    JobState.UNKNOWN: "unknown",
}


def job_details(status: JobStatus, *, full: bool = False) -> View:
    """Everything about one job; the traceback instead of the one line, when it is asked for in full."""
    job = status.job
    if full and status.traceback:
        job = msgspec.structs.replace(job, error=status.traceback)
    return View(job, lambda: Stack(*_job_lines(job, status.note, status.progress)))


def job_table(jobs: Sequence[Job], *, more: str = "", nameless: int = 0) -> View:
    """The jobs; `more` says that there are others, and how to see them; `nameless` others may have been wanted."""
    rows = [
        (job.id, str(job.state), job.task or "", _ago_text(job.finished_at or job.started_at), _result_text(job))
        for job in jobs
    ]
    shows_all = "`livectl status ID` shows all of one"
    job_rows = table(JOB_COLUMNS, rows, jobs, empty="No results.", if_cut=shows_all)
    return with_lines(job_rows, [*([more] if more else []), *([nameless_text(nameless)] if nameless else [])])


def nameless_text(count: int) -> str:
    """Why a filter by task or worker may have missed jobs, and the cure."""
    jobs = "1 more job that says" if count == 1 else f"{count} more jobs that say"
    return f"and {jobs} neither task nor worker. {NAMELESS_CURE}"


def _result_text(job: Job) -> str:
    """The result or the error. That a job was revoked is left to its state."""
    error = (job.error or "").removeprefix("TaskRevokedError: ").removeprefix("revoked")
    return _value_text(error if job.error else job.result)


def queue_table(depths: QueueDepths, rates: QueueRates | None = None) -> View:
    """A row for each queue, with rates where the queues were measured twice."""
    columns = (*QUEUE_COLUMNS, *(RATE_COLUMNS if rates else ()))
    rows = []
    for queue in depths.queues:
        rate = (rates or {}).get((queue.name,))
        counts = (
            queue.ready,
            _priorities_text(queue.priorities),
            queue.unacked,
            queue.eta,
            _duration_text(queue.oldest) if queue.ready != 0 else "",
            queue.consumers,
        )
        rate_cells = (_rate_text(rate.inward), _rate_text(rate.outward)) if rate else ("?", "?") if rates else ()
        rows.append((queue.name, *("?" if count is None else str(count) for count in counts), *rate_cells))
    return table(columns, rows, depths.queues, empty="No queues: nothing of this app waits or is read there.")


def message_table(messages: Sequence[JobMessage], *, more: str = "") -> View:
    """The messages; `more` says that there are others, and how to see them."""
    rows = [
        (message.id, message.task, _value_text(message.args), _short_time_text(message.eta), _ago_text(message.sent))
        for message in messages
    ]
    message_rows = table(MESSAGE_COLUMNS, rows, messages, empty="The queue is empty.")
    return with_lines(message_rows, [more] if more else [])


def progress_bar(current: float, total: float) -> str:
    """How far something is, in one line."""
    share = min(1.0, current / total) if total else 1.0
    filled_width = int(share * BAR_WIDTH)
    return f"[{'#' * filled_width}{'.' * (BAR_WIDTH - filled_width)}] {current:g} of {total:g}"


def batch_summary(summary: BatchSummary, total: int) -> View:
    unfinished_text = f", {summary.unfinished} not finished" if summary.unfinished else ""
    unsent_text = f", {total - summary.sent} not sent" if summary.sent < total else ""
    counts = f"{summary.succeeded} succeeded, {summary.failed} failed{unfinished_text}{unsent_text}"
    lines = [f"{counts}, in {format_precise_duration(summary.seconds)}"]
    lines += [f"failed: {job_id}" for job_id in summary.failures]
    if more := summary.failed - len(summary.failures):
        lines.append(f"and {more} more that failed: livectl results --state failed")
    return sentence("\n".join(lines), summary)


def revoked_list(revoked_jobs: Sequence[RevokedJob]) -> View:
    return View(revoked_jobs, lambda: "\n".join(f"{revoked_job.id} {revoked_job.text}" for revoked_job in revoked_jobs))


def dead_letter_table(letters: Sequence[dead_letters.DeadLetterSummary]) -> View:
    rows = [(letter.id, letter.kind, _ago_text(letter.at), letter.task, letter.reason) for letter in letters]
    return table(LETTER_COLUMNS, rows, letters, empty="No dead letters.")


def dead_letter_details(dead_letter: DeadLetter) -> View:
    """One dead letter in full; its payload as JSON, since it can be anything."""
    facts = [
        ("id", dead_letter.id),
        ("kind", dead_letter.kind),
        ("at", _time_text(dead_letter.at, datetime.now(UTC))),
        ("task", dead_letter.task),
    ]
    lines = [_labelled(label, text) for label, text in [*facts, ("reason", dead_letter.reason)] if text]
    body = msgspec.json.format(msgspec.json.encode(dead_letter.payload, enc_hook=str)).decode()
    return View(dead_letter, lambda: Stack(*lines, body))


def worker_table(worker_list: WorkerList) -> View:
    rows = [
        (
            worker.name,
            f"{worker.pool or '?'} {worker.concurrency or ''}".strip(),
            _count_text(worker.active),
            _count_text(worker.reserved),
            _count_text(worker.processed),
            _duration_text(worker.age) or "?",
            f"{worker.memory / MEBIBYTE:.0f} MB" if worker.memory else "?",
            worker.version or "?",
            "?" if worker.skew is None else f"{worker.skew:+.1f} s" if worker.skew else "0",
            ", ".join(worker.queues),
        )
        for worker in worker_list.found
    ]
    return table(WORKER_COLUMNS, rows, worker_list.found, empty="No worker answers.")


def worker_details(worker: WorkerDetails) -> View:
    """All that one worker tells, in sections; what it did not answer is named."""
    stats = worker.stats if isinstance(worker.stats, dict) else {}
    facts = {
        "pid": f"{stats.get('pid', '?')}, up {_duration_text(stats.get('uptime')) or '?'}",
        "queues": _listed(worker.queues),
        "did": _listed(tuple(f"{count} {task}" for task, count in (stats.get("total") or {}).items())),
        "tasks": _listed(worker.registered),
        "revoked": _listed(worker.revoked),
    }
    jobs = [job for part in (worker.active, worker.reserved, worker.scheduled) for job in part or ()]
    silent = [part for part in ("active", "reserved", "scheduled") if getattr(worker, part) is None]
    rows = [
        (job.id, job.state, job.task or "", _ago_text(job.started) or _due_text(job.eta), str(job.args)) for job in jobs
    ]
    settings = worker.settings if isinstance(worker.settings, dict) else {}
    lines = [Paragraph(f"  {name}: {one_line(str(value))}", hanging="  ") for name, value in sorted(settings.items())]
    ending = [f"no answer about {', '.join(silent)}"] if silent else []
    job_table = table(WORKER_JOB_COLUMNS, rows, jobs, empty="No jobs.")
    return View(
        worker,
        lambda: Stack(
            worker.name,
            *(Paragraph(text, label=f"  {label:<{LABEL_WIDTH}}") for label, text in facts.items()),
            job_table.to_renderable(),
            "settings:" if lines else "settings: ?",
            *lines,
            *ending,
        ),
    )


def worker_answers(answers: Sequence[WorkerAnswer]) -> View:
    return View(answers, lambda: "\n".join(f"{answer.worker}: {answer.change}: {answer.text}" for answer in answers))


def _listed(items: Sequence[str] | None) -> str:
    return "?" if items is None else ", ".join(items) or "none"


def _due_text(eta: datetime | None) -> str:
    return f"at {eta:%H:%M:%S}Z" if eta else ""


def event_line(event: Mapping[str, Any], zone: str) -> View:
    """One event: when, what, of which job and worker, and what came of it."""
    kind = str(event.get("type") or "?")
    at = f"{datetime.fromtimestamp(float(event.get('timestamp') or 0), ZoneInfo(zone)):%H:%M:%S}"
    ran = f"in {format_precise_duration(float(event['runtime']))}" if event.get("runtime") is not None else ""
    came = event.get("result") or event.get("exception") or event.get("args")
    words = [at, f"{kind.removeprefix('task-'):<10}", event.get("name"), event.get("uuid"), event.get("hostname"), ran]
    text = "  ".join(str(word) for word in (*words, shorten(str(came)) if came else "") if word)
    return sentence(one_line(text), event)


def _priorities_text(counts: Mapping[str, int] | None) -> str | None:
    """The priorities that have messages; empty when all messages have the usual one."""
    if counts is None:
        return None
    filled_steps = {step: count for step, count in counts.items() if count}
    return " ".join(f"{step}:{count}" for step, count in filled_steps.items()) if set(filled_steps) - {"0"} else ""


def _rate_text(rate: float | None) -> str:
    return "?" if rate is None else f"{rate:.1f}"


def _count_text(count: int | None) -> str:
    return "?" if count is None else str(count)


def _job_lines(job: Job, note: str, progress: tuple[float, float] | None) -> list[Renderable]:
    """A line for each fact that is known."""
    now = datetime.now(UTC)
    facts = [
        ("state", STATE_TEXTS[job.state]),
        ("progress", progress_bar(*progress) if progress else None),
        ("note", note),
        ("task", job.task),
        ("args", _value_text(job.args, LONG_ARGUMENTS_CHARS) if job.args not in (None, []) else None),
        ("kwargs", _value_text(job.kwargs, LONG_ARGUMENTS_CHARS) if job.kwargs not in (None, {}) else None),
        ("queue", _queue_text(job)),
        ("worker", job.worker),
        ("due", _time_text(job.eta, now, may_come=True) if job.state not in END_STATES else None),
        ("sent", _time_text(job.sent_at, now)),
        ("started", _time_text(job.started_at, now)),
        ("finished", _time_text(job.finished_at, now)),
        ("waited", _duration_text(job.waited)),
        ("ran", _duration_text(job.ran)),
        ("retries", str(job.retries) if job.retries else None),
        (
            "result",
            _value_text(job.result, LONG_RESULT_CHARS)
            if job.state is JobState.SUCCEEDED and job.result is not None
            else None,
        ),
        ("error", job.error),
    ]
    lines = [_labelled(label, text) for label, text in facts if text]
    children = [
        f"{'children' if not index else '':<{LABEL_WIDTH}}{child.id} {child.state}"
        for index, child in enumerate(job.children)
    ]
    return [f"{'id':<{LABEL_WIDTH}}{job.id}", *lines, *children]


def _labelled(label: str, text: str) -> Renderable:
    """What is to be copied stays as it is: arguments, results, tracebacks. Words are broken into lines."""
    if label in {"state", "note", "reason"}:
        colour = STATE_COLOURS.get(text.partition(":")[0], "") if label == "state" else ""
        return Paragraph(text, label=f"{label:<{LABEL_WIDTH}}", colour=colour)
    return f"{label:<{LABEL_WIDTH}}{text}"


def _queue_text(job: Job) -> str | None:
    if not job.queue or job.position is None:
        return job.queue
    return f"{job.queue}, position {job.position}"


def _time_text(moment: datetime | None, now: datetime, *, may_come: bool = False) -> str | None:
    """A time and its distance. What has been is never ahead, though the clock of the server that told it may be."""
    if moment is None:
        return None
    seconds_ago = (now - moment).total_seconds()
    seconds_ago = seconds_ago if may_come else max(0.0, seconds_ago)
    distance = format_precise_duration(abs(seconds_ago))
    return f"{moment:%Y-%m-%d %H:%M:%S}Z ({f'{distance} ago' if seconds_ago >= 0 else f'in {distance}'})"


def _ago_text(moment: datetime | None) -> str:
    return format_precise_duration((datetime.now(UTC) - moment).total_seconds()) if moment else ""


def _short_time_text(moment: datetime | None) -> str:
    return f"{moment:%m-%d %H:%M:%S}" if moment else ""


def _duration_text(seconds: float | None) -> str | None:
    return None if seconds is None else format_precise_duration(seconds)


def _value_text(value: Any, max_chars: int = LONG_RESULT_CHARS) -> str:
    """Text as it is, anything else as JSON, cut to so many characters."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return shorten(text, max_chars)
