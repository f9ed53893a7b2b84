"""Turns readings of jobs, workers, queues, schedules and targets into what their pages show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl import extras
from livectl.models import JobState
from livectl.ops.jobs.outcomes import outcome_bar
from livectl.ops.jobs.status import END_STATES
from livectl.units import MS_PER_SECOND
from livectl.web.drawings import draw_curve
from livectl.web.job_data import LISTED_STATES, MAX_PAGES
from livectl.web.times import FormattedTime, NearTimeFormatter

if TYPE_CHECKING:
    from livectl.audit import AuditEntry
    from livectl.live.alerts.outbox import TargetStatus
    from livectl.models import Job
    from livectl.ops.beat.views import EntryStatus
    from livectl.ops.cluster.queues import Queue
    from livectl.ops.jobs.dead_letters import ListedLetter
    from livectl.ops.jobs.status import JobStatus
    from livectl.ops.protocol.dead_letter import DeadLetter
    from livectl.web.data import PageData
    from livectl.web.drawings import CurveDrawing
    from livectl.web.i18n import Translations
    from livectl.web.job_data import DepthSeries, Examination, JobFilter, JobReadings
    from livectl.web.push_routes import BrowsersTold
    from livectl.web.views import TemplateContext


MEBIBYTE = 1024 * 1024
MAX_VALUE_CHARS = 4_000  # of arguments or a result on their page


class Shown:
    """What every page of these needs: the language, the zone and the clock."""

    def __init__(self, page_data: PageData, translate: Translations) -> None:
        self.page_data = page_data
        self.translate = translate
        self.now = page_data.clock()
        self.clock = NearTimeFormatter(translate, self.now, page_data.zone)

    def page(self, template: str, **variables: Any) -> TemplateContext:
        return template, {"t": self.translate, "zone": self.page_data.zone, **variables}


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job of the list."""

    id: str
    task: str
    state: JobState
    ended: FormattedTime | None
    worker: str
    ran: str
    outcome: str
    may_retry: bool


def jobs(shown: Shown, readings: JobReadings, job_filter: JobFilter) -> TemplateContext:
    page = readings.page(job_filter)
    is_last = not page.more or job_filter.page >= MAX_PAGES
    return shown.page(
        "jobs.html",
        job_filter=job_filter,
        jobs=[_job_row(job, shown) for job in page.jobs],
        nameless=page.nameless,
        tasks=sorted({*readings.tasks, *filter(None, [job_filter.task])}),
        workers=sorted({*readings.workers, *filter(None, [job_filter.worker])}),
        states=LISTED_STATES,
        newer=job_filter.page - 1,
        older=0 if is_last else job_filter.page + 1,
        back_query=job_filter.query(page=job_filter.page),
    )


def _job_row(job: Job, shown: Shown) -> JobRow:
    return JobRow(
        id=job.id,
        task=job.task or job.id,
        state=job.state,
        ended=shown.clock.past_datetime(job.finished_at or job.started_at),
        worker=job.worker or "",
        ran=_duration(job.ran, shown.translate),
        outcome=job_outcome(job),
        may_retry=job.state is JobState.FAILED,
    )


def job_outcome(job: Job) -> str:
    """A job's error, or its result where it has one to show."""
    return job.error or _value(job.result, indent=0)


def job(shown: Shown, status: JobStatus) -> TemplateContext:
    """Everything about one job."""
    one = status.job
    times = [
        ("sent", shown.clock.past_datetime(one.sent_at)),
        ("started", shown.clock.past_datetime(one.started_at)),
        ("ended", shown.clock.past_datetime(one.finished_at)),
        ("due", shown.clock.coming(one.eta.timestamp()) if one.eta and one.state not in END_STATES else None),
    ]
    return shown.page(
        "job.html",
        job=one,
        times=[(name, moment) for name, moment in times if moment],
        spans=[(name, _duration(span, shown.translate)) for name, span in (("waited", one.waited), ("ran", one.ran))],
        args=_value(one.args) if one.args else "",
        kwargs=_value(one.kwargs) if one.kwargs else "",
        result=_value(one.result),
        traceback=status.traceback,
        progress=status.progress,
        may_retry=one.state in {*END_STATES, JobState.REDELIVERY},
        may_revoke=one.state not in {*END_STATES, JobState.UNKNOWN, JobState.RUNNING},
        is_running=one.state is JobState.RUNNING,
    )


def _value(value: Any, indent: int = 2) -> str:
    """Text as it is, anything else as JSON."""
    if value is None or isinstance(value, str):
        return (value or "")[:MAX_VALUE_CHARS]
    text = msgspec.json.encode(value, enc_hook=str)
    return (msgspec.json.format(text, indent=indent) if indent else text).decode()[:MAX_VALUE_CHARS]


def _duration(seconds: float | None, translate: Translations) -> str:
    if seconds is None:
        return ""
    return translate("milliseconds", n=round(seconds * MS_PER_SECOND)) if seconds < 1 else translate.seconds(seconds)


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """A queue, and how deep it was over the last hour."""

    queue: Queue
    oldest: str
    curve: CurveDrawing | None


