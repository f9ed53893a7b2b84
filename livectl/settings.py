"""Reads the settings: livectl.yaml, the environment and the defaults, as one value."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from livectl import placeholders, setting_types
from livectl.address import Address, Exit
from livectl.errors import SecretUnsetError, SettingsError
from livectl.platform_settings import PlatformSettings
from livectl.secret import KNOWN, Secret, UnsetAddress, resolve_secret, secret_file
from livectl.setting_types import CeleryValue, Endpoint, Port, PublicUrl, RedisAddress, Shards, StoreAddress
from livectl.task_settings import Expect, Retry, TaskSettings, Unique
from livectl.units import ByteSize, Duration, Rate, TimeOfDay, Timezone, Window  # noqa: TC001 - msgspec reads them
from livectl.worker_options import WorkerSettings  # noqa: TC001 - likewise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Expect", "PlatformSettings", "Retry", "TaskSettings", "Unique"]  # beside the sections here

SETTINGS_FILE = "livectl.yaml"
DEFAULT_SOURCE = "default"
MINUTE_S = 60.0


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """The words of an alert, with placeholders."""

    title: str = ""  # of the message; {name}, {title}, {url} and the like stand for what they say
    body: str = ""  # the text below it
    format: Literal["text", "markdown", "html"] = "text"  # what the body is written in

    def __post_init__(self) -> None:
        for text in (self.title, self.body):
            placeholders.check(text)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts go: an Apprise address, a webhook, or a command; and which alerts go there."""

    url: Secret | None = None  # an address of Apprise; a target has this, or webhook, or command
    webhook: Secret | None = None  # an address that is sent JSON
    command: tuple[str, ...] = ()  # a program and its arguments
    secret: Secret | None = None  # signs what a webhook is sent
    on: tuple[Literal["live", "title", "category", "end", "trouble", "job"], ...] = ("live",)  # what it is told of
    tags: tuple[str, ...] = ()  # only streamers with one of these tags
    streamers: tuple[str, ...] = ()  # only these
    platforms: tuple[str, ...] = ()  # only on these
    titles: tuple[str, ...] = ()  # only titles that one of these patterns fits, and none that begins with !
    categories: tuple[str, ...] = ()  # only categories, likewise
    viewers: int = 0  # only where so many watch
    first_in: Duration | None = None  # only the first stream in so long: 7d
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()  # only on these days
    hours: Window | None = None  # only at this time of day: 18:00-23:00
    quiet: Window | None = None  # nothing is sent then; what was missed is told after it: 23:00-07:30
    template: Template = Template()  # words of your own, instead of livectl's
    limit: Rate | None = None  # no more alerts than these: 10/m
    digest: TimeOfDay | None = None  # the time of day at which all is told at once, instead of each: 09:00
    max_age: Duration = 30 * MINUTE_S  # older ones become one line
    timeout: Duration = 10.0  # what a delivery may take, 20 s at most; a command may take longer
    allow_private: bool = False  # whether its address may lead into a private network

    def __post_init__(self) -> None:
        if sum(map(bool, (self.url, self.webhook, self.command))) != 1:
            raise SettingsError("a target has one of url, webhook and command", "Keep one of the three.")
        if self.viewers < 0:
            raise SettingsError("viewers is a number of people", "Write viewers: 100.")
        if not all(pattern.strip("!* ") for pattern in (*self.titles, *self.categories)):
            raise SettingsError("a pattern of titles or categories is empty", 'Write a word, "*word", or "!word".')
        for argument in self.command:
            placeholders.check(argument)


class Polling(msgspec.Struct, frozen=True, kw_only=True):
    """How often platforms are asked about a streamer."""

    # learned: more often when a streamer usually begins; uniform: all alike
    mode: Literal["learned", "uniform"] = "learned"
    fastest: Duration = 15.0  # nobody is asked after more often
    slowest: Duration = 15 * MINUTE_S  # nobody is asked after less often
    merge: Duration = 10 * MINUTE_S  # a stream that is back within it is still the same one
    shards: Shards | None = None  # in how many pieces the store keeps a platform: as it does already, else in 16

    def __post_init__(self) -> None:
        if not 0 < self.fastest <= self.slowest:
            raise SettingsError("fastest is longer than slowest, or nothing", "Write fastest: 15s, slowest: 15m.")


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """How platforms and webhooks are reached."""

    proxy: Secret | None = None  # by which platforms, webhooks and services are reached, instead of the environment's
    connect_to: dict[str, Endpoint] = {}  # host: where its requests go instead, path and Host header unchanged
    allow: tuple[str, ...] = ()  # hosts that may be asked though they are in a private network
    exits: dict[str, Exit] = {}  # by name, from where platforms are asked: addresses of this machine, or proxies


class WebToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the page, and what its owner may do there."""

    token: Secret | None = None  # what its owner has to know
    role: Literal["read", "manage"] = "read"  # what they may do: read, or manage as well

    def __post_init__(self) -> None:
        if self.token is None:
            raise SettingsError("there is no token", "Write {token: env:NAME, role: manage}.")


class Web(msgspec.Struct, frozen=True, kw_only=True):
    """Where the page is served, and to whom."""

    host: str = "127.0.0.1"  # where it listens
    port: Port = 8787  # 8787 where it is left out, or any that is free
    token: Secret | None = None  # what a reader has to know; needed where others can reach the page
    # more of them, each by a name that the audit log shows: {me: {token: env:MY_TOKEN, role: manage}}
    tokens: dict[str, WebToken] = {}
    images: bool = True  # whether covers and avatars are asked for and shown
    public_url: PublicUrl | None = None  # where the world reaches the page, for what `push` has sent there


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """How `up` looks after what it runs."""

    silence: Duration = 20.0  # what has not answered for so long is started again; after its start it has a minute
    pause: Duration = 1.0  # before what ended is started again; doubled each time, up to a minute

    def __post_init__(self) -> None:
        if not (self.silence > 0 and self.pause > 0):
            raise SettingsError("silence and pause take some time", "Write silence: 20s, pause: 1s.")


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker does with messages and jobs that would end it."""

    guard: bool = True  # false: Celery's own consumer, which some messages end
    max_message: ByteSize = 1_000_000  # a larger body is a dead letter
    max_starts: int = 3  # of a job whose worker died each time, before it is a dead letter

    def __post_init__(self) -> None:
        if not (self.max_message > 0 and self.max_starts > 0):
            raise SettingsError("max_message and max_starts are more than nothing", "Write max_message: 1MB.")


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs and runs of schedules are remembered, in the store."""

    keep: Duration = 7 * 86_400.0  # for so long
    jobs: int = 100_000  # so many at most, about 15 MB; 0: none, and they are only counted
    events: bool = True  # also of workers that livectl did not start, where they send events (`celery worker -E`)

    def __post_init__(self) -> None:
        if not (self.keep > 0 and self.jobs >= 0):
            raise SettingsError("keep is some time, and jobs is no less than 0", "Write {keep: 7d, jobs: 100000}.")


class CheckIn(msgspec.Struct, frozen=True, kw_only=True):
    """Something that runs elsewhere, and says so at an address of the page."""

    token: Secret | None = None  # ends its address: /ping/TOKEN
    every: Duration = 86_400.0  # how often it runs
    grace: Duration = 5 * MINUTE_S  # how much later it may be
    end_within: Duration | None = None  # how long it may take, where it says when it begins

    def __post_init__(self) -> None:
        if self.token is None or not self.every > 0:
            raise SettingsError("a check has a token, and every is some time", "Write {token: env:NAME, every: 1d}.")


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What beat tells the targets that listen to `job`."""

    queue: Duration = 10 * MINUTE_S  # the first job of a queue has waited longer
    # an address outside that is asked each minute while beat is well: its owner misses it when all beats are silent
    heartbeat: Secret | None = None
    # what runs elsewhere and checks in, by a name of your choice: {backup: {token: env:BACKUP, every: 1d}}
    checks: dict[str, CheckIn] = {}

    def __post_init__(self) -> None:
        if not self.queue > 0:
            raise SettingsError("queue is some time", "Write queue: 10m.")


class FileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What livectl.yaml may hold."""

    # the Celery app that commands work on, where -A and LIVECTL_APP say nothing: proj, pkg.mod:app
    app: str | None = None
    broker: Address | None = None  # where jobs wait; a server of livectl's own if left out
    # where livectl keeps what it knows: one server, or several addresses of a cluster or of sentinels; beside the jobs
    # if left out, and needed beside RabbitMQ
    store: StoreAddress | None = None
    results: RedisAddress | None = None  # where results of jobs are kept; in the store if left out
    timezone: Timezone = "UTC"  # of what you are shown; cron lines have their own
    schedules: Path = Path("schedules.yaml")  # the schedule file, beside this one
    follows: Path = Path("follows.yaml")  # the follow list, beside this one
    alerts: dict[str, Target] = {}  # who is told, by a name of your choice
    platforms: dict[str, PlatformSettings] = {}  # your keys, by platform
    push: tuple[Literal["twitch", "kick", "youtube"], ...] = ()  # which platforms tell of go-lives by themselves
    polling: Polling = Polling()  # how often streamers are asked after
    network: Network = Network()  # how platforms are reached
    web: Web = Web()  # the page
    workers: dict[str, WorkerSettings] = {}  # the workers of `up`, by a name of your choice; one if left out
    up: Up = Up()  # how `up` looks after what it runs
    # how jobs are sent and taken on Redis, and wait on RabbitMQ; stock is Celery's own way
    transport: Literal["livectl", "stock"] = "livectl"
    worker: Worker = Worker()  # what workers do with messages and jobs that would end them
    history: History = History()  # which jobs and runs are remembered
    watch: Watch = Watch()  # what beat tells of runs, workers and queues
    tasks: dict[str, TaskSettings] = {}  # how jobs of a task are treated, by its name or a pattern such as proj.mail.*
    celery: dict[str, CeleryValue] = {}  # any lowercase setting of Celery


class Settings(FileSettings, frozen=True, kw_only=True):
    """What file, environment and flags add up to."""

    home: Path
    folder: Path  # of the settings file: relative paths start here
    file: Path | None = None
    sources: dict[str, str] = {}
    secret_files: frozenset[Path] = frozenset()  # what each `file:` names: with `file`, all that these were read from

    def __repr__(self) -> str:
        return f"Settings({self.file or 'no file'})"

    @property
    def job_targets(self) -> tuple[str, ...]:
        """The targets of alerts that are told of runs, workers and queues, which beats watch."""
        return tuple(name for name, target in self.alerts.items() if "job" in target.on)

    @property
    def platform_queues(self) -> dict[str, str]:
        """Where checks wait, by platform: of those that have a queue of their own."""
        return {name: access.queue for name, access in self.platforms.items() if access.queue}

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
    _overrule(values, environment_values)
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
        yield value.sentinel_password
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
    reader = StructReader(yamlfile.load(path, name), setting_types.value_readers(environ, path.parent, secret_files))
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
        _overrule(values, _read_environment(environ, cwd, set())[0])
    sources = dict.fromkeys(_setting_names(FileSettings), DEFAULT_SOURCE)
    return Settings(**values, home=find_home(environ, cwd), folder=cwd, sources=sources)


def _usable_values(path: Path, name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The sections of the file that hold no mistake."""
    from livectl import yamlfile
    from livectl.validation import StructReader, is_invalid

    _check_is_file(path, name)
    reader = StructReader(yamlfile.load(path, name), setting_types.value_readers(environ, path.parent, set()))
    return {key: value for key, value in reader.read(FileSettings).items() if not is_invalid(value)}


def find_home(environ: Mapping[str, str], cwd: Path) -> Path:
    """The state directory. The settings file has no part in it: whoever needs only this needs no settings."""
    return _find_home(environ, cwd)[0]


def _read_environment(
    environ: Mapping[str, str], cwd: Path, secret_files: set[Path]
) -> tuple[dict[str, Any], dict[str, str]]:
    readers = setting_types.value_readers(environ, cwd, secret_files)
    kinds: dict[str, Any] = {"broker": Address, "store": StoreAddress, "results": RedisAddress}
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
    if environ.get("LIVECTL_TOKEN"):
        values["web.token"], given["web.token"] = readers[Secret]("env:LIVECTL_TOKEN"), "LIVECTL_TOKEN"
    return values, given


def _overrule(values: dict[str, Any], environment_values: dict[str, Any]) -> None:
    """Puts what the environment says over what the file says; `web.token` is one value of a section."""
    if token := environment_values.pop("web.token", None):
        values["web"] = msgspec.structs.replace(values.get("web", Web()), token=token)
    values |= environment_values


def _find_home(environ: Mapping[str, str], cwd: Path) -> tuple[Path, str]:
    if named := environ.get("LIVECTL_HOME"):
        return cwd / named, "LIVECTL_HOME"
    return _xdg_folder(environ, "XDG_STATE_HOME", ".local/state") / "livectl", DEFAULT_SOURCE


def _xdg_folder(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """A folder of the user, where the XDG convention puts it."""
    named = Path(environ.get(variable, ""))
    return named if named.is_absolute() else Path(environ.get("HOME") or Path.home()) / default
