"""The demo platform: invented streamers whose broadcasts are a function of the clock. It needs no network.

Time is cut into cycles of 30 minutes; a streamer is live for the first 15 of a cycle that is their own, shifted by
whole minutes. The 30 names of ROSTER have one minute each, so that at any moment one of them goes live within the
next 60 seconds; and the first three, ten minutes apart, see to it that one of them is always live. Any other id works
too, with a minute of its own; `nobody` does not exist, and `rerun` shows recordings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from zlib import crc32

from livectl.live.platforms.base import Platform, Refused
from livectl.live.platforms.batches import in_batches
from livectl.live.platforms.pages import page
from livectl.model import Observation, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import Effect, Means

NAME = "demo"
BATCH = 500  # an answer costs microseconds
CYCLE = 1_800  # seconds from one go-live of a streamer to the next
LENGTH = 900  # seconds of a broadcast: the pause that follows outlasts the merge window, so that each is told
MINUTE = 60
RETITLED = 420  # seconds into a broadcast, from when its title says "part two"
# fmt: off
ROSTER = (
    "ada", "alan", "barbara", "claude", "dennis", "dorothy", "edsger", "evelyn", "frances", "gladys",
    "grace", "hedy", "ida", "jean", "joan", "john", "karen", "katherine", "ken", "kathleen",
    "linus", "lynn", "margaret", "mary", "niklaus", "radia", "robin", "sophie", "tim", "vint",
)
# fmt: on
SHOWS = (
    ("Weaving algebraical patterns", "Just Chatting"),
    ("Finding the first bug", "Software and Game Development"),
    ("A kernel, just for fun", "Software and Game Development"),
    ("Speedrun of the analytical engine", "Retro"),
    ("Chess against the machine", "Chess"),
    ("Tea and theorems", "Talk Shows & Podcasts"),
    ("Drawing with a turtle", "Art"),
)


def address(text: str) -> str | None:
    where = page(text)
    if where is None or where.host != NAME:
        return None
    if len(where.parts) != 1 or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", where.parts[0]):
        raise Refused(f"no demo streamer in {text.strip()[:80]}", "Try demo/ada, demo/grace or demo/linus.")
    return where.parts[0].lower()


def url(one: str) -> str:
    return f"https://example.com/{one}"


def look(ids: Sequence[str], means: Means) -> Generator[Effect, Any, dict[str, Observation]]:
    yield from ()
    return {one: observed(one, means.now) for one in ids}


def observed(one: str, now: float) -> Observation:
    """What anyone, anywhere, sees of this streamer at this time."""
    if one == "nobody":
        return Observation(platform=NAME, id=one, state=State.NOT_FOUND, at=now)
    began = begun(one, now)
    lasted = now - began
    if lasted >= LENGTH:
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=now, name=one.title(), url=url(one))
    title, category = SHOWS[crc32(f"{one}{began}".encode()) % len(SHOWS)]
    return Observation(
        platform=NAME,
        id=one,
        state=State.REPLAY if one == "rerun" else State.LIVE,
        at=now,
        session=str(began),
        title=title if lasted < RETITLED else f"{title}, part two",
        category=category,
        name=one.title(),
        url=url(one),
        viewers=10 + int(lasted) % 97 + crc32(one.encode()) % 1_000,
        started_at=float(began),
    )


def begun(one: str, now: float) -> int:
    """The last time this streamer went live, in whole seconds since the epoch."""
    minute = ROSTER.index(one) if one in ROSTER else crc32(one.encode()) % (CYCLE // MINUTE)
    shift = minute * MINUTE
    return int((now - shift) // CYCLE) * CYCLE + shift


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset(),
    batch=BATCH,
    budget="6000/m",
    address=address,
    url=url,
    check=in_batches(NAME, BATCH, look),
)
