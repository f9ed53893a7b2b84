"""Reads and shows what is scheduled: the entries, their next runs, and where the file and the running beats differ."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from livectl import redis_client
from livectl.errors import FileError, Mistake
from livectl.models import After, At, Cron, JobState, Run, Schedule
from livectl.ops.beat import heartbeats, pauses, run_store, store_entries
from livectl.ops.beat.run_store import Pause  # noqa: TC001
from livectl.ops.jobs.history import JobHistory
from livectl.ops.jobs.outcomes import outcome_bar
from livectl.ops.jobs.status import StatusLookup
from livectl.ops.processes import launch
from livectl.ops.schedules import due_times, options, schedule_file
from livectl.render import Column, View, sentence, table, with_lines
from livectl.units import MS_PER_SECOND, format_count, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from livectl.address import Address
    from livectl.ops.deployment import Deployment


NO_SCHEDULES_TEXT = "No schedules yet; `livectl docs schedules` shows how they are written."
RUNS_IN_BAR = 10
MAX_REASONS = 10  # below a list
ENTRY_COLUMNS = (
    "name",
    Column("task", rank=2, least=20),
    Column("schedule", rank=1),
    Column("last", "number", rank=4),
    Column("ended", "state", rank=3),
    Column("runs", "whole", rank=5),
)


class AppEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the app's `beat_schedule` that is no Schedule: of a class of its own, or one that cannot be run."""

    name: str
    task: str
    schedule: str
    timezone: str
    due_times: Any = None  # DueTimes; None when it cannot be run
    problem: str = ""
    enabled: bool = True


class EntryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule with its last run and its next; both in UTC milliseconds, None where there is none."""

    schedule: Schedule | AppEntry
    last: int | None = None
    ended: JobState | None = None  # how the job of the last run ended
    next: int | None = None
    pause: Pause | None = None
    problem: str = ""  # why no beat sends it
    waiting: int = 0  # runs that wait for its running job
    outcomes: tuple[str, ...] = ()  # of its last runs, the newest first
    source: str = "file"  # or `app`, `store`: what has the entry

    @property
    def timing(self) -> str:
        """When it is due, in words."""
        schedule = self.schedule
        return schedule.schedule if isinstance(schedule, AppEntry) else due_times.format_timing(schedule.timing)


def list_entries(
    schedules: Iterable[Schedule | AppEntry],
    history: RunHistory,
    now: int,
    problems: Mapping[str, str] | None = None,
    sources: Mapping[str, str] | None = None,
) -> list[EntryStatus]:
    """Each schedule with its last run and its next. Those with a problem have no next."""
    entries = (_list_entry(schedule, history, now, (problems or {}).get(schedule.name, "")) for schedule in schedules)
    return [
        msgspec.structs.replace(entry, source=sources[entry.schedule.name])
        if sources and entry.schedule.name in sources
        else entry
        for entry in entries
    ]


def _list_entry(schedule: Schedule | AppEntry, history: RunHistory, now: int, problem: str) -> EntryStatus:
    problem = problem or (schedule.problem if isinstance(schedule, AppEntry) else "")
    is_sent = schedule.enabled and schedule.name not in history.pauses and not problem
    is_sent = is_sent and runs_left(schedule, history) != 0
    status = entry_status(schedule, history, _next_due(schedule, now) if is_sent else None)
    return msgspec.structs.replace(status, problem=problem)


def runs_left(schedule: Schedule | AppEntry, history: RunHistory) -> int | None:
    """How many runs an entry may still have; None for any number."""
    if isinstance(schedule, AppEntry) or schedule.count is None:
        return None
    return max(0, schedule.count - history.counts.get(schedule.name, 0))


def _next_due(schedule: Schedule | AppEntry, now: int) -> int | None:
    if not isinstance(schedule, AppEntry):
        return due_times.next_due(schedule, now)
    due: int | None = schedule.due_times.after(now)
    return due


def entry_status(schedule: Schedule | AppEntry, history: RunHistory, due: int | None) -> EntryStatus:
    last_run = history.last_runs.get(schedule.name)
    return EntryStatus(
        schedule=schedule,
        last=last_run.due if last_run else None,
        ended=history.job_states.get(schedule.name),
        next=due,
        pause=history.pauses.get(schedule.name),
        waiting=len(history.waiting.get(schedule.name, ())),
        outcomes=tuple(history.outcomes.get(schedule.name, ())),
    )


def entry_json(entry: EntryStatus) -> dict[str, Any]:
    """An entry as `livectl schedules list --json` has it."""
    reason = entry.pause.reason or None if entry.pause else None
    facts: dict[str, Any] = {"reason": reason, "problem": entry.problem or None, "waiting": entry.waiting}
    facts |= {"runs": list(entry.outcomes), "source": entry.source}
    return {**entry_fields(entry), **facts, **_about(entry.schedule)}


def _about(schedule: Schedule | AppEntry) -> dict[str, Any]:
    """What people say of an entry."""
    if isinstance(schedule, AppEntry):
        return {"description": None, "owner": None, "tags": [], "group": None}
    return {
        "description": schedule.description or None,
        "owner": schedule.owner or None,
        "tags": list(schedule.tags),
        "group": schedule.group or None,
    }


def entry_fields(entry: EntryStatus) -> dict[str, Any]:
    schedule = entry.schedule
    return {
        "name": schedule.name,
        "task": schedule.task,
        "schedule": entry.timing,
        "timezone": schedule.timezone,
        "enabled": schedule.enabled,
        "paused": entry.pause is not None,
        "last": _format_utc(entry.last),
        "ended": str(entry.ended) if entry.ended else None,
        "next": _format_utc(entry.next),
    }


def render_entries(entries: Sequence[EntryStatus], now: int, zone: str) -> View:
    rows = [
        [
            entry.schedule.name,
            entry.schedule.task,
            format_schedule(entry, zone),
            _format_short_time(entry.last, now, zone),
            entry.ended or "",
            outcome_bar(entry.outcomes),
            _format_next(entry, now, zone),
            entry.source,
        ]
        for entry in entries
    ]
    data = [entry_json(entry) for entry in entries]
    columns: tuple[str | Column, ...] = (*ENTRY_COLUMNS, Column(f"next, {zone}", "state"))
    if {entry.source for entry in entries} - {"file"}:
        columns = (*columns, Column("from", rank=2))
    else:
        rows = [row[:-1] for row in rows]
    return with_lines(table(columns, rows, data, empty=NO_SCHEDULES_TEXT), reasons(entries))


def reasons(entries: Sequence[EntryStatus]) -> list[str]:
    """Why entries are not sent: for that a column may have no room."""
    lines = [f"{entry.schedule.name} is left out: {entry.problem}" for entry in entries if entry.problem]
    lines += [
        f"{entry.schedule.name} is paused: {entry.pause.reason}"
        for entry in entries
        if entry.pause and entry.pause.reason and not entry.problem
    ]
    more = [f"{len(lines) - MAX_REASONS:,} more are not sent either"] if len(lines) > MAX_REASONS else []
    return [*lines[:MAX_REASONS], *more]


def _format_next(entry: EntryStatus, now: int, zone: str) -> str:
    if entry.problem:
        return "left out"
    if entry.pause:
        return "paused"
    if not entry.schedule.enabled:
        return "off"
    next_run = "done" if _is_done(entry.schedule, entry.next, now) else _format_short_time(entry.next, now, zone)
    return f"{next_run}, {entry.waiting} waiting" if entry.waiting else next_run


def _is_done(schedule: Schedule | AppEntry, next_due: int | None, now: int) -> bool:
    """Whether an entry has no run ahead because it has had them all."""
    if next_due is not None or isinstance(schedule, AppEntry):
        return False
    has_ended = schedule.end is not None and schedule.end < now
    if isinstance(schedule.timing, After):
        return has_ended
    return schedule.count is not None or isinstance(schedule.timing, At) or has_ended


class ScheduleCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked and has no mistake: a file, the schedule of an app, or both."""

    sources: tuple[str, ...]
    count: int  # of entries
    warnings: tuple[Mistake, ...]
    checked: bool  # whether tasks and arguments were held against those of the app


def check_schedules(
    path: Path | None, name: str, now_ms: int, tasks: Mapping[str, Any] | None, app: Any = None, app_name: str = ""
) -> ScheduleCheck:
    """Checks a file, which messages call `name`, and the schedule of an app. Raises with every mistake in both."""
    sources = [name] if path else []
    mistakes: list[Mistake] = []
    schedules: tuple[Schedule, ...] = ()
    if path:
        try:
            loaded = schedule_file.load(path, name=name, now_ms=now_ms, tasks=tasks)
        except FileError as error:
            mistakes += error.mistakes
        else:
            schedules, mistakes = loaded.schedules, list(loaded.warnings)
    app_count = 0
    if app is not None and (app.conf.beat_schedule or not path):
        from livectl.ops.beat import app_schedule

        sources.append(f"beat_schedule of {app_name}")
        app_check = app_schedule.check_app_schedule(app, tasks or {}, sources[-1], now_ms, schedules)
        app_count, mistakes = app_check.count, [*mistakes, *app_check.mistakes]
    if not all(mistake.warning for mistake in mistakes):
        raise FileError(mistakes)
    return ScheduleCheck(
        sources=tuple(sources), count=len(schedules) + app_count, warnings=tuple(mistakes), checked=tasks is not None
    )


