"""The types of setting that YAML lacks, such as an address or a secret, and how each is read from its text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from livectl.address import MAX_PORT, PROXY_SCHEMES, Address, Exit, is_ip_address
from livectl.errors import SecretUnsetError, SettingsError
from livectl.secret import Secret, UnsetAddress, resolve_secret, secret_file
from livectl.task_settings import PlaceText, parse_place
from livectl.units import (
    ByteSize,
    Duration,
    Rate,
    TimeOfDay,
    Times,
    Timezone,
    Window,
    parse_byte_size,
    parse_duration,
    parse_rate,
    parse_time_of_day,
    parse_times,
    parse_timezone,
    parse_window,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RedisAddress = Annotated[Address, "of a Redis"]
StoreAddress = Annotated[Address, "of a Redis, of a cluster, or of the sentinels of one"]
Port = Annotated[int, "of TCP"]
Shards = Annotated[int, "of a platform"]
Endpoint = Annotated[str, "scheme, host and port"]
PublicUrl = Annotated[str, "https, host and path"]
CeleryValue = Annotated[Any, "as it is, or from env: or file:"]  # a Secret where that is unset

MAX_SHARDS = 1024  # of a platform in the store: a bucket of a million streamers is a piece (live/cells.py)


class _TextReader:
    """Reads a text of the file, or what its `env:` or `file:` leads to."""

    def __init__(self, environ: Mapping[str, str], folder: Path, secret_files: set[Path]) -> None:
        self._environ = environ
        self._folder = folder
        self._secret_files = secret_files  # those that were named

    def text(self, value: Any) -> str:
        self._note(value)
        return resolve_secret(value, self._environ, self._folder)

    def secret(self, value: Any) -> Secret:
        self._note(value)
        return Secret(value, lambda: resolve_secret(value, self._environ, self._folder))

    def address(self, value: Any) -> Any:
        try:
            return Address.parse(self.text(value))
        except SecretUnsetError as error:
            return UnsetAddress(error)

    def redis(self, value: Any) -> Any:
        parsed = self.address(value)
        if not isinstance(parsed, UnsetAddress):
            _ = parsed.redis_url  # raises for RabbitMQ
        return parsed

    def store(self, value: Any) -> Any:
        """One address, or a list of them."""
        try:
            parsed = Address.parse_store(",".join(map(self.text, value if isinstance(value, list) else [value])))
        except SecretUnsetError as error:
            return UnsetAddress(error)
        _ = parsed.redis_url  # raises for RabbitMQ
        return parsed

    def exit(self, value: Any) -> Exit:
        """One that is unset costs only those who leave by it."""
        secret = self.secret(value)
        if secret.problem:
            return Exit(proxy=secret)
        text = secret.reveal()
        if is_ip_address(text):
            return Exit(address=text)
        parts = urlsplit(text)
        if parts.scheme not in PROXY_SCHEMES or not parts.hostname:
            raise SettingsError(
                "an exit is an address of this machine, or a proxy", "Write 192.0.2.10, or socks5://host:1080."
            )
        return Exit(proxy=secret)

    def _note(self, value: Any) -> None:
        if not isinstance(value, str):
            raise SettingsError("this is text", "Put it in quotes.")
        if path := secret_file(value, self._folder):
            self._secret_files.add(path)

    def celery_value(self, value: Any) -> Any:
        try:
            return self.text(value) if isinstance(value, str) else value
        except SecretUnsetError:
            return self.secret(value)


def value_readers(environ: Mapping[str, str], folder: Path, secret_files: set[Path]) -> dict[Any, Callable[[Any], Any]]:
    """For each type that YAML lacks, what makes a value of it out of the text in the file."""

    texts = _TextReader(environ, folder, secret_files)
    text = texts.text
    return {
        Secret: texts.secret,
        Address: texts.address,
        RedisAddress: texts.redis,
        StoreAddress: texts.store,
        Path: lambda value: folder / text(value),
        Timezone: lambda value: parse_timezone(text(value)),
        Duration: parse_duration,
        ByteSize: parse_byte_size,
        Times: parse_times,
        Rate: lambda value: parse_rate(text(value)),
        TimeOfDay: lambda value: parse_time_of_day(text(value)),
        Window: lambda value: parse_window(text(value)),
        PlaceText: parse_place,
        Port: _parse_port,
        Shards: _parse_shards,
        Endpoint: lambda value: _parse_endpoint(text(value)),
        PublicUrl: lambda value: _parse_public_url(text(value)),
        Exit: texts.exit,
        CeleryValue: texts.celery_value,
    }


def _parse_port(value: Any) -> Port:
    if type(value) is not int or not 0 < value <= MAX_PORT:
        raise SettingsError(f"a port is a number from 1 to {MAX_PORT}", "Write 8787.")
    return value


def _parse_shards(value: Any) -> Shards:
    if type(value) is not int or not 0 < value <= MAX_SHARDS:
        raise SettingsError(f"a store has 1 to {MAX_SHARDS} shards a platform", "Write 16, which suits most.")
    return value


def _parse_endpoint(text: str) -> Endpoint:
    if not text.startswith(("http://", "https://")):
        raise SettingsError("requests are sent to an http address", "Write http://127.0.0.1:9000.")
    return text


def _parse_public_url(value: str) -> PublicUrl:
    """Without the slash at its end."""
    hint = "Write https://live.example.org, which leads to the page."
    try:
        parts = urlsplit(value)
        is_plain = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        is_plain = False
    if not is_plain or not value.isascii() or not value.isprintable() or " " in value:
        raise SettingsError("this is no address of a page", hint)
    if parts.scheme != "https" or parts.query or parts.fragment:
        raise SettingsError("an address that the world reaches begins with https:// and ends with a path", hint)
    return value.rstrip("/")
