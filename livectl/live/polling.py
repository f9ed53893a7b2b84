"""Decides which streamers are checked when: within what a platform bears, and most often when a go-live is likely.

docs/polling.md derives the numbers. Hours of the week are counted in UTC from the epoch, a Thursday at midnight, so
that they need no calendar.
"""

from __future__ import annotations

import hashlib
import logging
import math
from functools import cache
from operator import mul
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import msgspec

from livectl.live import platforms
from livectl.live.cells import DEFAULT_SHARDS, exit_of, shard_of
from livectl.live.platforms.base import CheckContext, NotAStreamer
from livectl.live.store_records import DIGITS
from livectl.models import PollingLimits, State
from livectl.units import parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store
    from livectl.models import PlatformHealth, Session, StreamerRecord
    from livectl.secret import Secret
    from livectl.settings import PlatformSettings, Settings


MAX_JOB_REQUESTS = 500  # some 40 ms of work, so that two processors share ten thousand streamers evenly
MAX_JOB_STREAMERS = 2_000  # they are recorded in two calls
MAX_LEARNED = 100  # streamers in one sweep: some 0.1 s; where there are more, jobs learn the rest
LEARNED_AT_ONCE = 200  # streamers: two milliseconds of the server's time
LISTS_NOTED_SECONDS = 5.0  # for so long it is taken as known which lists are read
FINGERPRINT_DIGITS = 16  # enough to see that keys changed, too few to guess them

HOUR_SECONDS = 3600.0
DAY_HOURS = 24
WEEK_HOURS = 168
WEEK_SECONDS = WEEK_HOURS * HOUR_SECONDS

HALF_LIFE_SECONDS = 6 * WEEK_SECONDS  # of a session's mass: habits change with the seasons, not with the day
PRIOR_SESSIONS, PRIOR_WEEKS = 1.0, 0.25  # Gamma prior: four sessions a week, worth as much as one session seen
KERNEL_WIDTHS_HOURS = (0.4, 0.8, 1.5, 3.0)  # one standard deviation: from clockwork to "some time in the evening"
ANY_DAY_SHARES = (0.05, 0.3, 0.6, 0.95)  # of the hour of the day, against the hour of the week
ANY_TIME_SHARE = 0.1  # of sessions, which follow no habit at all
WIDTHS_REACHED = 6  # by a kernel

# A poll weight is packed into a digit, as pace.lua reads it: 64 levels from 0.003 to 10, 13 % apart.
LOWEST_WEIGHT, WEIGHT_LOG_STEP = 0.003, 0.13
LAST_LEVEL = len(DIGITS) - 1

log = logging.getLogger(__name__)


class CheckBatch(NamedTuple):
    """The streamers of one platform that one job checks."""

    platform: str
    ids: list[str]

    def __str__(self) -> str:
        return f"{self.platform}, {len(self.ids)} streamers"


class ListInForce(msgspec.Struct):
    """Until when a list stands in for asking about each: of all that is noted of it, what due times depend on."""

    until: float = 0.0


