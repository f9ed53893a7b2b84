"""Jobs, queues and workers as people see them: sentences and tables of 80 columns."""

from __future__ import annotations

from datetime import UTC, datetime
from textwrap import fill
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.model import JobState
from livectl.render import WIDTH, View, sentence, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.model import Job
    from livectl.ops.cluster.fleet import Workers
    from livectl.ops.cluster.purging import Purged
    from livectl.ops.cluster.queues import Depths
    from livectl.ops.cluster.rates import Rates
    from livectl.ops.jobs import deadletters
    from livectl.ops.jobs.bulk import Summary
    from livectl.ops.jobs.desk import Revoked
    from livectl.ops.jobs.message import Message
    from livectl.ops.jobs.verdict import Verdict

MINUTE, HOUR, DAY = 60, 3600, 86_400
MEBIBYTE = 1024 * 1024
LABEL_WIDTH = 10
BAR_WIDTH = 40
SHORT_RESULT = 40  # characters, in a table

WORDS = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.RUNNING: "running",
    JobState.RECEIVED: "received: a worker has it",
    JobState.ETA: "waiting for its time",
    JobState.QUEUED: "queued",
    JobState.REDELIVERY: "waiting for redelivery: the worker that had it is gone",
    JobState.RETRYING: "retrying",
    JobState.REVOKED: "revoked",
    JobState.UNKNOWN: "unknown",
}


def job(found: Verdict, *, full: bool = False) -> View:
    """Everything about one job; the traceback instead of the one line, when it is asked for in full."""
    told = found.job
    if full and found.traceback:
        told = msgspec.structs.replace(told, error=found.traceback)
    return View(told, lambda: "\n".join(_lines(told, found.note, found.progress)))


def jobs(found: Sequence[Job]) -> View:
    rows = [
        (one.id, str(one.state), one.task or "", ago(one.finished_at or one.started_at), _outcome(one)) for one in found
    ]
    return table(("id", "state", "task", "ago", "result"), rows, found, empty="No results.")


def _outcome(one: Job) -> str:
    """The result or the error; of a revoked one not that it was, which is its state."""
    return (one.error or short(one.result)).removeprefix("TaskRevokedError: ").removeprefix("revoked")


def queues(depths: Depths, rates: Rates | None = None) -> View:
    """A row each; the rates between two looks where there were two."""
    columns = (
        "queue",
        "ready",
        "by priority",
        "unacked",
        "eta",
        "oldest",
        "consumers",
        *(("in/s", "out/s") if rates else ()),
    )
    rows = []
    for one in depths.queues:
        speed = (rates or {}).get((one.name,))
        counts = (one.ready, _priorities(one.priorities), one.unacked, one.eta, span(one.oldest), one.consumers)
        more = (_number(speed.inward), _number(speed.outward)) if speed else ("?", "?") if rates else ()
        rows.append((one.name, *("?" if count is None else str(count) for count in counts), *more))
    return table(columns, rows, depths.queues, empty="No queues: nothing was ever sent to this broker.")


def messages(found: Sequence[Message]) -> View:
    rows = [(one.id, one.task, short(one.args), clock(one.eta), ago(one.sent)) for one in found]
    return table(("id", "task", "args", "due", "waits"), rows, found, empty="The queue is empty.")


def counted(tasks: Mapping[str, int]) -> str:
    """How many of what, the most first."""
    most = sorted(tasks.items(), key=lambda one: -one[1])
    return "\n".join(f"{count:>8} {task}" for task, count in most)


def bar(current: float, total: float) -> str:
    """How far something is, on a line of its own."""
    share = min(1.0, current / total) if total else 1.0
    filled = int(share * BAR_WIDTH)
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {current:g} of {total:g}"


def batch(done: Summary, total: int) -> View:
    left = f", {done.unfinished} not finished" if done.unfinished else ""
    unsent = f", {total - done.sent} not sent" if done.sent < total else ""
    text = f"{done.succeeded} succeeded, {done.failed} failed{left}{unsent}, in {span(done.seconds)}"
    return sentence("\n".join([text, *(f"failed: {job}" for job in done.failures)]), done)


def revoked(done: Sequence[Revoked]) -> View:
    return View(done, lambda: "\n".join(f"{one.id} {one.text}" for one in done))


def dead(letters: Sequence[deadletters.Summary]) -> View:
    rows = [(one.id, one.kind, ago(one.at), one.task, one.reason) for one in letters]
    return table(("id", "kind", "ago", "task", "reason"), rows, letters, empty="No dead letters.")