def render_check(check: ScheduleCheck) -> View:
    warnings = [warning._asdict() for warning in check.warnings]
    schedule_count = format_count(check.count, "schedule", zero="no")
    counts = f"{' and '.join(check.sources)}: {schedule_count}, {format_count(len(warnings), 'warning', zero='no')}"
    checked_text = "tasks and arguments are the app's" if check.checked else "tasks not checked"
    data = {"file": check.sources[0], "schedules": check.count, "checked": check.checked, "warnings": warnings}
    return sentence(f"{counts}, no mistake; {checked_text}.", data)


def format_schedule(entry: EntryStatus, zone: str) -> str:
    """When a schedule is due; with its time zone if it has a cron line in another zone than the one that is shown."""
    schedule = entry.schedule
    has_cron_line = isinstance(schedule, Schedule) and isinstance(schedule.timing, Cron)
    return f"{entry.timing} {schedule.timezone}" if has_cron_line and schedule.timezone != zone else entry.timing


def _format_short_time(moment: int | None, now: int, zone: str) -> str:
    """The time of an instant of today, else the day and the time."""
    if moment is None:
        return ""
    local = local_time(moment, zone)
    return f"{local:%H:%M:%S}" if local.date() == local_time(now, zone).date() else f"{local:%Y-%m-%d %H:%M}"


def local_time(moment: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment / MS_PER_SECOND, ZoneInfo(zone))


def _format_utc(moment: int | None) -> str | None:
    if moment is None:
        return None
    return format_instant(moment / MS_PER_SECOND, "milliseconds" if moment % MS_PER_SECOND else "seconds")


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What the store and the results have of entries, by entry. Entries without are left out."""

    last_runs: dict[str, Run] = {}
    job_states: dict[str, JobState] = {}
    pauses: dict[str, Pause] = {}
    counts: dict[str, int] = {}  # of entries that may have only so many runs
    waiting: dict[str, list[int]] = {}  # due instants of runs that wait for a running job
    outcomes: dict[str, list[str]] = {}  # of the last runs, the newest first
    stored: dict[str, dict[str, Any]] = {}  # the entries that live in the store, in words


def read(store: Address, deployment: Deployment) -> RunHistory:
    """Reads it. How jobs ended is known where results are kept, or where the workers are livectl's own."""
    with redis_client.using_store(store) as client:
        last_runs, paused = run_store.read_last_runs(client), pauses.read_pauses(client)
        counts, waiting = run_store.read_counts(client), run_store.read_waiting(client)
        task_ids = run_store.read_task_ids(client, last_runs.values())
        stored = store_entries.read_all_words(client)
    with redis_client.connect(store, trial_write=False) as connection:
        runs = JobHistory.over(connection).last_runs(list(last_runs), RUNS_IN_BAR)
    outcomes = {name: [run.outcome for run in found] for name, found in runs.items()}
    with StatusLookup(deployment) as lookup:
        states = lookup.end_states(list(task_ids.values())) if task_ids else {}
    job_states = {run.name: states[task_id] for run, task_id in task_ids.items() if task_id in states}
    return RunHistory(
        last_runs=last_runs,
        job_states=job_states,
        pauses=paused,
        counts=counts,
        waiting=waiting,
        outcomes=outcomes,
        stored=stored,
    )


class BeatSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The entries that the running beats send, and how many beats run."""

    beats: int
    heartbeat_at: float | None  # the latest heartbeat of any beat, in seconds since the epoch
    entries: list[EntryStatus]


def read_running(
    store: Address,
    deployment: Deployment,
    now: float,
    snapshot: ScheduleSnapshot | None = None,
    tasks: Mapping[str, Any] | None = None,
) -> BeatSchedule:
    """What the running beats have loaded, as they said it in the store; a snapshot of file and app says it instead.

    Given the tasks of the app, entries that it cannot run have that as their problem.
    """
    with redis_client.connect(store) as connection:
        beats = heartbeats.read_activity(connection).heartbeats
        loaded_schedules = heartbeats.read_loaded_schedules(connection)
    in_files = {entry.name: entry for loaded in loaded_schedules.values() for entry in loaded.schedules}
    history = read(store, deployment)
    snapshot = snapshot or ScheduleSnapshot(tuple(in_files.values()))
    snapshot = snapshot.with_stored(history if beats else RunHistory())
    scheduled: list[Schedule | AppEntry] = [*snapshot.schedules, *snapshot.app_entries]
    return BeatSchedule(
        beats=len(beats),
        heartbeat_at=max((beat.at / MS_PER_SECOND for beat in beats.values()), default=None),
        entries=list_entries(
            scheduled,
            history,
            int(now * MS_PER_SECOND),
            find_problems(snapshot.schedules, tasks) if tasks is not None else None,
            snapshot.sources,
        ),
    )


def find_problems(schedules: Iterable[Schedule], tasks: Mapping[str, Any]) -> dict[str, str]:
    """Entry -> why no beat of an app with these tasks sends it."""
    refusals = options.Refusals(tasks)
    reasons = {entry.name: refusals.of(entry.task, entry.args, entry.kwargs) for entry in schedules}
    return {name: reason for name, reason in reasons.items() if reason}


class ScheduleSnapshot(msgspec.Struct, frozen=True):
    """Everything scheduled: what livectl reckons itself, the app's other entries, and notes on what is not here."""

    schedules: tuple[Schedule, ...]
    app_entries: tuple[AppEntry, ...] = ()
    notes: tuple[str, ...] = ()
    sources: dict[str, str] = {}  # of the entries that are not the file's

    def with_stored(self, history: RunHistory) -> ScheduleSnapshot:
        """The same, and the entries that live in the store, but for those of which another source has the name."""
        taken = {entry.name for entry in self.schedules} | {entry.name for entry in self.app_entries}
        words = {name: entry for name, entry in history.stored.items() if name not in taken}
        stored, problems = store_entries.parse_all(words)
        hidden = sorted(history.stored.keys() & taken)
        notes = [f"{name} is in the store too, and is not sent as it is there" for name in hidden]
        notes += [f"the store's entry {name} is left out: {why}" for name, why in problems.items()]
        sources = {**self.sources, **{schedule.name: "store" for schedule in stored}}
        return ScheduleSnapshot((*self.schedules, *stored), self.app_entries, (*self.notes, *notes), sources)


def read_snapshot(path: Path, *, name: str = "", app: Any = None, optional: bool = False) -> ScheduleSnapshot:
    """The schedules of a file, which messages call `name`, and of an app. An optional file may be missing."""
    file_schedules = (
        () if optional and app is not None and not path.exists() else schedule_file.load(path, name=name).schedules
    )
    if app is None:
        return ScheduleSnapshot(file_schedules)
    app_schedules, app_entries = _read_app_schedule(app, file_schedules)
    names = [entry.name for entry in app_schedules] + [entry.name for entry in app_entries]
    sources = dict.fromkeys(names, "app")
    return ScheduleSnapshot((*file_schedules, *app_schedules), app_entries, tuple(_store_notes(app)), sources)


def _read_app_schedule(app: Any, in_file: Sequence[Schedule]) -> tuple[list[Schedule], tuple[AppEntry, ...]]:
    """The entries of the app's beat_schedule. One that the file has in the same words is the file's."""
    from livectl.ops import apps
    from livectl.ops.beat import app_schedule

    zone = apps.find_zone(app) or str(app.timezone)
    beat_entries, broken = app_schedule.read_app_entries(app)
    repeated = app_schedule.find_repeated(beat_entries, in_file)
    beat_entries = {name: entry for name, entry in beat_entries.items() if name not in repeated}
    schedules = {name: app_schedule.to_schedule(entry) for name, entry in beat_entries.items()}
    asked = [
        AppEntry(
            name=name,
            task=entry.task,
            schedule=app_schedule.describe_schedule(getattr(entry.due_times, "celery_schedule", None)),
            timezone=zone,
            due_times=entry.due_times,
        )
        for name, entry in beat_entries.items()
        if schedules[name] is None
    ]
    return [schedule for schedule in schedules.values() if schedule], (*asked, *broken)


def _store_notes(app: Any) -> list[str]:
    """What the app's own scheduler reads besides beat_schedule."""
    scheduler = str(app.conf.beat_scheduler or "")
    if not (text := launch.describe_entry_source(scheduler)):
        return []
    hint = "" if launch.find_entry_source(scheduler) == "other" else "; `livectl schedules import` prints that"
    return [f"not shown here: {text}{hint}"]
