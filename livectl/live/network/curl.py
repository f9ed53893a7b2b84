"""Runs requests on curl: many at once, each within its limits, redirects followed where they may lead."""

from __future__ import annotations

import _socket  # never patched by a green pool; curl takes over the descriptor
import ssl
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pycurl

from livectl import __version__
from livectl.live.network.routes import NOT_PUBLIC, Routes, UrlRefused, Way, is_public
from livectl.models import Request, Response

if TYPE_CHECKING:
    from collections.abc import Collection

USER_AGENT = f"livectl/{__version__}"
CONNECT_TIMEOUT_S = 8.0
MAX_REDIRECTS = 3
REDIRECT_STATUSES = {301, 302, 303, 307, 308}
POST_TO_GET_STATUSES = {301, 302, 303}  # a POST becomes a GET, as in every browser
HOST_BOUND_HEADERS = {"authorization", "cookie"}  # a redirect to another host leaves them behind
MAX_TRANSFERS = 256  # at once: 10,000 answers of 50 ms in two seconds
MAX_IDLE_CONNECTIONS = 256
MAX_WAIT_S = 0.1  # without a look at what select does not see, such as names being looked up
BLIND_WAIT_S = 0.005  # where select sees nothing: no connection yet, or only descriptors beyond its 1,024

# Of curl. pycurl has no names for them.
CURLPIPE_MULTIPLEX = 2  # several requests on one HTTP/2 connection
CONNECTION_LOST_ERRORS = {52, 55, 56}  # got nothing, cannot send, cannot receive
WRITE_STOPPED_ERROR = 23  # a write function stopped the transfer


# Of curl: there was no connection.
UNREACHED_ERRORS = {
    pycurl.E_COULDNT_CONNECT,
    pycurl.E_COULDNT_RESOLVE_HOST,
    pycurl.E_COULDNT_RESOLVE_PROXY,
    pycurl.E_INTERFACE_FAILED,
}


class HandleKind(NamedTuple):
    """What the requests of a handle have in common: it is set once, and not for each of thousands."""

    way: Way
    method: str
    is_tls: bool
    public_only: bool


