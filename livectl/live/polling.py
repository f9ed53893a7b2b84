"""Polling: whom to ask now, on what terms, and what was learned of their habits."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import msgspec

from livectl.live import habits, platforms
from livectl.live.platforms.base import Refused
from livectl.model import Terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.config import Access, Settings
    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store
    from livectl.model import Known, Session

LEARNED = 200  # streamers whose habits are learned in one go: some 0.2 s
FINGERPRINT = 16  # hexadecimal digits: enough to see that keys changed, too few to tell them

log = logging.getLogger(__name__)


def claim(store: Store, settings: Settings, now: float, lease: float) -> list[tuple[str, list[str]]]:
    """Platform by platform those who are due and within its budget. Unless recorded in `lease` seconds, due again."""
    offered = [usable for name in store.platforms() if (usable := _usable(name))]
    return store.claim([terms(settings, platform) for platform in offered], now, lease)


def terms(settings: Settings, platform: Platform) -> Terms:
    """How this platform may be asked: the settings, or what it bears by itself."""
    from livectl.config import parse_rate

    access = settings.platforms.get(platform.name)
    given = keys(access)
    pace = platform.pace(given)
    budget = access.budget if access and access.budget else parse_rate(pace.budget)
    wish = settings.polling
    return Terms(
        platform=platform.name,
        batch=pace.batch,
        rate=budget.per_second,
        keys=fingerprint(given),
        mode=wish.mode,
        fastest=float(wish.fastest),
        slowest=float(wish.slowest),
        merge=float(wish.merge),
    )


def keys(access: Access | None) -> dict[str, str]:
    """The user's own keys, as a check takes them."""
    if access is None:
        return {}
    secrets = {name: getattr(access, name) for name in ("client_id", "client_secret", "api_key", "cookie")}
    return {name: secret.reveal() for name, secret in secrets.items() if secret is not None}


def fingerprint(given: Mapping[str, str]) -> str:
    """Changes when the keys do, and tells nothing else of them."""
    return hashlib.sha256(msgspec.json.encode(given, order="sorted")).hexdigest()[:FINGERPRINT]


def learn(store: Store, now: float, most: int = LEARNED) -> int:
    """Learns the habits of some of those who began a session, or whose habits are old. Answers of how many."""
    learned = 0
    for platform in store.platforms():
        names = store.unlearned(platform, most - learned)
        if names:
            past = store.sessions(platform, names)
            found = {known.id: _pulls(known, past[known.id], now) for known in store.some(platform, names)}
            store.learn(platform, found)
            learned += len(names)
        if learned >= most:
            break
    return learned


def _pulls(known: Known, past: list[Session], now: float) -> str:
    starts = [session.started_at for session in past]
    since = min([known.first or now, *starts])
    weight = known.streamer.weight if known.streamer else 1.0
    return habits.pack(habits.pulls(habits.rates(starts, since, now), weight))


def _usable(name: str) -> Platform | None:
    try:
        return platforms.get(name)
    except Refused as refused:
        log.warning("%s; those followed there are not asked", refused)
        return None
