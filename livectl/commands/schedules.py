"""The schedule: whether it is right, what it says, what comes next."""

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

    from livectl.model import Run
    from livectl.ops.schedules import ScheduleFile

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
    from livectl.ops import listing

    tasks = _tasks(call)
    found = _load(call, file, now_ms=_now(), tasks=tasks)
    for warning in found.warnings:
        call.say(str(warning))
    call.show(listing.verdict(_name(call, _path(call, file)), found, checked=tasks is not None))


@command.command("list")
@click.option("-s", "--schedules", "file", metavar="FILE", help="Another file than that of the settings.")
@pass_invocation
def list_(call: Invocation, file: str | None) -> None:
    """Show each entry, when it last ran, and when it will next.

    \b
    Example:
      livectl schedules list
      livectl schedules list --json
    """
    from livectl.ops import listing

    found = _load(call, file)
    call.show(listing.entries(found.schedules, _last_runs(call), _now(), call.settings.timezone))


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
    from livectl.ops import listing, upcoming

    known = {each.name: each for each in _load(call, file).schedules}
    wanted = [_named(name, known)] if name else list(known.values())
    ahead = list(islice(upcoming.upcoming(wanted, _now()), count))
    call.show(listing.runs(ahead, known, _last_runs(call) if call.json else {}, _zone(call, zone)))


def _load(call: Invocation, file: str | None, **more: Any) -> ScheduleFile:
    from livectl.ops import schedules

    path = _path(call, file)
    return schedules.load(path, name=_name(call, path), **more)


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


def _last_runs(call: Invocation) -> Mapping[str, Run]:
    """Of the store, when it can be reached."""
    from livectl import connect
    from livectl.ops import broker, runs

    try:
        with connect.open_store(broker.addresses(call.settings).store) as store:
            return runs.last_runs(store)
    except LivectlError as error:
        call.say(f"last runs not known: {error.message}")
        return {}


def _named(name: str, known: Mapping[str, Any]) -> Any:
    from livectl.ops.spot import did_you_mean

    if name not in known:
        raise UsageError(f"no schedule is called {name}", did_you_mean(name, known) or "livectl schedules list")
    return known[name]


def _zone(call: Invocation, zone: str | None) -> str:
    from livectl.quantity import parse_timezone

    return parse_timezone(zone) if zone else call.settings.timezone


def _now() -> int:
    return time.time_ns() // MILLISECOND
