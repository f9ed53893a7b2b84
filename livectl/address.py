"""Reads the address of a broker or a store in any spelling, and writes it as each client wants it."""

from __future__ import annotations

import re
import socket
from functools import partial
from typing import Literal, NamedTuple, NoReturn, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec

from livectl.errors import SettingsError
from livectl.secret import MASK, Secret
from livectl.suggestions import nearest

Scheme: TypeAlias = Literal["redis", "rediss", "unix", "amqp", "amqps"]
Kind: TypeAlias = Literal["server", "cluster", "sentinel"]

PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
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
# A cluster, and servers behind Sentinel: redis+cluster://, rediss+sentinel://, and as Celery and others spell them.
MANY_NODES = re.compile(r"(?:(?:redis|valkey)(?P<tls>s?)[+-])?(?P<kind>cluster|sentinel)://", re.IGNORECASE)
BETWEEN_ADDRESSES = re.compile(r"\s*[,;]\s*(?=[A-Za-z][A-Za-z+-]*://)")
RABBITMQ = {"amqp", "amqps"}
TLS_OPTIONS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
DATABASE_OPTIONS = ("db", "virtual_host")
SENTINEL_PORT = 26379
SENTINEL_NAME_OPTIONS = ("master_name", "service_name")
CLUSTER_EXAMPLE = "redis+cluster://host:6379,host2:6379"
SENTINEL_EXAMPLE = "redis+sentinel://host:26379,host2:26379/NAME/0"
EXAMPLES = "redis://host:6379/0, unix:///path/to.sock?db=0 or amqp://user:password@host:5672//"
MAX_PORT = 65535


class Exit(NamedTuple):
    """From where requests leave: an address of this machine, or a proxy, whose text may hold a password."""

    address: str = ""
    proxy: Secret | None = None


def is_ip_address(text: str) -> bool:
    return any(_is_of_family(family, text) for family in (socket.AF_INET, socket.AF_INET6))


def _is_of_family(family: int, text: str) -> bool:
    try:
        return bool(socket.inet_pton(family, text))
    except OSError:
        return False


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A server, the login there, and the database or virtual host on it; of a store also several, that are one."""

    scheme: Scheme
    user: str = ""
    password: str = ""
    host: str = ""
    port: int = 0
    path: str = ""  # of the socket
    database: int = 0  # of Redis
    vhost: str = "/"  # of RabbitMQ
    options: tuple[tuple[str, str], ...] = ()
    kind: Kind = "server"
    others: tuple[tuple[str, int], ...] = ()  # more nodes of the cluster, or more sentinels
    service: str = ""  # what Sentinel calls the primary
    sentinel_password: str = ""

    @classmethod
    def parse_store(cls, text: str) -> Address:
        """Reads the address of a store, which may be a cluster or behind Sentinel, with as many nodes as are named."""
        return _parse_store(text)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads an address in any of its spellings. Errors never repeat a part that could be a password."""
        scheme, rest = _split_scheme(text.strip())
        parts = _split_address(scheme, rest)
        build = partial(
            cls, scheme=scheme, user=parts.user, password=parts.password, options=_parse_options(scheme, parts.options)
        )
        if scheme == "unix":
            return build(path=_parse_socket_path(parts), database=_parse_database("", parts.options))
        host, port = _parse_host_and_port(scheme, parts.host_port)
        if scheme in RABBITMQ:
            return build(host=host, port=port, vhost=unquote(parts.path[1:]) or "/")
        return build(host=host, port=port, database=_parse_database(parts.path[1:], parts.options))

    @property
    def is_redis(self) -> bool:
        return self.scheme not in RABBITMQ

    @property
    def is_single(self) -> bool:
        """Whether it is one server by itself, the only kind that Celery and its transports know."""
        return self.kind == "server"

    @property
    def nodes(self) -> tuple[tuple[str, int], ...]:
        return ((self.host, self.port), *self.others)

    def at(self, host: str, port: int) -> Address:
        """The same login and TLS on one server."""
        return msgspec.structs.replace(
            self, host=host, port=port, kind="server", others=(), service="", sentinel_password=""
        )

    @property
    def url(self) -> str:
        return self._build_url(masked=False)

    @property
    def masked(self) -> str:
        return self._build_url(masked=True)

    @property
    def redis_url(self) -> str:
        """The URL for redis-py. Raises SettingsError for RabbitMQ."""
        if not self.is_redis:
            raise SettingsError(f"{self.masked} is no Redis", f"The store speaks Redis: {EXAMPLES.split(',')[0]}.")
        return self.url

    @property
    def celery_url(self) -> str:
        """The URL for Celery, as a broker or a result backend. Raises SettingsError for several servers."""
        if not self.is_single:
            raise SettingsError(
                f"Celery keeps nothing in {self.masked}", "Name one server for it: broker: redis://host:6379/0."
            )
        if self.scheme == "unix":
            return f"redis+socket://{self._login(self.password)}{quote(self.path)}?virtual_host={self.database}"
        if self.scheme == "amqps":  # kombu hands options on to py-amqp under names that it does not know
            return msgspec.structs.replace(self, options=()).url
        if self.scheme == "rediss" and "ssl_cert_reqs" not in dict(self.options):  # Celery insists; redis-py assumes it
            return msgspec.structs.replace(self, options=(*self.options, ("ssl_cert_reqs", "required"))).url
        return self.url

    def __repr__(self) -> str:
        return f"Address({self.masked})"

    __str__ = __repr__

    def _build_url(self, *, masked: bool) -> str:
        kind = "" if self.is_single else f"+{self.kind}"
        start = f"{self.scheme}{kind}://{self._login(_shown(self.password, masked=masked))}"
        if self.scheme == "unix":
            return f"{start}{quote(self.path)}?db={self.database}"
        hosts = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.nodes)
        options = list(self.options)
        if self.sentinel_password:
            options.append(("sentinel_password", _shown(self.sentinel_password, masked=masked)))
        return f"{start}{hosts}{self._end()}{'?' if options else ''}{urlencode(options, safe=MASK)}"

    def _end(self) -> str:
        """What follows the hosts."""
        if self.kind == "cluster":
            return ""
        if self.kind == "sentinel":
            return f"/{quote(self.service, safe='')}/{self.database}"
        return f"/{self.database}" if self.is_redis else "//" if self.vhost == "/" else f"/{quote(self.vhost, safe='')}"

    def _login(self, password: str) -> str:
        shown_password = password if password == MASK else quote(password, safe="")
        return f"{quote(self.user, safe='')}{':' if password else ''}{shown_password}@" if self.user or password else ""