class LimitsByPlatform:
    """The polling limits of the platforms under these settings, each computed once.

    With a store, it also knows the lists that are read: whoever they would show is asked rarely.
    """

    def __init__(self, settings: Settings, store: Store | None = None) -> None:
        self._settings = settings
        self._store = store
        self._limits: dict[str, PollingLimits] = {}
        self._exits_noted: set[str] = set()
        self._listed_until: dict[str, float] = {}
        self._noted_at = 0.0

    def at(self, platform: str, now: float) -> PollingLimits:
        """The polling limits at this moment."""
        if self._store and not 0 <= now - self._noted_at < LISTS_NOTED_SECONDS:
            names = [name for name in self._store.platforms() if may_list(self._settings, name)]
            texts = self._store.listings(names)
            self._listed_until = {
                name: msgspec.json.decode(text, type=ListInForce).until for name, text in texts.items()
            }
            self._noted_at = now
        is_listed = now < self._listed_until.get(platform, 0.0)
        return msgspec.structs.replace(self[platform], listed=True) if is_listed else self[platform]

    def by_exits(self, platform: str, now: float) -> list[PollingLimits]:
        """The polling limits of each of network.exits, in the order that says whom each serves; or of the usual way."""
        names, limits = self._exits(platform), self.at(platform, now)
        rate = limits.rate / len(names) if self._has_key(platform) and names else limits.rate
        return [
            msgspec.structs.replace(limits, rate=rate, exit=name, exit_number=number, exits=len(names))
            for number, name in enumerate(names)
        ] or [limits]

    def note_exits(self, store: Store, platform: str) -> None:
        """Notes once by which exits the platform is asked."""
        if platform not in self._exits_noted:
            store.note_exits(platform, self._exits(platform))
            self._exits_noted.add(platform)

    def split(self, platform: str, ids: Sequence[str], now: float) -> list[tuple[PollingLimits, list[str]]]:
        """The ids that each exit serves, with its limits."""
        options = self.by_exits(platform, now)
        if len(options) == 1:
            return [(options[0], list(ids))]
        shards = self._store.cells.shards if self._store else DEFAULT_SHARDS
        groups: list[list[str]] = [[] for _ in options]
        for each in ids:
            groups[exit_of(shard_of(each, shards), len(options))].append(each)
        return [(limits, some) for limits, some in zip(options, groups, strict=True) if some]

    def at_large(self, platform: str, now: float) -> list[PollingLimits]:
        """The polling limits of the exits by which is asked what concerns no single streamer: the first is to be taken
        that reaches the platform.
        """
        options = self.by_exits(platform, now)
        if len(options) == 1 or self._store is None:
            return options
        health = next((each for each in self._store.health(now) if each.platform == platform), None)
        return let_in(options, health, now) or options if health else options

    def _exits(self, platform: str) -> tuple[str, ...]:
        """By name. A platform without hosts asks by itself, and not by us."""
        return tuple(self._settings.network.exits) if platforms.get(platform).hosts else ()

    def _has_key(self, platform: str) -> bool:
        """Whether the budget belongs to a key of the user's, and not to an address."""
        keys = platform_keys(self._settings.platforms.get(platform))
        return bool(keys.get("client_id") or keys.get("api_key"))

    def __getitem__(self, platform: str) -> PollingLimits:
        """NotAStreamer if there is no such platform."""
        if platform not in self._limits:
            limits, exits = polling_limits(self._settings, platforms.get(platform)), len(self._exits(platform))
            shares = exits if exits and not self._has_key(platform) else 1
            self._limits[platform] = msgspec.structs.replace(limits, capacity=limits.capacity * shares)
        return self._limits[platform]


def polling_limits(settings: Settings, platform: Platform) -> PollingLimits:
    """How often this platform may be asked: as the settings say, or as the platform bears."""
    access = settings.platforms.get(platform.name)
    keys = platform_keys(access)
    rate_limit = platform.rate_limit(keys)
    budget = access.budget if access and access.budget else parse_rate(rate_limit.budget)
    return PollingLimits(
        platform=platform.name,
        batch=rate_limit.batch,
        rate=budget.per_second,
        capacity=budget.per_second / rate_limit.requests,
        offline_batch=platform.offline_batch,
        offline_seconds=platform.offline_seconds,
        keys=fingerprint(keys),
        mode=settings.polling.mode,
        fastest=float(settings.polling.fastest),
        slowest=float(settings.polling.slowest),
        merge=float(settings.polling.merge),
    )


def check_context(settings: Settings, platform: str, now: float) -> CheckContext:
    return CheckContext(now, platform_keys(settings.platforms.get(platform)))


