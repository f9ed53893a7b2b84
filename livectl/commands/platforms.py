"""Lists the platforms that can be followed; says which one an address belongs to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from livectl.context import CommandContext, pass_command_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.models import PlatformHealth, Streamer
    from livectl.render import View
    from livectl.settings import Settings


WELL = "ok"


@click.command()
@click.argument("address", required=False)
@pass_command_context
def command(context: CommandContext, *, address: str | None) -> int:
    """How each is asked: how many streamers at once, how often, with which keys,
    and whether you have set one; and which of them tell of go-lives by themselves
    (`push:` in the settings). Where that costs less than asking about each
    streamer, a platform's list of who is live is read: it is "listed" then.
    With an ADDRESS, which platform it belongs to, and the id there.

    \b
    Examples:
      livectl platforms
      livectl platforms https://www.twitch.tv/somebody
      livectl platforms --json
    """
    from livectl.live.follows import follow_list

    if address:
        context.show(_address_view(follow_list.parse_streamer(address)))
    else:
        context.show(_platforms_view(context.settings, _healths(context)))
    return 0


def _healths(context: CommandContext) -> dict[str, PlatformHealth]:
    """How platforms fare at this moment, where there is a store that knows."""
    from livectl.errors import LivectlError
    from livectl.live import store_reader

    try:
        with store_reader.read_only_store(context.own_store) as store:
            return {health.platform: health for health in store.health(time.time())}
    except LivectlError:
        return {}


@dataclass(frozen=True, kw_only=True)
class PlatformView:
    """One platform under the user's settings."""

    platform: str
    batch: int | None = None  # streamers a check
    budget: str = ""  # requests: 600/m
    keys: tuple[str, ...] = ()  # that it can use
    key: str = "none"  # needed, optional or none
    key_set: tuple[str, ...] = ()
    push: bool = False  # whether it may tell of go-lives by itself, beside being asked
    watched: str = "asked"  # or listed: its list of who is live stands in for asking about each, as the store says
    can_list: bool = False  # it has such a list, and the settings and keys allow it
    list_problem: str = ""  # why that could not be read just now
    exits: dict[str, str] = field(default_factory=dict)  # of network.exits: how each fares there: ok, or what is wrong
    hosts: tuple[str, ...] = ()  # of its addresses
    problem: str = ""  # why it cannot be used


def _platforms_view(settings: Settings, healths: Mapping[str, PlatformHealth]) -> View:
    from livectl.live import platforms
    from livectl.render import WIDE_SHOWS_ALL, Column, table

    columns = (
        Column("platform", "whole"),
        Column("at once", "number", rank=2),
        Column("budget", "number", rank=1),
        Column("watched", rank=3),
        Column("key", least=24),
        Column("addresses", rank=4, least=16),
    )
    views = [_describe(name, settings, healths.get(name)) for name in platforms.names()]
    words = [
        (view.platform, str(view.batch or ""), view.budget, _watch_words(view), _key_words(view)) for view in views
    ]
    rows = [(*row, view.problem or _site(view)) for row, view in zip(words, views, strict=True)]
    return table(columns, rows, views, empty="no platforms", if_cut=WIDE_SHOWS_ALL)


def _address_view(streamer: Streamer) -> View:
    from livectl.render import sentence

    data = {"platform": streamer.platform, "id": streamer.id, "url": streamer.url}
    return sentence(f"{streamer.platform}/{streamer.id}", data)


def _watch_words(view: PlatformView) -> str:
    words = (view.watched, "its list fails" if view.list_problem else "", "push" if view.push else "")
    troubled = (f"{name} {how}" for name, how in view.exits.items() if how != WELL)
    return ", ".join(filter(None, (*words, *troubled)))


def _fares(health: PlatformHealth, now: float) -> str:
    """How an exit fares."""
    if health.step or (health.open_until or 0.0) > now:
        return "is blocked"
    if (health.wait_until or 0.0) > now:
        return "has to wait"
    return "reaches nobody" if health.unreached is not None else WELL


def _describe(name: str, settings: Settings, health: PlatformHealth | None) -> PlatformView:
    from livectl.live import platforms, polling
    from livectl.live.platforms.base import NotAStreamer
    from livectl.units import format_rate

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
        push=name in settings.push,
        watched="listed" if health and health.listed_until > time.time() else "asked",
        can_list=polling.may_list(settings, name),
        list_problem=health.list_problem if health else "",
        exits={each.exit: _fares(each, time.time()) for each in health.exits} if health else {},
        hosts=platforms.WEB_HOSTS.get(name, ()),
    )


def _key_words(view: PlatformView) -> str:
    if view.key_set:
        return f"set: {', '.join(view.key_set)}"
    return f"{view.key}: {', '.join(view.keys)}" if view.keys else "none"


def _site(view: PlatformView) -> str:
    return view.hosts[0] if view.hosts else f"{view.platform}/ID" if view.platform == "demo" else "any it knows"
