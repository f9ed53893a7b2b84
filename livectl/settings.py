"""Reads the settings: livectl.yaml, the environment and the defaults, as one value."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from livectl import placeholders
from livectl.address import Address
from livectl.errors import SecretUnsetError, SettingsError
from livectl.secret import KNOWN, Secret, UnsetAddress, resolve_secret, secret_file
from livectl.setting_types import CeleryValue, Endpoint, Port, RedisAddress, value_readers
from livectl.units import ByteSize, Duration, Rate, TimeOfDay, Timezone, Window  # noqa: TC001 - msgspec reads them

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SETTINGS_FILE = "livectl.yaml"
DEFAULT_SOURCE = "default"
MINUTE_S = 60.0


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """The words of an alert, with placeholders."""

    title: str = ""
    body: str = ""

    def __post_init__(self) -> None:
        for text in (self.title, self.body):
            placeholders.check(text)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts go: an Apprise address, a webhook, or a command; and which alerts go there."""

    url: Secret | None = None
    webhook: Secret | None = None
    command: tuple[str, ...] = ()
    secret: Secret | None = None  # signs what a webhook is sent
    on: tuple[Literal["live", "title", "category", "end", "trouble"], ...] = ("live",)
    tags: tuple[str, ...] = ()
    streamers: tuple[str, ...] = ()
    quiet: Window | None = None
    template: Template = Template()
    limit: Rate | None = None
    digest: TimeOfDay | None = None
    max_age: Duration = 30 * MINUTE_S
    timeout: Duration = 10.0
    allow_private: bool = False

    def __post_init__(self) -> None:
        if sum(map(bool, (self.url, self.webhook, self.command))) != 1:
            raise SettingsError("a target has one of url, webhook and command", "Keep one of the three.")
        for argument in self.command:
            placeholders.check(argument)


class PlatformSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The user's own keys for a platform, and how often it may be asked."""

    client_id: Secret | None = None
    client_secret: Secret | None = None
    api_key: Secret | None = None
    cookie: Secret | None = None
    budget: Rate | None = None


class Polling(msgspec.Struct, frozen=True, kw_only=True):
    """How often platforms are asked about a streamer."""

    mode: Literal["learned", "uniform"] = "learned"
    fastest: Duration = 15.0
    slowest: Duration = 15 * MINUTE_S
    merge: Duration = 10 * MINUTE_S

    def __post_init__(self) -> None:
        if not 0 < self.fastest <= self.slowest:
            raise SettingsError("fastest is longer than slowest, or nothing", "Write fastest: 15s, slowest: 15m.")


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """How platforms and webhooks are reached."""

    proxy: Secret | None = None
    connect_to: dict[str, Endpoint] = {}
    allow: tuple[str, ...] = ()


class WebToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the page, and what its owner may do there."""

    token: Secret | None = None
    role: Literal["read", "manage"] = "read"

    def __post_init__(self) -> None:
        if self.token is None:
            raise SettingsError("there is no token", "Write {token: env:NAME, role: manage}.")


class Web(msgspec.Struct, frozen=True, kw_only=True):
    """Where the page is served, and to whom."""

    host: str = "127.0.0.1"
    port: Port = 8787
    token: Secret | None = None  # its role is read
    tokens: dict[str, WebToken] = {}  # more of them, by name
    images: bool = True  # whether it asks for covers and avatars, and shows them


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """How `up` looks after what it runs."""

    silence: Duration = 20.0
    pause: Duration = 1.0

    def __post_init__(self) -> None:
        if not (self.silence > 0 and self.pause > 0):
            raise SettingsError("silence and pause take some time", "Write silence: 20s, pause: 1s.")


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker does with messages and jobs that would end it."""

    guard: bool = True
    max_message: ByteSize = 1_000_000
    max_starts: int = 3  # of a job whose worker died each time

    def __post_init__(self) -> None:
        if not (self.max_message > 0 and self.max_starts > 0):
            raise SettingsError("max_message and max_starts are more than nothing", "Write max_message: 1MB.")


class TaskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How workers that livectl starts treat the jobs of a task."""

    acks: Literal["late", "early"] = "late"


class FileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What livectl.yaml may hold."""

    broker: Address | None = None  # None: embedded
    store: RedisAddress | None = None
    results: RedisAddress | None = None
    timezone: Timezone = "UTC"
    schedules: Path = Path("schedules.yaml")
    follows: Path = Path("follows.yaml")
    alerts: dict[str, Target] = {}
    platforms: dict[str, PlatformSettings] = {}
    polling: Polling = Polling()
    network: Network = Network()
    web: Web = Web()
    up: Up = Up()
    transport: Literal["livectl", "stock"] = "livectl"  # on Redis
    worker: Worker = Worker()
    tasks: dict[str, TaskSettings] = {}  # by name, or pattern such as proj.mail.*
    celery: dict[str, CeleryValue] = {}


class Settings(FileSettings, frozen=True, kw_only=True):
    """What file, environment and flags add up to."""

    home: Path
    folder: Path  # of the settings file: relative paths start here
    file: Path | None = None
    sources: dict[str, str] = {}
    secret_files: frozenset[Path] = frozenset()  # what each `file:` names: with `file`, all that these were read from

    def __repr__(self) -> str:
        return f"Settings({self.file or 'no file'})"

    def secret_values(self) -> set[str]:
        """Every secret that can be read here."""
        return set(_find_secrets({name: getattr(self, name) for name in FileSettings.__struct_fields__}))

    def unset_secrets(self, *sections: str) -> dict[str, str]:
        """Why each secret that cannot be read here is missing, by its setting: of these sections, or of all."""
        values = {name: getattr(self, name) for name in sections or FileSettings.__struct_fields__}
        return dict(_find_unset(values))

    def describe_unset(self, *sections: str) -> list[str]:
        """The same as lines for a person, each with its place in the file."""
        return [
            f"{self.sources.get(name, 'settings')}: {name}: {why}"
            for name, why in self.unset_secrets(*sections).items()
        ]


def load(environ: Mapping[str, str], cwd: Path, file: str | None = None) -> Settings:
    """The settings of this folder and environment. A file that is named must exist; the usual ones may be missing."""
    path, name = _find_settings_file(environ, cwd, file)
    folder = path.parent if path else cwd
    values: dict[str, Any] = {"schedules": folder / "schedules.yaml", "follows": folder / "follows.yaml"}
    sources = dict.fromkeys(_setting_names(FileSettings), DEFAULT_SOURCE)
    secret_files: set[Path] = set()
    if path:
        file_values, file_sources = _read_settings_file(path, name, environ, secret_files)
        values |= file_values
        sources |= file_sources
    environment_values, environment_sources = _read_environment(environ, cwd, secret_files)
    values |= environment_values
    sources |= environment_sources
    home, sources["home"] = _find_home(environ, cwd)
    files = frozenset(secret_files)
    settings = Settings(**values, home=home, folder=folder, file=path, sources=sources, secret_files=files)
    KNOWN.add(settings.secret_values)
    return settings


