"""What the fakes of the platforms play: who does what, and which site is in trouble."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a streamer does. `skipped`: live, but left out of answers about several; `poison`: spoils the batch it is in.
Kind: TypeAlias = Literal[
    "live", "offline", "replay", "upcoming", "restricted", "banned", "not_found", "unknown", "skipped", "poison"
]
# What a site does, or does to one streamer.
Trouble: TypeAlias = Literal[
    "blocked", "rate_limited", "auth", "broken", "html", "empty", "slow", "oversized", "down", "reset"
]

RETRY_SECONDS = 30  # what a fake that is asked too often wants
OVERSIZE = 3_000_000  # bytes, beyond every limit of a request


@dataclass(frozen=True)
class Scene:
    """One streamer at one time."""

    kind: Kind = "offline"
    started: int = 1_790_000_000  # epoch seconds; every site's session key is made of it
    title: str = "A title"
    viewers: int = 7
    alias: str = ""  # the other name a streamer goes by: login, room, slug, handle


@dataclass
class Plan:
    """Who does what. Whoever is not in it does not exist."""

    scenes: dict[tuple[str, str], Scene] = field(default_factory=dict)
    trouble: dict[str, Trouble] = field(default_factory=dict)  # by platform
    lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self, platform: str, one: str, kind: Kind, **more: object) -> Scene:
        scene = Scene(kind=kind, **more)  # type: ignore[arg-type]
        with self.lock:
            self.scenes[platform, one] = scene
        return scene

    def of(self, platform: str, one: str) -> Scene:
        return self.scenes.get((platform, one), Scene(kind="not_found"))

    def named(self, platform: str, alias: str) -> str | None:
        """The id of whoever goes by this other name."""
        with self.lock:
            return next(
                (one for (site, one), scene in self.scenes.items() if site == platform and scene.alias == alias), None
            )


@dataclass(frozen=True)
class Asked:
    """A request, taken apart."""

    host: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes

    def get(self, key: str) -> str:
        return dict(self.query).get(key, "")

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.query if name == key]


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