def _shown(password: str, *, masked: bool) -> str:
    return MASK if password and masked else password


class _AddressParts(NamedTuple):
    """The parts of an address as text, not read yet."""

    user: str
    password: str
    host_port: str
    path: str
    options: dict[str, str]


def _parse_store(text: str) -> Address:
    """Reads the address of a store: of one server, of some nodes of a cluster, or of the sentinels of a server."""
    first, *more = addresses = [_parse_nodes(part) for part in BETWEEN_ADDRESSES.split(text.strip())]
    for other in more:
        if (other.scheme, other.kind) != (first.scheme, first.kind) or other.scheme == "unix" or not other.is_redis:
            _raise_error("addresses of different kinds, which cannot be one store", f"Write {CLUSTER_EXAMPLE}.")
    names = ("user", "password", "options", "database", "service", "sentinel_password")  # which one of them may say
    merged = {
        name: next(filter(None, (getattr(each, name) for each in addresses)), getattr(first, name)) for name in names
    }
    nodes = tuple(dict.fromkeys(node for each in addresses for node in each.nodes))
    kind: Kind = "cluster" if first.is_single and len(addresses) > 1 else first.kind
    return _checked(msgspec.structs.replace(first, kind=kind, others=nodes[1:], **merged))


def _parse_nodes(text: str) -> Address:
    """One address, with as many hosts as it has."""
    if "://" not in text and "," in text:
        text = f"redis://{text}"
    match = MANY_NODES.match(text)
    start = f"redis{match['tls'] or ''}://" if match else ""
    text = start + text[match.end() :] if match else text
    kind: Kind = "server" if not match else "sentinel" if match["kind"].lower() == "sentinel" else "cluster"
    before, _, query = text.partition("?")
    scheme, _, rest = before.partition("://")
    login, at_sign, hosts = rest.rpartition("@")
    netloc, _, path = hosts.partition("/")
    if kind == "server" and ("," not in netloc or text.lower().startswith(("amqp", "pyamqp"))):
        return Address.parse(text)
    found, *others = netloc.split(",")
    port = SENTINEL_PORT if kind == "sentinel" else PORTS["redis"]
    service, path, query, password = _split_sentinel(path, query) if kind == "sentinel" else ("", path, query, "")
    host = found if re.search(r":\d*$", found) and not found.endswith("]") else f"{found or 'localhost'}:{port}"
    parsed = Address.parse(f"{scheme}://{login}{at_sign}{host}/{path}{'?' if query else ''}{query}")
    return msgspec.structs.replace(
        parsed,
        kind="cluster" if kind == "server" else kind,
        others=tuple(_parse_host_and_port(parsed.scheme, other, port) for other in others),
        service=service,
        sentinel_password=password,
    )


