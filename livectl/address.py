"""The address of a broker or a store: understood in all its spellings, written in the one each reader wants."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import partial
from typing import Literal, NamedTuple, NoReturn, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec

from livectl.errors import SettingsError

Scheme: TypeAlias = Literal["redis", "rediss", "unix", "amqp", "amqps"]

PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
SCHEMES: dict[str, Scheme] = {
    "redis": "redis",
    "valkey": "redis",
    "rediss": "rediss",
    "valkeys": "rediss",
    "unix": "unix",
    "redis+socket": "unix",
    "redis+unix": "unix",
    "valkey+unix": "unix",
    "valkey+socket": "unix",
    "amqp": "amqp",
    "pyamqp": "amqp",
    "amqps": "amqps",
}
RABBITMQ = {"amqp", "amqps"}
TLS_OPTIONS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
DATABASE_OPTIONS = ("db", "virtual_host")
EXAMPLES = "redis://host:6379/0, unix:///path/to.sock?db=0 or amqp://user:password@host:5672//"
HIGHEST_PORT = 65535
MASK = "***"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is, who asks, and which of its databases is meant."""

    scheme: Scheme
    user: str = ""
    password: str = ""
    host: str = ""
    port: int = 0
    path: str = ""  # of the socket
    database: int = 0  # of Redis
    vhost: str = "/"  # of RabbitMQ
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address in any of its spellings. Complaints never repeat what could be a password."""
        scheme, rest = _scheme(text.strip())
        parts = _parts(scheme, rest)
        known = partial(
            cls, scheme=scheme, user=parts.user, password=parts.password, options=_options(scheme, parts.options)
        )
        if scheme == "unix":
            return known(path=_socket(parts), database=_database("", parts.options))
        host, port = _host_and_port(scheme, parts.place)
        if scheme in RABBITMQ:
            return known(host=host, port=port, vhost=unquote(parts.path[1:]) or "/")
        return known(host=host, port=port, database=_database(parts.path[1:], parts.options))

    @property
    def is_redis(self) -> bool:
        return self.scheme not in RABBITMQ

    @property
    def url(self) -> str:
        return self._written(self.password)

    @property
    def masked(self) -> str:
        return self._written(MASK if self.password else "")

    @property
    def redis(self) -> str:
        """As redis-py wants it."""
        if not self.is_redis:
            raise SettingsError(f"{self.masked} is no Redis", f"The store speaks Redis: {EXAMPLES.split(',')[0]}.")
        return self.url

    @property
    def kombu(self) -> str:
        """As Celery wants it, for a broker as for a result backend."""
        if self.scheme == "unix":
            return f"redis+socket://{self._login(self.password)}{quote(self.path)}?virtual_host={self.database}"
        if self.scheme == "rediss" and "ssl_cert_reqs" not in dict(self.options):  # Celery insists; redis-py assumes it
            return msgspec.structs.replace(self, options=(*self.options, ("ssl_cert_reqs", "required"))).url
        return self.url

    def __repr__(self) -> str:
        return f"Address({self.masked})"

    __str__ = __repr__

    def _written(self, password: str) -> str:
        start = f"{self.scheme}://{self._login(password)}"
        if self.scheme == "unix":
            return f"{start}{quote(self.path)}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        end = str(self.database) if self.is_redis else "/" if self.vhost == "/" else quote(self.vhost, safe="")
        return f"{start}{host}:{self.port}/{end}{'?' if self.options else ''}{urlencode(self.options)}"

    def _login(self, password: str) -> str:
        shown = password if password == MASK else quote(password, safe="")
        return f"{quote(self.user, safe='')}{':' if password else ''}{shown}@" if self.user or password else ""


class _Parts(NamedTuple):
    """An address taken apart, nothing understood yet."""

    user: str
    password: str
    place: str  # host and port
    path: str
    options: dict[str, str]


def _scheme(text: str) -> tuple[Scheme, str]:
    if not text:
        _refuse("an address is empty", f"Write {EXAMPLES}, or leave it out.")
    if text.startswith("/"):
        return "unix", text
    name, marked, rest = text.partition("://")
    if not marked:
        return _bare(text)
    if name.lower() in SCHEMES:
        return SCHEMES[name.lower()], rest
    near = get_close_matches(name.lower(), SCHEMES, 1)
    return _refuse(
        f"{name[:20]}:// is no broker or store that livectl knows",
        f"Write {near[0]}://." if near else f"Write {EXAMPLES}.",
    )


def _bare(text: str) -> tuple[Scheme, str]:
    """A host without a scheme: Redis, unless the port is RabbitMQ's."""
    name, colon, rest = text.partition(":")
    if colon and name.lower() in SCHEMES and not re.fullmatch(r"\d+(/\d*)?", rest):
        slashes = "///" if SCHEMES[name.lower()] == "unix" else "//"
        meant = "" if "@" in rest else Address.parse(f"{name}:{slashes}{rest.lstrip('/')}").url
        _refuse(f"{name}: wants two slashes after it", f"Write {meant or f'{name}://:PASSWORD@host'}.")
    port = re.search(r":(\d+)(/|$)", text)
    schemes: dict[str, Scheme] = {"5672": "amqp", "5671": "amqps"}
    return schemes.get(port[1] if port else "", "redis"), text


