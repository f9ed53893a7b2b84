"""The server of the page: waitress, on an address of its own."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from livectl.errors import UsageError
from livectl.web import gate, pages
from livectl.web.site import Site
from livectl.web.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask, Response

    from livectl.config import Settings
    from livectl.ops.cluster.deployment import Deployment

THREADS = 8  # each answers out of memory; more would only wait for each other
CONNECTIONS = 1000
BACKLOG = 256
HTTP_MISDIRECTED = 421
ANOTHER_PORT = "Choose another with --port."


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; UsageError, in one sentence, when it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    line = socket.socket(family, socket.SOCK_STREAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        line.bind((host.strip("[]"), port))
        line.listen(BACKLOG)
    except OSError as error:
        line.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} on {host} is in use", ANOTHER_PORT) from error
        raise UsageError(
            f"nothing can listen at {host}, port {port}: {error.strerror or error}", ANOTHER_PORT
        ) from error
    return line


def app(find: Callable[[], Deployment], settings: Settings, token: str | None) -> Flask:
    """The page as an app of its own."""
    from flask import Flask, request
    from flask import Response as Answer

    made = Flask("livectl", static_folder=None)
    made.register_blueprint(pages.blueprint(Site(Source(find), settings.timezone, settings), token))

    @made.before_request
    def only_local_names() -> Response | None:
        if token is None and not gate.is_local_visit(request):
            return Answer("This page is served to this machine only, and not by that name.\n", HTTP_MISDIRECTED)
        return None

    return made


def serve(made: Flask, line: socket.socket) -> None:
    """Answers until it is interrupted."""
    import logging

    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a visitor who waits a moment is no news

    waitress.serve(
        made,
        sockets=[line],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        ident=None,
        clear_untrusted_proxy_headers=True,
        _quiet=True,
    )


def address(line: socket.socket) -> str:
    host, port = line.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
