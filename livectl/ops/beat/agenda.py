"""The agenda of a beat: every entry of its schedule file and of the app, read again when the file changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

from livectl.errors import FileError
from livectl.ops.beat import foreign
from livectl.ops.beat.dues import Entry, entry_of
from livectl.ops.beat.overlap import keeps_results
from livectl.ops.schedules import schedulefile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from celery import Celery

    from livectl.model import Schedule

logger = get_logger(__name__)

NAMES_SHOWN = 10  # in one line of the log

Stamp = tuple[int, int, int]


class Agenda:
    """What there is to send. `entries` and `schedules` are what was last read without a mistake."""

    def __init__(self, app: Celery, path: Path, defaults: Mapping[str, Any], *, optional: bool) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self.schedules: tuple[Schedule, ...] = ()  # of the file alone
        self._app = app
        self._defaults = defaults
        self._optional = optional
        self._stamp: Stamp | None = None

    def read(self) -> None:
        """Takes in file and app; SettingsError holds what is wrong with the file, and leaves `entries` as they were."""
        self._stamp = self._look()
        if self._stamp is None and self._optional:
            logger.warning("There is no %s: only the app's own beat_schedule is run.", self.path)
            found: tuple[Schedule, ...] = ()
        else:
            found = self._load()
            self._optional = False  # once read, a file that is gone is a mistake, and not an empty schedule
        said = {schedule.name: entry_of(schedule) for schedule in found}
        told = foreign.entries(self._app, self._app.conf.beat_schedule)
        self._refuse_doubles(told.keys() & said.keys())
        disabled = {schedule.name for schedule in found if not schedule.enabled}
        entries = {**foreign.entries(self._app, self._defaults), **said, **told}
        self.entries = {name: entry for name, entry in entries.items() if name not in disabled}
        self.schedules = found
        self._check_overlap()

    def reread(self) -> bool:
        """Whether the file has changed for good. A mistake in it is logged, once, and all stays as it was."""
        if self._look() == self._stamp:
            return False
        before = self.entries
        try:
            self.read()
        except Exception as error:
            logger.error("%s has changed and cannot be used; the schedule before goes on.\n%s", self.path, error)
            return False
        _log_difference(self.path, before, self.entries)
        return True

    def _look(self) -> Stamp | None:
        try:
            seen = self.path.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    def _load(self) -> tuple[Schedule, ...]:
        """What looks wrong to this app only, such as a task that another app has, is logged and sent all the same."""
        try:
            loaded = schedulefile.load(self.path, tasks=self._app.tasks)
            doubts: Iterable[Any] = ()
        except FileError as error:
            loaded = schedulefile.load(self.path)
            doubts = error.mistakes
        for doubt in (*loaded.warnings, *(each for each in doubts if not each.warning)):
            logger.warning("%s", doubt)
        return loaded.schedules

    def _check_overlap(self) -> None:
        names = [name for name, entry in self.entries.items() if entry.overlap == "skip"]
        if names and not keeps_results(self._app):
            logger.error(
                "overlap: skip needs a result backend that anyone can ask; this app has none, and jobs may overlap: %s",
                listed(names),
            )

    def _refuse_doubles(self, names: Iterable[str]) -> None:
        from livectl import yamlfile

        if doubles := sorted(names):
            document = yamlfile.load(self.path)
            text = "is in the app's beat_schedule too"
            hint = "rename one of the two, or leave one out"
            raise FileError(
                [document.mistake(("schedules", name), f"{name} {text}", hint, key=True) for name in doubles]
            )


def _log_difference(path: Path, before: dict[str, Entry], after: dict[str, Entry]) -> None:
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    said = (("added", after.keys() - before.keys()), ("changed", changed), ("removed", before.keys() - after.keys()))
    told = "; ".join(f"{word} {listed(names)}" for word, names in said if names)
    logger.info("%s read again: %s", path, told or "nothing changed")


def listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - NAMES_SHOWN
    return ", ".join(ordered[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
