"""What the commands of `schedules` read: entries of file and app, their history, and words for periods."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from livectl.errors import LivectlError, SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from livectl.address import Address
    from livectl.context import CommandContext
    from livectl.models import Schedule
    from livectl.ops.beat.backfill import BackfillWindow
    from livectl.ops.beat.views import RunHistory, ScheduleSnapshot
    from livectl.ops.jobs.history import KeptRun
    from livectl.units import Rate

NANOSECONDS_PER_MS = 1_000_000
INSTANT_HINT = "Write it like 2026-12-24, 2026-12-24T18:00 or 2026-12-24T18:00:00Z."
OWN_TASKS_MODULE = "livectl.tasks"


def read_snapshot(
    context: CommandContext, file: str | None = None, history: RunHistory | None = None, *, says_unread: bool = True
) -> ScheduleSnapshot:
    """Everything scheduled: in the file, in the app of `-A`, and in the store as the history has it.

    With `-A`, or with entries in the store, the file of the settings may be missing.
    """
    from livectl.ops.beat.views import ScheduleSnapshot, read_snapshot

    path = schedule_path(context, file)
    optional = file is None and is_file_left_out(context)
    if optional and context.app is None and history is not None and history.stored:
        snapshot = ScheduleSnapshot(())
    else:
        snapshot = read_snapshot(path, name=context.display_path(path), app=load_named_app(context), optional=optional)
    snapshot = snapshot.with_stored(history) if history is not None else snapshot
    unread = [
        f"{entry.name} is left out: {entry.problem}"
        if entry.problem
        else f"{entry.name} is in the app's beat_schedule; only beat can tell when it is due"
        for entry in snapshot.app_entries
    ]
    for note in (*(unread if says_unread else ()), *snapshot.notes):
        context.say(note)
    return snapshot


def read_whole(context: CommandContext, file: str | None = None) -> ScheduleSnapshot:
    """Everything scheduled, for who asks for nothing of its history."""
    return read_snapshot(context, file, read_run_history(context), says_unread=False)


def is_file_left_out(context: CommandContext) -> bool:
    """Whether there is no schedule file, and the settings name none."""
    from livectl.settings import DEFAULT_SOURCE

    return context.settings.sources.get("schedules") == DEFAULT_SOURCE and not context.settings.schedules.exists()


def find_problems(context: CommandContext, snapshot: ScheduleSnapshot) -> dict[str, str]:
    """Entry -> why no beat sends it. Without -A nothing is looked at: livectl's own tasks take a second to load."""
    if context.app is None:
        return {}
    from livectl.ops.beat import views

    return views.find_problems(snapshot.schedules, context.load_tasks())


def shown_zone(context: CommandContext, zone: str | None) -> str:
    """The time zone that times are shown in: the one asked for, that of the settings, or of the app of -A."""
    from livectl.settings import DEFAULT_SOURCE
    from livectl.units import parse_timezone

    if zone:
        return parse_timezone(zone)
    if context.app is None or context.settings.sources.get("timezone") != DEFAULT_SOURCE:
        return context.settings.timezone
    from livectl.ops import apps

    return apps.find_zone(context.celery_app) or context.settings.timezone


def schedule_path(context: CommandContext, file: str | None) -> Path:
    return context.cwd / file if file else context.settings.schedules


def load_named_app(context: CommandContext) -> Any:
    """The app of `-A` with the modules of its tasks imported; None without `-A`."""
    if context.app is None:
        return None
    context.load_tasks()
    return context.celery_app


def store_address(context: CommandContext) -> Address:
    """The store where the beats keep their state."""
    if context.app is None:
        return context.own_store
    from livectl.ops import scheduler

    return scheduler.store_address(context.settings, load_named_app(context))


def load_tasks(context: CommandContext) -> Mapping[str, Any] | None:
    """The tasks to check entries against; None, and the reason on stderr, when the app cannot be imported."""
    from livectl.ops import apps
    from livectl.ops.schedules.options import KnownTasks

    try:
        if context.app is not None:
            return context.load_tasks()
        with context.working("loading the tasks"):
            tasks = apps.load_tasks(apps.app_of_modules(OWN_TASKS_MODULE), context.cwd)
        return KnownTasks(tasks, context.settings.tasks)
    except LivectlError as error:
        context.say(f"tasks not checked: {error.message}")
        return None


def read_run_history(context: CommandContext) -> RunHistory:
    """The last runs and the pauses; none, and the reason on stderr, when the store cannot be reached."""
    from livectl.ops.beat import views

    try:
        return views.read(store_address(context), context.deployment)
    except LivectlError as error:
        context.say(f"last runs not known: {error.message}")
        return views.RunHistory()