def _setting_names(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """The names of a struct's settings; those of a section as `web.port`."""
    for field in msgspec.structs.fields(struct):
        yield prefix + field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _setting_names(field.type, f"{field.name}.")


def _find_unset(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Name and reason of each unset secret in a value."""
    if isinstance(value, Secret | UnsetAddress):
        if why := value.problem:
            yield name, why
        return
    if isinstance(value, msgspec.Struct):
        value = {field: getattr(value, field) for field in value.__struct_fields__}
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _find_unset(item, f"{name}.{key}" if name else str(key))


def _find_secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        with suppress(SecretUnsetError):
            yield value.reveal()
    elif isinstance(value, Address):
        yield value.password
    elif isinstance(value, msgspec.Struct):
        yield from _find_secrets({field: getattr(value, field) for field in value.__struct_fields__})
    elif isinstance(value, dict):
        for item in value.values():
            yield from _find_secrets(item)


def _find_settings_file(environ: Mapping[str, str], cwd: Path, file: str | None) -> tuple[Path | None, str]:
    """The path of the settings file, and what messages call it."""
    if named := file or environ.get("LIVECTL_CONFIG"):
        path = cwd / named
        if not _is_there(path):
            source = "--config" if file else "LIVECTL_CONFIG"
            raise SettingsError(f"{source} {named}: no such file", "`livectl init` writes one.")
        return path, named
    for path in possible_files(environ, cwd, file):
        if _is_there(path):
            return path, SETTINGS_FILE if path.parent == cwd else str(path)
    return None, ""


def possible_files(environ: Mapping[str, str], cwd: Path, file: str | None = None) -> tuple[Path, ...]:
    """Where the settings file may be; the first that is there counts."""
    if named := file or environ.get("LIVECTL_CONFIG"):
        return (cwd / named,)
    return cwd / SETTINGS_FILE, _xdg_folder(environ, "XDG_CONFIG_HOME", ".config") / "livectl" / SETTINGS_FILE


def _is_there(path: Path) -> bool:
    """Whether anything has this name, and be it a folder or a file that nobody may read: reading it will say so."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # a folder that may not be entered
        return True
    return True


def _read_settings_file(
    path: Path, name: str, environ: Mapping[str, str], secret_files: set[Path]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of the file, and where each stands; adds what its `file:` name to `secret_files`."""
    from livectl import yamlfile
    from livectl.validation import StructReader

    _check_is_file(path, name)
    reader = StructReader(yamlfile.load(path, name), value_readers(environ, path.parent, secret_files))
    values = reader.read(FileSettings)
    if isinstance(celery := values.get("celery"), dict):
        from livectl import celery_settings

        for key, text, hint in celery_settings.find_mistakes(celery):
            reader.location.child("celery", silent=True).child(key, silent=True).add_mistake(text, hint, key=True)
    reader.location.raise_mistakes()
    return values, reader.sources


def _check_is_file(path: Path, name: str) -> None:
    """SettingsError for a folder, and for a fifo or device, which might never end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{name}: {reason}", "Mend or remove it, or name another with --config.") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no plain file"
        raise SettingsError(f"{name}: is {kind}", "Put a file there, or name another with --config.")


def load_usable(environ: Mapping[str, str], cwd: Path, file: str | None = None) -> Settings:
    """As much of the settings as can be used: for what has to work beside broken ones too, such as a probe."""
    with suppress(SettingsError):
        return load(environ, cwd, file)
    values: dict[str, Any] = {"schedules": cwd / "schedules.yaml", "follows": cwd / "follows.yaml"}
    with suppress(SettingsError):
        path, name = _find_settings_file(environ, cwd, file)
        if path:
            values |= {"schedules": path.parent / "schedules.yaml", "follows": path.parent / "follows.yaml"}
            values |= _usable_values(path, name, environ)
    with suppress(SettingsError):
        values |= _read_environment(environ, cwd, set())[0]
    sources = dict.fromkeys(_setting_names(FileSettings), DEFAULT_SOURCE)
    return Settings(**values, home=find_home(environ, cwd), folder=cwd, sources=sources)


def _usable_values(path: Path, name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The sections of the file that hold no mistake."""
    from livectl import yamlfile
    from livectl.validation import StructReader, is_invalid

    _check_is_file(path, name)
    values = StructReader(yamlfile.load(path, name), value_readers(environ, path.parent, set())).read(FileSettings)
    return {key: value for key, value in values.items() if not is_invalid(value)}


def find_home(environ: Mapping[str, str], cwd: Path) -> Path:
    """The state directory. The settings file has no part in it: whoever needs only this needs no settings."""
    return _find_home(environ, cwd)[0]


def _read_environment(
    environ: Mapping[str, str], cwd: Path, secret_files: set[Path]
) -> tuple[dict[str, Any], dict[str, str]]:
    readers = value_readers(environ, cwd, secret_files)
    kinds: dict[str, Any] = {"broker": Address, "store": RedisAddress, "results": RedisAddress}
    names = {setting: f"LIVECTL_{setting.upper()}" for setting in kinds}
    given = {setting: name for setting, name in names.items() if environ.get(name)}
    values = {}
    for setting, name in given.items():
        if path := secret_file(environ[name], cwd):
            secret_files.add(path)
        try:
            values[setting] = readers[kinds[setting]](resolve_secret(environ[name], environ, cwd))
        except SettingsError as error:
            raise SettingsError(f"{name}: {error.message}", error.hint) from None
    return values, given


def _find_home(environ: Mapping[str, str], cwd: Path) -> tuple[Path, str]:
    if named := environ.get("LIVECTL_HOME"):
        return cwd / named, "LIVECTL_HOME"
    return _xdg_folder(environ, "XDG_STATE_HOME", ".local/state") / "livectl", DEFAULT_SOURCE


def _xdg_folder(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """A folder of the user, where the XDG convention puts it."""
    named = Path(environ.get(variable, ""))
    return named if named.is_absolute() else Path(environ.get("HOME") or Path.home()) / default
