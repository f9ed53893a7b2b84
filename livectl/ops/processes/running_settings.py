"""Notes what each running process was started with, and finds those that a change of the settings cannot reach.

A note lies in the state directory for as long as its process runs. Of a secret it holds a fingerprint alone.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from livectl.address import Address
from livectl.atomic_write import write_file
from livectl.ops.processes import process, state_dir
from livectl.redaction import redact
from livectl.secret import MASK, Secret, UnsetAddress
from livectl.settings import DEFAULT_SOURCE
from livectl.settings_watch import PLATFORM_QUEUES, fingerprints, setting_values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.settings import Settings

ProcessKind: TypeAlias = Literal["worker", "beat", "page", "push", "up"]

# What each process holds on to. Of anybody's app, livectl's settings say less.
OWN_SECTIONS: dict[ProcessKind, tuple[str, ...]] = {
    "worker": ("broker", "store", "results", "transport", "worker", "celery", PLATFORM_QUEUES),
    "beat": ("broker", "store", "results", "transport", "celery"),
    "page": ("broker", "store", "results", "web"),
    "push": ("broker", "store", "web", "push"),
    "up": ("app", "broker", "store", "web", "up", "worker", "push"),
}
APP_SECTIONS: dict[ProcessKind, tuple[str, ...]] = {
    "worker": ("store", "transport", "worker"),
    "beat": ("store", "transport"),
    "page": (),
    "push": (),
    "up": ("store", "up", "worker"),
}
OPEN_SECTIONS = ("celery.", "platforms.")  # of these alone there are as many settings as were written
ENVIRONMENT_PREFIX = "LIVECTL_"  # of a source: nobody else knows the environment of a process
NOT_SET, EMBEDDED = "not set", "livectl's own server"
SALT_BYTES = 8


class StartedSetting(msgspec.Struct, frozen=True):
    """A setting as a process was started with it: in words that anybody may read, and a fingerprint."""

    shown: str
    fingerprint: str


class StartNote(msgspec.Struct, frozen=True, kw_only=True):
    """What a process was started with, as the state directory keeps it."""

    kind: ProcessKind
    name: str
    own: bool  # of livectl's own app
    pid: int
    started: str
    file: str  # of the settings; empty if there was none
    named: bool  # it was named, and not found
    cwd: str
    salt: str
    settings: dict[str, StartedSetting]
    page: tuple[str, str] = ("", "")  # of `up`: the address of its page, and why it is not the usual one

    @property
    def label(self) -> str:
        return f"{f'{self.kind} {self.name}'.strip()} (pid {self.pid})"

    def has_settings_of(self, file: Path | None, cwd: Path) -> bool:
        """Whether it would read this file, found in this folder, if it were started again."""
        return self.file == str(file) or (not self.named and self.cwd == str(cwd))


def note_start(
    kind: ProcessKind,
    settings: Settings,
    cwd: Path,
    *,
    config: str | None = None,
    name: str = "",
    own: bool = True,
    page: tuple[str, str] = ("", ""),
) -> None:
    """Notes that this process runs on these settings. Where nothing can be written, nothing is noted.

    `config` is the settings file that its command line names, if it does.
    """
    identity = process.identify(os.getpid())
    if identity is None:
        return
    salt = secrets.token_hex(SALT_BYTES)
    note = StartNote(
        kind=kind,
        name=name,
        own=own,
        pid=identity.pid,
        started=identity.started,
        file=str(settings.file or ""),
        named=bool(config or os.environ.get("LIVECTL_CONFIG")),
        cwd=str(cwd),
        salt=salt,
        settings=_started_settings(settings, (OWN_SECTIONS if own else APP_SECTIONS)[kind], salt),
        page=page,
    )
    folder = _folder(settings.home)
    with suppress(OSError):
        for path in (settings.home, folder.parent, folder):
            path.mkdir(mode=state_dir.PRIVATE_MODE, parents=True, exist_ok=True)
        _drop_ended(settings.home)
        write_file(_path(settings.home, kind), msgspec.json.encode(note), mode=state_dir.PRIVATE_FILE_MODE)


def forget_start(kind: ProcessKind, settings: Settings) -> None:
    """Drops the note of this process, which is about to end."""
    with suppress(OSError):
        _path(settings.home, kind).unlink(missing_ok=True)


def note_worker(settings: Settings, cwd: Path, name: str) -> None:
    """Notes what this worker of another app holds on to, until it ends."""
    from celery import signals

    def forget(**_: Any) -> None:
        forget_start("worker", settings)

    note_start("worker", settings, cwd, name=name, own=False)
    signals.worker_shutdown.connect(forget, weak=False, dispatch_uid="livectl.forget_start")


def find_page(home: Path, pid: int) -> tuple[str, str] | None:
    """The page of the `up` that has this pid, and why it is not at its usual port."""
    return next((note.page for note in running(home) if note.kind == "up" and note.pid == pid), None)


def describe_outdated(settings: Settings, cwd: Path, *, own: bool = True) -> list[str]:
    """A line for each setting that processes here were started with otherwise, and cannot take over."""
    labels: dict[str, list[str]] = defaultdict(list)
    for note in running(settings.home):
        if note.own == own and note.has_settings_of(settings.file, cwd):
            for difference in _differences(note, settings):
                labels[difference].append(note.label)
    return [f"{', '.join(names)}: {difference}" for difference, names in labels.items()]


def _differences(note: StartNote, settings: Settings) -> Iterator[str]:
    current = _started_settings(settings, (OWN_SECTIONS if note.own else APP_SECTIONS)[note.kind], note.salt)
    for name in sorted(note.settings.keys() | current.keys()):
        old, new = note.settings.get(name), current.get(name)
        is_known = (old and new) or name.startswith(OPEN_SECTIONS)
        if not is_known or (old and new and old.fingerprint == new.fingerprint):
            continue
        old_text, new_text = old.shown if old else NOT_SET, new.shown if new else NOT_SET
        source = settings.sources.get(name, DEFAULT_SOURCE)
        place = "the settings" if source == DEFAULT_SOURCE else source
        if old_text == new_text:
            yield f"{name} has changed ({place})"
        else:
            yield f"{name} is still {old_text}; {place} now say{'s' if place == source else ''} {new_text}"


def _started_settings(settings: Settings, sections: tuple[str, ...], salt: str) -> dict[str, StartedSetting]:
    """The settings of these sections, without those that this process has from its environment or cannot read."""
    if not sections:
        return {}
    prints = fingerprints(settings, sections, salt.encode())
    return {
        name: StartedSetting(_show(name, value), prints[name])
        for name, value in setting_values(settings, sections).items()
        if not (_is_unset(value) or settings.sources.get(name, "").startswith(ENVIRONMENT_PREFIX))
    }


def _is_unset(value: Any) -> bool:
    return isinstance(value, Secret | UnsetAddress) and bool(value.problem)


def _show(name: str, value: Any) -> str:
    if value is None:
        return EMBEDDED if name == "broker" else NOT_SET
    if isinstance(value, Address):
        return value.masked
    if isinstance(value, msgspec.Struct):
        return ", ".join(f"{key}: {item}" for key, item in msgspec.structs.asdict(value).items())
    return MASK if isinstance(value, Secret) else str(redact(value))


def running(home: Path) -> list[StartNote]:
    """The notes of the processes that run."""
    notes = [note for path in sorted(_folder(home).glob("*.json")) if (note := _read(path))]
    return [note for note in notes if process.is_alive(process.ProcessIdentity(note.pid, note.started))]


def _drop_ended(home: Path) -> None:
    """Drops the notes that killed processes have left."""
    alive = {(note.pid, note.kind) for note in running(home)}
    for path in _folder(home).glob("*.json"):
        note = _read(path)
        if note is None or (note.pid, note.kind) not in alive:
            path.unlink(missing_ok=True)


def _read(path: Path) -> StartNote | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=StartNote)
    except (OSError, msgspec.DecodeError):
        return None


def _folder(home: Path) -> Path:
    return home / "run" / "settings"


def _path(home: Path, kind: ProcessKind) -> Path:
    return _folder(home) / f"{kind}-{os.getpid()}.json"
