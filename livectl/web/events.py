"""Tells browsers that there is something new to see, by server-sent events: one reading serves all who listen."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KEEP_OPEN = "livectl.keep_open"  # in the environ of a request whose server can keep its connection open
MAX_LISTENERS = 500  # half of the connections that the server takes; the others look for themselves
READ_SECONDS = 1.0
NEWS_PAUSE_SECONDS = 4.0  # between two news: all who listen ask for the page after each, as often as without events
SIGN_OF_LIFE_SECONDS = 20.0  # proxies end a silent connection after a minute
RETRY_MS = 3_000  # until a browser whose connection broke comes again
GREETING = f"retry: {RETRY_MS}\n\n".encode()
SIGN_OF_LIFE = b":\n\n"


class Listener(Protocol):
    """A connection that events go to."""

    def send(self, data: bytes) -> bool:
        """False when it is gone, or too slow to be worth it."""


class EventHub:
    """Reads each topic once a second while somebody listens, and tells them which have news.

    `topics` gives for each name a word that changes with its news. Who comes is told the words of the moment, and finds
    out whether the page is older. Its thread ends when nobody listens any more.
    """

    def __init__(self, topics: Mapping[str, Callable[[], str]], pause: Callable[[float], None] = time.sleep) -> None:
        self._topics = topics
        self._pause = pause
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._is_running = False
        self._known: dict[str, str] = {}

    @property
    def has_room(self) -> bool:
        return len(self._listeners) < MAX_LISTENERS

    def add(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)
            if self._is_running and self._known:
                listener.send(_write_events(self._known))
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, daemon=True, name="livectl-events").start()

    def _run(self) -> None:
        with self._lock:
            known = self._known = self._read()
            first = list(self._listeners)  # who comes from now on is told by `add`
        self._send_to(first, _write_events(known))
        silent_s = NEWS_PAUSE_SECONDS
        while self._goes_on():
            self._pause(READ_SECONDS)
            silent_s += READ_SECONDS
            fresh = self._read()
            news = {name: value for name, value in fresh.items() if value != known[name]}
            if news and silent_s >= NEWS_PAUSE_SECONDS:
                known = self._known = fresh
                self._send(_write_events(news))
            elif silent_s >= SIGN_OF_LIFE_SECONDS:
                self._send(SIGN_OF_LIFE)
            else:
                continue
            silent_s = 0.0

    def _read(self) -> dict[str, str]:
        return {name: _value_or_trouble(read) for name, read in self._topics.items()}

    def _goes_on(self) -> bool:
        with self._lock:
            self._is_running = bool(self._listeners)
            if not self._is_running:
                self._known = {}
            return self._is_running

    def _send(self, data: bytes) -> None:
        with self._lock:
            listeners = list(self._listeners)
        self._send_to(listeners, data)

    def _send_to(self, listeners: Sequence[Listener], data: bytes) -> None:
        gone = [listener for listener in listeners if not listener.send(data)]
        with self._lock:
            self._listeners = [listener for listener in self._listeners if listener not in gone]


def _write_events(values: Mapping[str, str]) -> bytes:
    return "".join(f"event: {name}\ndata: {value}\n\n" for name, value in values.items()).encode()


def _value_or_trouble(read: Callable[[], str]) -> str:
    """What the topic has; that it cannot be read is news as well."""
    try:
        return read()
    except LivectlError:
        return "away"
