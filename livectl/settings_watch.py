"""Keeps the settings of a running process up to date: what changed is taken over, valid or not at all, and said.

Nothing waits and nothing is polled: whoever needs the settings asks for them, and then the files are looked at, once a
second at most. What a process holds on to, such as its broker, stays as it was when the process started.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.errors import FileError, LivectlError, SettingsError
from livectl.file_stamp import FileStamp, read_stamp
from livectl.models import BoardEvent
from livectl.secret import Secret, UnsetAddress
from livectl.settings import FileSettings, Settings
from livectl.units import format_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

PLATFORM_QUEUES = "platforms.*.queue"  # by platform, where one is set
LOOK_INTERVAL_S = 1.0  # between two looks at the files: settings count within five seconds
RESTART_SECTIONS = (
    "app",
    "broker",
    "store",
    "results",
    "web",
    "up",
    "transport",
    "worker",
    "push",
    "celery",
    PLATFORM_QUEUES,
)  # a process holds on to what these say
LIVE_SECTIONS = tuple(name for name in FileSettings.__struct_fields__ if name not in RESTART_SECTIONS)

log = logging.getLogger(__name__)


class SettingsWatch:
    """The settings of this process. Raises SettingsError when they cannot be used at its start.

    Children that are forked from it take changes over like their parent does, and leave it to the parent to say so.
    `check` raises a LivectlError for settings that must not be taken over; `say` takes a level of logging and a line.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        cwd: Path,
        file: str | None = None,
        *,
        check: Callable[[Settings], None] = lambda settings: None,
        say: Callable[[int, str], None] = log.log,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = (environ, cwd, file)
        self._check = check
        self._say_line = say
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._look_at = monotonic() + LOOK_INTERVAL_S
        self._pid = os.getpid()
        self._refused = b""  # a digest of what was refused last
        stamps = self._last_look = self._read_stamps(())
        self.started = self._current = livectl_settings.load(*self._source)
        self._secret_files = self.started.secret_files  # those that are looked at
        self._stamps = self._read_stamps(self._secret_files, stamps)  # of what was read last
        self._held = fingerprints(self.started, RESTART_SECTIONS)  # by now: a `file:` among them may change as well
        self._fingerprints = fingerprints(self.started, LIVE_SECTIONS)
        self._outdated: list[str] = []  # names that count after a restart only
        self._unset: frozenset[str] | None = None  # lines about secrets, said already

    def current(self) -> Settings:
        """The settings in force. They are the same object for as long as nothing has changed."""
        if self._monotonic() >= self._look_at and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._current

    def _look(self) -> None:
        self._look_at = self._monotonic() + LOOK_INTERVAL_S
        if self._unset is None:  # now the log is there to say it in
            self._say_unset(self._current)
        stamps = self._read_stamps(self._secret_files)
        if stamps == self._stamps or not self._are_settled(stamps):
            return
        self._stamps = stamps
        try:
            settings = self._load()
            self._secret_files = self._current.secret_files | settings.secret_files
            self._stamps = self._read_stamps(self._secret_files, stamps)
            self._check(settings)
        except LivectlError as error:
            self._refuse(error)
        else:
            self._take_over(settings)

    def _are_settled(self, stamps: dict[Path, FileStamp | None]) -> bool:
        """Whether nobody is writing them. A file that is replaced may be away for a moment: two looks must miss it."""
        now, seen_before = self._clock(), stamps == self._last_look
        self._last_look = stamps
        return all(
            stamp.is_settled(now) if stamp else seen_before or self._stamps.get(path) is None
            for path, stamp in stamps.items()
        )

    def _load(self) -> Settings:
        settings = livectl_settings.load(*self._source)
        if self._current.file and settings.file != self._current.file and not self._current.file.exists():
            raise SettingsError(f"{self._current.file.name} is gone", "Put it back, or start again without it.")
        return settings

    def _refuse(self, error: LivectlError) -> None:
        """Says why the settings stay as they were, once for each content."""
        content = b""
        with suppress(OSError):
            content = self._current.file.read_bytes() if self._current.file else b""
        refused = hashlib.sha256(content + error.message.encode()).digest()
        if refused != self._refused:
            self._say(logging.WARNING, f"the settings cannot be used, those before go on: {_first_mistake(error)}")
        self._refused = refused

    def _take_over(self, settings: Settings) -> None:
        outdated, was_refused = changed_names(self._held, fingerprints(settings, RESTART_SECTIONS)), bool(self._refused)
        old, self._fingerprints = self._fingerprints, fingerprints(settings, LIVE_SECTIONS)
        changes = describe_changes(old, self._fingerprints)
        settings = self._with_what_is_held(settings)
        if changes or was_refused or outdated != self._outdated:
            name = settings.file.name if settings.file else livectl_settings.SETTINGS_FILE
            later = f"only after a restart: {format_names(outdated)}" if outdated else ""
            summary = "; ".join(filter(None, (changes, later))) or "nothing changed"
            self._say(logging.INFO, f"{name} read again: {summary}")
        self._refused, self._outdated = b"", outdated
        if changes:
            self._say_unset(settings)
            self._current = settings

    def _with_what_is_held(self, settings: Settings) -> Settings:
        """These settings, but for what they say of things that this process holds on to."""
        sections = [name for name in RESTART_SECTIONS if name != PLATFORM_QUEUES]
        queues = self.started.platform_queues
        held = {name: getattr(self.started, name) for name in (*sections, "home")}
        held["platforms"] = {
            name: msgspec.structs.replace(access, queue=queues.get(name)) for name, access in settings.platforms.items()
        }
        return msgspec.structs.replace(settings, **held)

    def _say_unset(self, settings: Settings) -> None:
        lines = settings.describe_unset()
        for line in lines:
            if line not in (self._unset or ()):
                self._say(logging.WARNING, f"{line}: what needs it is left out")
        self._unset = frozenset(lines)

    def _say(self, level: int, line: str) -> None:
        if os.getpid() == self._pid:
            self._say_line(level, line)

    def _read_stamps(
        self, secret_files: Iterable[Path], known: Mapping[Path, FileStamp | None] | None = None
    ) -> dict[Path, FileStamp | None]:
        """The stamps of every file that the settings come from; `known` ones were read before the files were."""
        paths = (*livectl_settings.possible_files(*self._source), *sorted(secret_files))
        return {path: (known or {}).get(path) or read_stamp(path) for path in paths}


