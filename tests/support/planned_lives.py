"""A seeded plan of many lives: who is live when, by session; and what of it must be noted."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.sites.plan import Plan, Trouble

SHORTEST, GAP = 150, 220  # seconds: of a session that must be noted, and between two that are two
# Seconds a dropped stream is away, drops in a row, and seconds from row to row. A row takes less than the minute after
# which a second look that finds nobody is believed.
BLIP, FLAPS, REST = 10, 3, 300


@dataclass(frozen=True)
class Broadcast:
    """One session: from when to when, in seconds of the plan, and the moments at which it drops out."""

    start: int
    end: int
    drops: tuple[int, ...] = ()

    def on(self, at: float) -> bool:
        return self.start <= at < self.end and not any(drop <= at < drop + BLIP for drop in self.drops)


@dataclass(frozen=True)
class Life:
    platform: str
    id: str
    broadcasts: tuple[Broadcast, ...] = ()

    def now(self, at: float) -> Broadcast | None:
        """The session that shows at this moment."""
        return next((broadcast for broadcast in self.broadcasts if broadcast.on(at)), None)


@dataclass(frozen=True)
class Outage:
    """A site in trouble, and for how long it is not asked because of that."""

    platform: str
    trouble: Trouble
    start: int
    end: int
    silent: int = 0  # seconds after its end


class Clock:
    """The world's, in a file that workers read; it moves when it is set."""

    def __init__(self, path: Path, began: float) -> None:
        self.path = path
        self.began = began
        self.set(0)

    def set(self, seconds: float) -> None:
        """So many seconds after the beginning."""
        self.now = self.began + seconds
        new = self.path.with_suffix(".new")
        new.write_text(str(self.now))
        new.replace(self.path)


@dataclass
class World:
    """All lives, played to a plan of the fakes second by second."""

    lives: Sequence[Life]
    outages: Sequence[Outage]
    began: float
    _shown: dict[tuple[str, str], Broadcast | None] = field(default_factory=dict)

    def play(self, plan: Plan, at: float) -> None:
        for life in self.lives:
            key, shown = (life.platform, life.id), life.now(at)
            if key not in self._shown or self._shown[key] is not shown:
                self._shown[key] = shown
                started = int(self.began) + shown.start if shown else 0
                plan.show(life.platform, life.id, "live" if shown else "offline", started=started)
        troubles = {outage.platform: outage.trouble for outage in self.outages if outage.start <= at < outage.end}
        plan.trouble.clear()
        plan.trouble.update(troubles)

    def must_be_noted(self, life: Life, until: int) -> Iterator[int]:
        """Sessions, by their start, that were there to be seen for long enough."""
        for broadcast in life.broadcasts:
            seen = sum(
                broadcast.on(at) and not self.silent(life.platform, at)
                for at in range(broadcast.start, min(broadcast.end, until))
            )
            if seen >= SHORTEST:
                yield broadcast.start

    def silent(self, platform: str, at: float) -> bool:
        return any(
            outage.platform == platform and outage.start <= at < outage.end + outage.silent for outage in self.outages
        )


def lives(seed: int, ids: dict[str, list[str]], length: int) -> list[Life]:
    chance = random.Random(seed)
    return [
        Life(platform, streamer_id, _broadcasts(chance, length))
        for platform, some in ids.items()
        for streamer_id in some
    ]


def _broadcasts(chance: random.Random, length: int) -> tuple[Broadcast, ...]:
    kind = chance.choice(("never", "never", "always", "once", "once", "twice", "flapping"))
    forever = 10 * length
    if kind == "never":
        return ()
    if kind == "always":
        return (Broadcast(-chance.randint(100, 3000), forever),)
    start = chance.randint(20, length // 3)
    if kind == "flapping":
        rows = range(start + chance.randint(30, 90), length - FLAPS * 2 * BLIP, REST)  # the last one comes back
        return (Broadcast(start, forever, tuple(row + 2 * BLIP * flap for row in rows for flap in range(FLAPS))),)
    end = start + chance.randint(SHORTEST + 30, length // 3)
    if kind == "once":
        return (Broadcast(start, end),)
    return (Broadcast(start, end), Broadcast(end + GAP + chance.randint(0, 60), forever))
