"""Finds a platform by its name, or by the host of a pasted address.

Importing this imports no platform, and asking for one imports that one alone. Platforms of other packages (entry point
group `livectl.platforms`) are tried after the built-in ones, and streamlink last, because it takes any site it knows.
"""

from __future__ import annotations

import importlib
import logging
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint

    from livectl.live.platforms.base import Platform

ENTRY_POINT_GROUP = "livectl.platforms"  # name = package.module:PLATFORM

# Every host whose addresses a platform reads. Its own name is one too: twitch/ada is an address.
# fmt: off
WEB_HOSTS: dict[str, tuple[str, ...]] = {
    "twitch": (
        "twitch.tv", "www.twitch.tv", "m.twitch.tv", "go.twitch.tv", "player.twitch.tv", "clips.twitch.tv",
    ),
    "bilibili": (
        "bilibili.com", "www.bilibili.com", "m.bilibili.com", "t.bilibili.com", "live.bilibili.com",
        "m.live.bilibili.com", "space.bilibili.com", "b23.tv",
    ),
    "youtube": ("youtube.com", "www.youtube.com", "m.youtube.com", "gaming.youtube.com", "youtu.be"),
    "kick": ("kick.com", "www.kick.com", "m.kick.com", "player.kick.com"),
    "douyu": ("douyu.com", "www.douyu.com", "m.douyu.com"),
    "huya": ("huya.com", "www.huya.com", "m.huya.com"),
    "douyin": (
        "douyin.com", "www.douyin.com", "m.douyin.com", "live.douyin.com", "v.douyin.com", "iesdouyin.com",
        "www.iesdouyin.com", "webcast.amemv.com",
    ),
    "chzzk": ("chzzk.naver.com", "m.chzzk.naver.com"),
    "soop": tuple(
        f"{subdomain}{domain}"
        for domain in ("sooplive.com", "sooplive.co.kr", "afreecatv.com")
        for subdomain in ("", "www.", "play.", "ch.", "bj.", "m.", "vod.")
    ),
    "tiktok": ("tiktok.com", "www.tiktok.com", "m.tiktok.com", "vm.tiktok.com", "vt.tiktok.com"),
    "demo": (),
}
# fmt: on
BUILT_IN = tuple(WEB_HOSTS)
FALLBACK = "streamlink"

log = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    return (*BUILT_IN, *_plug_ins(), FALLBACK)


def get(name: str) -> Platform:
    """The platform of this name. NotAStreamer when there is none, or when the package that brings it is broken."""
    if name in BUILT_IN or name == FALLBACK:
        module = f"livectl.live.platforms.{name}"
        loaded = getattr(sys.modules.get(module), "PLATFORM", None)  # a long list asks once a line
        platform: Platform = loaded or importlib.import_module(module).PLATFORM
        return platform
    entry_point = _plug_ins().get(name)
    if entry_point is None:
        from livectl.live.platforms.base import NotAStreamer

        raise NotAStreamer(f"no platform is called {name[:40]!r}", f"There are: {', '.join(names())}.")
    return _load_plug_in(entry_point)


def parse_address(text: str) -> tuple[str, str]:
    """The platform's name and the streamer's id in a pasted address. NotAStreamer says why there is none."""
    for platform in _candidates(text):
        streamer_id = platform.address(text)
        if streamer_id is not None:
            return platform.name, streamer_id
    from livectl.live.platforms.base import NotAStreamer

    _refuse_unknown_name(text.strip())
    raise NotAStreamer(f"not the address of a streamer: {text.strip()[:200]!r}", "Write platform/id, or paste a URL.")


def _refuse_unknown_name(text: str) -> None:
    """UnknownPlatform when this is `name/id`, and no platform has the name; NotAStreamer if its package is broken."""
    import re

    match = re.fullmatch(r"([\w-]{1,40})/\S+", text)
    if match is None:
        return
    if match[1].lower() in names():
        get(match[1].lower())  # says so if the package that brings it is broken
        return
    from livectl.live.platforms.base import UnknownPlatform
    from livectl.suggestions import did_you_mean

    question = did_you_mean(match[1], names()).capitalize()
    raise UnknownPlatform(f"there is no platform {match[1]}", f"{question} `livectl platforms` lists them.".strip())


def _candidates(text: str) -> Iterator[Platform]:
    """The platforms that may read this address. None is imported before the one in front has passed."""
    from livectl.live.platforms.base import NotAStreamer
    from livectl.live.platforms.parsing import parse_page_address

    page = parse_page_address(text)
    name = _built_in_by_host().get(page.host) if page else None
    if name:
        yield get(name)
    for entry_point in _plug_ins().values():
        try:
            yield _load_plug_in(entry_point)
        except NotAStreamer as error:
            log.warning("%s", error)
    yield get(FALLBACK)


@cache
def _built_in_by_host() -> dict[str, str]:
    return {host: name for name, hosts in WEB_HOSTS.items() for host in (name, *hosts)}


@cache
def _plug_ins() -> dict[str, EntryPoint]:
    """The entry points of other packages, by name. A name of ours stays ours."""
    from importlib.metadata import entry_points

    return {
        point.name: point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in (*BUILT_IN, FALLBACK)
    }


@cache
def _load_plug_in(entry_point: EntryPoint) -> Platform:
    from livectl.live.platforms.base import NotAStreamer, Platform

    try:
        platform = entry_point.load()
    except Exception as error:
        raise NotAStreamer(f"platform {entry_point.name} cannot be loaded from {entry_point.value}: {error}") from error
    if not isinstance(platform, Platform) or platform.name != entry_point.name:
        raise NotAStreamer(f"{entry_point.value} is no livectl Platform called {entry_point.name}")
    return platform
