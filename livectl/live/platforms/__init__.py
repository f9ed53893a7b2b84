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

ENTRY_POINT_GROUP = "livectl.platforms"  # of entry points: name = package.module:PLATFORM

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
FALLBACK = "streamlink"

log = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    return (*BUILT_IN, *(name for name in _entry_points() if name not in BUILT_IN), FALLBACK)


def get(name: str) -> Platform:
    """The platform of this name; Refused when there is none, or when the package it comes from is broken."""
    if name in BUILT_IN or name == FALLBACK:
        platform: Platform = importlib.import_module(f"livectl.live.platforms.{name}").PLATFORM
        return platform
    from livectl.live.platforms.base import NotAStreamer

    entry_point = _entry_points().get(name)
    if entry_point is None:
        raise NotAStreamer(f"no platform is called {name[:40]!r}", f"There are: {', '.join(names())}.")
    return _load_platform(entry_point)


def all() -> tuple[Platform, ...]:  # noqa: A001 - read as platforms.all()
    """Every platform that can be used; one that cannot is logged and left out."""
    from livectl.live.platforms.base import NotAStreamer

    usable = []
    for name in names():
        try:
            usable.append(get(name))
        except NotAStreamer as error:
            log.warning("%s", error)
    return tuple(usable)


def parse_address(text: str) -> tuple[str, str]:
    """Platform and id of a pasted address, or Refused with the reason."""
    from livectl.live.platforms.base import NotAStreamer

    for platform in all():
        streamer_id = platform.address(text)
        if streamer_id is not None:
            return platform.name, streamer_id
    raise NotAStreamer(f"not the address of a streamer: {text.strip()[:200]!r}", "Write platform/id, or paste a URL.")


@cache
def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINT_GROUP)}


@cache
def _load_platform(entry_point: EntryPoint) -> Platform:
    from livectl.live.platforms.base import NotAStreamer, Platform

    try:
        platform = entry_point.load()
    except Exception as error:
        raise NotAStreamer(f"platform {entry_point.name} cannot be loaded from {entry_point.value}: {error}") from error
    if not isinstance(platform, Platform) or platform.name != entry_point.name:
        raise NotAStreamer(f"{entry_point.value} is no livectl Platform called {entry_point.name}")
    return platform