def platform_keys(access: PlatformSettings | None) -> dict[str, str]:
    """The user's own keys for a platform, revealed; without those that are unset."""
    return {name: secret.reveal() for name, secret in _secrets(access).items() if not secret.problem}


def unset_key(settings: Settings, platform: str) -> str:
    """Why this platform cannot be asked with the keys of the settings; empty when they are all there."""
    secrets = _secrets(settings.platforms.get(platform))
    return next((f"platforms.{platform}.{name}: {why}" for name, key in secrets.items() if (why := key.problem)), "")


def lacks_key(settings: Settings, name: str) -> bool:
    """Whether this platform answers only with a key, and the settings have none."""
    try:
        platform = platforms.get(name)
    except NotAStreamer:
        return False
    access = settings.platforms.get(name)
    return platform.key_needed and any(not getattr(access, key, None) for key in platform.key_names)


def _secrets(access: PlatformSettings | None) -> dict[str, Secret]:
    secrets = {name: getattr(access, name, None) for name in ("client_id", "client_secret", "api_key", "cookie")}
    return {name: secret for name, secret in secrets.items() if secret is not None}


def may_list(settings: Settings, platform: str) -> bool:
    """Whether the list of who is live there may be read: there is one, the settings and the keys allow it."""
    if not _is_usable(platform):
        return False
    listing, access = platforms.get(platform).listing, settings.platforms.get(platform)
    if listing is None or (access and access.listing == "off") or unset_key(settings, platform):
        return False
    keys = platform_keys(access)
    return not listing.key_needed or bool(keys.get("client_id") and keys.get("client_secret"))


def fingerprint(keys: Mapping[str, str]) -> str:
    """A text that changes when the keys do, and reveals nothing else of them."""
    return hashlib.sha256(msgspec.json.encode(keys, order="sorted")).hexdigest()[:FINGERPRINT_DIGITS]


def left_alone(store: Store | None, platform: str, now: float) -> tuple[State, str] | None:
    """Why the platform is not asked at this moment; None when it is. A person's check is no exception."""
    healths = store.health(now) if store else []
    return next((_left_alone(health, now) for health in healths if health.platform == platform), None)


def is_left_alone(health: PlatformHealth, now: float) -> bool:
    """Whether nothing at all is asked there: it refuses us, wants to be left alone, or does not take our keys."""
    return _left_alone(health, now) is not None or health.auth_since is not None


def _left_alone(health: PlatformHealth, now: float) -> tuple[State, str] | None:
    """Why a platform is not asked at this moment; None when it is."""
    if health.open_until and now < health.open_until:
        return State.BLOCKED, f"not asked: it refused us, and is left alone for {health.open_until - now:.0f} s more"
    if health.wait_until and now < health.wait_until:
        return State.RATE_LIMITED, f"not asked: it wants to be left alone for {health.wait_until - now:.0f} s more"
    return None


def let_in(options: Sequence[PollingLimits], health: PlatformHealth, now: float) -> list[PollingLimits]:
    """The exits that the platform lets in; another one first on each platform, so that none is asked by most."""
    first = crc32(health.platform.encode()) % len(options)
    by_exit = {each.exit: each for each in (health, *health.exits)}
    ways = [(each, by_exit.get(each.exit, health)) for each in (*options[first:], *options[:first])]
    return [each for each, way in ways if not is_left_alone(way, now) and not (way.exit and way.unreached)]


def claim(
    store: Store, limits: LimitsByPlatform, now: float, lease: float, leave_out: Collection[str] = ()
) -> list[CheckBatch]:
    """Claims the streamers who are due, within each platform's budget, as batches of the size of a job: of all
    platforms but those to be left out.

    A streamer who is not recorded within `lease` seconds is due again.
    """
    usable = [platform for platform in store.platforms() if platform not in leave_out and _is_usable(platform)]
    for platform in usable:
        limits.note_exits(store, platform)
    usable_limits = [each for platform in usable for each in limits.by_exits(platform, now)]
    claimed = store.claim(usable_limits, now, lease)
    return [batch for platform, ids in claimed for batch in split_into_batches(limits[platform], ids)]


