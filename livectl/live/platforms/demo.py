"""Invents streamers whose broadcasts are a function of the clock: a platform that needs no network.

Time is cut into cycles of 30 minutes; a streamer is live for the first 15 of a cycle that is their own, shifted by
whole minutes. The 30 names of ROSTER have one minute each, so that at any moment one of them goes live within the
next 60 seconds; ada, grace and linus are ten minutes apart, so that one of the three is always live. Any other id
works too, with a minute of its own; `nonstop` is always live, `nobody` does not exist, and `rerun` shows recordings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from zlib import crc32

from livectl.live.platforms.base import NotAStreamer, Platform, in_batches
from livectl.live.platforms.parsing import parse_page_address
from livectl.models import Observation, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import CheckContext, Effect

NAME = "demo"
BATCH = 500  # an answer costs microseconds
CYCLE_SECONDS = 1_800  # from one go-live of a streamer to the next
BROADCAST_SECONDS = 900  # the pause that follows outlasts the merge window, so that each broadcast is alerted
MINUTE_SECONDS = 60
NONSTOP = "nonstop"  # its broadcasts follow on each other without a pause, one a day: one session for livectl
NONSTOP_CYCLE_SECONDS = 86_400
RETITLE_AFTER_SECONDS = 420  # into a broadcast its title becomes "part two"
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
    page = parse_page_address(text)
    if page is None or page.host != NAME:
        return None
    if len(page.parts) != 1 or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", page.parts[0]):
        raise NotAStreamer(f"no demo streamer in {text.strip()[:80]}", "Try demo/ada or demo/nonstop.")
    return page.parts[0].lower()


def url(streamer_id: str) -> str:
    return f"https://example.com/{streamer_id}"


def check_batch(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, Observation]]:
    yield from ()
    return {streamer_id: observe(streamer_id, context.now) for streamer_id in ids}


def observe(streamer_id: str, now: float) -> Observation:
    """The observation of this streamer at this time, the same for everyone."""
    if streamer_id == "nobody":
        return Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=now)
    started_at = last_start(streamer_id, now)
    elapsed = now - started_at
    if elapsed >= BROADCAST_SECONDS and streamer_id != NONSTOP:
        return Observation(
            platform=NAME, id=streamer_id, state=State.OFFLINE, at=now, name=streamer_id.title(), url=url(streamer_id)
        )
    title, category = SHOWS[crc32(f"{streamer_id}{started_at}".encode()) % len(SHOWS)]
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.REPLAY if streamer_id == "rerun" else State.LIVE,
        at=now,
        session=str(started_at),
        title=title if elapsed < RETITLE_AFTER_SECONDS else f"{title}, part two",
        category=category,
        name=streamer_id.title(),
        url=url(streamer_id),
        viewers=10 + int(elapsed) % 97 + crc32(streamer_id.encode()) % 1_000,
        started_at=float(started_at),
    )


def last_start(streamer_id: str, now: float) -> int:
    """The last time this streamer went live, in whole seconds since the epoch."""
    if streamer_id == NONSTOP:
        return int(now // NONSTOP_CYCLE_SECONDS) * NONSTOP_CYCLE_SECONDS
    minutes = CYCLE_SECONDS // MINUTE_SECONDS
    minute = ROSTER.index(streamer_id) if streamer_id in ROSTER else crc32(streamer_id.encode()) % minutes
    shift = minute * MINUTE_SECONDS
    return int((now - shift) // CYCLE_SECONDS) * CYCLE_SECONDS + shift


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset(),
    batch=BATCH,
    budget="6000/m",
    address=address,
    url=url,
    check=in_batches(NAME, BATCH, check_batch),
)
