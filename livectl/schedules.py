"""Schedules that a program makes at run time: they live in the store, and every running beat takes them up in seconds.

    from livectl import schedules

    schedules.add(app, "c42", task="proj.poll", every="10m", args=[42], overlap="skip")
    schedules.change(app, "c42", every="1h")
    schedules.remove(app, "c42")

The first argument is the Celery app that the beats run, or the URL of the store. The keys are those of schedules.yaml
(`except` is written `except_`); a `timedelta` is a duration, a `datetime` an instant. What is wrong raises an error of
`livectl.errors`: FileError with every mistake in an entry, SettingsError for a name that is taken, UsageError for one
that nobody has, ServerError while the store is away.
"""

from __future__ import annotations

import builtins
import os
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from livectl import redis_client
from livectl.address import Address
from livectl.errors import UsageError
from livectl.suggestions import did_you_mean
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import redis
    from celery import Celery

    from livectl.ops.beat.views import EntryStatus

    Where: TypeAlias = Celery | str  # the app that the beats run, or the URL of the store

__all__ = ["ListedEntry", "add", "change", "list", "pause", "remove", "resume"]


class ListedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that running beats send."""

    name: str
    task: str
    source: str  # `store`, or `file` for those of schedules.yaml
    schedule: str  # when, in words: "every 10m"
    words: dict[str, Any]  # its keys as they were given; none for an entry of the file
    enabled: bool
    paused: bool
    reason: str  # of the pause
    last: datetime | None  # the run that was last sent
    next: datetime | None


def add(where: Where, name: str, *, checked: bool = True, **keys: Any) -> None:
    """Adds an entry. With an app, task and arguments are checked against its tasks, unless `checked` is false."""
    from livectl.ops.beat import store_entries

    with _store(where) as store:
        store_entries.add(store, name, _words(keys), _tasks(where) if checked else None)


def change(where: Where, name: str, *, checked: bool = True, **keys: Any) -> None:
    """Changes keys of an entry; None takes a key out, and a new time takes the place of the old one."""
    from livectl.ops.beat import store_entries
    from livectl.ops.schedules.file_edit import change_words

    changes = [((key,), value) for key, value in _words(keys).items()]
    with _store(where) as store:
        tasks = _tasks(where) if checked else None
        store_entries.change(store, name, lambda words: change_words(words, changes), tasks)


def remove(where: Where, *names: str) -> int:
    """Removes entries; beats stop sending them within seconds. Returns how many of them were there."""
    from livectl.ops.beat import store_entries

    with _store(where) as store:
        return sum(store_entries.remove(store, names))


def pause(where: Where, name: str, reason: str = "") -> None:
    """Lets no beat send an entry from now on, be it of the store or of the file."""
    from livectl.ops.beat import pauses

    with _store(where) as store:
        known = pauses.read_pausable_names(store, ())
        if name not in known:
            raise UsageError(f"no schedule is called {name}", did_you_mean(name, known))
        pauses.pause(store, name, reason)


def resume(where: Where, name: str) -> bool:
    """Lets an entry be sent again, from now on. False when it was not paused."""
    from livectl.ops.beat import pauses

    with _store(where) as store:
        return pauses.resume(store, name)


def list(where: Where) -> builtins.list[ListedEntry]:  # noqa: A001
    """The entries of the store, and those that running beats have from their files, by name."""
    from livectl.ops.beat import pauses, run_store, store_entries, views

    with _store(where) as store:
        loaded = run_store.read_loaded_schedules(store)
        history = views.RunHistory(
            last_runs=run_store.read_last_runs(store),
            pauses=pauses.read_pauses(store),
            counts=run_store.read_counts(store),
            stored=store_entries.read_all_words(store),
        )
    snapshot = views.ScheduleSnapshot(tuple(loaded)).with_stored(history)
    now = int(time.time() * MS_PER_SECOND)
    statuses = views.list_entries(snapshot.schedules, history, now, sources=snapshot.sources)
    return sorted((_to_entry(status, history.stored) for status in statuses), key=lambda entry: entry.name)


def _to_entry(status: EntryStatus, stored: Mapping[str, dict[str, Any]]) -> ListedEntry:
    return ListedEntry(
        name=status.schedule.name,
        task=status.schedule.task,
        source=status.source,
        schedule=status.timing,
        words=stored[status.schedule.name] if status.source == "store" else {},
        enabled=status.schedule.enabled,
        paused=status.pause is not None,
        reason=status.pause.reason if status.pause else "",
        last=_to_datetime(status.last),
        next=_to_datetime(status.next),
    )


def _to_datetime(moment: int | None) -> datetime | None:
    return None if moment is None else datetime.fromtimestamp(moment / MS_PER_SECOND, UTC)


@contextmanager
def _store(where: Where) -> Iterator[redis.Redis]:
    """The store where the beats of this app keep their state."""
    if isinstance(where, str):
        address = Address.parse_store(where)
    else:
        from livectl import settings
        from livectl.ops import scheduler

        address = scheduler.store_address(settings.load(os.environ, Path.cwd()), where)
    with redis_client.using_store(address) as client:
        yield client


def _tasks(where: Where) -> Mapping[str, Any] | None:
    """The tasks of the app, with the modules that it names imported; None where only the store is known."""
    if isinstance(where, str):
        return None
    from livectl import settings
    from livectl.ops.schedules.options import KnownTasks

    where.loader.import_default_modules()
    return KnownTasks(where.tasks, settings.load(os.environ, Path.cwd()).tasks)


def _words(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removesuffix("_"): _plain(value) for key, value in keys.items()}


def _plain(value: Any) -> Any:
    """A value as YAML would have it: durations are seconds, instants text."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, builtins.list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value
