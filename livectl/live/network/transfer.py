"""One request on a curl handle, redirects and all, and the Response it comes to."""

from __future__ import annotations

import _socket  # never patched by a green pool; curl takes over the descriptor
import ssl
import time
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pycurl

from livectl import __version__
from livectl.live.network.reach import is_public
from livectl.live.network.route import Route, Routes, Unreachable
from livectl.model import Request, Response

if TYPE_CHECKING:
    from collections.abc import Collection

CONNECT_SECONDS = 8.0
REDIRECTS = 3
MOVED = {301, 302, 303, 307, 308}
ASKED_ANEW = {301, 302, 303}  # a POST becomes a GET, as everybody's browser has it
RESET = {52, 55, 56}  # curl: got nothing, cannot send, cannot receive
CUT = 23  # curl: we stopped reading
USER_AGENT = f"livectl/{__version__}"
OWN = {"authorization", "cookie"}  # headers meant for the host they were written for


class Transfer:
    """A request on its way. `response` is what it came to."""

    def __init__(self, request: Request, hosts: Collection[str] | None, routes: Routes) -> None:
        self.request = request
        self.response: Response | None = None
        self.key = b""  # by which it is found again
        self._hosts = hosts
        self._routes = routes
        self._deadline = 0.0
        self._redirects = 0
        self._retried = False
        self._clear()

    def start(self, handle: Any) -> bool:
        """Puts the request on a handle; False if it is answered already, because it must not be asked."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self.request.seconds
        if now >= self._deadline:
            return self._fail(f"timed out after {self.request.seconds:.0f} s")
        try:
            route = self._routes.find(self.request.url, self._hosts)
        except Unreachable as unreachable:
            return self._fail(f"not asked: {unreachable}")
        self._clear()
        self._dress(handle, route)
        handle.setopt(pycurl.TIMEOUT_MS, max(1, int((self._deadline - now) * 1000)))
        return True

    def finish(self, handle: Any, error: int, message: str) -> bool:
        """Takes what the handle came to. False: it is to be started again, after a redirect or a reset."""
        if error == CUT and self._enough:
            error = 0
        if error in RESET and not self._retried:
            self._retried = True
            return False
        if error:
            return not self._fail(self._reason(error, message))
        status, headers = handle.getinfo(pycurl.RESPONSE_CODE), _headers(self._lines)
        if status in MOVED and self._redirects < REDIRECTS and self._move(status, headers.get("location", "")):
            return False
        self.response = Response(status=status, url=self.request.url, headers=headers, body=bytes(self._body))
        return True

    def _clear(self) -> None:
        self._body = bytearray()
        self._lines: list[bytes] = []
        self._enough = False
        self._too_long = False
        self._refused = ""

    def _fail(self, reason: str) -> bool:
        self.response = Response(status=0, url=self.request.url, error=reason)
        return False

    def _reason(self, error: int, message: str) -> str:
        if self._too_long:
            return f"longer than {self.request.limit:,} bytes"
        if self._refused:
            return f"not asked: {self._refused} is not a public address"
        if error == pycurl.E_OPERATION_TIMEDOUT:
            return f"timed out after {self.request.seconds:.0f} s"
        return message or f"curl error {error}"

    def _move(self, status: int, location: str) -> bool:
        """Follows a redirect, if it leads where we may go; otherwise the redirect is the answer."""
        if not self.request.follow:
            return False
        url = urljoin(self.request.url, location)
        try:
            self._routes.find(url, self._hosts)
        except Unreachable:
            return False
        asked = self.request
        headers = asked.headers
        if urlsplit(url).netloc != urlsplit(asked.url).netloc:
            headers = {name: value for name, value in headers.items() if name.lower() not in OWN}
        anew = status in ASKED_ANEW and asked.method == "POST"
        self._redirects += 1
        self.request = Request(
            url=url,
            method="GET" if anew else asked.method,
            headers={name: value for name, value in headers.items() if not (anew and name.lower() == "content-type")},
            body=b"" if anew else asked.body,
            limit=asked.limit,
            until=asked.until,
            seconds=asked.seconds,
        )
        return True

    def _dress(self, handle: Any, route: Route) -> None:
        asked = self.request
        handle.reset()
        handle.setopt(pycurl.URL, route.url)
        handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.CAINFO, _authorities())
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, int(CONNECT_SECONDS * 1000))
        handle.setopt(pycurl.PROXY, self._routes.proxy)  # an empty one also keeps the environment's out
        handle.setopt(pycurl.ACCEPT_ENCODING, "")  # whatever this curl can unpack
        if route.url.startswith("https"):
            handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
            handle.setopt(pycurl.PIPEWAIT, 1)  # rather a stream of a connection that is being made than one more
        handle.setopt(pycurl.HTTPHEADER, _written(asked.headers, route.host))
        if asked.method == "POST":
            handle.setopt(pycurl.POSTFIELDS, asked.body)
        handle.setopt(pycurl.WRITEFUNCTION, self._take)
        handle.setopt(pycurl.HEADERFUNCTION, self._lines.append)
        if route.guarded:
            handle.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
            handle.setopt(pycurl.FRESH_CONNECT, 1)  # a connection that stands was checked for somebody else

    def _take(self, chunk: bytes) -> int | None:
        """Answering another number than was given makes curl stop."""
        seen = len(self._body)
        self._body += chunk
        until = self.request.until
        if until and self._body.find(until, max(0, seen - len(until))) >= 0:
            self._enough = True
            return 0
        if len(self._body) > self.request.limit:
            self._too_long = True
            return 0
        return None

    def _open(self, purpose: int, address: Any) -> Any:
        family, kind, protocol, where = address
        if is_public(where[0]):
            return _socket.socket(family, kind, protocol)
        self._refused = where[0]
        return pycurl.SOCKET_BAD


def _headers(lines: list[bytes]) -> dict[str, str]:
    """Those of the last answer: an interim one may have come before. Several of a name are joined, cookies by lines."""
    headers: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            headers = {}
            continue
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            joint = "\n" if name == "set-cookie" else ", "
            headers[name] = f"{headers[name]}{joint}{value}" if name in headers else value
    return headers


def _written(headers: dict[str, str], host: str) -> list[str]:
    given = {name.lower() for name in headers}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if "user-agent" not in given:
        lines.append(f"User-Agent: {USER_AGENT}")
    if host and "host" not in given:
        lines.append(f"Host: {host}")
    lines.append("Expect:")  # no question before a body: it costs a round trip
    return lines


@cache
def _authorities() -> str:
    """The certificates this machine trusts; certifi's where it keeps none."""
    found = ssl.get_default_verify_paths().cafile
    if found:
        return found
    import certifi

    return certifi.where()
