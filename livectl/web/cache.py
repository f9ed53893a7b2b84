"""Keeps readings, bodies and fragments of pages, so that a crowd of visitors costs no more than one."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast

import msgspec
from flask import current_app

from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from markupsafe import Markup

    from livectl.models import Streamer, StreamerRecord
    from livectl.web.cards import Card
    from livectl.web.i18n import Translations


T = TypeVar("T")
K = TypeVar("K", bound="Hashable")

MAX_STALE_SECONDS = 3.0  # how long after its time a reading or a body still serves, while the next one is made
DETAILS_KEEP_SECONDS = 4.0  # as often as a page without events looks
KEEP_FACTOR = 10  # a reading that took a second is kept for ten: reading takes a tenth of the time at most
MAX_BODIES = 128  # languages times filters in use
MAX_FRAGMENTS = 6_000  # of half a minute: some 12 MB
FRAGMENTS_TURN_SECONDS = 30.0
EDIT_SECONDS = 30.0  # a worker reads a changed file within some five
FRAGMENT_TEMPLATE = "livectl/streamers.html"


class TimedCache(Generic[T]):
    """The last reading, replaced once it is older than `keep_seconds`.

    While one visitor makes the next one, the others get the old one, unless it is too old or an error.
    """

    def __init__(self, make: Callable[[], T], keep_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._value: T | None = None
        self._error: LivectlError | None = None
        self._expires_at: float | None = None

    def forget(self) -> None:
        """Lets the next visitor see what was changed."""
        self._expires_at = None

    def get(self) -> T:
        """The reading. An error is kept and raised like one, so that a store in trouble is not asked more often."""
        if self._expires_at is None or self._clock() >= self._expires_at:
            self._refresh()
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def _refresh(self) -> None:
        must_wait = (
            self._expires_at is None or self._error is not None or self._clock() - self._expires_at > MAX_STALE_SECONDS
        )
        if not self._lock.acquire(blocking=must_wait):
            return
        try:
            began = self._clock()
            if self._expires_at is not None and began < self._expires_at:
                return
            try:
                self._value, self._error = self._make(), None
            except LivectlError as error:
                self._error = error
            ended = self._clock()
            self._expires_at = ended + max(
                self._keep_seconds, KEEP_FACTOR * (ended - began) if self._error is None else 0
            )
        finally:
            self._lock.release()


class KeyedCache(Generic[K, T]):
    """A reading for each of the keys that were asked for last, kept like the others."""

    def __init__(self, make: Callable[[K], T], keep_seconds: float, most: int) -> None:
        self._make = make
        self._keep_seconds = keep_seconds
        self._most = most
        self._lock = threading.Lock()
        self._caches: OrderedDict[K, TimedCache[T]] = OrderedDict()

    def get(self, key: K) -> T:
        with self._lock:
            cache = self._caches.setdefault(key, TimedCache(lambda: self._make(key), self._keep_seconds))
            self._caches.move_to_end(key)
            if len(self._caches) > self._most:
                self._caches.popitem(last=False)
        return cache.get()

    def forget(self) -> None:
        """Lets the next visitor see what was changed."""
        with self._lock:
            self._caches.clear()


class RecentEdits:
    """What was changed here of the follow list, until a worker has read its file: who has just clicked sees it done.

    After a while the store is believed again, whatever it says: then no worker has read the file.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._edits: dict[tuple[str, str], tuple[Streamer | None, float]] = {}

    def note(self, streamers: Mapping[tuple[str, str], Streamer | None]) -> None:
        """Streamers as they are on the list now, by platform and id; None for one who is no longer on it."""
        now = self._clock()
        known = {key: edit for key, edit in self._edits.items() if now - edit[1] < EDIT_SECONDS}
        self._edits = known | {key: (streamer, now) for key, streamer in streamers.items()}

    def apply(self, records: Iterable[StreamerRecord]) -> list[StreamerRecord]:
        """The records with what was changed of them; without those who are no longer followed."""
        now, applied = self._clock(), []
        edits = {key: streamer for key, (streamer, at) in self._edits.items() if now - at < EDIT_SECONDS}
        for record in records:
            if record.key not in edits:
                applied.append(record)
            elif (streamer := edits[record.key]) is not None:
                applied.append(msgspec.structs.replace(record, streamer=streamer))
        return applied


class ResponseBody(NamedTuple):
    """The bytes of a response, and their ETag."""

    data: bytes
    etag: str


class _CachedBody(NamedTuple):
    """A body, what it was made from, and when."""

    body: ResponseBody
    made_from: Hashable
    made_at: float
    details: Hashable = None


class BodyCache:
    """The last body for each key (address and language), replaced when it is wanted from another reading.

    Where only the details of a reading are others, the last body serves for a while: viewers change with every look.
    While one visitor makes the next one, the others get the last one, unless it is too old.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: OrderedDict[Hashable, _CachedBody] = OrderedDict()

    def get(
        self, key: Hashable, made_from: Hashable, make: Callable[[], ResponseBody], details: Hashable = None
    ) -> ResponseBody:
        cached = self._cached.get(key)
        if cached and self._serves(cached, made_from, details):
            return cached.body
        must_wait = cached is None or self._clock() - cached.made_at > MAX_STALE_SECONDS
        if not self._lock.acquire(blocking=must_wait) and cached:
            return cached.body
        try:
            return self._refresh(key, made_from, make, details)
        finally:
            self._lock.release()

    def _serves(self, cached: _CachedBody, made_from: Hashable, details: Hashable) -> bool:
        is_recent = self._clock() - cached.made_at < DETAILS_KEEP_SECONDS
        return cached.made_from == made_from and (cached.details == details or is_recent)

    def _refresh(
        self, key: Hashable, made_from: Hashable, make: Callable[[], ResponseBody], details: Hashable
    ) -> ResponseBody:
        cached = self._cached.get(key)
        if cached is None or not self._serves(cached, made_from, details):
            cached = self._cached[key] = _CachedBody(make(), made_from, self._clock(), details)
            if len(self._cached) > MAX_BODIES:
                self._cached.popitem(last=False)
        return cached.body


def make_body(data: bytes) -> ResponseBody:
    return ResponseBody(data, hashlib.blake2b(data, digest_size=12).hexdigest())


class FragmentCache:
    """The HTML of cards and rows: an equal card is not rendered again, unless no page has shown it for a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._young: dict[tuple[str, Card, Translations], Markup] = {}
        self._old: dict[tuple[str, Card, Translations], Markup] = {}
        self._turned_at = clock()

    def render(self, macro: str, card: Card, translate: Translations) -> Markup:
        if self._clock() - self._turned_at > FRAGMENTS_TURN_SECONDS or len(self._young) > MAX_FRAGMENTS:
            self._old, self._young, self._turned_at = self._young, {}, self._clock()
        key = (macro, card, translate)
        fragment = self._young.get(key)
        if fragment is None:
            fragment = self._young[key] = self._old.get(key) or _render_fragment(macro, card, translate)
        return fragment


def _render_fragment(macro: str, card: Card, translate: Translations) -> Markup:
    fragment: Markup = getattr(current_app.jinja_env.get_template(FRAGMENT_TEMPLATE).module, macro)(card, translate)
    return fragment
