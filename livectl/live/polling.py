"""A streamer's habits: how likely a go-live is at each hour of the week, and how often asking then is worth it.

Pure functions over numbers; docs/polling.md derives them. Hours of the week are counted in UTC from the epoch, a
Thursday at midnight, so that they need no calendar.
"""

from __future__ import annotations

import hashlib
import logging
import math
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from livectl.live import platforms
from livectl.live.platforms.base import NotAStreamer
from livectl.models import PollingLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store
    from livectl.models import Session, StreamerRecord
    from livectl.settings import PlatformSettings, Settings


HOUR_SECONDS = 3600.0
DAY_HOURS = 24
WEEK_HOURS = 168
WEEK_SECONDS = WEEK_HOURS * HOUR_SECONDS

HALF_LIFE_SECONDS = 6 * WEEK_SECONDS  # of a session's weight: habits change with the seasons, not with the day
PRIOR_SESSIONS, PRIOR_WEEKS = 1.0, 0.25  # Gamma prior: four sessions a week, worth as much as one session seen
KERNEL_WIDTHS_HOURS = (
    0.4,
    0.8,
    1.5,
    3.0,
)  # hours, one standard deviation: from clockwork to "some time in the evening"
ANY_DAY_SHARES = (0.05, 0.3, 0.6, 0.95)  # share of the hour of the day against the hour of the week
ANY_TIME_SHARE = 0.1  # share of sessions that follow no habit at all

UNIFORM_BUDGET_SHARE = 0.3  # of the budget, shared alike: nobody waits more than 1 / 0.3 of the uniform interval

WEIGHT_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
LOWEST_WEIGHT, WEIGHT_LOG_STEP = (
    0.003,
    0.13,
)  # the pull of level 0, and the logarithm between two levels: 0.003 to 10, to 7 %


def hour_of_week(at: float) -> int:
    return int(at // HOUR_SECONDS) % WEEK_HOURS


def golive_rates(starts: Sequence[float], since: float, now: float) -> list[float]:
    """Go-lives an hour to be expected at each hour of the week, of someone watched since then."""
    masses, counts = _masses(starts, now)
    total_mass = sum(masses)
    weeks = HALF_LIFE_SECONDS / math.log(2) * (1 - _decay(max(0.0, now - since))) / WEEK_SECONDS
    total = (PRIOR_SESSIONS + total_mass) / (PRIOR_WEEKS + weeks)
    return [total * share for share in _hourly_shares(masses, counts)]


def poll_weights(expected: Sequence[float], weight: float) -> list[float]:
    """How often to ask, up to a factor: the square root is what makes the delays of all together least."""
    return [math.sqrt(weight * rate) for rate in expected]


def pack_weights(values: Sequence[float]) -> str:
    """A character an hour, as pace.lua reads them."""
    levels = (round(math.log(max(value, LOWEST_WEIGHT) / LOWEST_WEIGHT) / WEIGHT_LOG_STEP) for value in values)
    return "".join(WEIGHT_DIGITS[min(level, len(WEIGHT_DIGITS) - 1)] for level in levels)


def poll_interval(share: float, uniform: float, fastest: float, slowest: float) -> float:
    """Seconds until the next look at one whose pull is `share` times the mean, where `uniform` would be alike for all.

    The same reckoning as in pace.lua.
    """
    if uniform <= fastest:
        return fastest  # the budget bears everybody at the highest pace: nothing to share out
    latest = (
        slowest if uniform <= slowest else uniform / UNIFORM_BUDGET_SHARE
    )  # what the budget cannot bear cannot be wished for
    return max(fastest, min(uniform / (UNIFORM_BUDGET_SHARE + (1 - UNIFORM_BUDGET_SHARE) * share), latest))


def _decay(age: float) -> float:
    return math.exp2(-age / HALF_LIFE_SECONDS)


def _masses(starts: Sequence[float], now: float) -> tuple[list[float], list[int]]:
    """The faded weight and the number of the starts in each hour of the week."""
    masses, counts = [0.0] * WEEK_HOURS, [0] * WEEK_HOURS
    for start in starts:
        hour = hour_of_week(start)
        masses[hour] += _decay(max(0.0, now - start))
        counts[hour] += 1
    return masses, counts


def _hourly_shares(masses: list[float], counts: list[int]) -> list[float]:
    """The share of each hour of the week, smoothed by the kernel under which the sessions explain each other best."""
    hours = [hour for hour in range(WEEK_HOURS) if counts[hour]]
    if not hours:
        return [1 / WEEK_HOURS] * WEEK_HOURS
    width, any_day = max(
        ((width, any_day) for width in KERNEL_WIDTHS_HOURS for any_day in ANY_DAY_SHARES),
        key=lambda kernel: _log_likelihood(_kernel(*kernel), hours, masses, counts),
    )
    kernel, total_mass = _kernel(width, any_day), sum(masses)
    return [
        ANY_TIME_SHARE / WEEK_HOURS
        + (1 - ANY_TIME_SHARE) * sum(masses[hour] * kernel[target_hour - hour] for hour in hours) / total_mass
        for target_hour in range(WEEK_HOURS)
    ]


def _log_likelihood(kernel: Sequence[float], hours: list[int], masses: list[float], counts: list[int]) -> float:
    """How well each session is foretold by all the others: leave one out. Alone it is foretold by nothing."""
    total_mass, log_likelihood = sum(masses), 0.0
    for hour in hours:
        own = masses[hour] / counts[hour]
        others = sum(masses[other] * kernel[hour - other] for other in hours) - own * kernel[0]
        share = others / (total_mass - own) if total_mass > own else 0.0
        log_likelihood += masses[hour] * math.log(ANY_TIME_SHARE / WEEK_HOURS + (1 - ANY_TIME_SHARE) * max(share, 0.0))
    return log_likelihood


@cache
def _kernel(width: float, any_day: float) -> tuple[float, ...]:
    """The share of a session at a distance of so many hours, round the week: indices below zero wrap as lists do."""
    weekly = _wrapped_gaussian(width, WEEK_HOURS)
    daily = _wrapped_gaussian(width, DAY_HOURS)
    days = WEEK_HOURS // DAY_HOURS
    return tuple((1 - any_day) * weekly[hour] + any_day * daily[hour % DAY_HOURS] / days for hour in range(WEEK_HOURS))


def _wrapped_gaussian(width: float, period: int) -> list[float]:
    heights = [math.exp(-0.5 * (min(hour, period - hour) / width) ** 2) for hour in range(period)]
    return [height / sum(heights) for height in heights]


MAX_LEARNED = 200  # streamers whose habits are learned in one go: some 0.2 s
FINGERPRINT_DIGITS = 16  # hexadecimal digits: enough to see that keys changed, too few to tell them

log = logging.getLogger(__name__)


def claim(store: Store, settings: Settings, now: float, lease: float) -> list[tuple[str, list[str]]]:
    """Platform by platform those who are due and within its budget. Unless recorded in `lease` seconds, due again."""
    usable_platforms = [usable for name in store.platforms() if (usable := _find_platform(name))]
    return store.claim([polling_limits(settings, platform) for platform in usable_platforms], now, lease)


def polling_limits(settings: Settings, platform: Platform) -> PollingLimits:
    """How this platform may be asked: the settings, or what it bears by itself."""
    from livectl.units import parse_rate

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
    return pack_weights(poll_weights(golive_rates(starts, since, now), weight))


def _find_platform(name: str) -> Platform | None:
    try:
        return platforms.get(name)
    except NotAStreamer as error:
        log.warning("%s; those followed there are not asked", error)
        return None
