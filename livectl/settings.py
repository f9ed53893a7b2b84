"""Reads the settings: livectl.yaml, the environment and the defaults, as one value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from livectl import placeholders
from livectl.address import MAX_PORT, Address
from livectl.errors import SettingsError
from livectl.units import (
    Duration,
    Rate,
    TimeOfDay,
    Timezone,
    Window,
    parse_duration,
    parse_rate,
    parse_time_of_day,
    parse_timezone,
    parse_window,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SETTINGS_FILE = "livectl.yaml"
DEFAULT_SOURCE = "default"
MINUTE_S = 60.0
MAX_SECRET_BYTES = 65_536  # the longest key file is a few KB

RedisAddress = Annotated[Address, "of a Redis"]
Port = Annotated[int, "of TCP"]
Endpoint = Annotated[str, "scheme, host and port"]
CeleryValue = Annotated[Any, "as it is, or from env: or file:"]


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


class Web(msgspec.Struct, frozen=True, kw_only=True):
    """Where the page is served."""

    host: str = "127.0.0.1"
    port: Port = 8787
    token: Secret | None = None


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """How `up` looks after what it runs."""

    silence: Duration = MINUTE_S
    pause: Duration = 1.0

    def __post_init__(self) -> None:
        if not (self.silence > 0 and self.pause > 0):
            raise SettingsError("silence and pause take some time", "Write silence: 60s, pause: 1s.")


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
    celery: dict[str, CeleryValue] = {}


class Settings(FileSettings, frozen=True, kw_only=True):
    """What file, environment and flags add up to."""

    home: Path
    folder: Path  # of the settings file: relative paths start here
    file: Path | None = None
    sources: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Settings({self.file or 'no file'})"


def load(environ: Mapping[str, str], cwd: Path, file: str | None = None) -> Settings:
    """The settings of this folder and environment. A file that is named must exist; the usual ones may be missing."""
    path, name = _find_settings_file(environ, cwd, file)
    folder = path.parent if path else cwd
    values: dict[str, Any] = {"schedules": folder / "schedules.yaml", "follows": folder / "follows.yaml"}
    sources = dict.fromkeys(_setting_names(FileSettings), DEFAULT_SOURCE)
    if path:
        file_values, file_sources = _read_settings_file(path, name, environ)
        values |= file_values
        sources |= file_sources
    environment_values, environment_sources = _read_environment(environ, cwd)
    values |= environment_values
    sources |= environment_sources
    home, sources["home"] = _find_home(environ, cwd)
    return Settings(**values, home=home, folder=folder, file=path, sources=sources)


def _setting_names(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """The names of a struct's settings; those of a section as `web.port`."""
    for field in msgspec.structs.fields(struct):
        yield prefix + field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _setting_names(field.type, f"{field.name}.")


def _find_settings_file(environ: Mapping[str, str], cwd: Path, file: str | None) -> tuple[Path | None, str]:
    """The path of the settings file, and what messages call it."""
    if named := file or environ.get("LIVECTL_CONFIG"):
        path = cwd / named
        if not path.exists():
            source = "--config" if file else "LIVECTL_CONFIG"
            raise SettingsError(f"{source} {named}: no such file", "`livectl init` writes one.")
        return path, named
    user_file = _xdg_folder(environ, "XDG_CONFIG_HOME", ".config") / "livectl" / SETTINGS_FILE
    for path, name in ((cwd / SETTINGS_FILE, SETTINGS_FILE), (user_file, str(user_file))):
        if path.is_file():
            return path, name
    return None, ""


def _read_settings_file(path: Path, name: str, environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    from livectl import yamlfile
    from livectl.validation import StructReader

    reader = StructReader(yamlfile.load(path, name), _value_readers(environ, path.parent))
    values = reader.read(FileSettings)
    if isinstance(celery := values.get("celery"), dict):
        from livectl import celery_settings

        for key, text, hint in celery_settings.find_mistakes(celery):
            reader.location.child("celery", silent=True).child(key, silent=True).add_mistake(text, hint, key=True)
    reader.location.raise_mistakes()
    return values, reader.sources


def _read_environment(environ: Mapping[str, str], cwd: Path) -> tuple[dict[str, Any], dict[str, str]]:
    readers = _value_readers(environ, cwd)
    kinds: dict[str, Any] = {"broker": Address, "store": RedisAddress, "results": RedisAddress}
    names = {setting: f"LIVECTL_{setting.upper()}" for setting in kinds}
    given = {setting: name for setting, name in names.items() if environ.get(name)}
    values = {}
    for setting, name in given.items():
        try:
            values[setting] = readers[kinds[setting]](environ[name])
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


def _value_readers(environ: Mapping[str, str], folder: Path) -> dict[Any, Callable[[Any], Any]]:
    """For each type that YAML lacks, what makes a value of it out of the text in the file."""

    def text(value: Any) -> str:
        if not isinstance(value, str):
            raise SettingsError("this is text", "Put it in quotes.")
        return resolve_secret(value, environ, folder)

    def address(value: Any) -> Address:
        return Address.parse(text(value))

    def redis(value: Any) -> Address:
        parsed = address(value)
        _ = parsed.redis_url  # raises for RabbitMQ
        return parsed

    return {
        Secret: lambda value: Secret(text(value)),
        Address: address,
        RedisAddress: redis,
        Path: lambda value: folder / text(value),
        Timezone: lambda value: parse_timezone(text(value)),
        Duration: parse_duration,
        Rate: lambda value: parse_rate(text(value)),
        TimeOfDay: lambda value: parse_time_of_day(text(value)),
        Window: lambda value: parse_window(text(value)),
        Port: _parse_port,
        Endpoint: lambda value: _parse_endpoint(text(value)),
        CeleryValue: lambda value: text(value) if isinstance(value, str) else value,
    }


def _parse_port(value: Any) -> Port:
    if type(value) is not int or not 0 < value <= MAX_PORT:
        raise SettingsError(f"a port is a number from 1 to {MAX_PORT}", "Write 8787.")
    return value


def _parse_endpoint(text: str) -> Endpoint:
    if not text.startswith(("http://", "https://")):
        raise SettingsError("requests are sent to an http address", "Write http://127.0.0.1:9000.")
    return text


class Secret:
    """A text that is shown as `***` wherever it is printed, logged or raised."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***"


def resolve_secret(text: str, environ: Mapping[str, str], folder: Path) -> str:
    """The text itself, or the value of `env:NAME` or `file:PATH`. Relative paths start from `folder`."""
    kind, _, name = text.partition(":")
    if kind == "env":
        return _secret_from_environment(name.strip(), environ)
    return _secret_from_file(folder / name.strip(), name.strip()) if kind == "file" else text


def _secret_from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not environ.get(name):
        raise SettingsError(
            f"the environment variable {name or 'after env:'} is not set", "Set it where livectl starts."
        )
    return environ[name]


def _secret_from_file(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(
            f"file:{name}: {(error.strerror or 'unreadable').lower()}", f"It is read from {path}."
        ) from error
    except ValueError:
        raise SettingsError(f"file:{name} is not text", f"It is read from {path}.") from None
    if not text or len(text) > MAX_SECRET_BYTES:
        raise SettingsError(f"file:{name} is {'too large' if text else 'empty'}", f"It is read from {path}.")
    return text
