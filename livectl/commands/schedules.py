"""The schedule: whether it is right, what it says, what comes next; runs, pauses and resumes its entries."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from livectl.context import CommandContext, pass_command_context
from livectl.errors import LivectlError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from livectl.address import Address
    from livectl.ops.beat.last_runs import RunHistory
    from livectl.ops.beat.snapshot import ScheduleSnapshot
    from livectl.ops.deployment import Deployment

NANOSECONDS_PER_MS = 1_000_000  # nanoseconds
OWN_TASKS_MODULE = "livectl.tasks"


@click.group()
def command() -> None:
    """It is read from schedules.yaml, or the file that the settings name.

    \b
    Example:
      livectl schedules validate
      livectl schedules next -n 5
    """


@command.command()
@click.argument("file", required=False)
@pass_command_context
def validate(context: CommandContext, file: str | None) -> None:
    """Tell every mistake in the file, each with its place.

    Tasks and their arguments are checked against the app that -A names, or
    against livectl's own. Mistakes make exit code 3; warnings do not.

    \b
    Example:
      livectl schedules validate
      livectl -A proj schedules validate deploy/schedules.yaml
    """
    from livectl.ops.beat import views
    from livectl.ops.schedules import schedule_file

    tasks, path = _load_tasks(context), _schedule_path(context, file)
    loaded = schedule_file.load(path, name=_display_name(context, path), now_ms=_now_ms(), tasks=tasks)
    for warning in loaded.warnings:
        context.say(str(warning))
    context.show(views.render_check(_display_name(context, path), loaded, checked=tasks is not None))


@command.command("list")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_command_context
def list_(context: CommandContext, file: str | None) -> None:
    """Show each entry, when it last ran and how that went, and when it will next.

    With -A, the entries of the app's own beat_schedule are there too.

    \b
    Example:
      livectl schedules list
      livectl schedules list --json
    """
    from livectl.ops.beat import views

    snapshot = _read_schedules(context, file)
    context.show(views.render_entries(snapshot.schedules, _last_runs(context), _now_ms(), context.settings.timezone))


@command.command("next")
@click.argument("name", required=False)
@click.option("-n", "count", default=10, show_default=True, type=click.IntRange(1, 10_000), help="How many runs.")
@click.option("--tz", "zone", metavar="ZONE", help="Show times in this zone, not in that of the settings.")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_command_context
def next_(context: CommandContext, name: str | None, count: int, zone: str | None, file: str | None) -> None:
    """Show the runs ahead, of all entries or of one.

    A local time that a change of the clock skips or repeats is marked.

    \b
    Example:
      livectl schedules next -n 5 --tz Europe/Paris
      livectl schedules next digest
    """
    from livectl.ops.beat import views

    by_name = {schedule.name: schedule for schedule in _read_schedules(context, file).schedules}
    wanted = [_find_named(name, by_name)] if name else list(by_name.values())
    upcoming_runs = list(islice(views.upcoming_runs(wanted, _now_ms()), count))
    context.show(views.render_runs(upcoming_runs, by_name, _last_runs(context), _timezone(context, zone)))


@command.command()
@click.argument("name")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_command_context
def run(context: CommandContext, /, name: str, file: str | None) -> None:
    """Send the job of an entry now, paused or not, and print its task id.

    \b
    Example:
      livectl schedules run digest
    """
    from livectl.ops.beat import publisher
    from livectl.render import sentence

    entry = _find_named(name, {schedule.name: schedule for schedule in _read_schedules(context, file).schedules})
    job_id = publisher.send_now(_find_deployment(context), _load_app(context), entry)
    context.show(sentence(job_id, {"id": job_id, "task": entry.task, "name": name}))


@command.command()
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why; `schedules list` shows it.")
@pass_command_context
def pause(context: CommandContext, /, name: str, reason: str) -> None:
    """Let no beat send an entry until it is resumed. It takes effect at once, and outlives restarts.

    \b
    Example:
      livectl schedules pause digest --reason "mail server moves"
    """
    from livectl import redis_client
    from livectl.ops.beat import run_store
    from livectl.render import sentence

    with redis_client.open_store(_store_address(context)) as store:
        _find_named(name, dict.fromkeys(run_store.read_pausable_names(store, _read_schedules(context, None).schedules)))
        run_store.pause(store, name, reason)
    context.show(sentence(f"{name} is paused; `livectl schedules resume {name}` ends that.", {"name": name}))


@command.command()
@click.argument("name")
@pass_command_context
def resume(context: CommandContext, /, name: str) -> int:
    """Let an entry be sent again, from its next run on: what fell due meanwhile is left out.

    \b
    Example:
      livectl schedules resume digest
    """
    from livectl import redis_client
    from livectl.ops.beat import run_store
    from livectl.render import sentence

    with redis_client.open_store(_store_address(context)) as store:
        was_paused = run_store.resume(store, name)
    context.show(
        sentence(f"{name} {'runs again' if was_paused else 'was not paused'}.", {"name": name, "resumed": was_paused})
    )
    return 0 if was_paused else 1


@command.command()
@click.argument("file", required=False)
@pass_command_context
def diff(context: CommandContext, /, file: str | None) -> int:
    """Show where the file and the running beats differ. Exit 1 when they do, or when no beat runs.

    A beat reads a changed file within seconds; one that it cannot use, or a
    beat with another file, is what shows here.

    \b
    Example:
      livectl schedules diff
    """
    from livectl.ops.beat import views
    from livectl.ops.schedules import schedule_file

    path = _schedule_path(context, file)
    file_differences = views.find_differences(
        _store_address(context), path, schedule_file.load(path, name=_display_name(context, path)).schedules
    )
    context.show(views.render_differences(path, file_differences))
    return 1 if file_differences else 0


@command.command("import")
@click.argument("source", required=False, metavar="[MODULE|FILE]")
@pass_command_context
def import_(context: CommandContext, /, source: str | None) -> int:
    """Turn CELERYBEAT_SCHEDULE or beat_schedule into the text of a schedules.yaml.

    It is read from the source, which is not run; without one, from the app that
    -A names, which is imported. What has no words in YAML, or is computed at run
    time, is told and left out; then the exit code is 1.

    \b
    Example:
      livectl schedules import proj/settings.py > schedules.yaml
      livectl -A proj schedules import
    """
    from livectl.ops.schedules import importing

    return importing.show_result(importing.import_schedule(source, context.app, context.cwd), context.say, context.show)


@command.command()
@click.option("--python", "to", flag_value="python", help="A Python module with Celery's beat_schedule.")
@click.option("--django", "to", flag_value="django", help="A fixture for django-celery-beat: manage.py loaddata.")
@click.option("--crontab", "to", flag_value="crontab", help="A crontab(5) file that calls livectl call.")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_command_context
def export(context: CommandContext, /, to: str | None, file: str | None) -> int:
    """Turn the schedule into what another program reads.

    Entries that it has no words for are told and left out; then the exit code is 1.

    \b
    Example:
      livectl schedules export --python > celeryconfig.py
      livectl schedules export --django > schedule.json
      livectl schedules export --crontab -s deploy/schedules.yaml
    """
    from livectl.ops.schedules import importing

    name, snapshot = _display_name(context, _schedule_path(context, file)), _read_schedules(context, file)
    return importing.show_result(
        importing.export_schedule(to, snapshot.schedules, name, context.app, _now_ms()), context.say, context.show
    )


def _read_schedules(context: CommandContext, file: str | None) -> ScheduleSnapshot:
    """All that is scheduled. An app with a schedule of its own needs no file, unless one is named."""
    from livectl.ops.beat.snapshot import read_snapshot

    path = _schedule_path(context, file)
    optional = file is None and context.settings.sources.get("schedules") == "default"
    app = _load_app(context) if context.app else None
    snapshot = read_snapshot(path, name=_display_name(context, path), app=app, optional=optional)
    for note in snapshot.notes:
        context.say(note)
    return snapshot


def _load_app(context: CommandContext) -> Any:
    """The app of -A, its tasks imported; livectl's own when there is none."""
    from livectl import celeryapp
    from livectl.ops import apps

    app = apps.load(context.app, context.cwd) if context.app else celeryapp.create_app(context.settings)
    apps.load_tasks(app, context.cwd)
    return app


