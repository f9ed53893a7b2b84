"""Turns readings of jobs, workers, queues and schedules into what their page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.web.times import FormattedTime, NearTimeFormatter

if TYPE_CHECKING:
    from livectl.live.alerts.outbox import TargetStatus
    from livectl.models import Job, JobState
    from livectl.ops.beat.views import EntryStatus
    from livectl.web.data import PageData
    from livectl.web.i18n import Translations
    from livectl.web.views import TemplateContext


MEBIBYTE = 1024 * 1024
MS_PER_SECOND = 1000


def jobs(page_data: PageData, translate: Translations, now: float) -> TemplateContext:
    snapshot, beat_schedule = page_data.jobs.get(), page_data.beat_schedule.get()
    clock = NearTimeFormatter(translate, now, page_data.zone)
    heartbeat_at = beat_schedule.heartbeat_at
    return "jobs.html", {
        "t": translate,
        "zone": page_data.zone,
        "workers": snapshot.workers,
        "queues": snapshot.queues,
        "recent": snapshot.recent,
        "dead": snapshot.dead,
        "targets": [_target_row(status, clock) for status in page_data.targets.get()],
        "beats": beat_schedule.beats,
        "heartbeat": translate.ago(max(0.0, now - heartbeat_at)) if heartbeat_at else "",
        "entries": [_entry_row(entry, clock) for entry in beat_schedule.entries],
        "jobs": [_job_row(job, clock) for job in snapshot.recent.value or []],
        "letters": [(letter, clock.past_datetime(letter.at)) for letter in snapshot.dead.value or []],
        "mebibytes": lambda size: f"{size / MEBIBYTE:.0f} MB" if size else "",
    }


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule's entry on the jobs page."""

    name: str
    task: str
    timing: str
    enabled: bool
    paused: bool
    last: FormattedTime | None
    ended: JobState | None
    next: FormattedTime | None


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A recent job on the jobs page."""

    id: str
    task: str
    state: JobState
    ended: FormattedTime | None
    outcome: str


class TargetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A target of alerts on the jobs page."""

    name: str
    backlog: str
    sent: FormattedTime | None
    retry: FormattedTime | None
    problem: str


def _entry_row(entry: EntryStatus, clock: NearTimeFormatter) -> EntryRow:
    last, due = (at / MS_PER_SECOND if at is not None else None for at in (entry.last, entry.next))
    return EntryRow(
        name=entry.schedule.name,
        task=entry.schedule.task,
        timing=entry.timing,
        enabled=entry.schedule.enabled,
        paused=entry.pause is not None,
        last=clock.past(last),
        ended=entry.ended,
        next=clock.coming(due),
    )


def _job_row(job: Job, clock: NearTimeFormatter) -> JobRow:
    return JobRow(
        id=job.id,
        task=job.task or job.id,
        state=job.state,
        ended=clock.past_datetime(job.finished_at or job.started_at),
        outcome=job_outcome(job),
    )


def job_outcome(job: Job) -> str:
    """A job's error, or its result where it has one to show."""
    if job.error:
        return job.error
    if job.result is None:
        return ""
    return job.result if isinstance(job.result, str) else msgspec.json.encode(job.result, enc_hook=str).decode()


def _target_row(status: TargetStatus, clock: NearTimeFormatter) -> TargetRow:
    state = status.state
    return TargetRow(
        name=status.name,
        backlog=f"{status.backlog}+" if status.more else str(status.backlog),
        sent=clock.past(state.sent_at),
        retry=clock.coming(state.retry_at),
        problem=state.problem,
    )
