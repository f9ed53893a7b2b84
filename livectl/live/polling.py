"""Polling: whom to ask now, on what terms, and what was learned of their habits."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import msgspec

from livectl.live import habits, platforms
from livectl.live.platforms.base import NotAStreamer
from livectl.model import PollingLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.config import PlatformSettings, Settings
    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store
    from livectl.model import Session, StreamerRecord

MAX_LEARNED = 200  # streamers whose habits are learned in one go: some 0.2 s
FINGERPRINT_DIGITS = 16  # hexadecimal digits: enough to see that keys changed, too few to tell them

log = logging.getLogger(__name__)


def claim(store: Store, settings: Settings, now: float, lease: float) -> list[tuple[str, list[str]]]:
    """Platform by platform those who are due and within its budget. Unless recorded in `lease` seconds, due again."""
    usable_platforms = [usable for name in store.platforms() if (usable := _find_platform(name))]
    return store.claim([polling_limits(settings, platform) for platform in usable_platforms], now, lease)


def polling_limits(settings: Settings, platform: Platform) -> PollingLimits:
    """How this platform may be asked: the settings, or what it bears by itself."""
    from livectl.config import parse_rate

    access = settings.platforms.get(platform.name)
    user_keys = platform_keys(access)
    rate_limit = platform.rate_limit(user_keys)
    budget = access.budget if access and access.budget else parse_rate(rate_limit.budget)
    polling_settings = settings.polling
    return PollingLimits(
        platform=platform.name,
        batch=rate_limit.batch,
        rate=budget.per_second,
        keys=fingerprint(user_keys),
        mode=polling_settings.mode,
        fastest=float(polling_settings.fastest),
        slowest=float(polling_settings.slowest),
        merge=float(polling_settings.merge),
    )


def platform_keys(access: PlatformSettings | None) -> dict[str, str]:
    """The user's own keys, as a check takes them."""
    if access is None:
        return {}
    secrets = {name: getattr(access, name) for name in ("client_id", "client_secret", "api_key", "cookie")}
    return {name: secret.reveal() for name, secret in secrets.items() if secret is not None}


def fingerprint(user_keys: Mapping[str, str]) -> str:
    """Changes when the keys do, and tells nothing else of them."""
    return hashlib.sha256(msgspec.json.encode(user_keys, order="sorted")).hexdigest()[:FINGERPRINT_DIGITS]


def learn_habits(store: Store, now: float, limit: int = MAX_LEARNED) -> int:
    """Learns the habits of some of those who began a session, or whose habits are old. Answers of how many."""
    learned = 0
    for platform in store.platforms():
        names = store.unlearned(platform, limit - learned)
        if names:
            sessions = store.sessions(platform, names)
            weights = {
                record.id: _packed_weights(record, sessions[record.id], now)
                for record in store.find_streamers(platform, names)
            }
            store.save_poll_weights(platform, weights)
            learned += len(names)
        if learned >= limit:
            break
    return learned


def _packed_weights(record: StreamerRecord, sessions: list[Session], now: float) -> str:
    starts = [session.started_at for session in sessions]
    since = min([record.first or now, *starts])
    weight = record.streamer.weight if record.streamer else 1.0
    return habits.pack_weights(habits.poll_weights(habits.golive_rates(starts, since, now), weight))


def _find_platform(name: str) -> Platform | None:
    try:
        return platforms.get(name)
    except NotAStreamer as error:
        log.warning("%s; those followed there are not asked", error)
        return None
