"""Serves the page: as a blueprint in anybody's Flask app, or as an app of its own."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from livectl.address import Address
from livectl.errors import UsageError
from livectl.ops import deployment
from livectl.ops.deployment import Deployment
from livectl.units import parse_timezone
from livectl.web import auth, routes
from livectl.web.data import PageData, StoreReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Blueprint, Flask, Response

    from livectl.settings import Settings


THREADS = 8  # each answers out of memory; more would only wait for each other
MAX_CONNECTIONS = 1000
BACKLOG = 256
HTTP_MISDIRECTED = 421
ANOTHER_PORT_HINT = "Choose another with --port."


def blueprint(
    store_url: str, *, broker_url: str | None = None, timezone: str = "UTC", token: str | None = None
) -> Blueprint:
    """A blueprint that shows the streamers of this store, for any Flask app and at any prefix.

    `broker_url` is where the jobs are, if that is not the store. With a `token`, visitors need it; without one, the
    app decides who may see the page.
    """
    store = Address.parse(store_url)
    _ = store.redis_url
    store_deployment = Deployment(
        broker=Address.parse(broker_url) if broker_url else store,
        results=store,
        store=store,
        layout=deployment.own_layout({}),
    )
    return routes.build_blueprint(PageData(StoreReader(lambda: store_deployment), parse_timezone(timezone)), token)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at this address; UsageError when the address or port cannot be had."""
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
    from flask import Flask, Response, request

    flask_app = Flask("livectl", static_folder=None)
    flask_app.register_blueprint(
        routes.build_blueprint(PageData(StoreReader(find_deployment), settings.timezone, settings), token)
    )

    @flask_app.before_request
    def refuse_other_hosts() -> Response | None:
        if token is None and not auth.is_local_request(request):
            return Response("This page is served to this machine only, and not by that name.\n", HTTP_MISDIRECTED)
        return None

    return flask_app


def serve(flask_app: Flask, listener: socket.socket) -> None:
    """Answers requests until it is interrupted."""
    import logging

    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits a moment

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
