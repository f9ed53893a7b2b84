"""Checks streamers: asks their platforms, reads the answers and records them in the store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from livectl.live import platforms, polling
from livectl.live.follows.sync import FollowSync
from livectl.live.network.fetcher import CheckReport, Fetcher, InMemoryCache
from livectl.live.network.routes import Routes
from livectl.live.platforms.base import same_observations, unresolved_observation
from livectl.live.polling import LimitsByPlatform
from livectl.models import Observation, PlatformHealth, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.live.platforms.base import CheckContext, Platform
    from livectl.live.polling import CheckBatch
    from livectl.live.store import Store
    from livectl.settings import Settings


MAX_OVERDRAFT_SECONDS = 5.0  # of budget that a person's check may be ahead of: a check or two keep nobody waiting
LEASE_SECONDS = 60.0  # until a streamer who was claimed and not recorded is due again: as long as a job may run
JOB_EXPIRES_SECONDS = 20.0  # a worker that takes a job later drops it, and leaves its streamers to the lease
MAX_CLAIMS_PER_SWEEP = 4  # each takes up to 5,000 streamers of a platform
CHANGES_KEEP_SECONDS = 7 * 86_400.0


log = logging.getLogger(__name__)


class Checker:
    """Checks streamers. Without a store nothing is recorded, no budget kept and no name remembered."""

    def __init__(self, settings: Settings, store: Store | None, limits: LimitsByPlatform | None = None) -> None:
        self._settings = settings
        self._store = store
        self._limits = limits or LimitsByPlatform(settings)
        self.fetcher = Fetcher(Routes.from_settings(settings.network), store or InMemoryCache())

    def check(self, platform_name: str, ids: Sequence[str], now: float) -> list[Observation]:
        """Checks streamers that were claimed, by the ids that are followed. The claim has paid for the requests."""
        return self._ask(platforms.get(platform_name), ids, self._context(platform_name, now))

    def check_now(self, platform_name: str, names: Sequence[str], now: float) -> list[Observation]:
        """Checks any streamers, because a person wants to know. Returns an observation for each name, in order.

        The caller has reserved what it costs.
        """
        platform, context = platforms.get(platform_name), self._context(platform_name, now)
        if problem := polling.unset_key(self._settings, platform_name):
            return same_observations(platform_name, names, State.AUTH, context, problem)
        if blocked := self._blocked_reason(platform_name, now):
            state, problem = blocked
            return same_observations(platform_name, names, state, context, problem)
        ids_by_name, observations = self._resolve_names(platform, list(dict.fromkeys(names)), context)
        ids = list(dict.fromkeys(ids_by_name.values()))
        if ids:
            observations |= {observation.id: observation for observation in self._ask(platform, ids, context)}
        return [observations[ids_by_name.get(name, name)] for name in names]

    def reserve(self, platform_name: str, streamers: int, now: float) -> float:
        """Takes the requests for so many streamers from the budget. Returns for how many seconds it is overdrawn."""
        limits = self._limits[platform_name]
        left = self._store.spend(limits, -(-streamers // limits.batch), now) if self._store else 0.0
        overdraft = max(0.0, -left / limits.rate)
        return overdraft if overdraft > MAX_OVERDRAFT_SECONDS else 0.0

    def _context(self, platform_name: str, now: float) -> CheckContext:
        return polling.check_context(self._settings, platform_name, now)

    def _ask(self, platform: Platform, ids: Sequence[str], context: CheckContext) -> list[Observation]:
        """Asks and records. Requests beyond one for each batch are taken from the budget now."""
        report = self._check(platform, ids, context)
        if self._store is not None:
            limits = self._limits[platform.name]
            paid_requests = -(-len(ids) // limits.batch)
            self._store.record(limits, report.observations, report.requests - paid_requests)
        return report.observations

    def _check(self, platform: Platform, ids: Sequence[str], context: CheckContext) -> CheckReport:
        """Asks nothing of a platform whose key is unset: it would be asked as somebody else."""
        if problem := polling.unset_key(self._settings, platform.name):
            log.warning("%s is not asked: %s", platform.name, problem)
            return CheckReport(same_observations(platform.name, ids, State.AUTH, context, problem), 0)
        return self.fetcher.check(platform, ids, context)

    def _resolve_names(
        self, platform: Platform, names: Sequence[str], context: CheckContext
    ) -> tuple[dict[str, str], dict[str, Observation]]:
        """The id of each name; for a name that has none, an observation that says why."""
        known_ids = self._store.aliases(platform.name, names) if self._store else {}
        unresolved = [name for name in names if name not in known_ids]
        answers, requests = self.fetcher.resolve(platform, unresolved, context)
        new_ids: dict[str, str] = {}
        failures: dict[str, Observation] = {}
        for name, answer in zip(unresolved, answers, strict=True):
            if isinstance(answer, str):
                new_ids[name] = answer
            else:
                failures[name] = unresolved_observation(platform.name, name, answer, context)
        if self._store is not None:
            aliases = {name: streamer_id for name, streamer_id in new_ids.items() if name != streamer_id}
            self._store.save_aliases(platform.name, aliases)
            self._store.spend(self._limits[platform.name], requests, context.now)
        return known_ids | new_ids, failures

    def _blocked_reason(self, platform_name: str, now: float) -> tuple[State, str] | None:
        """Why the platform is not asked at this moment. A person's check is no exception."""
        healths = self._store.health(now) if self._store else []
        return next((blocked_reason(health, now) for health in healths if health.platform == platform_name), None)


def blocked_reason(health: PlatformHealth, now: float) -> tuple[State, str] | None:
    """Why a platform is not asked at this moment; None when it is."""
    if health.open_until and now < health.open_until:
        return State.BLOCKED, f"not asked: it refused us, and is left alone for {health.open_until - now:.0f} s more"
    if health.wait_until and now < health.wait_until:
        return State.RATE_LIMITED, f"not asked: it wants to be left alone for {health.wait_until - now:.0f} s more"
    return None


class Sweeper:
    """What a process does for all followed streamers every few seconds, and once a day."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._limits = LimitsByPlatform(settings)
        self.checker = Checker(settings, store, self._limits)
        self._follow_sync = FollowSync(settings, store, self.checker.fetcher, self._limits)

    def refresh_follows(self, now: float) -> None:
        self._follow_sync.refresh(now)

    def claim(self, now: float) -> Iterator[list[CheckBatch]]:
        """Claims the streamers who are due, as jobs.

        Each step claims when it is asked for, so that streamers whose jobs cannot be sent are not claimed.
        """
        for _ in range(MAX_CLAIMS_PER_SWEEP):
            batches = polling.claim(self._store, self._limits, now, LEASE_SECONDS)
            if not batches:
                return
            yield batches

    def learn_habits(self, now: float) -> int:
        return polling.learn_habits(self._store, now)

    def prune(self, now: float) -> int:
        """Once a day: drops old data, and marks all poll weights as outdated. Returns how many streamers went."""
        self._store.mark_unlearned()
        return self._store.prune(now, now - CHANGES_KEEP_SECONDS)
