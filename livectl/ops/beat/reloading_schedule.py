"""Reads the entries that beat runs, and reads them again when the schedule file changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

from livectl import yamlfile
from livectl.errors import FileError
from livectl.ops.beat.entries import BeatEntry, app_entries, to_beat_entry
from livectl.ops.beat.overlap import has_shared_results
from livectl.ops.schedules import schedule_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from celery import Celery

    from livectl.models import Schedule

logger = get_logger(__name__)

MAX_NAMES_LOGGED = 10  # in one line of the log

FileStamp = tuple[int, int, int]  # time of the last change, size, inode


class ReloadingSchedule:
    """The entries of the file and of the app. `entries` and `schedules` are what was last read without a mistake."""

    def __init__(self, app: Celery, path: Path, defaults: Mapping[str, Any], *, optional: bool) -> None:
        self.path = path
        self.entries: dict[str, BeatEntry] = {}
        self.schedules: tuple[Schedule, ...] = ()  # of the file alone
        self._app = app
        self._defaults = defaults
        self._optional = optional
        self._stamp: FileStamp | None = None

    def read(self) -> None:
        """Reads file and app. Raises SettingsError for mistakes in the file, and leaves `entries` as they were."""
        self._stamp = self._stat_file()
        if self._stamp is None and self._optional:
            logger.warning("There is no %s: only the app's own beat_schedule is run.", self.path)
            schedules: tuple[Schedule, ...] = ()
        else:
            schedules = self._load_file()
            self._optional = False  # once read, a file that is gone is a mistake, and not an empty schedule
        file_entries = {schedule.name: to_beat_entry(schedule) for schedule in schedules}
        app_entries_by_name = app_entries(self._app, self._app.conf.beat_schedule)
        self._check_duplicates(app_entries_by_name.keys() & file_entries.keys())
        disabled = {schedule.name for schedule in schedules if not schedule.enabled}
        entries = {**app_entries(self._app, self._defaults), **file_entries, **app_entries_by_name}
        self.entries = {name: entry for name, entry in entries.items() if name not in disabled}
        self.schedules = schedules
        self._check_overlap()

    def reload_if_changed(self) -> bool:
        """Whether the file changed and was read. A mistake in it is logged, once, and the entries stay as they were."""
        if self._stat_file() == self._stamp:
            return False
        old_entries = self.entries
        try:
            self.read()
        except Exception as error:
            logger.error("%s has changed and cannot be used; the schedule before goes on.\n%s", self.path, error)
            return False
        _log_changes(self.path, old_entries, self.entries)
        return True

    def _stat_file(self) -> FileStamp | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load_file(self) -> tuple[Schedule, ...]:
        """The schedules of the file. What only this app finds wrong, such as a task of another app, is logged."""
        try:
            loaded = schedule_file.load(self.path, tasks=self._app.tasks)
            mistakes: Iterable[Any] = ()
        except FileError as error:
            loaded = schedule_file.load(self.path)
            mistakes = error.mistakes
        for warning in (*loaded.warnings, *(mistake for mistake in mistakes if not mistake.warning)):
            logger.warning("%s", warning)
        return loaded.schedules

    def _check_overlap(self) -> None:
        names = [name for name, entry in self.entries.items() if entry.overlap == "skip"]
        if names and not has_shared_results(self._app):
            logger.error(
                "overlap: skip needs a result backend that anyone can ask; this app has none, and jobs may overlap: %s",
                _format_names(names),
            )

    def _check_duplicates(self, names: Iterable[str]) -> None:
        if duplicates := sorted(names):
            document = yamlfile.load(self.path)
            text = "is in the app's beat_schedule too"
            hint = "rename one of the two, or leave one out"
            raise FileError(
                [document.mistake(("schedules", name), f"{name} {text}", hint, key=True) for name in duplicates]
            )


def _log_changes(path: Path, old_entries: dict[str, BeatEntry], new_entries: dict[str, BeatEntry]) -> None:
    changed = [name for name in old_entries.keys() & new_entries.keys() if old_entries[name] != new_entries[name]]
    changes = (
        ("added", new_entries.keys() - old_entries.keys()),
        ("changed", changed),
        ("removed", old_entries.keys() - new_entries.keys()),
    )
    summary = "; ".join(f"{change} {_format_names(names)}" for change, names in changes if names)
    logger.info("%s read again: %s", path, summary or "nothing changed")


def _format_names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    hidden_count = len(ordered) - MAX_NAMES_LOGGED
    return ", ".join(ordered[:MAX_NAMES_LOGGED]) + (f" and {hidden_count} more" if hidden_count > 0 else "")
