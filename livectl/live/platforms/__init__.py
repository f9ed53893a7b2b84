"""The platforms there are: the built-in ones, and those of other packages that join through an entry point.

Importing this imports none of them.
"""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from livectl.live.platforms.base import Platform

GROUP = "livectl.platforms"  # of entry points: name = package.module:PLATFORM

# In the order an address is offered to them: streamlink knows the most sites, and takes what no other does.
BUILT_IN = (
    "twitch",
    "bilibili",
    "youtube",
    "kick",
    "douyu",
    "huya",
    "douyin",
    "chzzk",
    "soop",
    "tiktok",
    "demo",
)
LAST = "streamlink"

log = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    return (*BUILT_IN, *(name for name in _joined() if name not in BUILT_IN), LAST)


def get(name: str) -> Platform:
    """The platform of this name; Refused when there is none, or when the package it comes from is broken."""
    if name in BUILT_IN or name == LAST:
        platform: Platform = importlib.import_module(f"livectl.live.platforms.{name}").PLATFORM
        return platform
    from livectl.live.platforms.base import Refused

    joined = _joined().get(name)
    if joined is None:
        raise Refused(f"no platform is called {name[:40]!r}", f"There are: {', '.join(names())}.")
    return _load(joined)


def all() -> tuple[Platform, ...]:  # noqa: A001 - read as platforms.all()
    """Every platform that can be used; one that cannot is logged and left out."""
    from livectl.live.platforms.base import Refused

    usable = []
    for name in names():
        try:
            usable.append(get(name))
        except Refused as refused:
            log.warning("%s", refused)
    return tuple(usable)


def read(text: str) -> tuple[str, str]:
    """Platform and id of a pasted address, or Refused with the reason."""
    from livectl.live.platforms.base import Refused

    for platform in all():
        one = platform.address(text)
        if one is not None:
            return platform.name, one
    raise Refused(f"not the address of a streamer: {text.strip()[:200]!r}", "Write platform/id, or paste a URL.")


@cache
def _joined() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}


@cache
def _load(entry: EntryPoint) -> Platform:
    from livectl.live.platforms.base import Platform, Refused

    try:
        platform = entry.load()
    except Exception as error:
        raise Refused(f"platform {entry.name} cannot be loaded from {entry.value}: {error}") from error
    if not isinstance(platform, Platform) or platform.name != entry.name:
        raise Refused(f"{entry.value} is no livectl Platform called {entry.name}")
    return platform
