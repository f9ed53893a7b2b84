"""Plays every platform with one real HTTP server on loopback, by a plan that a test may change at any time.

    with Fakes() as fakes:
        fakes.plan.show("douyu", "9999", "live", started=1_790_000_000, title="Hello")
        fakes.plan.trouble["kick"] = "rate_limited"
        ...                                # requests go to fakes.connect_to: host -> http://127.0.0.1:PORT
        assert fakes.requests_to("douyu") == 1

The server routes by Host, as a site does. How each site answers is in tests/support/sites.
"""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from tests.support.sites import SITES, in_trouble
from tests.support.sites.plan import Plan, SiteRequest, SiteResponse, Trouble

if TYPE_CHECKING:
    from types import TracebackType


class Fakes:
    """The server and its log. Closing it cuts slow answers short."""

    def __init__(self, plan: Plan | None = None, slow_seconds: float = 20.0) -> None:
        self.plan = plan or Plan()
        self.slow_seconds = slow_seconds
        self.closing = threading.Event()
        self.counts: Counter[str] = Counter()
        self.log: list[SiteRequest] = []
        self._server = Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def connect_to(self) -> dict[str, str]:
        """The setting `network.connect_to` that leads every platform here."""
        return dict.fromkeys([*SITES, *self.plan.played], self.url) | self.plan.elsewhere

    def requests_to(self, platform: str) -> int:
        return self.counts[platform]

    def __enter__(self) -> Fakes:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


def respond(plan: Plan, request: SiteRequest) -> tuple[str, SiteResponse, Trouble | None]:
    """The platform of the request, its response, and the trouble it is in."""
    platform, site = SITES.get(request.host, ("", None))
    played = plan.played.get(request.host)
    if played and (response := played(request)):
        return platform or request.host, response, None
    if site is None:
        return "", SiteResponse(status=421), None
    trouble = plan.trouble.get(platform)
    if trouble in {"slow", "reset"}:
        return platform, site(plan, request), trouble
    return platform, in_trouble(platform, trouble, request) if trouble else site(plan, request), trouble


def _handler(fakes: Fakes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host") or ""
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = tuple(parse_qsl(split.query, keep_blank_values=True))
            request = SiteRequest(host, self.command, split.path, query, headers, body, self.client_address[0])
            platform, response, trouble = respond(fakes.plan, request)
            fakes.counts[platform] += 1
            fakes.log.append(request)
            if trouble == "reset":
                self.close_connection = True
                return
            if trouble == "slow":
                fakes.closing.wait(fakes.slow_seconds)
            self._send(response)

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names the base class calls

        def _send(self, response: SiteResponse) -> None:
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Tests are quiet."""

    return Handler
