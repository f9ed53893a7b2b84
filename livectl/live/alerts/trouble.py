"""Trouble: what keeps a platform from being asked, and will not pass unless a person mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livectl.model import PlatformHealth

BLOCKED_ALERT_DELAY_S = (
    3600.0  # seconds a platform may refuse us before anybody is bothered: most blocks are over by then
)


def find_troubles(healths: Iterable[PlatformHealth], now: float) -> list[tuple[str, float, Change]]:
    """By name: for how long it has to last before it is told, and the telling."""
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
        yield "keys", 0.0, f"{name}: it refuses your keys", cure
    if health.step:
        yield (
            "blocked",
            BLOCKED_ALERT_DELAY_S,
            f"{name}: it has refused us for an hour",
            "livectl keeps trying, every half hour.",
        )


def _trouble_change(platform: str, trouble: str, title: str, cure: str, now: float) -> Change:
    return Change(kind="troubled", platform=platform, id="", session=trouble, at=now, title=title, before=cure)
