"""Shows what can be followed, and how each platform is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.live import platforms
from livectl.live.platforms.base import NotAStreamer
from livectl.render import View, sentence, table
from livectl.units import format_rate

if TYPE_CHECKING:
    from livectl.models import Streamer
    from livectl.settings import Settings


class PlatformView(msgspec.Struct, frozen=True, kw_only=True):
    """One platform under the user's settings."""

    platform: str
    batch: int | None = None  # streamers a check
    budget: str = ""  # requests: 600/m
    keys: tuple[str, ...] = ()  # that it can use
    key: str = "none"  # needed, optional or none
    key_set: tuple[str, ...] = ()
    push: bool = False  # no platform tells by itself
    hosts: tuple[str, ...] = ()  # of its addresses
    problem: str = ""  # why it cannot be used


def platforms_view(settings: Settings) -> View:
    views = [_describe(name, settings) for name in platforms.names()]
    rows = [
        (view.platform, str(view.batch or ""), view.budget, "no", _key_words(view), view.problem or _site(view))
        for view in views
    ]
    return table(("platform", "at once", "budget", "push", "key", "addresses"), rows, views, empty="no platforms")


def address_view(streamer: Streamer) -> View:
    data = {"platform": streamer.platform, "id": streamer.id, "url": streamer.url}
    return sentence(f"{streamer.platform}/{streamer.id}", data)


def _describe(name: str, settings: Settings) -> PlatformView:
    try:
        platform = platforms.get(name)
    except NotAStreamer as error:
        return PlatformView(platform=name, problem=error.message)
    access = settings.platforms.get(name)
    key_set = tuple(key for key in platform.key_names if access and getattr(access, key, None) is not None)
    # Whether a key is set, not what it is: a secret that cannot be read costs nothing here.
    limit = platform.rate_limit(dict.fromkeys(key_set, "set"))
    budget = format_rate(access.budget) if access and access.budget else limit.budget
    need = "needed" if platform.key_needed else "optional" if platform.key_names else "none"
    return PlatformView(
        platform=name,
        batch=limit.batch,
        budget=budget,
        keys=platform.key_names,
        key=need,
        key_set=key_set,
        hosts=platforms.WEB_HOSTS.get(name, ()),
    )


def _key_words(view: PlatformView) -> str:
    if view.key_set:
        return f"set: {', '.join(view.key_set)}"
    return f"{view.key}: {', '.join(view.keys)}" if view.keys else "none"


def _site(view: PlatformView) -> str:
    return view.hosts[0] if view.hosts else f"{view.platform}/ID" if view.platform == "demo" else "any it knows"
