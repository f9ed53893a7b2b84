"""The server of the page: waitress, on an address of its own."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from livectl.errors import UsageError
from livectl.web import gate, pages
from livectl.web.site import PageData
from livectl.web.source import StoreReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask, Response

    from livectl.config import Settings
    from livectl.ops.cluster.deployment import Deployment

THREADS = 8  # each answers out of memory; more would only wait for each other
MAX_CONNECTIONS = 1000
BACKLOG = 256
HTTP_MISDIRECTED = 421
ANOTHER_PORT_HINT = "Choose another with --port."


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; UsageError, in one sentence, when it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} on {host} is in use", ANOTHER_PORT_HINT) from error
        raise UsageError(
            f"nothing can listen at {host}, port {port}: {error.strerror or error}", ANOTHER_PORT_HINT
        ) from error
    return listener


def create_app(find_deployment: Callable[[], Deployment], settings: Settings, token: str | None) -> Flask:
    """The page as an app of its own."""
    from flask import Flask, request
    from flask import Response as Answer

    flask_app = Flask("livectl", static_folder=None)
    flask_app.register_blueprint(
        pages.build_blueprint(PageData(StoreReader(find_deployment), settings.timezone, settings), token)
    )

    @flask_app.before_request
    def refuse_other_hosts() -> Response | None:
        if token is None and not gate.is_local_request(request):
            return Answer("This page is served to this machine only, and not by that name.\n", HTTP_MISDIRECTED)
        return None

    return flask_app


def serve(flask_app: Flask, listener: socket.socket) -> None:
    """Answers until it is interrupted."""
    import logging

    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a visitor who waits a moment is no news

    waitress.serve(
        flask_app,
        sockets=[listener],
        threads=THREADS,
        connection_limit=MAX_CONNECTIONS,
        ident=None,
        clear_untrusted_proxy_headers=True,
        _quiet=True,
    )


def page_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
