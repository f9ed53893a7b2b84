"""Checks, shows, converts and compares the schedule; runs, pauses and resumes its entries."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import LivectlError, SettingsError, UsageError, mistake_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from livectl.address import Address
    from livectl.models import Schedule
    from livectl.ops.beat.views import RunHistory, ScheduleSnapshot

NANOSECONDS_PER_MS = 1_000_000
OWN_TASKS_MODULE = "livectl.tasks"

file_option = click.option(
    "-s", "--schedules", "file", type=click.Path(), metavar="FILE", help="Another file than that of the settings."
)
zone_option = click.option(
    "--tz",
    "zone",
    metavar="ZONE",
    shell_complete=complete("zones"),
    help="Show times in this zone, not in that of the settings or the app.",
)


@click.group()
def command() -> None:
    """It is read from schedules.yaml, or the file that the settings name.

    \b
    Examples:
      livectl schedules validate
      livectl schedules next -n 5
    """


@command.command()
@click.argument("file", required=False, type=click.Path())
@pass_command_context
def validate(context: CommandContext, file: str | None) -> None:
    """Tell every mistake in the file, each with its place.

    Tasks and their arguments are checked against the app that -A names, or
    against livectl's own. With -A and without FILE, the app's own beat_schedule
    is checked too. Mistakes make exit code 3; warnings do not.

    \b
    Examples:
      livectl schedules validate
      livectl -A proj schedules validate deploy/schedules.yaml
    """
    from livectl.ops.beat import views

    tasks = _load_tasks(context)
    app = context.celery_app if context.app is not None and tasks is not None and file is None else None
    path = None if app is not None and _is_file_left_out(context) else _schedule_path(context, file)
    name = context.display_path(path) if path else ""
    check = views.check_schedules(path, name, _now_ms(), tasks, app, context.app or "")
    for line in mistake_lines(check.warnings):
        context.say(line)
    context.show(views.render_check(check))


@command.command("list")
@zone_option
@file_option
@pass_command_context
def list_entries(context: CommandContext, zone: str | None, file: str | None) -> None:
    """Show each entry, when it last ran and how that went, and when it will next.

    With -A, the entries of the app's own beat_schedule are there too, and what no
    beat sends is marked with the reason. Times are in the timezone of the
    settings; with -A and without one there, in that of the app.

    \b
    Examples:
      livectl schedules list
      livectl schedules list --json
    """
    from livectl.ops.beat import views

    snapshot, now = _read_snapshot(context, file, says_unread=False), _now_ms()
    entries = views.list_entries(
        (*snapshot.schedules, *snapshot.app_entries), _read_run_history(context), now, _find_problems(context, snapshot)
    )
    context.show(views.render_entries(entries, now, _shown_zone(context, zone)))


@command.command("next")
@click.argument("name", required=False, shell_complete=complete("schedules"))
@click.option(
    "-n", "--limit", "count", default=10, show_default=True, type=click.IntRange(1, 10_000), help="So many runs."
)
@zone_option
@file_option
@pass_command_context
def list_runs(context: CommandContext, name: str | None, count: int, zone: str | None, file: str | None) -> None:
    """Show the runs ahead, of all entries or of one.

    A local time that a change of the clock skips or repeats is marked.

    \b
    Examples:
      livectl schedules next -n 5 --tz Europe/Paris
      livectl schedules next digest
    """
    from livectl.ops.beat import views

    snapshot = _read_snapshot(context, file)
    schedules = snapshot.schedules
    problems = _find_problems(context, snapshot)
    wanted = [_find_entry(name, snapshot)] if name else [entry for entry in schedules if entry.name not in problems]
    for entry_name, problem in problems.items():
        context.say(f"{entry_name} is left out: {problem}")
    runs = list(islice(views.upcoming_runs(wanted, _now_ms()), count))
    by_name = {schedule.name: schedule for schedule in wanted}
    history = _read_run_history(context)
    context.show(views.render_runs(runs, by_name, history, _shown_zone(context, zone)))


@command.command("run")
@click.argument("name", shell_complete=complete("schedules"))
@file_option
@pass_command_context
def run_entry(context: CommandContext, /, name: str, file: str | None) -> None:
    """Send the job of an entry now, paused or not, and print its task id.

    What validate refuses is not sent: exit code 3.

    \b
    Examples:
      livectl schedules run digest
      livectl -A proj schedules run nightly -s deploy/schedules.yaml
    """
    from livectl.ops.beat import publisher
    from livectl.ops.schedules import options
    from livectl.render import sentence

    entry = _find_entry(name, _read_snapshot(context, file))
    if reason := options.refusal(entry.task, entry.args, entry.kwargs, context.load_tasks()):
        raise SettingsError(f"{name} is not sent: {reason}", "Mend the entry, then: livectl schedules validate")
    job_id = publisher.send_now(context.deployment, context.sending_app, entry)
    context.note_change("run", name)
    context.show(sentence(job_id, {"id": job_id, "task": entry.task, "name": name}))


@command.command()
@click.argument("name", shell_complete=complete("schedules"))
@click.option("--reason", default="", metavar="TEXT", help="Why; `schedules list` shows it.")
@pass_command_context
def pause(context: CommandContext, /, name: str, reason: str) -> None:
    """Let no beat send an entry until it is resumed. It takes effect at once, and outlives restarts.

    \b
    Examples:
      livectl schedules pause digest
      livectl schedules pause digest --reason "mail server moves"
    """
    from livectl import redis_client
    from livectl.ops.beat import run_store
    from livectl.render import sentence

    with redis_client.using_store(_store_address(context)) as store:
        snapshot = _read_snapshot(context, says_unread=False)
        names = run_store.read_pausable_names(store, snapshot.schedules)
        _check_name(name, names.union(entry.name for entry in snapshot.app_entries))
        run_store.pause(store, name, reason)
    context.note_change("pause", name)
    context.show(sentence(f"{name} is paused; `livectl schedules resume {name}` ends that.", {"name": name}))


@command.command()
@click.argument("name", shell_complete=complete("schedules"))
@pass_command_context
def resume(context: CommandContext, /, name: str) -> int:
    """Let an entry be sent again, from its next run on: what fell due meanwhile is left out.

    \b
    Examples:
      livectl schedules resume digest
      livectl -A proj schedules resume digest
    """
    from livectl import redis_client
    from livectl.ops.beat import run_store
    from livectl.render import sentence

    with redis_client.using_store(_store_address(context)) as store:
        was_paused = run_store.resume(store, name)
    context.note_change("resume", name, "done" if was_paused else "nothing")
    text = f"{name} runs again." if was_paused else f"{name} was not paused."
    context.show(sentence(text, {"name": name, "resumed": was_paused}))
    return 0 if was_paused else 1


@command.command()
@click.argument("file", required=False, type=click.Path())
@pass_command_context
def diff(context: CommandContext, /, file: str | None) -> int:
    """Show where the file and the running beats differ. Exit 1 when they do, or when no beat runs.

    A beat reads a changed file within seconds; one that it cannot use, or a
    beat with another file, is what shows here.

    \b
    Examples:
      livectl schedules diff
      livectl schedules diff deploy/schedules.yaml
    """
    from livectl.ops.beat import views
    from livectl.ops.schedules import schedule_file

    path = _schedule_path(context, file)
    schedules = schedule_file.load(path, name=context.display_path(path)).schedules
    differences = views.find_differences(_store_address(context), path, schedules)
    context.show(views.render_differences(path, differences))
    return 1 if differences else 0


@command.command("import")
@click.argument("source", required=False, metavar="[MODULE|FILE]")
@click.option("--django", "kept_in", flag_value="django", help="From the app's tables of django-celery-beat.")
@click.option("--redbeat", "kept_in", flag_value="redbeat", help="From the app's keys of RedBeat.")
@click.option("--assume", metavar="NAME=VALUE", multiple=True, help="What a name in a condition of the source is.")
@pass_command_context
def import_schedule(
    context: CommandContext, /, source: str | None, kept_in: str | None, assume: tuple[str, ...]
) -> int:
    """Turn the schedule of another beat into the text of a schedules.yaml.

    A module with CELERYBEAT_SCHEDULE or beat_schedule is read and not run; so is a
    celerybeat-schedule file, and what `manage.py dumpdata django_celery_beat` writes.
    Without a file the app that -A names is imported and asked: for what its
    beat_scheduler keeps in Django's database or in Redis, else for its beat_schedule.
    Nothing is changed there. What has no words in YAML, is computed at run time or
    stands under a condition is told and left out; then the exit code is 1.

    \b
    Examples:
      livectl schedules import proj/settings.py > schedules.yaml
      livectl schedules import proj/settings.py --assume DEBUG=False
      livectl -A proj schedules import --redbeat
    """
    from datetime import UTC, datetime

    from livectl.ops.schedules import conversion, importing

    wanted = importing.ImportSource(source=source, app=context.app, kept_in=kept_in, assumed=assume)
    with context.working("reading the schedule"):
        converted = importing.import_schedule(wanted, context.cwd, datetime.now(UTC))
    return conversion.show(converted, context.say, context.show)


@command.command()
@click.option("--python", "to", flag_value="python", help="A Python module with Celery's beat_schedule.")
@click.option("--django", "to", flag_value="django", help="A fixture for django-celery-beat: manage.py loaddata.")
@click.option("--crontab", "to", flag_value="crontab", help="A crontab(5) file that calls livectl call.")
@file_option
@pass_command_context
def export(context: CommandContext, /, to: str | None, file: str | None) -> int:
    """Turn the schedule into what another program reads.

    Entries that it has no words for are told and left out; then the exit code is 1.

    \b
    Examples:
      livectl schedules export --python > celeryconfig.py
      livectl schedules export --django > schedule.json
      livectl schedules export --crontab -s deploy/schedules.yaml
    """
    from livectl.ops.schedules import conversion, exporting

    snapshot = _read_snapshot(context, file, says_unread=False)
    from_app = context.app is not None and file is None and _is_file_left_out(context)
    name = f"beat_schedule of {context.app}" if from_app else context.display_path(_schedule_path(context, file))
    converted = exporting.export_schedule(to, snapshot.schedules, name, context.app, _now_ms())
    left = {
        entry.name: entry.problem or "a class of the app's own says when it is due" for entry in snapshot.app_entries
    }
    return conversion.show(converted.without(left), context.say, context.show)


def _read_snapshot(context: CommandContext, file: str | None = None, *, says_unread: bool = True) -> ScheduleSnapshot:
    """Everything scheduled, in the file and in the app of `-A`; with `-A` the file of the settings may be missing."""
    from livectl.ops.beat.views import read_snapshot

    path = _schedule_path(context, file)
    optional = file is None and _is_file_left_out(context)
    snapshot = read_snapshot(path, name=context.display_path(path), app=_load_named_app(context), optional=optional)
    unread = [
        f"{entry.name} is left out: {entry.problem}"
        if entry.problem
        else f"{entry.name} is in the app's beat_schedule; only beat can tell when it is due"
        for entry in snapshot.app_entries
    ]
    for note in (*(unread if says_unread else ()), *snapshot.notes):
        context.say(note)
    return snapshot


def _is_file_left_out(context: CommandContext) -> bool:
    """Whether there is no schedule file, and the settings name none."""
    from livectl.settings import DEFAULT_SOURCE

    return context.settings.sources.get("schedules") == DEFAULT_SOURCE and not context.settings.schedules.exists()


def _find_problems(context: CommandContext, snapshot: ScheduleSnapshot) -> dict[str, str]:
    """Entry -> why no beat sends it. Without -A nothing is looked at: livectl's own tasks take a second to load."""
    if context.app is None:
        return {}
    from livectl.ops.schedules import options

    tasks = context.load_tasks()
    reasons = {entry.name: options.refusal(entry.task, entry.args, entry.kwargs, tasks) for entry in snapshot.schedules}
    return {name: reason for name, reason in reasons.items() if reason}


