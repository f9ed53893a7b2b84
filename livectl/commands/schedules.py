"""The schedule: whether it is right, what it says, what comes next; runs, pauses and resumes its entries."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from livectl.errors import LivectlError, UsageError
from livectl.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from livectl.address import Address
    from livectl.ops.beat.history import History
    from livectl.ops.beat.programme import Programme
    from livectl.ops.cluster.deployment import Deployment

MILLISECOND = 1_000_000  # nanoseconds
OWN_TASKS = "livectl.tasks"


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
@pass_invocation
def validate(call: Invocation, file: str | None) -> None:
    """Tell every mistake in the file, each with its place.

    Tasks and their arguments are checked against the app that -A names, or
    against livectl's own. Mistakes make exit code 3; warnings do not.

    \b
    Example:
      livectl schedules validate
      livectl -A proj schedules validate deploy/schedules.yaml
    """
    from livectl.ops.schedules import listing, schedulefile

    tasks, path = _tasks(call), _path(call, file)
    found = schedulefile.load(path, name=_name(call, path), now_ms=_now(), tasks=tasks)
    for warning in found.warnings:
        call.say(str(warning))
    call.show(listing.verdict(_name(call, path), found, checked=tasks is not None))


@command.command("list")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_invocation
def list_(call: Invocation, file: str | None) -> None:
    """Show each entry, when it last ran and how that went, and when it will next.

    With -A, the entries of the app's own beat_schedule are there too.

    \b
    Example:
      livectl schedules list
      livectl schedules list --json
    """
    from livectl.ops.schedules import listing

    found = _programme(call, file)
    call.show(listing.entries(found.schedules, _history(call), _now(), call.settings.timezone))


@command.command("next")
@click.argument("name", required=False)
@click.option("-n", "count", default=10, show_default=True, type=click.IntRange(1, 10_000), help="How many runs.")
@click.option("--tz", "zone", metavar="ZONE", help="Show times in this zone, not in that of the settings.")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_invocation
def next_(call: Invocation, name: str | None, count: int, zone: str | None, file: str | None) -> None:
    """Show the runs ahead, of all entries or of one.

    A local time that a change of the clock skips or repeats is marked.

    \b
    Example:
      livectl schedules next -n 5 --tz Europe/Paris
      livectl schedules next digest
    """
    from livectl.ops.schedules import listing, upcoming

    known = {each.name: each for each in _programme(call, file).schedules}
    wanted = [_named(name, known)] if name else list(known.values())
    ahead = list(islice(upcoming.upcoming(wanted, _now()), count))
    call.show(listing.runs(ahead, known, _history(call), _zone(call, zone)))


@command.command()
@click.argument("name")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_invocation
def run(call: Invocation, /, name: str, file: str | None) -> None:
    """Send the job of an entry now, paused or not, and print its task id.

    \b
    Example:
      livectl schedules run digest
    """
    from livectl.ops.jobs import orders
    from livectl.render import sentence

    entry = _named(name, {each.name: each for each in _programme(call, file).schedules})
    sent = orders.send_now(_deployment(call), _app(call), entry)
    call.show(sentence(sent, {"id": sent, "task": entry.task, "name": name}))


@command.command()
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why; `schedules list` shows it.")
@pass_invocation
def pause(call: Invocation, /, name: str, reason: str) -> None:
    """Let no beat send an entry until it is resumed. It takes effect at once, and outlives restarts.

    \b
    Example:
      livectl schedules pause digest --reason "mail server moves"
    """
    from livectl import connect
    from livectl.ops.beat import pauses
    from livectl.render import sentence

    with connect.open_store(_store(call)) as store:
        _named(name, dict.fromkeys(pauses.known(store, _programme(call, None).schedules)))
        pauses.pause(store, name, reason)
    call.show(sentence(f"{name} is paused; `livectl schedules resume {name}` ends that.", {"name": name}))


@command.command()
@click.argument("name")
@pass_invocation
def resume(call: Invocation, /, name: str) -> int:
    """Let an entry be sent again, from its next run on: what fell due meanwhile is left out.

    \b
    Example:
      livectl schedules resume digest
    """
    from livectl import connect
    from livectl.ops.beat import pauses
    from livectl.render import sentence

    with connect.open_store(_store(call)) as store:
        was = pauses.resume(store, name)
    call.show(sentence(f"{name} {'runs again' if was else 'was not paused'}.", {"name": name, "resumed": was}))
    return 0 if was else 1


@command.command()
@click.argument("file", required=False)
@pass_invocation
def diff(call: Invocation, /, file: str | None) -> int:
    """Show where the file and the running beats differ. Exit 1 when they do, or when no beat runs.

    A beat reads a changed file within seconds; one that it cannot use, or a
    beat with another file, is what shows here.

    \b
    Example:
      livectl schedules diff
    """
    from livectl.ops.schedules import differences, schedulefile

    path = _path(call, file)
    found = differences.find(_store(call), path, schedulefile.load(path, name=_name(call, path)).schedules)
    call.show(differences.view(path, found))
    return 1 if found else 0


@command.command("import")
@click.argument("source", required=False, metavar="[MODULE|FILE]")
@pass_invocation
def import_(call: Invocation, /, source: str | None) -> int:
    """Turn CELERYBEAT_SCHEDULE or beat_schedule into the text of a schedules.yaml.

    It is read from the source, which is not run; without one, from the app that
    -A names, which is imported. What has no words in YAML, or is computed at run
    time, is told and left out; then the exit code is 1.

    \b
    Example:
      livectl schedules import proj/settings.py > schedules.yaml
      livectl -A proj schedules import
    """
    from livectl.ops.schedules.porting import port

    return port.show(port.bring(source, call.app, call.cwd), call.say, call.show)


@command.command()
@click.option("--python", "to", flag_value="python", help="A Python module with Celery's beat_schedule.")
@click.option("--django", "to", flag_value="django", help="A fixture for django-celery-beat: manage.py loaddata.")
@click.option("--crontab", "to", flag_value="crontab", help="A crontab(5) file that calls livectl call.")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_invocation
def export(call: Invocation, /, to: str | None, file: str | None) -> int:
    """Turn the schedule into what another program reads.

    Entries that it has no words for are told and left out; then the exit code is 1.

    \b
    Example:
      livectl schedules export --python > celeryconfig.py
      livectl schedules export --django > schedule.json
      livectl schedules export --crontab -s deploy/schedules.yaml
    """
    from livectl.ops.schedules.porting import port

    name, found = _name(call, _path(call, file)), _programme(call, file)
    return port.show(port.export(to, found.schedules, name, call.app, _now()), call.say, call.show)


def _programme(call: Invocation, file: str | None) -> Programme:
    """All that is scheduled. An app with a schedule of its own needs no file, unless one is named."""
    from livectl.ops.beat import programme

    path = _path(call, file)
    optional = file is None and call.settings.sources.get("schedules") == "default"
    app = _app(call) if call.app else None
    found = programme.read(path, name=_name(call, path), app=app, optional=optional)
    for note in found.notes:
        call.say(note)
    return found


def _app(call: Invocation) -> Any:
    """The app of -A, its tasks imported; livectl's own when there is none."""
    from livectl import celeryapp
    from livectl.ops import apps

    app = apps.load(call.app, call.cwd) if call.app else celeryapp.create_app(call.settings)
    apps.tasks(app, call.cwd)
    return app


