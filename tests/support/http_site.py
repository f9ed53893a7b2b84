"""Runs a real web server on loopback that behaves as badly as it is asked to, and a fetcher that reaches it."""

from __future__ import annotations

import gzip
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.models import Request, Response
from tests.support.waiting import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ssl import SSLContext


class RecordingCache:
    """A cache that records each look-up."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], str] = {}
        self.lookups: list[list[str]] = []

    def cache_get(self, platform: str, names: Sequence[str]) -> list[str | None]:
        self.lookups.append(list(names))
        return [self.values.get((platform, name)) for name in names]

    def cache_set(self, platform: str, name: str, value: str, seconds: float) -> None:
        self.values[platform, name] = value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.hits.append(self.path)
        self.server.clients.add(self.client_address)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        getattr(self, f"_{parts.path.strip('/') or 'echo'}")(query)

    do_POST = do_PATCH = do_GET  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _echo(self, query: dict[str, str]) -> None:
        request = {"method": self.command, "path": self.path, "body": self.body.decode()}
        self.answer(msgspec.json.encode(request | {name.lower(): value for name, value in self.headers.items()}))

    def _to(self, query: dict[str, str]) -> None:
        self.answer(b"", int(query.get("status", "302")), Location=query["url"])

    def _hops(self, query: dict[str, str]) -> None:
        left = int(query["left"])
        self.answer(b"there") if not left else self.answer(b"", 302, Location=f"/hops?left={left - 1}")

    def _big(self, query: dict[str, str]) -> None:
        self.answer(b"x" * int(query["bytes"]))

    def _bomb(self, query: dict[str, str]) -> None:
        self.answer(gzip.compress(b"0" * 50_000_000, 9), Content_Encoding="gzip")

    def _page(self, query: dict[str, str]) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(200):
            self.wfile.write(b"x" * 999 + b"\n")
        self.wfile.write(b"<the mark>")
        for _ in range(20_000):
            self.wfile.write(b"y" * 1000)

    def _slow(self, query: dict[str, str]) -> None:
        self.server.closing.wait(float(query["seconds"]))
        self.answer(b"at last")

    def _together(self, query: dict[str, str]) -> None:
        """Answers once three are asked for at once, and somebody let them go."""
        self.server.three.wait(HANG_SECONDS)
        self.server.let_go.wait(HANG_SECONDS)
        self.answer(b"at last")

    def _go(self, query: dict[str, str]) -> None:
        self.server.let_go.set()
        self.answer(b"")

    def _drip(self, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.closing.wait(0.05):
            self.wfile.write(b".")
            self.wfile.flush()

    def _reset(self, query: dict[str, str]) -> None:
        if self.server.hits.count(self.path) <= int(query["times"]):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.answer(b"well")

    def _cookies(self, query: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2, 3"), ("X-Many", "1"), ("X-Many", "2")):
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, query: dict[str, str]) -> None:
        self.answer(msgspec.json.encode(query))


class Site(ThreadingHTTPServer):
    """A server that records its requests and its connections."""

    request_queue_size = 300
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hits: list[str] = []
        self.clients: set[Any] = set()
        self.closing = threading.Event()
        self.three = threading.Barrier(3)
        self.let_go = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what these tests are about."""


@contextmanager
def serving(context: SSLContext | None = None) -> Iterator[Site]:
    with Site() as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@contextmanager
def fetching(site: Site) -> Iterator[Fetcher]:
    """A fetcher that sends site.test to the server, and reaches no other private address."""
    fetcher = Fetcher(Routes({"site.test": f"http://127.0.0.1:{site.server_port}"}), RecordingCache())
    yield fetcher
    fetcher.close()


def get(fetcher: Fetcher, path: str, **fields: Any) -> Response:
    return fetcher.ask([Request(url=f"https://site.test{path}", **fields)], {"site.test"})[0]


def echoed(response: Response) -> dict[str, str]:
    return msgspec.json.decode(response.body, type=dict[str, str])