def _shown_zone(context: CommandContext, zone: str | None) -> str:
    """The time zone that times are shown in: the one asked for, that of the settings, or of the app of -A."""
    from livectl.settings import DEFAULT_SOURCE
    from livectl.units import parse_timezone

    if zone:
        return parse_timezone(zone)
    if context.app is None or context.settings.sources.get("timezone") != DEFAULT_SOURCE:
        return context.settings.timezone
    from livectl.ops import apps

    return apps.find_zone(context.celery_app) or context.settings.timezone


def _schedule_path(context: CommandContext, file: str | None) -> Path:
    return context.cwd / file if file else context.settings.schedules


def _load_named_app(context: CommandContext) -> Any:
    """The app of `-A` with the modules of its tasks imported; None without `-A`."""
    if context.app is None:
        return None
    context.load_tasks()
    return context.celery_app


def _store_address(context: CommandContext) -> Address:
    """The store where the beats keep their state."""
    if context.app is None:
        return context.own_store
    from livectl.ops import scheduler

    return scheduler.store_address(context.settings, _load_named_app(context))


def _load_tasks(context: CommandContext) -> Mapping[str, Any] | None:
    """The tasks to check entries against; None, and the reason on stderr, when the app cannot be imported."""
    from livectl.ops import apps

    try:
        if context.app is not None:
            return context.load_tasks()
        with context.working("loading the tasks"):
            return apps.load_tasks(apps.app_of_modules(OWN_TASKS_MODULE), context.cwd)
    except LivectlError as error:
        context.say(f"tasks not checked: {error.message}")
        return None


def _read_run_history(context: CommandContext) -> RunHistory:
    """The last runs and the pauses; none, and the reason on stderr, when the store cannot be reached."""
    from livectl.ops.beat import views

    try:
        return views.read(_store_address(context), context.deployment)
    except LivectlError as error:
        context.say(f"last runs not known: {error.message}")
        return views.RunHistory()


def _find_entry(name: str, snapshot: ScheduleSnapshot) -> Schedule:
    for entry in snapshot.app_entries:
        if entry.name == name:
            problem = entry.problem or "only beat can tell when it is due, and what it sends"
            raise SettingsError(f"{name}: {problem}", "It is in the app's beat_schedule.")
    by_name = {schedule.name: schedule for schedule in snapshot.schedules}
    _check_name(name, by_name)
    return by_name[name]


def _check_name(name: str, names: Iterable[str]) -> None:
    from livectl.suggestions import did_you_mean

    known_names = list(names)
    if name not in known_names:
        raise UsageError(f"no schedule is called {name}", did_you_mean(name, known_names) or "livectl schedules list")


def _now_ms() -> int:
    return time.time_ns() // NANOSECONDS_PER_MS
