"""Secrets of the settings: read where they are used, from `env:` and `file:`, and shown to nobody."""

from __future__ import annotations

import re
import stat
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

import msgspec

from livectl.errors import SecretUnsetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

MASK = "***"
MIN_KNOWN_CHARS = 6  # a shorter secret is a part of too many words
# No secrets, though people set them as such: they stand in livectl's own messages.
PLAIN_WORDS = {"password", "secret", "cookie", "webhook", "default", "livectl", "celery", "rabbitmq", "valkey"}
MIN_LONG_CHARS = 12  # from here on no word has it by chance
OPAQUE = r"(?=.*[0-9])(?=.*[A-Za-z])[^.]+|[^.]{24,}"  # of an address: no host, nor a word
MAX_SECRET_BYTES = 65_536  # the longest key file is a few KB


class Secret:
    """A text that is shown as `***` wherever it is printed, logged or raised.

    One of `env:` or `file:` is read each time it is revealed: what is not there costs only who needs it.
    """

    __slots__ = ("_read", "_text")

    def __init__(self, text: str, read: Callable[[], str] | None = None) -> None:
        self._text = text
        self._read = read

    def reveal(self) -> str:
        """The text. SecretUnsetError when its variable or file is not there."""
        return self._read() if self._read else self._text

    @property
    def problem(self) -> str:
        """Why it cannot be revealed; empty when it can."""
        try:
            self.reveal()
        except SecretUnsetError as error:
            return error.message
        return ""

    def _compared(self) -> tuple[str, str]:
        problem = self.problem
        return ("", problem) if problem else (self.reveal(), "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._compared() == self._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def __repr__(self) -> str:
        return MASK


class KnownSecrets:
    """The secret values that this process has heard of: hidden wherever they turn up, however they are spelt."""

    def __init__(self) -> None:
        self._sources: list[Callable[[], Iterable[str]]] = []
        self._spellings: tuple[str, ...] = ()
        self._lock = threading.RLock()

    def add(self, find: Callable[[], Iterable[str]]) -> None:
        """Finds the values when a text is first hidden: whoever shows nothing reads no secret for it."""
        self._sources.append(find)

    def hide(self, text: str) -> str:
        """The text without these values."""
        if self._sources:
            self._find_values()
        for spelling in self._spellings:
            if spelling in text:
                text = _replace(text, spelling)
        return text

    def _find_values(self) -> None:
        with self._lock:  # of the same thread again, where a source logs
            while self._sources:
                spellings = {spelling for value in self._sources[0]() for spelling in _spellings(value)}
                self._spellings = tuple(sorted({*self._spellings, *spellings}, key=len, reverse=True))
                del self._sources[0]  # not before: another thread waits for as long as it is there


def _replace(text: str, secret: str) -> str:
    """A short secret is replaced only where it stands by itself: it may be a part of a word."""
    if len(secret) >= MIN_LONG_CHARS:
        return text.replace(secret, MASK)
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", MASK, text)


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it is, as in an address and as in JSON; and the parts of an address or cookie that are secrets."""
    if "://" in secret:
        parts = {part for part in address_parts(secret) if re.fullmatch(OPAQUE, part)}
        password = unquote(re.split("[/?#]", secret.partition("://")[2])[0].rpartition("@")[0].partition(":")[2])
    else:
        parts, password = {pair.partition("=")[2] for pair in secret.split("; ")}, ""
    long_parts = {part for part in parts if len(part) >= MIN_LONG_CHARS}
    for text in {secret.strip(), password, *long_parts}:
        if len(text) >= MIN_KNOWN_CHARS and text not in PLAIN_WORDS:
            yield from {text, quote(text, safe=""), quote_plus(text), msgspec.json.encode(text).decode()[1:-1]}


def address_parts(url: str) -> set[str]:
    """Each part of an address that may be a secret: all but the scheme, as it is written and as it is meant."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    login, _, host = parts.netloc.rpartition("@")
    texts = {url, parts.netloc, login, *login.split(":"), *host.split(":"), *parts.path.split("/")}
    texts |= {value for _, value in parse_qsl(parts.query)}
    return {spelling for text in texts for spelling in (text, unquote(text)) if spelling}


KNOWN = KnownSecrets()  # of the process, as logging is: a secret must be hidden by whoever meets it


class UnsetAddress:
    """Stands for the address of a server whose `env:` or `file:` is not there: who uses it gets a SecretUnsetError."""

    def __init__(self, error: SecretUnsetError) -> None:
        self._error = error

    @property
    def problem(self) -> str:
        return self._error.message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnsetAddress) and other.problem == self.problem

    def __hash__(self) -> int:
        return hash(self.problem)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of Python's own protocols, such as copying
            raise AttributeError(name)
        raise SecretUnsetError(self._error.message, self._error.hint)


def resolve_secret(text: str, environ: Mapping[str, str], folder: Path) -> str:
    """The text itself, or the value of `env:NAME` or `file:PATH`. Relative paths start from `folder`."""
    kind, _, name = text.partition(":")
    if kind == "env":
        return _secret_from_environment(name.strip(), environ)
    return _secret_from_file(folder / name.strip(), name.strip()) if kind == "file" else text


def secret_file(text: str, folder: Path) -> Path | None:
    """The file of a `file:PATH`; None for any other text."""
    kind, _, name = text.partition(":")
    return folder / name.strip() if kind == "file" else None


def _secret_from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not environ.get(name):
        raise SecretUnsetError(
            f"the environment variable {name or 'after env:'} is not set", "Set it where livectl starts."
        )
    return environ[name]


def _secret_from_file(path: Path, name: str) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SecretUnsetError(f"file:{name} is no plain file", f"It is read from {path}.")
        with path.open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise SecretUnsetError(
            f"file:{name}: {(error.strerror or 'unreadable').lower()}", f"It is read from {path}."
        ) from error
    except ValueError:
        raise SecretUnsetError(f"file:{name} is not text", f"It is read from {path}.") from None
    if not text or len(text) > MAX_SECRET_BYTES:
        raise SecretUnsetError(f"file:{name} is {'too large' if text else 'empty'}", f"It is read from {path}.")
    return text
