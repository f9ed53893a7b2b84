"""Serves the page: as a blueprint in anybody's Flask app, or as an app of its own."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livectl.address import Address
from livectl.ops import deployment
from livectl.ops.deployment import Deployment
from livectl.ops.processes.listener import listen
from livectl.redaction import redact_logs_of
from livectl.secret import KNOWN
from livectl.units import parse_timezone
from livectl.web import error_pages, events, routes
from livectl.web.auth import PLAIN_TOKEN_NAME, AccessToken
from livectl.web.data import PageData, StoreReader
from livectl.web.images import ImageCache

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from flask import Blueprint, Flask

    from livectl.settings import Settings
    from livectl.web.changes import PageTools
    from livectl.web.events import EventHub


THREADS = 8  # each answers out of memory; more would only wait for each other
MAX_CONNECTIONS = 1000
MAX_UNSENT_BYTES = 16_384  # of events to one browser: it is too slow, or gone
MAX_HEADER_BYTES = 65_536
ANOTHER_PORT_HINT = "Choose another with --port."


def blueprint(
    store_url: str,
    *,
    broker_url: str | None = None,
    timezone: str = "UTC",
    token: str | None = None,
    images: bool | ImageCache = True,
    manage: str | Path | None = None,
) -> Blueprint:
    """A blueprint that shows the streamers of this store, for any Flask app and at any prefix.

    `broker_url` is where the jobs are, if that is not the store. With a `token`, visitors need it; without one, the
    app decides who may see the page. With `images`, it asks for covers and avatars, or else shows
    drawings; whoever has a cache of theirs may give it.

    `manage` is the folder of a livectl.yaml: who has a token of its `web.tokens` with the role `manage` may change
    things, as at `livectl web` there. SettingsError where there is no such token.
    """
    store = Address.parse_store(store_url)
    _ = store.redis_url
    beside = store if store.is_single else None  # a cluster has neither jobs nor results
    store_deployment = Deployment(
        broker=Address.parse(broker_url) if broker_url else beside,
        results=beside,
        store=store,
        layout=deployment.own_layout({}),
    )
    KNOWN.add(lambda: {token or "", store.password})
    tokens = [AccessToken(PLAIN_TOKEN_NAME, token)] if token else []
    tools = None
    if manage is not None:
        tools, managing = _tools_of(Path(manage))
        tokens += [each for each in managing if not (token and each.name == PLAIN_TOKEN_NAME)]
    page_data = PageData(
        StoreReader(lambda: store_deployment),
        parse_timezone(timezone),
        tools.settings if tools else None,
        images=ImageCache(lambda: None) if images is True else images or None,
    )
    return routes.build_blueprint(page_data, tokens, tools)


def _tools_of(folder: Path) -> tuple[PageTools, Sequence[AccessToken]]:
    """What changes are made with in a folder with settings, and whom its settings let in."""
    from livectl import celeryapp
    from livectl.errors import SettingsError
    from livectl.live.alerts import targets
    from livectl.ops import apps
    from livectl.ops.schedules.options import KnownTasks
    from livectl.settings_watch import SettingsWatch
    from livectl.web import auth, job_data
    from livectl.web.changes import PageTools

    watch = SettingsWatch(os.environ, folder, check=targets.check_targets)
    tokens = auth.read_tokens(watch.started.web)
    auth.check_exposure("localhost", tokens)
    if not any(token.manages for token in tokens):
        raise SettingsError(
            f"nobody could manage: no token in {folder} has the role manage",
            "Set `web: {tokens: {me: {token: env:MY_TOKEN, role: manage}}}` in its livectl.yaml.",
        )

    def load_app() -> tuple[Any, Mapping[str, Any]]:
        app = celeryapp.create_app(watch.current())
        return app, KnownTasks(apps.load_tasks(app, folder), watch.current().tasks)

    return PageTools(watch.current, load_app, lambda: job_data.examine_beside(folder, os.environ)), tokens


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at this address; UsageError when the address or port cannot be had."""
    return listen(host, port, ANOTHER_PORT_HINT)