def split_into_batches(
    limits: PollingLimits, ids: Sequence[str], max_requests: int = MAX_JOB_REQUESTS
) -> list[CheckBatch]:
    """Splits the ids of one platform into batches of the size of a job, each a whole number of requests."""
    requests = max(1, min(max_requests, MAX_JOB_REQUESTS, MAX_JOB_STREAMERS // limits.batch))
    size = requests * limits.batch
    return [CheckBatch(limits.platform, list(ids[start : start + size])) for start in range(0, len(ids), size)]


def learn_habits(
    store: Store, now: float, limit: int = MAX_LEARNED, is_over: Callable[[], bool] = lambda: False
) -> int:
    """Learns the poll weights of some streamers who began a session since, or whose weights are old.

    It takes a few at a time, until as many are learned or time is over. Returns how many.
    """
    learned = 0
    for platform in store.platforms():
        while learned < limit and not is_over():
            ids = store.unlearned(platform, min(limit - learned, LEARNED_AT_ONCE))
            if not ids:
                break
            _learn(store, platform, ids, now)
            learned += len(ids)
    return learned


def _learn(store: Store, platform: str, ids: Sequence[str], now: float) -> None:
    sessions = store.sessions(platform, ids)
    records = store.find_streamers(platform, ids)
    store.save_poll_weights(platform, {each.id: _packed_weights(each, sessions[each.id], now) for each in records})


def golive_rates(starts: Sequence[float], since: float, now: float) -> list[float]:
    """The go-lives expected in each hour of the week, of a streamer followed since then."""
    masses, counts = _masses(starts, now)
    total_mass = sum(masses)
    weeks = HALF_LIFE_SECONDS / math.log(2) * (1 - _decay(max(0.0, now - since))) / WEEK_SECONDS
    total = (PRIOR_SESSIONS + total_mass) / (PRIOR_WEEKS + weeks)
    return [total * share for share in _hourly_shares(masses, counts)]


def poll_weights(rates: Sequence[float], weight: float) -> list[float]:
    """How often to check in each hour, up to a factor. The square root makes the sum of all delays least."""
    return [math.sqrt(weight * rate) for rate in rates]


def pack_weights(weights: Sequence[float]) -> str:
    """The poll weights as text: a digit an hour, which pace.lua reads."""
    log, lowest = math.log, math.log(LOWEST_WEIGHT)
    levels = [round((log(weight) - lowest) / WEIGHT_LOG_STEP) if weight > LOWEST_WEIGHT else 0 for weight in weights]
    return "".join([DIGITS[min(level, LAST_LEVEL)] for level in levels])


def hour_of_week(at: float) -> int:
    return int(at // HOUR_SECONDS) % WEEK_HOURS


def _is_usable(platform: str) -> bool:
    try:
        platforms.get(platform)
    except NotAStreamer as error:
        log.warning("%s; those followed there are not asked", error)
        return False
    return True


def _packed_weights(record: StreamerRecord, sessions: list[Session], now: float) -> str:
    starts = [session.started_at for session in sessions]
    since = min([record.first or now, *starts])
    weight = record.streamer.weight if record.streamer else 1.0
    rates = golive_rates(starts, since, now)
    if not starts:
        return pack_weights(poll_weights(rates[:1], weight)) * WEEK_HOURS
    return pack_weights(poll_weights(rates, weight))


def _decay(age: float) -> float:
    return math.exp2(-age / HALF_LIFE_SECONDS)


def _masses(starts: Sequence[float], now: float) -> tuple[list[float], list[int]]:
    """The decayed mass and the number of the starts in each hour of the week."""
    masses, counts = [0.0] * WEEK_HOURS, [0] * WEEK_HOURS
    for start in starts:
        hour = hour_of_week(start)
        masses[hour] += _decay(now - start if start < now else 0.0)
        counts[hour] += 1
    return masses, counts


def _hourly_shares(masses: list[float], counts: list[int]) -> list[float]:
    """The share of each hour of the week, smoothed by the kernel under which the sessions explain each other best."""
    hours = [hour for hour in range(WEEK_HOURS) if counts[hour]]
    if not hours:
        return [1 / WEEK_HOURS] * WEEK_HOURS
    choices = (
        (likelihood, width, any_day)
        for width in KERNEL_WIDTHS_HOURS
        for any_day, likelihood in _log_likelihoods(width, hours, masses, counts)
    )
    _, width, any_day = max(choices, key=lambda choice: choice[0])
    smoothed = _Smoothed(width, masses, range(WEEK_HOURS))
    total_mass = sum(masses)
    return [
        ANY_TIME_SHARE / WEEK_HOURS
        + (1 - ANY_TIME_SHARE) * ((1 - any_day) * weekly + any_day * smoothed.daily[hour % DAY_HOURS]) / total_mass
        for hour, weekly in enumerate(smoothed.weekly)
    ]


def _log_likelihoods(
    width: float, hours: list[int], masses: list[float], counts: list[int]
) -> Iterator[tuple[float, float]]:
    """How well each session is predicted by all the others (leave one out), by the share of any day. A lone session has
    no others."""
    total_mass, smoothed = sum(masses), _Smoothed(width, masses, hours)
    rows = []
    for hour, weekly in zip(hours, smoothed.weekly, strict=True):
        own = masses[hour] / counts[hour]
        if total_mass > own:
            others = weekly - own * smoothed.weekly_peak, smoothed.daily[hour % DAY_HOURS] - own * smoothed.daily_peak
            rows.append((masses[hour], *others, total_mass - own))
    for any_day in ANY_DAY_SHARES:
        yield (
            any_day,
            sum(
                mass
                * math.log(
                    ANY_TIME_SHARE / WEEK_HOURS
                    + (1 - ANY_TIME_SHARE) * max(((1 - any_day) * weekly + any_day * daily) / rest, 0.0)
                )
                for mass, weekly, daily, rest in rows
            ),
        )


class _Smoothed:
    """Masses smoothed by a bell of this width: over the week, at these hours; and over the hours of any day.

    The week is round, and so is the day, which shares its mass among all seven.
    """

    def __init__(self, width: float, masses: list[float], hours: Sequence[int]) -> None:
        bell, reach = _bell(width)
        around = masses[-reach:] + masses + masses[:reach]
        self.weekly = [sum(map(mul, around[hour : hour + len(bell)], bell)) for hour in hours]
        self.weekly_peak = bell[reach]
        daily = _daily_bell(width)
        twice = [sum(masses[hour::DAY_HOURS]) for hour in range(DAY_HOURS)] * 2
        days = {hour % DAY_HOURS for hour in hours}
        self.daily = {hour: sum(map(mul, twice[hour : hour + DAY_HOURS], daily)) for hour in days}
        self.daily_peak = daily[0]


@cache
def _bell(width: float) -> tuple[tuple[float, ...], int]:
    """The share of a session at each distance in hours, and the farthest: beyond it is less than one in a million."""
    reach = math.ceil(WIDTHS_REACHED * width)
    heights = _wrapped_gaussian(width, WEEK_HOURS)
    return tuple(heights[distance] for distance in range(-reach, reach + 1)), reach


@cache
def _daily_bell(width: float) -> tuple[float, ...]:
    return tuple(height * DAY_HOURS / WEEK_HOURS for height in _wrapped_gaussian(width, DAY_HOURS))


def _wrapped_gaussian(width: float, period: int) -> list[float]:
    heights = [math.exp(-0.5 * (min(hour, period - hour) / width) ** 2) for hour in range(period)]
    return [height / sum(heights) for height in heights]