def _split_sentinel(path: str, query: str) -> tuple[str, str, str, str]:
    """The name of the primary, the database, the other options, and the password of the sentinels."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    names = [unquote(part) for part in path.split("/") if part]
    database = names.pop() if names and names[-1].isdigit() else ""
    name = names.pop() if names else ""
    for option in SENTINEL_NAME_OPTIONS:
        name = options.pop(option, "") or name
    password = options.pop("sentinel_password", "")
    if names:
        _raise_error("too much after the hosts of the sentinels", f"Write {SENTINEL_EXAMPLE}.")
    return name, database, urlencode(options), password


def _checked(address: Address) -> Address:
    if address.kind == "cluster" and address.database:
        _raise_error("a cluster has one database alone", f"Leave the number out: {CLUSTER_EXAMPLE}.")
    if address.kind == "sentinel" and not address.service:
        _raise_error("sentinels watch servers by name, and this names none", f"Write {SENTINEL_EXAMPLE}.")
    return address


def _split_scheme(text: str) -> tuple[Scheme, str]:
    if not text:
        _raise_error("an address is empty", f"Write {EXAMPLES}, or leave it out.")
    if text.startswith("/"):
        return "unix", text
    name, separator, rest = text.partition("://")
    if not separator:
        return _split_without_scheme(text)
    if name.lower() in SCHEMES:
        return SCHEMES[name.lower()], rest
    if MANY_NODES.match(text):
        _raise_error(
            "a cluster or Sentinel where one server is wanted",
            "`store:` alone takes these; write redis://host:6379/0 here.",
        )
    scheme = nearest(name, SCHEMES)
    return _raise_error(
        f"{name[:20]}:// is no broker or store that livectl knows",
        f"Write {scheme}://." if scheme else f"Write {EXAMPLES}.",
    )


def _split_without_scheme(text: str) -> tuple[Scheme, str]:
    """A host without a scheme: Redis, unless the port is RabbitMQ's."""
    name, colon, rest = text.partition(":")
    if colon and name.lower() in SCHEMES and not re.fullmatch(r"\d+(/\d*)?", rest):
        slashes = "///" if SCHEMES[name.lower()] == "unix" else "//"
        suggestion = "" if "@" in rest else Address.parse(f"{name}:{slashes}{rest.lstrip('/')}").url
        _raise_error(f"{name}: wants two slashes after it", f"Write {suggestion or f'{name}://:PASSWORD@host'}.")
    port = re.search(r":(\d+)(/|$)", text)
    schemes: dict[str, Scheme] = {"5672": "amqp", "5671": "amqps"}
    return schemes.get(port[1] if port else "", "redis"), text


def _split_address(scheme: Scheme, rest: str) -> _AddressParts:
    before_query, _, query = rest.partition("?")
    login, slash, path = before_query.partition("/")
    if (scheme != "unix" and "@" in path + query) or "#" in rest:
        _raise_error("a / ? or # where none can be", "In a password, write / as %2F, ? as %3F and # as %23.")
    if login.count("@") > 1:
        _raise_error("more than one @ in an address", "In a password, write @ as %40.")
    login, at_sign, host_port = login.rpartition("@")
    user, colon, password = login.partition(":")
    if at_sign and not colon and scheme not in RABBITMQ:
        _raise_error(
            "a user without a password", "Write a password with a colon before it: redis://:PASSWORD@host:6379/0."
        )
    return _AddressParts(
        unquote(user), unquote(password), host_port, slash + path, dict(parse_qsl(query, keep_blank_values=True))
    )


def _parse_socket_path(parts: _AddressParts) -> str:
    if parts.host_port or not parts.path.strip("/"):
        _raise_error("a socket wants its whole path", "Write three slashes: unix:///path/to.sock?db=0.")
    return unquote(parts.path)


def _parse_host_and_port(scheme: Scheme, host_port: str, default_port: int = 0) -> tuple[str, int]:
    match = re.fullmatch(r"(?P<host>[\w.-]*|\[[0-9A-Fa-f:.]+\])(:(?P<port>[^:]*))?", host_port)
    if not match:
        _raise_error(
            "a host is a name or a number", f"Write {scheme}://host:{PORTS[scheme]}/…; IPv6 in brackets: [::1]."
        )
    port = match["port"] if match["port"] is not None else str(default_port or PORTS[scheme])
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) <= MAX_PORT:
        _raise_error(f"a port is a number from 1 to {MAX_PORT}", f"Write {scheme}://host:{PORTS[scheme]}/….")
    return match["host"].strip("[]") or "localhost", int(port)


def _parse_database(path: str, options: dict[str, str]) -> int:
    numbers = {text for text in (path, *(options.get(name, "") for name in DATABASE_OPTIONS)) if text}
    if len(numbers) > 1 or not all(text.isascii() and text.isdigit() for text in numbers):
        _raise_error("a database of Redis is one number", "Write redis://host:6379/0, or unix:///path/to.sock?db=0.")
    return int(numbers.pop()) if numbers else 0


def _parse_options(scheme: Scheme, options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The TLS options of an address. Options that the scheme lacks are refused."""
    tls = TLS_OPTIONS if scheme in {"rediss", "amqps"} else ()
    known = tls if scheme in RABBITMQ else (*tls, *DATABASE_OPTIONS)
    for name in options.keys() - known:
        meant = nearest(name, known)
        hint = f"It can have {', '.join(known)}." if known else "Leave it out."
        _raise_error(f"an option that {scheme}:// lacks", f"Write {meant}." if meant else hint)
    return tuple((name, _normalise_option(name, options[name])) for name in tls if name in options)


def _normalise_option(name: str, value: str) -> str:
    """Celery's `CERT_NONE` as `none`, which Celery and redis-py both take."""
    return value.removeprefix("CERT_").lower() if name == "ssl_cert_reqs" else value


def _raise_error(text: str, hint: str) -> NoReturn:
    raise SettingsError(text, hint)
