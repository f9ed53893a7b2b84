"""Keeps what platforms need from one check to the next: tokens, names, videos that ended.

Workers keep it in the store; what checks without one keeps it in memory or in a file.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PRIVATE_MODE = 0o600  # of the file that keeps tokens
MAX_KEPT_VALUES = 2_000  # in it; those that run out first go first
ALIAS_SECONDS = 30 * 86_400.0  # a name that was looked up is looked up again once a month

KEPT_ROWS = msgspec.json.Decoder(list[tuple[str, str, str, float]])

log = logging.getLogger(__name__)


class CheckCache(Protocol):
    """What a fetcher keeps by."""

    def cache_get(self, platform: str, names: Sequence[str]) -> list[str | None]: ...

    def cache_set(self, platform: str, name: str, value: str, seconds: float) -> None: ...


class NameCache(CheckCache, Protocol):
    """Keeps the ids of names that were looked up, too."""

    def aliases(self, platform: str, names: Sequence[str]) -> dict[str, str]: ...

    def save_aliases(self, platform: str, ids_by_name: Mapping[str, str]) -> None: ...


class InMemoryCache:
    """Keeps tokens and names in memory, for a fetcher without a store."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._values: dict[tuple[str, str], KeptValue] = {}

    def cache_get(self, platform: str, names: Sequence[str]) -> list[str | None]:
        now = self._clock()
        kept = [self._values.get((platform, name)) for name in names]
        return [value.text if value and now < value.until else None for value in kept]

    def cache_set(self, platform: str, name: str, value: str, seconds: float) -> None:
        self._values[platform, name] = KeptValue(value, self._clock() + seconds)

    def aliases(self, platform: str, names: Sequence[str]) -> dict[str, str]:
        """The ids of the names that have been looked up before."""
        ids = self.cache_get(platform, [f"alias/{name}" for name in names])
        return {name: streamer_id for name, streamer_id in zip(names, ids, strict=True) if streamer_id}

    def save_aliases(self, platform: str, ids_by_name: Mapping[str, str]) -> None:
        for name, streamer_id in ids_by_name.items():
            self.cache_set(platform, f"alias/{name}", streamer_id, ALIAS_SECONDS)


class KeptValue(msgspec.Struct, frozen=True):
    text: str
    until: float  # seconds since the epoch


class FileCache(InMemoryCache):
    """Keeps tokens and names in a file that nobody else may read, from one call of a command to the next.

    Never the keys that tokens were got with. A file that cannot be read or written costs a few requests.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self._path = path
        self._saved = self._load()
        self._values = dict(self._saved)

    def save(self) -> None:
        """Writes what is new over what the file has by now: another call may have written it meanwhile."""
        new = {key: value for key, value in self._values.items() if self._saved.get(key) is not value}
        if not new:
            return
        now = self._clock()
        live = sorted(((value.until, key, value) for key, value in (self._load() | new).items()), reverse=True)
        self._saved = {key: value for until, key, value in live[:MAX_KEPT_VALUES] if until > now}
        self._values = dict(self._saved)
        rows = [(*key, value.text, value.until) for key, value in self._saved.items()]
        from livectl.atomic_write import write_file

        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self._path.chmod(PRIVATE_MODE)
            write_file(self._path, msgspec.json.encode(rows), mode=PRIVATE_MODE)
        except OSError as error:
            log.info("nothing is kept for the next call: %s", error)

    def _load(self) -> dict[tuple[str, str], KeptValue]:
        try:
            rows = KEPT_ROWS.decode(self._path.read_bytes() if self._path.is_file() else b"[]")
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return {(platform, name): KeptValue(text, until) for platform, name, text, until in rows}