def find_kept_run(context: CommandContext, name: str, due_ms: int) -> KeptRun:
    """What the store keeps of a run; nothing where it cannot be reached, which `read_run_history` has said."""
    from livectl import redis_client
    from livectl.ops.jobs.history import JobHistory, KeptRun

    try:
        with redis_client.connect(store_address(context), trial_write=False) as connection:
            return JobHistory.over(connection).run_at(name, due_ms)
    except LivectlError:
        return KeptRun(None, has_older=False)


def group_members(name: str | None, group: str | None, snapshot: ScheduleSnapshot) -> list[str]:
    """The entries that were named: one by its name, or those of a group."""
    from livectl.suggestions import did_you_mean

    if bool(name) == bool(group):
        raise UsageError("name an entry, or a group with --group", "Say one of the two.")
    if name:
        return [name]
    members = [schedule.name for schedule in snapshot.schedules if schedule.group == group]
    if not members:
        groups = sorted({schedule.group for schedule in snapshot.schedules if schedule.group})
        hint = did_you_mean(str(group), groups) or "An entry says `group: billing`."
        raise UsageError(f"no entry is in a group {group}", hint)
    return members


def parse_period(start: str | None, end: str | None, zone: str) -> tuple[int, int | None]:
    """The instant after which runs are shown, and that up to which they are."""
    from datetime import time as day_time

    from livectl.ops.schedules.policies import LAST_MOMENT, parse_instant

    bounds: list[int | None] = []
    for option, text, time_of_date in (("--from", start, day_time.min), ("--to", end, LAST_MOMENT)):
        try:
            bounds.append(None if text is None else parse_instant(text, zone, time_of_date))
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{option} {text} is no time", INSTANT_HINT) from error
    after = now_ms() if bounds[0] is None else bounds[0] - 1
    if bounds[1] is not None and bounds[1] <= after:
        hint = "Exchange the two, or name a later --to." if start else "Say --from too, or a later --to."
        raise UsageError("--to is before --from" if start else "--to has passed", hint)
    return after, bounds[1]


def past_window(context: CommandContext, start: str | None, end: str | None, keyword: str) -> BackfillWindow:
    """The time whose runs are to be sent. It has begun and ended."""
    from livectl.ops.beat.backfill import BackfillWindow

    if start is None or end is None:
        raise UsageError("a backfill needs --from and --to", "--from 2026-01-01 --to 2026-01-31")
    if keyword and not keyword.isidentifier():
        raise UsageError(f"--as {keyword} is no keyword argument", "Say the name of one that the task takes.")
    after, until = parse_period(start, end, shown_zone(context, None))
    if until is None or until > now_ms():
        raise UsageError("--to is yet to come", "What is due from now on is beat's.")
    return BackfillWindow(after=after, until=until, keyword=keyword)


def parse_pace(text: str) -> Rate:
    from livectl.units import parse_rate

    try:
        return parse_rate(text)
    except SettingsError as error:
        raise UsageError(f"--rate {text}: {error.message}", error.hint) from error


def check_sendable(context: CommandContext, entry: Schedule, keyword: str = "") -> None:
    """Raises SettingsError for an entry that the app would not take, with this keyword beside its own."""
    from livectl.ops.schedules import options

    kwargs = {**entry.kwargs, keyword: ""} if keyword else entry.kwargs
    if reason := options.refusal(entry.task, entry.args, kwargs, context.load_tasks()):
        raise SettingsError(f"{entry.name} is not sent: {reason}", "Mend the entry, then: livectl schedules validate")


def find_entry(name: str, snapshot: ScheduleSnapshot) -> Schedule:
    for entry in snapshot.app_entries:
        if entry.name == name:
            problem = entry.problem or "only beat can tell when it is due, and what it sends"
            raise SettingsError(f"{name}: {problem}", "It is in the app's beat_schedule.")
    by_name = {schedule.name: schedule for schedule in snapshot.schedules}
    check_name(name, by_name)
    return by_name[name]


def find_anywhere(context: CommandContext, name: str, file: str | None) -> Schedule:
    """An entry of file or app; the store is looked into for one that neither has."""
    optional = file is None and is_file_left_out(context)
    if not optional or context.app is not None:
        snapshot = read_snapshot(context, file, says_unread=False)
        names = [schedule.name for schedule in snapshot.schedules] + [entry.name for entry in snapshot.app_entries]
        if name in names:
            return find_entry(name, snapshot)
    return find_entry(name, read_whole(context, file))


def check_name(name: str, names: Iterable[str]) -> None:
    from livectl.suggestions import did_you_mean

    known_names = list(names)
    if name not in known_names:
        raise UsageError(f"no schedule is called {name}", did_you_mean(name, known_names) or "livectl schedules list")


def now_ms() -> int:
    return time.time_ns() // NANOSECONDS_PER_MS