TOO_LONG = "too long to say what changed"


class FileChanges:
    """Tells what has changed in a file of named entries since the last look. The first look tells nothing.

    `read` gives None for a file that is too long to be compared: of that only that it has changed is told.
    """

    def __init__(
        self, read: Callable[[Path], Mapping[str, Any] | None], clock: Callable[[], float] = time.time
    ) -> None:
        self._read = read
        self._clock = clock
        self._has_looked = False
        self._stamp: FileStamp | None = None
        self._entries: Mapping[str, Any] | None = {}

    def look(self, path: Path) -> str:
        """A line for people; empty when nothing has changed."""
        stamp, is_first = read_stamp(path), not self._has_looked
        if not is_first and (stamp == self._stamp or (stamp and not stamp.is_settled(self._clock()))):
            return ""
        self._has_looked, self._stamp, old = True, stamp, self._entries
        try:
            self._entries = self._read(path) if stamp else old
        except LivectlError as error:
            line = f"{path.name} cannot be used, what it said before goes on: {_first_mistake(error)}"
        else:
            changes = TOO_LONG if old is None or self._entries is None else describe_changes(old, self._entries)
            line = f"{path.name} read again: {changes}" if changes else ""
            line = line if stamp else f"{path.name} is gone, what it said before goes on"
        return "" if is_first else line

    def events(self, path: Path, now: float) -> list[BoardEvent]:
        """What a look tells, for the board of `up`."""
        line = self.look(path)
        return [BoardEvent(at=now, event="file", text=line, details={"file": path.name})] if line else []


def fingerprints(settings: Settings, sections: Iterable[str] = (), salt: bytes = b"") -> dict[str, str]:
    """A text for each setting, which changes with it and reveals nothing: of these sections, or of all.

    A name in a section is `web.port`, `alerts.phone`, `celery.timezone`. What a `file:` holds at this moment counts.
    """
    return {
        name: hashlib.blake2b(encode_setting(value), salt=salt).hexdigest()
        for name, value in setting_values(settings, sections).items()
    }


def setting_values(settings: Settings, sections: Iterable[str] = ()) -> dict[str, Any]:
    """Each setting by its name, with its section."""
    values: dict[str, Any] = {}
    for section in sections or FileSettings.__struct_fields__:
        if section == PLATFORM_QUEUES:
            values |= {section.replace("*", name): queue for name, queue in settings.platform_queues.items()}
            continue
        value = getattr(settings, section)
        if isinstance(value, msgspec.Struct) and not isinstance(value, Address):
            value = msgspec.structs.asdict(value)
        if isinstance(value, dict):
            values |= {f"{section}.{name}": item for name, item in value.items()}
        else:
            values[section] = value
    return values


def encode_setting(value: Any) -> bytes:
    """The bytes of a setting, secrets and all: for a digest, not for anybody to see."""
    return msgspec.json.encode(value, enc_hook=_encode_value, order="sorted")


def _encode_value(value: Any) -> Any:
    if isinstance(value, Secret):
        return [value.problem] if value.problem else value.reveal()
    if isinstance(value, UnsetAddress):
        return [value.problem]
    return str(value)


def changed_names(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The settings that were added, changed or removed."""
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between named values, as a line for the log; empty when nothing does."""
    changes = (
        ("added", new.keys() - old.keys()),
        ("changed", [name for name in old.keys() & new.keys() if old[name] != new[name]]),
        ("removed", old.keys() - new.keys()),
    )
    return "; ".join(f"{change} {format_names(names)}" for change, names in changes if names)


def _first_mistake(error: LivectlError) -> str:
    if not isinstance(error, FileError):
        return error.message
    others = len(error.mistakes) - 1
    return f"{error.mistakes[0]}{f' and {others} more' if others else ''}"
