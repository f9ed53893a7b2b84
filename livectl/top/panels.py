"""The panels of `livectl top`: the rows of each, the command that shows one row in full, and those behind the keys."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from livectl.live import views as live_views
from livectl.models import JobState
from livectl.ops.beat import views as beat_views
from livectl.ops.jobs import views as job_views
from livectl.render import Paragraph, Stack, View, one_line
from livectl.units import MS_PER_SECOND, format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.live.store_reader import Everybody
    from livectl.models import BoardReading, Job
    from livectl.ops.beat.views import BeatSchedule
    from livectl.ops.cluster.queues import QueueDepths, QueueRates
    from livectl.ops.cluster.workers import WorkerList
    from livectl.ops.jobs.dead_letters import DeadLetterSummary
    from livectl.render import Renderable

MAX_ROWS = 300  # of a panel: who looks for one among more names it, with `/`


class TopSource(Protocol):
    """Where the panels read. Each call reads anew, and raises LivectlError where it cannot."""

    zone: str  # of the times that are shown

    def status(self) -> Sequence[BoardReading]: ...

    def queues(self) -> tuple[QueueDepths, QueueRates | None]: ...

    def workers(self) -> WorkerList: ...

    def jobs(self) -> Sequence[Job]: ...

    def schedules(self) -> BeatSchedule: ...

    def dead_letters(self) -> Sequence[DeadLetterSummary]: ...

    def streamers(self) -> Everybody: ...


class Rows(NamedTuple):
    """What a panel has to show: values of one kind, each with its key, and how they become a table."""

    items: Sequence[Any] = ()
    key: Callable[[Any], str] = str
    to_view: Callable[[Sequence[Any]], View] | None = None
    summary: str = ""  # in the panel's title
    notes: Sequence[str] = ()
    problem: str = ""  # why there is nothing to show

    def matching(self, words: str) -> list[Any]:
        """Those in which each of these words stands, whatever the case; the first of them."""
        wanted = words.lower().split()
        found = (item for item in self.items if not wanted or _has_words(item, wanted))
        return [item for item, _ in zip(found, range(MAX_ROWS), strict=False)]


def _has_words(item: Any, words: Sequence[str]) -> bool:
    text = msgspec.json.encode(item, enc_hook=str).decode().lower()
    return all(word in text for word in words)


class Action(NamedTuple):
    """A key that does something with the chosen row, by a command of livectl."""

    key: str
    name: str
    argv: Callable[[Any], Sequence[str]]
    question: Callable[[Any], str] | None = None  # asked before what cannot be taken back


class Panel(NamedTuple):
    name: str
    read: Callable[[TopSource], Rows]
    detail: Callable[[Any], Sequence[str]]  # the command that shows all of a row
    actions: Sequence[Action] = ()


class CommandOutcome(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    text: str


class CommandRunner(Protocol):
    """Runs a command of livectl for an app, by its words; its lines are so many cells wide."""

    def __call__(self, argv: Sequence[str], width: int) -> CommandOutcome: ...


def show_once(panels: Sequence[Panel], readings: Sequence[Rows]) -> View:
    """All panels below each other, for a pipe, a file or a program."""
    views = [rows.to_view(rows.matching("")) if rows.to_view and not rows.problem else None for rows in readings]
    data = {
        panel.name.lower().replace(" ", "_"): view.data if view else {"problem": rows.problem}
        for panel, rows, view in zip(panels, readings, views, strict=True)
    }

    def to_renderable() -> Renderable:
        blocks: list[Renderable] = []
        for panel, rows, view in zip(panels, readings, views, strict=True):
            title = f"{panel.name}: {one_line(rows.summary)}"
            blocks += [Paragraph(title), view.to_renderable() if view else Paragraph(rows.problem), ""]
        return Stack(*blocks[:-1])

    return View(data, to_renderable)


def _read_queues(source: TopSource) -> Rows:
    depths, rates = source.queues()
    ready = sum(queue.ready for queue in depths.queues)
    return Rows(
        items=depths.queues,
        key=lambda queue: queue.name,
        to_view=lambda some: job_views.queue_table(msgspec.structs.replace(depths, queues=tuple(some)), rates),
        summary=f"{format_count(len(depths.queues), 'queue', zero='no')}, {ready:,} ready",
        notes=depths.notes,
    )


def _read_workers(source: TopSource) -> Rows:
    workers = source.workers()
    active = sum(worker.active or 0 for worker in workers.found)
    silent = f", {workers.silent} silent" if workers.silent else ""
    return Rows(
        items=workers.found,
        key=lambda worker: worker.name,
        to_view=lambda some: job_views.worker_table(msgspec.structs.replace(workers, found=tuple(some))),
        summary=f"{format_count(len(workers.found), 'worker', zero='no')}{silent}, {active:,} running",
    )


def _read_jobs(source: TopSource) -> Rows:
    jobs = source.jobs()
    states = Counter(job.state for job in jobs)
    counts = ", ".join(f"{states[state]} {state}" for state in (JobState.RUNNING, JobState.FAILED) if states[state])
    return Rows(
        items=jobs,
        key=lambda job: job.id,
        to_view=job_views.job_table,
        summary=f"the last {len(jobs)}{f': {counts}' if counts else ''}" if jobs else "none yet",
    )


def _read_schedules(source: TopSource) -> Rows:
    schedule, now = source.schedules(), int(time.time() * MS_PER_SECOND)
    paused = sum(entry.pause is not None for entry in schedule.entries)
    coming = min((entry.next for entry in schedule.entries if entry.next), default=None)
    next_text = f", next at {beat_views.local_time(coming, source.zone):%H:%M:%S}" if coming else ""
    return Rows(
        items=schedule.entries,
        key=lambda entry: entry.schedule.name,
        to_view=lambda some: beat_views.render_entries(some, now, source.zone),
        summary=f"{len(schedule.entries)}{f', {paused} paused' if paused else ''}{next_text}",
        notes=beat_views.reasons(schedule.entries),
        problem="" if schedule.beats else "No beat is at work: livectl up, or livectl beat.",
    )


def _read_dead_letters(source: TopSource) -> Rows:
    letters = source.dead_letters()
    kinds = Counter(letter.kind for letter in letters)
    return Rows(
        items=letters,
        key=lambda letter: letter.id,
        to_view=job_views.dead_letter_table,
        summary=", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none",
    )


def _read_streamers(source: TopSource) -> Rows:
    everybody = source.streamers()
    streamers, total = everybody.streamers, len(everybody.streamers) + everybody.left_out
    live = [streamer for streamer in streamers if streamer.live]
    names = ", ".join(one_line(streamer.name or streamer.id) for streamer in live[:3])
    return Rows(
        items=streamers,
        key=live_views.address_text,
        to_view=lambda some: live_views.everyone_view(some, time.time()),
        summary=f"{everybody.live} of {total} live{f': {names}' if names else ''}",
    )


def _is_paused(entry: Any) -> bool:
    return entry.pause is not None


QUEUES = Panel(
    "Queues",
    _read_queues,
    lambda queue: ("queues", "peek", queue.name, "-n", "50"),
    (
        Action(
            "P",
            "purge",
            lambda queue: ("queues", "purge", queue.name, "--yes"),
            lambda queue: f"Take all messages out of {queue.name}? They are saved to a file first.",
        ),
    ),
)
WORKERS = Panel("Workers", _read_workers, lambda worker: ("workers", "show", worker.name))
JOBS = Panel(
    "Jobs",
    _read_jobs,
    lambda job: ("status", job.id, "--full"),
    (
        Action("r", "retry", lambda job: ("retry", job.id)),
        Action("x", "revoke", lambda job: ("revoke", job.id)),
    ),
)
SCHEDULES = Panel(
    "Schedules",
    _read_schedules,
    lambda entry: ("schedules", "next", entry.schedule.name),
    (
        Action(
            "p",
            "pause, resume",
            lambda entry: ("schedules", "resume" if _is_paused(entry) else "pause", entry.schedule.name),
        ),
        Action("n", "run now", lambda entry: ("schedules", "run", entry.schedule.name)),
    ),
)
DEAD_LETTERS = Panel(
    "Dead letters",
    _read_dead_letters,
    lambda letter: ("dead", "show", letter.id),
    (
        Action("r", "send again", lambda letter: ("dead", "retry", letter.id)),
        Action(
            "d",
            "drop",
            lambda letter: ("dead", "drop", letter.id),
            lambda letter: f"Drop {letter.id}? It is gone then.",
        ),
    ),
)
STREAMERS = Panel("Streamers", _read_streamers, lambda streamer: ("history", live_views.address_text(streamer)))

OPS_PANELS = (QUEUES, WORKERS, JOBS, SCHEDULES, DEAD_LETTERS)
ALL_PANELS = (*OPS_PANELS, STREAMERS)
