"""Decides where a request may go, and where the settings send it instead.

A platform reaches its own hosts. What somebody pasted reaches public addresses: the address judged is the one that a
socket is about to connect to. Names and odd spellings (2130706433, 0x7f.1, [::ffff:7f00:1]) are all resolved by then,
and no second look-up can change it.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from livectl.address import Exit
    from livectl.settings import Network

NOT_PUBLIC = "is not a public address"  # ends the reason of a refusal
SCHEMES = {"http", "https"}
MAX_URL_CHARS = 4096  # two hundred ids of a batch fit
_ORIGIN = re.compile(r"[^/?#]*(?://[^/?#]*)?")  # of a URL: its scheme, host and port

# Protocol assignments, which older Pythons call global; the relay of 6to4, which leads to wherever the packet says.
SPECIAL_NETWORKS = tuple(IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24"))
# All that is assigned; the rest wraps IPv4 (mapped, NAT64), is local or multicast.
GLOBAL_UNICAST = IPv6Network("2000::/3")
TUNNEL_NETWORKS = tuple(IPv6Network(text) for text in ("2001::/23", "2002::/16"))  # Teredo, ORCHID and the like; 6to4


class Way(NamedTuple):
    """How a request leaves this machine: from which of its addresses, by which proxy."""

    address: str = ""  # empty: any
    proxy: str = ""  # empty: none
    problem: str = ""  # why it is closed


class Routes:
    """The settings of the network: hosts to send elsewhere, hosts that need not be public, the proxy, the exits."""

    def __init__(
        self,
        connect_to: Mapping[str, str],
        allowed: Collection[str] = (),
        proxy: str = "",
        problem: str = "",
        exits: Mapping[str, Way] | None = None,
    ) -> None:
        self._connect_to = {host.lower(): base.rstrip("/") for host, base in connect_to.items()}
        self._allowed = frozenset(host.lower() for host in allowed)
        self.proxy = proxy
        self._ways = {"": Way(proxy=proxy), **(exits or {})}
        self._problem = problem  # why nothing at all may be asked

    @classmethod
    def from_settings(cls, network: Network) -> Routes:
        problem = network.proxy.problem if network.proxy else ""
        proxy = network.proxy.reveal() if network.proxy and not problem else ""
        exits = {name: _way_of(f"network.exits.{name}", given) for name, given in network.exits.items()}
        return cls(network.connect_to, network.allow, proxy, f"network.proxy: {problem}" if problem else "", exits)

    def way(self, exit_name: str) -> Way:
        """How requests leave by this exit; the empty name is that of the usual way."""
        way = self._ways[exit_name]
        if way.problem:
            raise UrlRefused(way.problem)
        return way

    def find(self, url: str, hosts: Collection[str] | None) -> Route:
        """The route to this URL. Only `hosts` are allowed; None allows any host whose address is public."""
        if self._problem:
            raise UrlRefused(self._problem)
        host, port = _host_of(url)
        if hosts is not None and host not in hosts:
            raise UrlRefused(f"{host} is not a host of this platform")
        if hosts is None and self.proxy and host not in self._allowed and _names_private_address(host):
            raise UrlRefused(f"{host} {NOT_PUBLIC}")  # no socket of ours will tell: the proxy opens it
        base = self._connect_to.get(host)
        if base:
            rest = url[len(_origin_of(url)) :].partition("#")[0]
            return Route(f"{base}{'' if rest.startswith('/') else '/'}{rest}", f"{host}{port}")
        return Route(url, public_only=hosts is None and host not in self._allowed and not self.proxy)


def _way_of(setting: str, given: Exit) -> Way:
    if given.proxy is None:
        return Way(given.address)
    problem = given.proxy.problem
    return Way(problem=f"{setting}: {problem}") if problem else Way(proxy=given.proxy.reveal())


class UrlRefused(Exception):  # noqa: N818
    """A URL that must not be asked, and why."""


class Route(NamedTuple):
    """The URL to connect to, and the Host header if it names another host."""

    url: str
    host: str = ""
    public_only: bool = False  # only public addresses will do


def _host_of(url: str) -> tuple[str, str]:
    """Host and port as curl will read them. A URL that two parsers might read differently is refused."""
    if len(url) > MAX_URL_CHARS:
        raise UrlRefused("the address is too long")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise UrlRefused("the address has characters that no URL has")
    return _host_of_origin(_origin_of(url))


def _origin_of(url: str) -> str:
    found = _ORIGIN.match(url)
    return found[0] if found else ""


@lru_cache(maxsize=256)
def _host_of_origin(origin: str) -> tuple[str, str]:
    """Thousands of requests go to a handful of origins."""
    try:
        parts = urlsplit(origin)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise UrlRefused("the address cannot be read") from None
    if parts.scheme.lower() not in SCHEMES:
        raise UrlRefused(f"only http and https are asked, not {parts.scheme[:20] or 'nothing'}")
    if not host or "@" in parts.netloc:
        raise UrlRefused("the address has no plain host")
    return host.rstrip("."), f":{port}" if port else ""


def _names_private_address(host: str) -> bool:
    """Whether the host is a private address in any spelling, or a name of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not is_public(socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:
        return ":" in host and not is_public(host)


def is_public(text: str) -> bool:
    """Whether this numeric address belongs to no private network."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return _is_public_ipv4(address) if isinstance(address, IPv4Address) else _is_public_ipv6(address)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return (
        address.is_global and not address.is_multicast and not any(address in network for network in SPECIAL_NETWORKS)
    )


def _is_public_ipv6(address: IPv6Address) -> bool:
    return (
        address in GLOBAL_UNICAST and address.is_global and not any(address in network for network in TUNNEL_NETWORKS)
    )
