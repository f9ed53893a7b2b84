"""The entries that a beat runs, from the file, the app and the store, read again when one of these changes."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

from livectl import yamlfile
from livectl.errors import FileError, LivectlError
from livectl.file_stamp import read_stamp
from livectl.ops import apps
from livectl.ops.beat import store_entries
from livectl.ops.beat.app_schedule import app_entries
from livectl.ops.beat.entries import BeatEntry, ComputedDueTimes, to_beat_entry
from livectl.ops.beat.following import find_followed
from livectl.ops.beat.overlap import MAX_WAITING, has_shared_results
from livectl.ops.schedules import options, schedule_file
from livectl.settings_watch import describe_changes
from livectl.units import format_names
from livectl.yaml_pieces import MAX_WHOLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from celery import Celery

    from livectl.file_stamp import FileStamp
    from livectl.models import Schedule
    from livectl.ops.beat.store_entries import EntryChanges
    from livectl.ops.schedules.schedule_file import Remembered
    from livectl.task_settings import TaskSettings

logger = get_logger("livectl.ops.scheduler")  # one name in the logs for all that beat says


class ReloadingSchedule:
    """The entries of the file and of the app. `entries` and `schedules` are what was last read without a mistake.

    An entry that the app has no task for, or whose task does not take its arguments, is in `left_out` with the reason.
    """

    def __init__(
        self,
        app: Celery,
        path: Path,
        defaults: Mapping[str, Any],
        *,
        optional: bool,
        task_settings: Callable[[], Mapping[str, TaskSettings]] = dict,
    ) -> None:
        self.path = path
        self._task_settings = task_settings  # what `tasks:` says now
        self.entries: dict[str, BeatEntry] = {}
        self.schedules: tuple[Schedule, ...] = ()  # of the file alone
        self.left_out: dict[str, str] = {}
        self.has_waiting_entries = False  # whether runs of some entry may wait for its running job
        self.followed: dict[str, tuple[BeatEntry, ...]] = {}  # whose ends matter, and what runs after them
        self._readable: dict[str, BeatEntry] = {}  # the entries before what the app refuses is left out
        self._file_entries: dict[str, BeatEntry] = {}
        self._remembered: Remembered | None = None  # of the file, so that what has changed alone is read again
        self._own_names: set[str] = set()  # of the entries of file and app, also of those that are switched off
        self._stored: dict[str, BeatEntry] = {}  # the entries of the store, also those that file or app have as well
        self._app = app
        self._defaults = defaults
        self._optional = optional
        self._stamps: list[FileStamp | None] = []  # of the file, then of its calendars
        self._calendar_files: tuple[Path, ...] = ()

    def read(self) -> None:
        """Reads file and app. Raises SettingsError for mistakes in the file, and leaves `entries` as they were.

        The collector of garbage stays away from it: it would look through each entry again and again, and hold up runs.
        """
        gc.unfreeze()
        gc.disable()
        try:
            self._read()
        finally:
            gc.enable()
            gc.freeze()

    def _read(self) -> None:
        self._stamps = self._read_stamps()
        if self._stamps[0] is None and self._optional:
            logger.warning("There is no %s: only the app's own beat_schedule is run.", self.path)
            schedules: tuple[Schedule, ...] = ()
        else:
            schedules = self._load_file()
            self._optional = False  # once read, a file that is gone is a mistake, and not an empty schedule
        file_entries = self._make_entries(schedules)
        app_entries_by_name = app_entries(self._app, apps.read_beat_schedule(self._app))
        in_both = app_entries_by_name.keys() & file_entries.keys()
        self._check_duplicates(
            name for name in in_both if not app_entries_by_name[name].says_the_same_as(file_entries[name])
        )
        disabled = {schedule.name for schedule in schedules if not schedule.enabled}
        entries = {**app_entries(self._app, self._defaults), **app_entries_by_name, **file_entries}
        own = {name: entry for name, entry in entries.items() if name not in disabled}
        old_names, self._own_names = self._own_names, {*entries}
        self._tell_hidden((self._own_names - old_names) & self._stored.keys())
        self._readable = {**self._without_own(self._stored), **own}
        self._file_entries = file_entries
        self.schedules = schedules
        self._leave_out_refused()
        self._check_overlap(self.entries.values())

    def _make_entries(self, schedules: Iterable[Schedule]) -> dict[str, BeatEntry]:
        """The entries of the file. One that has not changed is the very one that it was."""
        entries = {}
        for schedule in schedules:
            entry = self._file_entries.get(schedule.name)
            due_times = entry.due_times if entry else None
            if not entry or not isinstance(due_times, ComputedDueTimes) or due_times.schedule is not schedule:
                entry = to_beat_entry(schedule)
            entries[schedule.name] = entry
        return entries

    def take_store_changes(self, changes: EntryChanges) -> set[str]:
        """Takes over what has changed among the entries of the store. Returns the names to be reckoned anew."""
        known = {name for name in self._stored if name not in changes.entries} if changes.anew else set()
        gone = known | {name for name, text in changes.entries.items() if text is None}
        changed = {name: _read_stored(name, text) for name, text in changes.entries.items() if text is not None}
        entries = {name: entry for name, entry in changed.items() if entry is not None}
        names = gone | changed.keys()
        if not names:
            return set()  # as nearly always: what follows looks at all entries
        self._forget(names)
        self._stored |= entries
        self._tell_hidden(entries.keys() & self._own_names)
        self._readable |= (shown := self._without_own(entries))
        self._check_overlap(shown.values())
        self._leave_out_refused(shown)
        for what, which in (("taken up", changed), ("dropped", gone)):
            if which:
                logger.info("From the store %s: %s", what, format_names(which))
        return names - self._own_names

    def _forget(self, names: Iterable[str]) -> None:
        """Drops entries of the store; one of the same name of file or app stays."""
        for name in names:
            self._stored.pop(name, None)
            if name not in self._own_names:
                for entries in (self._readable, self.entries, self.left_out):
                    entries.pop(name, None)

    def _without_own(self, stored: Mapping[str, BeatEntry]) -> dict[str, BeatEntry]:
        return {name: entry for name, entry in stored.items() if name not in self._own_names}

    def _tell_hidden(self, names: Iterable[str]) -> None:
        if hidden := sorted(names):
            logger.error("Not sent as the store has them, since file or app have them too: %s", format_names(hidden))

    def recheck_left_out(self) -> set[str]:
        """The entries that were left out and have come back, because their tasks have appeared since."""
        old_names = {*self.left_out}
        if old_names:
            self._leave_out_refused({name: self._readable[name] for name in old_names})
        return old_names - self.left_out.keys()

    def _leave_out_refused(self, among: Mapping[str, BeatEntry] | None = None) -> None:
        """Leaves out what the app refuses, of all or of these. Each is said once, when it goes and comes back."""
        looked_at = self._readable if among is None else among
        old = self.left_out
        self.left_out = {} if among is None else {name: why for name, why in old.items() if name not in among}
        refusals = options.Refusals(options.KnownTasks(self._app.tasks, self._task_settings()))
        for name, entry in looked_at.items():
            if reason := refusals.of(entry.task, entry.args, entry.kwargs):
                self.left_out[name] = reason
                if old.get(name) != reason:
                    logger.error("Entry %r is left out until this is mended: %s", name, reason)
        if among is None:
            self.entries = {name: entry for name, entry in self._readable.items() if name not in self.left_out}
        else:
            self.entries.update((name, entry) for name, entry in among.items() if name not in self.left_out)
        self.has_waiting_entries = any(entry.overlap in MAX_WAITING for entry in self.entries.values())
        self.followed = find_followed(self.entries)
        if returned := old.keys() & self.entries.keys():
            logger.info("Sent again, since their tasks are there now: %s", format_names(returned))

    def reload_if_changed(self) -> set[str]:
        """Reads the file if it changed, and returns the names of the entries that differ.

        A mistake in it is logged, once, and the entries stay as they were.
        """
        if self._read_stamps() == self._stamps:
            return set()
        old = self.entries
        try:
            self.read()
        except Exception as error:
            logger.error("%s has changed and cannot be used; the schedule before goes on.\n%s", self.path, error)
            return set()
        names = {name for name, entry in self.entries.items() if (was := old.get(name)) is not entry and was != entry}
        names |= old.keys() - self.entries.keys()
        before, after = ({name: each[name] for name in names & each.keys()} for each in (old, self.entries))
        changes = describe_changes(before, after)
        logger.info("%s read again: %s", self.path, changes or "nothing changed")
        return names

    def _load_file(self) -> tuple[Schedule, ...]:
        """The schedules of the file. Whether this app has their tasks is looked at later."""
        try:
            loaded = schedule_file.load(self.path, remembered=self._remembered)
        except FileError:  # it may be mended in a calendar
            self._calendar_files = schedule_file.find_calendar_files(self.path)
            self._stamps = self._read_stamps()
            raise
        for warning in loaded.warnings:
            logger.warning("%s", warning)
        self._calendar_files, self._remembered = loaded.calendar_files, loaded.remembered
        self._stamps = [self._stamps[0], *map(read_stamp, self._calendar_files)]
        return loaded.schedules

    def _read_stamps(self) -> list[FileStamp | None]:
        return [read_stamp(path) for path in (self.path, *self._calendar_files)]

    def _check_overlap(self, entries: Iterable[BeatEntry]) -> None:
        names = [entry.name for entry in entries if entry.overlap == "skip"]
        if names and not has_shared_results(self._app):
            logger.error(
                "overlap: skip needs a result backend that anyone can ask; this app has none, and jobs may overlap: %s",
                format_names(names),
            )

    def _check_duplicates(self, names: Iterable[str]) -> None:
        if duplicates := sorted(names):
            document = yamlfile.load(self.path, max_bytes=MAX_WHOLE_BYTES)
            text = "is in the app's beat_schedule too"
            hint = "take it out of there, or give one of the two another name"
            raise FileError(
                [document.mistake(("schedules", name), f"{name} {text}", hint, key=True) for name in duplicates]
            )


def _read_stored(name: str, text: str) -> BeatEntry | None:
    """An entry of the store. One that this beat cannot read, such as one of a newer livectl, is told and left out."""
    try:
        schedule = store_entries.parse(name, store_entries.decode(text))
    except LivectlError as error:
        logger.error("The store's entry %r cannot be read and is left out: %s", name, error.message)
        return None
    return to_beat_entry(schedule) if schedule.enabled else None
