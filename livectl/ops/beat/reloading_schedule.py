"""Reads the entries that beat runs, and reads them again when the schedule file changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

from livectl import yamlfile
from livectl.errors import FileError
from livectl.ops.beat.entries import BeatEntry, app_entries, to_beat_entry
from livectl.ops.beat.overlap import has_shared_results
from livectl.ops.schedules import options, schedule_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from celery import Celery

    from livectl.models import Schedule

logger = get_logger(__name__)

MAX_NAMES_LOGGED = 10  # in one line of the log

FileStamp = tuple[int, int, int]  # time of the last change, size, inode


class ReloadingSchedule:
    """The entries of the file and of the app. `entries` and `schedules` are what was last read without a mistake.

    An entry that the app has no task for, or whose task does not take its arguments, is in `left_out` with the reason.
    """

    def __init__(self, app: Celery, path: Path, defaults: Mapping[str, Any], *, optional: bool) -> None:
        self.path = path
        self.entries: dict[str, BeatEntry] = {}
        self.schedules: tuple[Schedule, ...] = ()  # of the file alone
        self.left_out: dict[str, str] = {}
        self._readable: dict[str, BeatEntry] = {}  # the entries before what the app refuses is left out
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
        self._readable = {name: entry for name, entry in entries.items() if name not in disabled}
        self.schedules = schedules
        self._leave_out_refused()
        self._check_overlap()

    def recheck_left_out(self) -> bool:
        """Whether an entry that was left out has come back, because its task has appeared since."""
        old_names = self.left_out.keys()
        if old_names:
            self._leave_out_refused()
        return old_names != self.left_out.keys()

    def _leave_out_refused(self) -> None:
        """Leaves out what the app refuses. Each entry is said once, when it goes and when it comes back."""
        old, self.left_out = self.left_out, {}
        for name, entry in self._readable.items():
            if reason := options.refusal(entry.task, entry.args, entry.kwargs, self._app.tasks):
                self.left_out[name] = reason
                if old.get(name) != reason:
                    logger.error("Entry %r is left out until this is mended: %s", name, reason)
        self.entries = {name: entry for name, entry in self._readable.items() if name not in self.left_out}
        if returned := old.keys() & self.entries.keys():
            logger.info("Sent again, since their tasks are there now: %s", _format_names(returned))

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
        """The schedules of the file. Whether this app has their tasks is looked at later."""
        loaded = schedule_file.load(self.path)
        for warning in loaded.warnings:
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