def queues(shown: Shown, readings: JobReadings) -> TemplateContext:
    snapshot, depths = shown.page_data.jobs.get(), readings.depths.get()
    measured = snapshot.queues.value
    return shown.page(
        "queues.html",
        workers=snapshot.workers,
        queues=snapshot.queues,
        notes=measured.notes if measured else (),
        rows=[_queue_row(queue, depths.get(queue.name), shown) for queue in (measured.queues if measured else ())],
        mebibytes=lambda size: f"{size / MEBIBYTE:.0f} MB" if size else "",
    )


def _queue_row(queue: Queue, series: DepthSeries | None, shown: Shown) -> QueueRow:
    oldest = shown.translate.seconds(queue.oldest) if queue.oldest is not None else ""
    return QueueRow(queue=queue, oldest=oldest, curve=draw_curve(series.curve) if series else None)


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the schedule."""

    name: str
    task: str
    timing: str
    in_store: bool
    enabled: bool
    paused: bool
    reason: str
    last: FormattedTime | None
    ended: JobState | None
    next: FormattedTime | None
    runs: str  # a sign for each of the last ones
    outcomes: str  # the same in words


def schedules(shown: Shown) -> TemplateContext:
    beat_schedule = shown.page_data.beat_schedule.get()
    heartbeat_at = beat_schedule.heartbeat_at
    return shown.page(
        "schedules.html",
        beats=beat_schedule.beats,
        heartbeat=shown.translate.ago(max(0.0, shown.now - heartbeat_at)) if heartbeat_at else "",
        entries=[_entry_row(entry, shown.clock) for entry in beat_schedule.entries],
    )


def _entry_row(entry: EntryStatus, clock: NearTimeFormatter) -> EntryRow:
    last, due = (at / MS_PER_SECOND if at is not None else None for at in (entry.last, entry.next))
    return EntryRow(
        name=entry.schedule.name,
        task=entry.schedule.task,
        timing=entry.timing,
        enabled=entry.schedule.enabled,
        in_store=entry.source == "store",
        paused=entry.pause is not None,
        reason=entry.pause.reason if entry.pause else "",
        last=clock.past(last),
        ended=entry.ended,
        next=clock.coming(due),
        runs=outcome_bar(entry.outcomes),
        outcomes=", ".join(reversed(entry.outcomes)),
    )


class LetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter."""

    letter: ListedLetter
    at: FormattedTime | None


def dead(shown: Shown) -> TemplateContext:
    section = shown.page_data.jobs.get().dead
    letters = [LetterRow(letter=letter, at=shown.clock.past_datetime(letter.at)) for letter in section.value or []]
    return shown.page("dead.html", dead=section, letters=letters)


def letter(shown: Shown, dead_letter: DeadLetter, *, can_resend: bool) -> TemplateContext:
    """Everything about one dead letter."""
    at = shown.clock.past_datetime(dead_letter.at)
    return shown.page(
        "letter.html", letter=dead_letter, at=at, payload=_value(dead_letter.payload), can_resend=can_resend
    )


class TargetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A target of alerts."""

    name: str
    kind: str
    address: str
    on: tuple[str, ...]
    backlog: str
    sent: FormattedTime | None
    since: FormattedTime | None
    retry: FormattedTime | None
    problem: str


def alerts(shown: Shown, browsers: BrowsersTold | None) -> TemplateContext:
    return shown.page(
        "alerts.html",
        targets=[_target_row(status, shown.clock) for status in shown.page_data.targets.get()],
        browsers=browsers,
        push_command="" if extras.is_installed("push") else extras.install_command("push"),
    )


def _target_row(status: TargetStatus, clock: NearTimeFormatter) -> TargetRow:
    from livectl.live.alerts import targets, views

    state = status.state
    return TargetRow(
        name=status.name,
        kind=targets.target_kind(status.target),
        address=views.target_address(status.target),
        on=status.target.on,
        backlog=f"{status.backlog}+" if status.more else str(status.backlog),
        sent=clock.past(state.sent_at),
        since=clock.past(state.troubled_since),
        retry=clock.coming(state.retry_at),
        problem=targets.missing(status.target) or state.problem,
    )


def doctor(shown: Shown, examination: Examination) -> TemplateContext:
    findings = examination.findings
    return shown.page(
        "doctor.html",
        examination=examination,
        at=shown.clock.past(examination.at),
        wrong=[finding for finding in findings if finding.level != "ok"],
        well=[finding for finding in findings if finding.level == "ok"],
    )


def audit(shown: Shown, entries: list[AuditEntry], page: int, *, more: bool) -> TemplateContext:
    rows = [(entry, shown.clock.past(entry.at)) for entry in entries]
    return shown.page("audit.html", entries=rows, newer=page - 1, older=page + 1 if more else 0)