def create_app(
    find_deployment: Callable[[], Deployment],
    settings: Callable[[], Settings],
    tokens: Sequence[AccessToken] = (),
    tools: PageTools | None = None,
) -> Flask:
    """The page as an app of its own; `settings` are asked for whenever they are needed.

    With tools it changes things for those who may.
    """
    from flask import Flask
    from werkzeug.exceptions import HTTPException

    flask_app = Flask("livectl", static_folder=None)
    images = ImageCache(lambda: settings().network) if settings().web.images else None
    page_data = PageData(StoreReader(find_deployment), settings().timezone, settings, images=images)
    flask_app.register_blueprint(routes.build_blueprint(page_data, tokens, tools, whole_app=True))
    flask_app.register_error_handler(HTTPException, error_pages.http_error)  # of methods that no view knows
    flask_app.after_request(routes.add_headers)
    redact_logs_of(flask_app.logger)
    return flask_app


def serve(flask_app: Flask, listener: socket.socket) -> None:
    """Answers requests until it is interrupted."""
    import logging

    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits a moment

    server = waitress.create_server(
        flask_app,
        sockets=[listener],
        threads=THREADS,
        connection_limit=MAX_CONNECTIONS,
        max_request_header_size=MAX_HEADER_BYTES,
        ident=None,
        clear_untrusted_proxy_headers=True,
        asyncore_use_poll=True,  # select takes no descriptor beyond its 1,024
    )
    server.channel_class = _channel_class()
    server.run()


def _channel_class() -> type:
    """A connection of waitress that reads no long body, and that can be kept open for events.

    Waitress itself would read a gigabyte first: the page is given a request with a long body, or one of unknown length,
    without it, refuses it, and the connection ends. And it would hold a thread for each connection that stays open.
    """
    from waitress.channel import HTTPChannel
    from waitress.parser import HTTPRequestParser

    class BodyLimitParser(HTTPRequestParser):  # type: ignore[misc]
        """Takes no byte after the headers of a request whose body will be refused."""

        refused: bool = False
        chunked: bool
        content_length: int

        def parse_header(self, header: bytes) -> None:
            super().parse_header(header)
            self.refused = self.chunked or self.content_length > routes.MAX_BODY_BYTES
            if self.refused:
                if self.chunked:
                    self.headers["TRANSFER_ENCODING"] = "chunked"
                self.body_rcv, self.chunked, self.content_length = None, False, 0
                self.expect_continue, self.headers["CONNECTION"] = False, "close"

        def received(self, data: bytes) -> int:
            consumed: int = super().received(data)
            return len(data) if self.refused else consumed

    class BodyLimitChannel(HTTPChannel):  # type: ignore[misc]
        """Parses requests so."""

        parser_class = BodyLimitParser
        task_class = _task_class()
        listens: bool = False  # to events, and is asked nothing more

        def received(self, data: bytes) -> bool:
            return not self.listens and bool(super().received(data))

        def handle_write(self) -> None:
            """Events are written by another thread meanwhile, which waitress does not expect of an idle one."""
            with self.outbuf_lock if self.listens else nullcontext():
                super().handle_write()

    return BodyLimitChannel


def _task_class() -> type:
    """A request of waitress whose response may go on after its thread has left it."""
    from waitress.task import WSGITask

    class EventTask(WSGITask):  # type: ignore[misc]
        """Hands its connection to a hub, where the view wants that."""

        hub: EventHub | None = None

        def get_environment(self) -> dict[str, Any]:
            environ: dict[str, Any] = super().get_environment()
            return environ | {events.KEEP_OPEN: self.keep_open}

        def keep_open(self, hub: EventHub) -> None:
            self.hub = hub

        def finish(self) -> None:
            if self.hub is None:
                super().finish()
                return
            self.close_on_finish = False
            self.channel.listens = True
            self.hub.add(ListeningChannel(self.channel, chunked=self.chunked_response))

    return EventTask


class ListeningChannel:
    """A connection that events go to."""

    def __init__(self, channel: Any, *, chunked: bool) -> None:
        self._channel = channel
        self._chunked = chunked

    def send(self, data: bytes) -> bool:
        from waitress.channel import ClientDisconnected

        if self._channel.total_outbufs_len > MAX_UNSENT_BYTES:
            self._channel.will_close = True
            self._channel.server.pull_trigger()
            return False
        try:
            self._channel.write_soon(b"%X\r\n%s\r\n" % (len(data), data) if self._chunked else data)
        except (ClientDisconnected, OSError):
            return False
        return True


def page_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