def _parts(scheme: Scheme, rest: str) -> _Parts:
    before, _, query = rest.partition("?")
    login, slash, path = before.partition("/")
    if (scheme != "unix" and "@" in path + query) or "#" in rest:
        _refuse("a / ? or # where none can be", "In a password, write / as %2F, ? as %3F and # as %23.")
    if login.count("@") > 1:
        _refuse("more than one @ in an address", "In a password, write @ as %40.")
    login, marked, place = login.rpartition("@")
    user, colon, password = login.partition(":")
    if marked and not colon and scheme not in RABBITMQ:
        _refuse("a user without a password", "Write a password with a colon before it: redis://:PASSWORD@host:6379/0.")
    return _Parts(unquote(user), unquote(password), place, slash + path, dict(parse_qsl(query, keep_blank_values=True)))


def _socket(parts: _Parts) -> str:
    if parts.place or not parts.path.strip("/"):
        _refuse("a socket wants its whole path", "Write three slashes: unix:///path/to.sock?db=0.")
    return unquote(parts.path)


def _host_and_port(scheme: Scheme, place: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?P<host>[\w.-]*|\[[0-9A-Fa-f:.]+\])(:(?P<port>[^:]*))?", place)
    if not found:
        _refuse("a host is a name or a number", f"Write {scheme}://host:{PORTS[scheme]}/…; IPv6 in brackets: [::1].")
    port = found["port"] if found["port"] is not None else str(PORTS[scheme])
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) <= HIGHEST_PORT:
        _refuse(f"a port is a number from 1 to {HIGHEST_PORT}", f"Write {scheme}://host:{PORTS[scheme]}/….")
    return found["host"].strip("[]") or "localhost", int(port)


def _database(path: str, options: dict[str, str]) -> int:
    said = {text for text in (path, *(options.get(name, "") for name in DATABASE_OPTIONS)) if text}
    if len(said) > 1 or not all(text.isascii() and text.isdigit() for text in said):
        _refuse("a database of Redis is one number", "Write redis://host:6379/0, or unix:///path/to.sock?db=0.")
    return int(said.pop()) if said else 0


def _options(scheme: Scheme, options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What an address says of TLS; anything else that it can say is kept elsewhere, or refused."""
    tls = TLS_OPTIONS if scheme in {"rediss", "amqps"} else ()
    known = tls if scheme in RABBITMQ else (*tls, *DATABASE_OPTIONS)
    for name in options.keys() - known:
        near = get_close_matches(name, known, 1)
        said = f"It can have {', '.join(known)}." if known else "Leave it out."
        _refuse(f"an option that {scheme}:// lacks", f"Write {near[0]}." if near else said)
    return tuple((name, _spelt(name, options[name])) for name in tls if name in options)


def _spelt(name: str, value: str) -> str:
    """Celery says CERT_NONE, and understands none; redis-py understands only that."""
    return value.removeprefix("CERT_").lower() if name == "ssl_cert_reqs" else value


def _refuse(text: str, hint: str) -> NoReturn:
    raise SettingsError(text, hint)