def _deployment(call: Invocation) -> Deployment:
    from livectl.ops.cluster import deployment

    return deployment.find(call.app, call.settings, call.cwd)


def _store(call: Invocation) -> Address:
    """Where beat keeps its state."""
    from livectl.ops import broker

    if not call.app:
        return broker.addresses(call.settings).store
    from livectl.ops import scheduler

    return scheduler.store_address(call.settings, _app(call))


def _path(call: Invocation, file: str | None) -> Path:
    return call.cwd / file if file else call.settings.schedules


def _name(call: Invocation, path: Path) -> str:
    """As short as it can be said from here."""
    return str(path.relative_to(call.cwd) if path.is_relative_to(call.cwd) else path)


def _tasks(call: Invocation) -> Mapping[str, Any] | None:
    """The tasks to check against; None, and a word about it, when the app cannot be imported."""
    from livectl.ops import apps

    try:
        return apps.tasks(apps.load(call.app, call.cwd) if call.app else apps.bare(OWN_TASKS), call.cwd)
    except LivectlError as error:
        call.say(f"tasks not checked: {error.message}")
        return None


def _history(call: Invocation) -> History:
    """Of the store, when it can be reached."""
    from livectl.ops.beat import history

    try:
        return history.read(_store(call), _deployment(call))
    except LivectlError as error:
        call.say(f"last runs not known: {error.message}")
        return history.History()


def _named(name: str, known: Mapping[str, Any]) -> Any:
    from livectl.ops.schedules.spot import did_you_mean

    if name not in known:
        raise UsageError(f"no schedule is called {name}", did_you_mean(name, known) or "livectl schedules list")
    return known[name]


def _zone(call: Invocation, zone: str | None) -> str:
    from livectl.quantity import parse_timezone

    return parse_timezone(zone) if zone else call.settings.timezone


def _now() -> int:
    return time.time_ns() // MILLISECOND
