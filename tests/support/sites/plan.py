"""Holds what the fake platforms show: what each streamer does, and which site is in trouble."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What a streamer does. `skipped`: live, but left out of answers about several; `poison`: spoils the batch it is in.
Kind: TypeAlias = Literal[
    "live", "offline", "replay", "upcoming", "restricted", "banned", "not_found", "unknown", "skipped", "poison"
]
# What a site does, or does to one streamer.
Trouble: TypeAlias = Literal[
    "blocked", "rate_limited", "auth", "broken", "html", "empty", "slow", "oversized", "down", "reset"
]

RETRY_SECONDS = 30  # the Retry-After of a fake that is asked too often
OVERSIZE = 3_000_000  # bytes, beyond every limit of a request


@dataclass(frozen=True)
class Scene:
    """One streamer at one time."""

    kind: Kind = "offline"
    started: int = 1_790_000_000  # epoch seconds; the session key on every site
    title: str = "A title"
    viewers: int = 7
    alias: str = ""  # the other name a streamer goes by: login, room, slug, handle


@dataclass
class Plan:
    """What each streamer does, by platform and id. A streamer who is not in it does not exist."""

    scenes: dict[tuple[str, str], Scene] = field(default_factory=dict)
    trouble: dict[str, Trouble] = field(default_factory=dict)  # by platform
    lock: threading.Lock = field(default_factory=threading.Lock)
    # By host: what is asked first, and leaves to the site what it answers nothing to.
    played: dict[str, Callable[[SiteRequest], SiteResponse | None]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)  # hosts that another server plays, and its address

    def show(self, platform: str, streamer_id: str, kind: Kind, **fields: object) -> Scene:
        scene = Scene(kind=kind, **fields)  # type: ignore[arg-type]
        with self.lock:
            self.scenes[platform, streamer_id] = scene
        return scene

    def scene(self, platform: str, streamer_id: str) -> Scene:
        return self.scenes.get((platform, streamer_id), Scene(kind="not_found"))

    def find_alias(self, platform: str, alias: str) -> str | None:
        """The id of the streamer with this alias."""
        with self.lock:
            for (site, streamer_id), scene in self.scenes.items():
                if site == platform and scene.alias == alias:
                    return streamer_id
        return None


@dataclass(frozen=True)
class SiteRequest:
    """A request to a fake platform."""

    host: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    client: str = ""  # the address that it came from

    def get(self, key: str) -> str:
        return dict(self.query).get(key, "")

    def get_all(self, key: str) -> list[str]:
        return [value for name, value in self.query if name == key]


@dataclass(frozen=True)
class SiteResponse:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
