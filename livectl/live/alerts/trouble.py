"""Trouble: what keeps a platform from being asked, and will not pass unless a person mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livectl.model import Health

HOUR = 3600.0  # seconds a platform may refuse us before anybody is bothered: most blocks are over by then


def found(healths: Iterable[Health], now: float) -> list[tuple[str, float, Change]]:
    """By name: for how long it has to last before it is told, and the telling."""
    return [
        (f"{what} {health.platform}", lasting, _change(health.platform, what, title, cure, now))
        for health in healths
        if health.followed
        for what, lasting, title, cure in _of(health)
    ]


def _of(health: Health) -> Iterator[tuple[str, float, str, str]]:
    name = health.platform
    if health.parser_broken is not None:
        yield "parser", 0.0, f"{name}: its answers cannot be read", "It may have changed: look for a newer livectl."
    if health.auth_since is not None:
        cure = f"Nobody is asked there until platforms.{name} in livectl.yaml has new ones."
        yield "keys", 0.0, f"{name}: it refuses your keys", cure
    if health.step:
        yield "blocked", HOUR, f"{name}: it has refused us for an hour", "livectl keeps trying, every half hour."


def _change(platform: str, what: str, title: str, cure: str, now: float) -> Change:
    return Change(kind="troubled", platform=platform, id="", session=what, at=now, title=title, before=cure)
