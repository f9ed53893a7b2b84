"""One check, whole: asked, read, recorded. By a worker's job, or right here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from livectl.live import platforms, polling
from livectl.live.follows.sync import FollowSync
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.live.platforms.base import CheckContext, CheckFailed, NotAStreamer, failed_observation, same_observations
from livectl.models import Observation, PlatformHealth, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store
    from livectl.models import PollingLimits
    from livectl.settings import Settings


MAX_OVERDRAFT_SECONDS = (
    5.0  # seconds of budget that a person's question may be ahead of: a look or two keep nobody waiting
)


class InMemoryCache:
    """What platforms keep between checks, where there is no store: for one call only."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], str] = {}

    def cache_get(self, platform: str, names: Sequence[str]) -> list[str | None]:
        return [self._values.get((platform, name)) for name in names]

    def cache_set(self, platform: str, name: str, value: str, seconds: float) -> None:
        self._values[platform, name] = value


class Checker:
    """Asks platforms after streamers, and records what they say in the store, if there is one."""

    def __init__(self, settings: Settings, store: Store | None) -> None:
        self._settings = settings
        self._store = store
        self.fetcher = Fetcher(Routes.from_settings(settings.network), store or InMemoryCache())

    def check(self, platform_name: str, ids: Sequence[str], now: float) -> list[Observation]:
        """Of those that were claimed, by the ids that are followed: their requests are paid for."""
        platform = platforms.get(platform_name)
        return self._ask(platform, ids, self._context(platform_name, now))

    def check_now(self, platform_name: str, names: Sequence[str], now: float) -> list[Observation]:
        """Of anybody, by whatever name, because a person wants to know: an observation for each, in order.

        What it costs was reserved before.
        """
        platform, context = platforms.get(platform_name), self._context(platform_name, now)
        if reason := self._blocked_reason(platform_name, now):
            state, problem = reason
            return same_observations(platform_name, names, state, context, problem)
        resolved_ids, observations = self._resolve_names(platform, list(dict.fromkeys(names)), context)
        ids = list(dict.fromkeys(resolved_ids.values()))
        observations |= {one.id: one for one in self._ask(platform, ids, context)} if ids else {}
        return [observations[resolved_ids.get(one, one)] for one in names]

    def reserve(self, platform_name: str, streamers: int, now: float) -> float:
        """Takes what a look at so many will cost from the budget. Answers for how many seconds it is overdrawn."""
        limits = polling.polling_limits(self._settings, platforms.get(platform_name))
        left = self._store.spend(limits, -(-streamers // limits.batch), now) if self._store else 0.0
        overdrawn = max(0.0, -left / limits.rate)
        return overdrawn if overdrawn > MAX_OVERDRAFT_SECONDS else 0.0

    def _context(self, platform_name: str, now: float) -> CheckContext:
        return CheckContext(now, polling.platform_keys(self._settings.platforms.get(platform_name)))

    def _ask(self, platform: Platform, ids: Sequence[str], context: CheckContext) -> list[Observation]:
        """What it costs beyond a request a batch is taken from the budget now."""
        report = self.fetcher.check(platform, ids, context)
        if self._store is not None:
            limits = polling.polling_limits(self._settings, platform)
            paid_requests = -(-len(ids) // limits.batch)
            self._store.record(limits, report.observations, report.requests - paid_requests)
        return report.observations

    def _resolve_names(
        self, platform: Platform, names: Sequence[str], context: CheckContext
    ) -> tuple[dict[str, str], dict[str, Observation]]:
        """The id that each name leads to; for those that lead nowhere, an observation that says why."""
        known_ids = self._store.aliases(platform.name, names) if self._store else {}
        unresolved = [name for name in names if name not in known_ids]
        answers, requests = self.fetcher.resolve(platform, unresolved, context)
        resolved = {name: answer for name, answer in zip(unresolved, answers, strict=True) if isinstance(answer, str)}
        if self._store is not None:
            self._store.save_aliases(
                platform.name, {name: streamer_id for name, streamer_id in resolved.items() if name != streamer_id}
            )
            self._store.spend(polling.polling_limits(self._settings, platform), requests, context.now)
        failures = {
            name: error for name, error in zip(unresolved, answers, strict=True) if isinstance(error, Exception)
        }
        return known_ids | resolved, {
            name: _unresolved_observation(platform.name, name, error, context) for name, error in failures.items()
        }

    def _blocked_reason(self, platform_name: str, now: float) -> tuple[State, str] | None:
        """Whether the platform asked not to be asked for a while. A person is no exception."""
        health = (
            next((row for row in self._store.health(now) if row.platform == platform_name), None)
            if self._store
            else None
        )
        return blocked_reason(health, now) if health else None


def blocked_reason(health: PlatformHealth, now: float) -> tuple[State, str] | None:
    """Why a platform is not asked at this moment; None when it is."""
    if health.open_until and now < health.open_until:
        return State.BLOCKED, f"not asked: it refused us, and is left alone for {health.open_until - now:.0f} s more"
    if health.wait_until and now < health.wait_until:
        return State.RATE_LIMITED, f"not asked: it wants to be left alone for {health.wait_until - now:.0f} s more"
    return None


def _unresolved_observation(platform: str, name: str, error: Exception, context: CheckContext) -> Observation:
    if isinstance(error, CheckFailed):
        return failed_observation(platform, name, error, context)
    if isinstance(error, NotAStreamer):
        state, problem = State.NOT_FOUND, error.message
    else:
        state, problem = State.PARSE_ERROR, f"its name could not be looked up: {type(error).__name__}"
    return Observation(platform=platform, id=name, state=state, at=context.now, problem=problem)


MAX_JOB_REQUESTS = 500  # a job: some 40 ms of work, so that two processors share ten thousand evenly
MAX_JOB_STREAMERS = 2_000  # a job, where many go into a request: no more than are recorded in one call
LEASE_SECONDS = 60.0  # seconds until who was claimed and not recorded is due again: as long as a job may run
JOB_EXPIRES_SECONDS = (
    20.0  # seconds a job may wait: a worker that comes later leaves it, and its streamers to the lease
)
MAX_CLAIMS_PER_SWEEP = 4  # claims in one sweep at most; each takes up to 5,000 of a platform
MAX_LEARNED_PER_SWEEP = 100  # streamers whose habits are learned in one sweep: some 0.1 s
CHANGES_KEEP_SECONDS = 7 * 86_400.0  # seconds that changes stay to be read

log = logging.getLogger(__name__)


class CheckBatch(NamedTuple):
    """Streamers of one platform that one job asks after."""

    platform: str
    ids: list[str]

    def __str__(self) -> str:
        return f"{self.platform}, {len(self.ids)} streamers"


class Sweeper:
    """What is to be done every few seconds, and once a day, for everyone followed. One for a process."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self.checker = Checker(settings, store)
        self._follow_sync = FollowSync(settings, store, self.checker.fetcher)

    def refresh_follows(self, now: float) -> None:
        self._follow_sync.refresh(now)

    def claim(self, now: float) -> Iterator[list[CheckBatch]]:
        """What is due, as jobs; claimed as it is asked for, so that what cannot be sent is not claimed either."""
        for _ in range(MAX_CLAIMS_PER_SWEEP):
            claimed = polling.claim(self._store, self._settings, now, LEASE_SECONDS)
            if not claimed:
                return
            yield [batch for name, ids in claimed for batch in check_batches(name, ids, self._settings)]

    def learn_habits(self, now: float) -> int:
        return polling.learn_habits(self._store, now, MAX_LEARNED_PER_SWEEP)

    def prune(self, now: float) -> int:
        """Once a day: what nobody needs any more goes, and habits are learned anew, since what is old fades."""
        self._store.mark_unlearned()
        return self._store.prune(now, now - CHANGES_KEEP_SECONDS)


def check_batches(name: str, ids: Sequence[str], settings: Settings) -> list[CheckBatch]:
    """Jobs of some hundreds each, in whole batches."""
    limits = polling.polling_limits(settings, platforms.get(name))
    return split_into_batches(name, ids, limits.batch * requests_per_job(limits))


def requests_per_job(limits: PollingLimits) -> int:
    return max(1, min(MAX_JOB_REQUESTS, MAX_JOB_STREAMERS // limits.batch))


def split_into_batches(name: str, ids: Sequence[str], size: int) -> list[CheckBatch]:
    return [CheckBatch(name, list(ids[start : start + size])) for start in range(0, len(ids), size)]