class CurlPool:
    """Runs transfers side by side on one curl multi handle. One thread at a time may use it."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, CURLPIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAXCONNECTS, MAX_IDLE_CONNECTIONS)
        self._idle_handles: defaultdict[HandleKind, list[Any]] = defaultdict(list)
        self._waiting: deque[Transfer] = deque()
        self._running: dict[Any, Transfer] = {}
        self._finished: list[Transfer] = []

    def send(self, transfer: Transfer) -> None:
        self._waiting.append(transfer)

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting or self._finished)

    def receive(self) -> list[Transfer]:
        """The transfers that have ended since the last call; waits for one."""
        self._start_waiting()
        while self._running and not self._finished:
            self._multi.perform()
            self._collect_finished()
            self._start_waiting()
            if self._running and not self._finished:
                self._wait()
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        for handle in self._running:
            self._multi.remove_handle(handle)
        for handle in (*self._running, *chain.from_iterable(self._idle_handles.values())):
            handle.close()
        self._multi.close()

    def _wait(self) -> None:
        started = time.monotonic()
        if self._multi.select(MAX_WAIT_S) <= 0 and time.monotonic() - started < BLIND_WAIT_S:
            time.sleep(BLIND_WAIT_S)

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < MAX_TRANSFERS:
            self._start_transfer(self._waiting.popleft())

    def _start_transfer(self, transfer: Transfer) -> None:
        kind = transfer.start()
        if kind is None:
            self._finished.append(transfer)
            return
        idle_handles = self._idle_handles[kind]
        handle = idle_handles.pop() if idle_handles else _new_handle(kind)
        transfer.configure(handle)
        self._running[handle] = transfer
        self._multi.add_handle(handle)

    def _collect_finished(self) -> None:
        remaining = 1
        while remaining:
            remaining, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                self._finish_transfer(handle, 0, "")
            for handle, error, message in failed:
                self._finish_transfer(handle, error, message)

    def _finish_transfer(self, handle: Any, error: int, message: str) -> None:
        self._multi.remove_handle(handle)
        transfer = self._running.pop(handle)
        finished = transfer.finish(handle, error, message)
        self._idle_handles[transfer.kind].append(handle)
        if finished:
            self._finished.append(transfer)
        else:
            self._start_transfer(transfer)


class Transfer:
    """One request on its way, redirects included. `response` is there once it has ended."""

    def __init__(self, request: Request, hosts: Collection[str] | None, routes: Routes, exit_name: str = "") -> None:
        self.request = request
        self.response: Response | None = None
        self.key = b""  # the sender's own mark
        self._hosts = hosts
        self._routes = routes
        self._exit_name = exit_name
        self._deadline = 0.0
        self._redirects = 0
        self._retried = False

    def start(self) -> HandleKind | None:
        """The kind of handle that it takes. None: it has ended, because it must not be asked or is out of time."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self.request.seconds
        if now >= self._deadline:
            self._fail(f"timed out after {self.request.seconds:.0f} s")
            return None
        try:
            route, way = self._routes.find(self.request.url, self._hosts), self._routes.way(self._exit_name)
        except UrlRefused as error:
            self._fail(f"not asked: {error}", unreached=True)
            return None
        self._route, self._milliseconds_left = route, max(1, int((self._deadline - now) * 1000))
        self.kind = HandleKind(way, self.request.method, route.url.startswith("https"), route.public_only)
        return self.kind

    def configure(self, handle: Any) -> None:
        """Puts the request on a handle of its kind, which has been that of others."""
        self._body = bytearray()
        self._header_lines: list[bytes] = []
        self._until_seen = self._too_long = False
        self._stop_at = 0  # bytes of the body
        self._refused_address = ""
        request = self.request
        handle.setopt(pycurl.URL, self._route.url)
        handle.setopt(pycurl.TIMEOUT_MS, self._milliseconds_left)
        handle.setopt(pycurl.HTTPHEADER, _format_headers(request.headers, self._route.host))
        if request.method != "GET":
            handle.setopt(pycurl.POSTFIELDS, request.body)
        handle.setopt(pycurl.WRITEFUNCTION, self._receive_chunk)
        handle.setopt(pycurl.HEADERFUNCTION, self._header_lines.append)
        if self._route.public_only:
            handle.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)

    def finish(self, handle: Any, error: int, message: str) -> bool:
        """Takes the outcome from the handle. False: the transfer must start again, after a redirect or a reset."""
        if error == WRITE_STOPPED_ERROR and self._until_seen:
            error = 0
        if error in CONNECTION_LOST_ERRORS and not self._retried:
            self._retried = True
            return False
        if error:
            unreached = bool(self._refused_address) or error in UNREACHED_ERRORS
            self._fail(self._failure_reason(error, message), unreached=unreached)
            return True
        status, headers = handle.getinfo(pycurl.RESPONSE_CODE), ReceivedHeaders(self._header_lines)
        if (
            status in REDIRECT_STATUSES
            and self._redirects < MAX_REDIRECTS
            and self._follow_redirect(status, headers.get("location", ""))
        ):
            return False
        self.response = Response(status=status, url=self.request.url, headers=headers, body=bytes(self._body))
        return True

    def _fail(self, reason: str, *, unreached: bool = False) -> None:
        self.response = Response(status=0, url=self.request.url, error=reason, unreached=unreached)

    def _failure_reason(self, error: int, message: str) -> str:
        if self._too_long:
            return f"longer than {self.request.limit:,} bytes"
        if self._refused_address:
            return f"not asked: {self._refused_address} {NOT_PUBLIC}"
        if error == pycurl.E_OPERATION_TIMEDOUT:
            return f"timed out after {self.request.seconds:.0f} s"
        address = self.kind.way.address  # of this machine that it left from, where it is one of network.exits
        left_from = f", from {address}" if address else ""
        return f"{message or f'curl error {error}'}{left_from}"

    def _follow_redirect(self, status: int, location: str) -> bool:
        """Prepares the request of a redirect. False: it leads where no request may go, so it is the response."""
        if not self.request.follow:
            return False
        url = urljoin(self.request.url, location)
        try:
            self._routes.find(url, self._hosts)
        except UrlRefused:
            return False
        request = self.request
        headers = request.headers
        if urlsplit(url).netloc != urlsplit(request.url).netloc:
            headers = {name: value for name, value in headers.items() if name.lower() not in HOST_BOUND_HEADERS}
        to_get = status in POST_TO_GET_STATUSES and request.method == "POST"
        self._redirects += 1
        self.request = Request(
            url=url,
            method="GET" if to_get else request.method,
            headers={name: value for name, value in headers.items() if not (to_get and name.lower() == "content-type")},
            body=b"" if to_get else request.body,
            limit=request.limit,
            until=request.until,
            beyond=request.beyond,
            seconds=request.seconds,
        )
        return True

    def _receive_chunk(self, chunk: bytes) -> int | None:
        """Keeps a chunk of the body. Any return value but None or the length makes curl stop."""
        received = len(self._body)
        self._body += chunk
        until = self.request.until
        if until and not self._stop_at:
            position = self._body.find(until, max(0, received - len(until)))
            self._stop_at = position + len(until) + self.request.beyond if position >= 0 else 0
        if self._stop_at and len(self._body) >= self._stop_at:
            self._until_seen = True
            return 0
        if len(self._body) > self.request.limit:
            self._too_long = True
            return 0
        return None

    def _open_socket(self, purpose: int, address: Any) -> Any:
        family, kind, protocol, sockaddr = address
        if is_public(sockaddr[0]):
            return _socket.socket(family, kind, protocol)
        self._refused_address = sockaddr[0]
        return pycurl.SOCKET_BAD


