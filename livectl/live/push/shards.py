"""Keeps a WebSocket open to Twitch for each shard that this process holds."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from livectl.errors import LivectlError
from livectl.live.network.curl import USER_AGENT, ca_file
from livectl.live.network.routes import UrlRefused
from livectl.live.push.eventsub import (
    KEEPALIVE_SECONDS,
    SOCKET_HOST,
    SOCKET_URL,
    EventSubSession,
    Moved,
    Notified,
    Revoked,
    SeenMessages,
    Welcomed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.sync.client import ClientConnection

    from livectl.live.network.routes import Routes

    Receive = Callable[["Notified | Revoked"], None]

CONNECT_SECONDS = 8.0
CLOSE_SECONDS = 1.0
MAX_MESSAGE_BYTES = 65_536  # some hundreds are usual
LOOK_SECONDS = 0.5  # between two looks whether it is to end
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 30.0  # between two attempts to connect

log = logging.getLogger(__name__)


class SocketOpener:
    """Opens connections to Twitch's sockets, by the routes that requests take and the exit that `find_exit` names."""

    def __init__(self, routes: Routes, find_exit: Callable[[], str] = str) -> None:
        self._routes = routes
        self._find_exit = find_exit

    @property
    def lacks_socks(self) -> bool:
        """Whether they go by a SOCKS proxy, and what speaks to one is missing."""
        with suppress(UrlRefused):
            is_by_socks = self._routes.way(self._find_exit()).proxy.startswith("socks")
            return is_by_socks and find_spec("python_socks") is None
        return False

    def open(self, url: str) -> ClientConnection:
        """Raises OSError, or an error of websockets, when there is no connection."""
        import ssl

        from websockets.sync.client import connect

        try:
            route = self._routes.find(url.replace("wss://", "https://", 1), {SOCKET_HOST})
            way = self._routes.way(self._find_exit())
        except UrlRefused as error:
            raise OSError(str(error)) from error
        parts = urlsplit(route.url)
        is_secure = parts.scheme == "https"
        source = (way.address, 0) if way.address else None
        elsewhere: dict[str, Any] = {}
        if route.host or source:
            place = parts.hostname or "", parts.port or (443 if is_secure else 80)
            elsewhere["sock"] = socket.create_connection(place, CONNECT_SECONDS, source)
        connection: ClientConnection = connect(
            url if is_secure else url.replace("wss://", "ws://", 1),
            ssl=ssl.create_default_context(cafile=ca_file()) if is_secure else None,
            user_agent_header=USER_AGENT,
            compression=None,
            open_timeout=CONNECT_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,  # Twitch wants to hear nothing from us but answers to its own pings
            max_size=MAX_MESSAGE_BYTES,
            proxy=None if elsewhere else way.proxy or None,
            **elsewhere,
        )
        return connection


class Shard(threading.Thread):
    """One shard: connects, hands over what it is told, and connects again when it hears nothing more.

    `welcome` gives a new session to the shard, and raises LivectlError when that cannot be.
    """

    def __init__(
        self,
        number: int,
        opener: SocketOpener,
        seen: SeenMessages,
        welcome: Callable[[int, str], None],
        receive: Receive,
    ) -> None:
        super().__init__(daemon=True, name=f"livectl-shard-{number}")
        self.number = number
        self.problem = ""
        self.since = 0.0  # seconds since the epoch: nothing that was told since then can have been missed
        self._opener = opener
        self._seen = seen
        self._welcome = welcome
        self._receive = receive
        self._session: EventSubSession | None = None
        self._stopping = threading.Event()

    def is_heard(self) -> bool:
        session = self._session
        return session is not None and session.is_heard(time.monotonic())

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                if self._run_session():
                    pause = FIRST_PAUSE_SECONDS
            except Exception as error:  # whatever it is, the next connection may do better
                self._note_problem(error)
            self._session = None
            self._stopping.wait(pause)
            pause = min(pause * 2, LAST_PAUSE_SECONDS)

    def _note_problem(self, error: Exception) -> None:
        self.problem = (error.message if isinstance(error, LivectlError) else str(error)) or type(error).__name__
        log.info("shard %d: %s", self.number, self.problem, exc_info=error)

    def _run_session(self) -> bool:
        """One session, from its welcome to its end. Returns whether there was one."""
        with ExitStack() as connections:
            connection, session = self._begin(
                connections, f"{SOCKET_URL}?keepalive_timeout_seconds={KEEPALIVE_SECONDS}"
            )
            self._welcome(self.number, session.id)
            self.since, self.problem, self._session = time.time(), "", session
            while not self._stopping.is_set():
                told = self._next(connection, session)
                if told is None and time.monotonic() >= session.silent_at:
                    self.problem = "it fell silent"
                    return True
                if isinstance(told, Moved):
                    connection, session = self._move(connections, connection, session, told.url)
                elif isinstance(told, Notified | Revoked):
                    self._receive(told)
        return True

    def _begin(self, connections: ExitStack, url: str) -> tuple[ClientConnection, EventSubSession]:
        """A connection that has been welcomed. OSError for one that is not, in time."""
        connection = connections.enter_context(self._opener.open(url))
        session = EventSubSession(time.monotonic(), self._seen)
        while not self._stopping.is_set():
            if isinstance(self._next(connection, session), Welcomed):
                return connection, session
            if time.monotonic() >= session.silent_at:
                break
        raise OSError("Twitch opened a connection and did not welcome us")

    def _move(
        self, connections: ExitStack, old: ClientConnection, old_session: EventSubSession, url: str
    ) -> tuple[ClientConnection, EventSubSession]:
        """Goes on at another address. The old connection counts until the new one is welcomed; then it is read out."""
        connection, session = self._begin(connections, url)
        if session.id != old_session.id:
            self._welcome(self.number, session.id)
        self._session = session
        with suppress(Exception):  # nothing more is there, or it is closed by now
            while True:
                told = old_session.receive(old.recv(timeout=0), time.monotonic())
                if isinstance(told, Notified | Revoked):
                    self._receive(told)
        old.close()
        return connection, session

    def _next(self, connection: ClientConnection, session: EventSubSession) -> Any:
        try:
            return session.receive(connection.recv(timeout=LOOK_SECONDS), time.monotonic())
        except TimeoutError:
            return None