def letter(found: deadletters.Letter) -> View:
    """All of one; the payload as JSON, since it can be anything."""
    facts = [("id", found.id), ("kind", found.kind), ("at", _when(found.at, datetime.now(UTC))), ("task", found.task)]
    lines = [_labelled(label, text) for label, text in [*facts, ("reason", found.reason)] if text]
    body = msgspec.json.format(msgspec.json.encode(found.payload, enc_hook=str)).decode()
    return View(found, lambda: "\n".join([*lines, body]))


def purged(done: Purged) -> View:
    if not done.total:
        return sentence(f"Nothing to take out of {done.queue}.", done)
    held = f", {done.held} of them held by workers and revoked there" if done.held else ""
    return sentence(f"{counted(done.tasks)}\nTaken out of {done.queue}: {done.total}{held}. Saved in {done.file}", done)


def workers(there: Workers) -> View:
    rows = [
        (
            one.name,
            f"{one.pool or '?'} {one.concurrency or ''}".strip(),
            _known(one.active),
            _known(one.reserved),
            _known(one.processed),
            span(one.age) or "?",
            f"{one.memory / MEBIBYTE:.0f} MB" if one.memory else "?",
            one.version or "?",
            "?" if one.skew is None else f"{one.skew:+.1f} s" if one.skew else "0",
            ", ".join(one.queues),
        )
        for one in there.found
    ]
    columns = ("worker", "pool", "active", "reserved", "done", "age", "memory", "celery", "skew", "queues")
    return table(columns, rows, there.found, empty="No worker answers.")


def _priorities(counts: Mapping[str, int] | None) -> str | None:
    """Those that have messages, when not all have the usual one."""
    if counts is None:
        return None
    filled = {step: count for step, count in counts.items() if count}
    return " ".join(f"{step}:{count}" for step, count in filled.items()) if set(filled) - {"0"} else ""


def _number(rate: float | None) -> str:
    return "?" if rate is None else f"{rate:.1f}"


def _known(count: int | None) -> str:
    return "?" if count is None else str(count)


def _lines(told: Job, note: str, progress: tuple[float, float] | None) -> list[str]:
    """A line for each thing that is known."""
    now = datetime.now(UTC)
    facts = [
        ("state", WORDS[told.state]),
        ("progress", bar(*progress) if progress else None),
        ("note", note),
        ("task", told.task),
        ("args", short(told.args, 200) if told.args not in (None, []) else None),
        ("kwargs", short(told.kwargs, 200) if told.kwargs not in (None, {}) else None),
        ("queue", _place(told)),
        ("worker", told.worker),
        ("due", _when(told.eta, now)),
        ("sent", _when(told.sent_at, now)),
        ("started", _when(told.started_at, now)),
        ("finished", _when(told.finished_at, now)),
        ("waited", span(told.waited)),
        ("ran", span(told.ran)),
        ("retries", str(told.retries) if told.retries else None),
        ("result", short(told.result, 400) if told.state is JobState.SUCCEEDED and told.result is not None else None),
        ("error", told.error),
    ]
    lines = [_labelled(label, text) for label, text in facts if text]
    children = [
        f"{'children' if not place else '':<{LABEL_WIDTH}}{child.id} {child.state}"
        for place, child in enumerate(told.children)
    ]
    return [f"{'id':<{LABEL_WIDTH}}{told.id}", *lines, *children]


def _labelled(label: str, text: str) -> str:
    """Talk is broken into lines of a terminal; what was given or came back stays as it is."""
    if label != "note":
        return f"{label:<{LABEL_WIDTH}}{text}"
    return fill(text, WIDTH, initial_indent=f"{label:<{LABEL_WIDTH}}", subsequent_indent=" " * LABEL_WIDTH)


def _place(told: Job) -> str | None:
    if not told.queue or told.position is None:
        return told.queue
    return f"{told.queue}, position {told.position}"


def _when(moment: datetime | None, now: datetime) -> str | None:
    if moment is None:
        return None
    away = (now - moment).total_seconds()
    return f"{moment:%Y-%m-%d %H:%M:%S}Z ({f'{span(away)} ago' if away >= 0 else f'in {span(-away)}'})"


def ago(moment: datetime | None) -> str:
    return (span((datetime.now(UTC) - moment).total_seconds()) or "") if moment else ""


def clock(moment: datetime | None) -> str:
    return f"{moment:%m-%d %H:%M:%S}" if moment else ""


def span(seconds: float | None) -> str | None:
    """A duration in the largest unit that still says something."""
    if seconds is None:
        return None
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2f} s" if seconds < MINUTE / 6 else f"{seconds:.0f} s"


def short(value: Any, longest: int = SHORT_RESULT) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