def _new_handle(kind: HandleKind) -> Any:
    handle, way = pycurl.Curl(), kind.way
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.CAINFO, ca_file())
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, int(CONNECT_TIMEOUT_S * 1000))
    handle.setopt(pycurl.PROXY, way.proxy)  # when empty, curl ignores the environment's proxy too
    if way.address:
        is_v6 = ":" in way.address
        handle.setopt(pycurl.INTERFACE, f"host!{way.address}")
        handle.setopt(pycurl.IPRESOLVE, pycurl.IPRESOLVE_V6 if is_v6 else pycurl.IPRESOLVE_V4)
    handle.setopt(pycurl.ACCEPT_ENCODING, "")  # whatever this curl can unpack
    if kind.is_tls:
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        handle.setopt(pycurl.PIPEWAIT, 1)  # wait for a connection under way and share it, rather than open one more
    if kind.method in {"PATCH", "DELETE"}:
        handle.setopt(pycurl.CUSTOMREQUEST, kind.method)
    if kind.public_only:
        handle.setopt(pycurl.FRESH_CONNECT, 1)  # an open connection may lead to a host that is not public
    return handle


class ReceivedHeaders(Mapping[str, str]):
    """The headers of a response, by names in lower case. Few are ever read: they are parsed when somebody does."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    def __getitem__(self, name: str) -> str:
        return self._parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed)

    def __len__(self) -> int:
        return len(self._parsed)

    @cached_property
    def _parsed(self) -> dict[str, str]:
        return _parse_headers(self._lines)


def _parse_headers(lines: list[bytes]) -> dict[str, str]:
    """The headers of the last response, after interim ones. Same names are joined, cookies by lines."""
    headers: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            headers = {}
            continue
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            separator = "\n" if name == "set-cookie" else ", "
            headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers


def _format_headers(headers: dict[str, str], host: str) -> list[str]:
    names = {name.lower() for name in headers}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if "user-agent" not in names:
        lines.append(f"User-Agent: {USER_AGENT}")
    if host and "host" not in names:
        lines.append(f"Host: {host}")
    lines.append("Expect:")  # else curl asks before it sends a long body, which costs a round trip
    return lines


@cache
def ca_file() -> str:
    """The certificates that this machine trusts, or certifi's when it has none."""
    path = ssl.get_default_verify_paths().cafile
    if path:
        return path
    import certifi

    return certifi.where()
