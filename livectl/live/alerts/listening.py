"""What a target listens to: which changes it is told, of whom, and when it is not to be disturbed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from livectl.live.alerts.alert import kind_of
from livectl.model import State

if TYPE_CHECKING:
    from livectl.config import Target
    from livectl.model import Change, Known, Streamer
    from livectl.quantity import Window

HOUR = 60  # minutes


def wants(name: str, target: Target, change: Change, known: Known | None) -> bool:
    """Whether this change is told to this target at all."""
    kind = kind_of(change)
    if change.quiet or kind not in target.on:
        return False
    if kind == "trouble":
        return True
    return known is not None and known.streamer is not None and hears_of(name, target, known.streamer)


def hears_of(name: str, target: Target, streamer: Streamer) -> bool:
    """Whether this target is told of this streamer: both have a say."""
    if streamer.alerts is not None and name not in streamer.alerts:
        return False
    if target.tags and not set(target.tags) & set(streamer.tags):
        return False
    called = {f"{streamer.platform}/{streamer.id}".lower(), streamer.name.lower()}
    return not target.streamers or any(one.lower() in called for one in target.streamers)


def is_over(target: Target, change: Change, known: Known | None) -> bool:
    """Whether the stream has ended meanwhile, so that telling of it would mislead. Who hears of ends hears of all."""
    if kind_of(change) in {"end", "trouble"} or "end" in target.on:
        return False
    return known is None or known.state is not State.LIVE or known.session != change.session


def is_quiet(window: Window | None, now: float, zone: str) -> bool:
    if window is None:
        return False
    minute = _minute(now, zone)
    if window.start <= window.end:
        return window.start <= minute < window.end
    return minute >= window.start or minute < window.end


def _minute(now: float, zone: str) -> int:
    """Minutes since midnight, by the clock on the wall."""
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    return local.hour * HOUR + local.minute
