"""Decides which changes a target is alerted to, when it must not be disturbed, and which troubles need an alert."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from livectl.live.alerts.message import alert_kind
from livectl.models import Change, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livectl.models import PlatformHealth, Streamer, StreamerRecord
    from livectl.settings import Target
    from livectl.units import Window


MINUTES_PER_HOUR = 60
BLOCKED_ALERT_DELAY_S = 3600.0  # most blocks are over before that


def should_alert(name: str, target: Target, change: Change, record: StreamerRecord | None) -> bool:
    """Whether the target listens to this kind of change and to this streamer."""
    kind = alert_kind(change)
    if change.quiet or kind not in target.on:
        return False
    if kind == "trouble":
        return True
    return record is not None and record.streamer is not None and accepts_streamer(name, target, record.streamer)


def accepts_streamer(name: str, target: Target, streamer: Streamer) -> bool:
    """Whether the target may be alerted about the streamer: the settings and the follow list must both allow it."""
    if streamer.alerts is not None and name not in streamer.alerts:
        return False
    if target.tags and not set(target.tags) & set(streamer.tags):
        return False
    names = {f"{streamer.platform}/{streamer.id}".lower(), streamer.name.lower()}
    return not target.streamers or any(wanted.lower() in names for wanted in target.streamers)


def is_outdated(target: Target, change: Change, record: StreamerRecord | None) -> bool:
    """Whether the session is over, so that an alert would mislead. A target that listens to ends gets all alerts."""
    if alert_kind(change) in {"end", "trouble"} or "end" in target.on:
        return False
    return record is None or record.state is not State.LIVE or record.session != change.session


def in_quiet_hours(window: Window | None, now: float, zone: str) -> bool:
    if window is None:
        return False
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    minute = local.hour * MINUTES_PER_HOUR + local.minute
    if window.start <= window.end:
        return window.start <= minute < window.end
    return minute >= window.start or minute < window.end


def find_troubles(healths: Iterable[PlatformHealth], now: float) -> list[tuple[str, float, Change]]:
    """What a person must mend: its name, the seconds it must last before the alert, and the change to alert to."""
    return [
        (f"{trouble} {health.platform}", min_seconds, _trouble_change(health.platform, trouble, title, cure, now))
        for health in healths
        if health.followed
        for trouble, min_seconds, title, cure in _troubles_of(health)
    ]


def _troubles_of(health: PlatformHealth) -> Iterator[tuple[str, float, str, str]]:
    name = health.platform
    if health.parser_broken is not None:
        yield "parser", 0.0, f"{name}: its answers cannot be read", "It may have changed: look for a newer livectl."
    if health.auth_since is not None:
        cure = f"Nobody is asked there until platforms.{name} in livectl.yaml has new ones."
        yield "keys", 0.0, f"{name}: its keys are refused, or not set", cure
    if health.step:
        title, cure = f"{name}: it has refused us for an hour", "livectl keeps trying, every half hour."
        yield "blocked", BLOCKED_ALERT_DELAY_S, title, cure


def _trouble_change(platform: str, trouble: str, title: str, cure: str, now: float) -> Change:
    return Change(kind="troubled", platform=platform, id="", session=trouble, at=now, title=title, before=cure)