def _find_deployment(context: CommandContext) -> Deployment:
    from livectl.ops import deployment

    return deployment.find(context.app, context.settings, context.cwd)


def _store_address(context: CommandContext) -> Address:
    """Where beat keeps its state."""
    from livectl.ops.processes import embedded_broker

    if not context.app:
        return embedded_broker.resolve_addresses(context.settings).store
    from livectl.ops import scheduler

    return scheduler.store_address(context.settings, _load_app(context))


def _schedule_path(context: CommandContext, file: str | None) -> Path:
    return context.cwd / file if file else context.settings.schedules


def _display_name(context: CommandContext, path: Path) -> str:
    """As short as it can be said from here."""
    return str(path.relative_to(context.cwd) if path.is_relative_to(context.cwd) else path)


def _load_tasks(context: CommandContext) -> Mapping[str, Any] | None:
    """The tasks to check against; None, and a word about it, when the app cannot be imported."""
    from livectl.ops import apps

    try:
        return apps.load_tasks(
            apps.load(context.app, context.cwd) if context.app else apps.app_of_modules(OWN_TASKS_MODULE), context.cwd
        )
    except LivectlError as error:
        context.say(f"tasks not checked: {error.message}")
        return None


def _last_runs(context: CommandContext) -> RunHistory:
    """Of the store, when it can be reached."""
    from livectl.ops.beat import last_runs

    try:
        return last_runs.read(_store_address(context), _find_deployment(context))
    except LivectlError as error:
        context.say(f"last runs not known: {error.message}")
        return last_runs.RunHistory()


def _find_named(name: str, entries: Mapping[str, Any]) -> Any:
    from livectl.suggestions import did_you_mean

    if name not in entries:
        raise UsageError(f"no schedule is called {name}", did_you_mean(name, entries) or "livectl schedules list")
    return entries[name]


def _timezone(context: CommandContext, zone: str | None) -> str:
    from livectl.units import parse_timezone

    return parse_timezone(zone) if zone else context.settings.timezone


def _now_ms() -> int:
    return time.time_ns() // NANOSECONDS_PER_MS
