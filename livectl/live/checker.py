"""Checks streamers: asks their platforms, reads the answers and records them in the store."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from livectl.live import platforms, polling
from livectl.live.follows.sync import FollowSync
from livectl.live.listing import Lister
from livectl.live.network.check_cache import InMemoryCache
from livectl.live.network.fetcher import CheckReport, Fetcher
from livectl.live.network.routes import Routes
from livectl.live.platforms.base import same_observations, unresolved_observation
from livectl.live.polling import LimitsByPlatform
from livectl.live.store_away import write_when_back
from livectl.models import Observation, State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from livectl.live.network.check_cache import NameCache
    from livectl.live.platforms.base import CheckContext, Platform
    from livectl.live.polling import CheckBatch
    from livectl.live.store import Store
    from livectl.models import PollingLimits
    from livectl.settings import Settings


MAX_OVERDRAFT_SECONDS = 5.0  # of budget that a person's check may be ahead of: a check or two keep nobody waiting
JOB_EXPIRES_SECONDS = 20.0  # a worker that takes a job later drops it, and leaves its streamers to the claim
CLAIM_SECONDS = JOB_EXPIRES_SECONDS + 5.0  # until a streamer who was claimed is due again, where no job has begun
LEASE_SECONDS = 60.0  # the same where one has begun and recorded nothing: as long as a job may run
AWAY_SECONDS = 20.0  # a store that is started again is back sooner; what was answered is recorded then
AGAIN_SECONDS = 0.5
MAX_CLAIMS_PER_SWEEP = 4  # each takes up to 5,000 streamers of a platform
LEARN_SECONDS = 1.0  # of a job: others need the worker too
MAX_LEARNED_A_JOB = 10_000  # streamers
CHANGES_KEEP_SECONDS = 7 * 86_400.0


log = logging.getLogger(__name__)


class Checker:
    """Checks streamers. Without a store nothing is recorded and no budget kept, and `cache` has names and tokens.

    A store that is away is waited for, for so many seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store | None,
        limits: LimitsByPlatform | None = None,
        cache: NameCache | None = None,
        away_seconds: float = 0.0,
    ) -> None:
        self._settings = settings
        self._store = store
        self._away_seconds = away_seconds
        self._limits = limits or LimitsByPlatform(settings, store)
        self._cache: NameCache = store or cache or InMemoryCache()
        self.fetcher = Fetcher(Routes.from_settings(settings.network), self._cache)

    def check(self, platform_name: str, ids: Sequence[str], now: float) -> list[Observation]:
        """Checks streamers that were claimed, by the ids that are followed. The claim has paid for the requests."""
        if (store := self._store) is not None:
            self._when_back(lambda: store.extend_claims(platform_name, ids, now + LEASE_SECONDS))
        return self._ask(platforms.get(platform_name), ids, self._context(platform_name, now))

    def check_now(self, platform_name: str, names: Sequence[str], now: float) -> list[Observation]:
        """Checks any streamers, because a person wants to know. Returns an observation for each name, in order.

        The caller has reserved what it costs.
        """
        platform, context = platforms.get(platform_name), self._context(platform_name, now)
        if problem := polling.unset_key(self._settings, platform_name):
            return same_observations(platform_name, names, State.AUTH, context, problem)
        if blocked := polling.left_alone(self._store, platform_name, now):
            state, problem = blocked
            return same_observations(platform_name, names, state, context, problem)
        names_once = list(dict.fromkeys(names))
        ids_by_name = self._known_ids(platform, names_once, context)
        observations = self._observe_names(platform, [name for name in names_once if name not in ids_by_name], context)
        unresolved = [name for name in names_once if name not in ids_by_name and name not in observations]
        new_ids, failures = self._resolve_names(platform, unresolved, context)
        ids_by_name |= new_ids
        ids = list(dict.fromkeys(ids_by_name.values()))
        by_id = {observation.id: observation for observation in self._ask(platform, ids, context)} if ids else {}
        observations |= failures | {name: by_id[streamer_id] for name, streamer_id in ids_by_name.items()}
        return [observations[name] for name in names]

    def reserve(self, platform_name: str, streamers: int, now: float) -> float:
        """Takes the requests for so many streamers from the budget. Returns for how many seconds it is overdrawn."""
        limits = self._limits[platform_name]
        left = self._store.spend(limits, -(-streamers // limits.batch), now) if self._store else 0.0
        overdraft = max(0.0, -left / limits.rate)
        return overdraft if overdraft > MAX_OVERDRAFT_SECONDS else 0.0

    def _context(self, platform_name: str, now: float) -> CheckContext:
        """Avatars are for the page, which shows what is recorded."""
        with_avatars = self._store is not None and self._settings.web.images
        return polling.check_context(self._settings, platform_name, now)._replace(with_avatars=with_avatars)

    def _ask(self, platform: Platform, ids: Sequence[str], context: CheckContext) -> list[Observation]:
        """Asks by the exits that serve them, and records. Requests beyond one for each batch are taken from the budget
        now.
        """
        found: dict[str, Observation] = {}
        for limits, some in self._limits.split(platform.name, ids, context.now):
            found |= {seen.id: seen for seen in self._ask_by(limits, platform, some, context)}
        return [found[each] for each in ids]

    def _ask_by(
        self, limits: PollingLimits, platform: Platform, ids: Sequence[str], context: CheckContext
    ) -> list[Observation]:
        report = self._check(platform, ids, context, limits.exit)
        if (store := self._store) is not None:
            extra_requests = report.requests - self._paid_requests(platform, len(ids))
            self._when_back(lambda: store.record(limits, report.observations, extra_requests))
        return report.observations

    def _when_back(self, write: Callable[[], object]) -> None:
        from redis.exceptions import ConnectionError as AwayError
        from redis.exceptions import TimeoutError as SilentError

        write_when_back(write, self._away_seconds, AGAIN_SECONDS, (AwayError, SilentError))

    def _check(self, platform: Platform, ids: Sequence[str], context: CheckContext, exit_name: str) -> CheckReport:
        """Asks nothing of a platform whose key is unset: it would be asked as somebody else."""
        if problem := polling.unset_key(self._settings, platform.name):
            log.warning("%s is not asked: %s", platform.name, problem)
            return CheckReport(same_observations(platform.name, ids, State.AUTH, context, problem), 0)
        return self.fetcher.check(platform, ids, context, exit_name)

    def _known_ids(self, platform: Platform, names: Sequence[str], context: CheckContext) -> dict[str, str]:
        """The id of each name that is one, or that was looked up before."""
        aliases = self._cache.aliases(platform.name, names)
        return {name: aliases.get(name, name) for name in names if name in aliases or platform.is_id(name, context)}

    def _observe_names(self, platform: Platform, names: Sequence[str], context: CheckContext) -> dict[str, Observation]:
        """Resolves and asks in one, where the platform allows that. It may leave names out."""
        if not names:
            return {}
        limits = self._limits.at_large(platform.name, context.now)
        report = self.fetcher.observe_names(platform, names, context, [each.exit for each in limits])
        observations = {
            name: observation
            for name, observation in report.observations.items()
            if observation.state is not State.PARSE_ERROR
        }
        self._spend(limits[0], report.requests - self._paid_requests(platform, len(observations)), context)
        uncertain = [
            name
            for name, observation in observations.items()
            if observation.state is State.OFFLINE and observation.id == name
        ]
        ids, failures = self._resolve_names(platform, uncertain, context)
        observations |= failures | {name: msgspec.structs.replace(observations[name], id=ids[name]) for name in ids}
        self._keep_ids(platform, {name: observation.id for name, observation in observations.items()})
        if self._store is not None and observations:
            self._store.record(limits[0], list(observations.values()), 0)
        return observations

    def _resolve_names(
        self, platform: Platform, names: Sequence[str], context: CheckContext
    ) -> tuple[dict[str, str], dict[str, Observation]]:
        """The id of each name; for a name that has none, an observation that says why."""
        if not names:
            return {}, {}
        limits = self._limits.at_large(platform.name, context.now)
        answers, requests = self.fetcher.resolve(platform, names, context, [each.exit for each in limits])
        self._spend(limits[0], requests, context)
        by_name = dict(zip(names, answers, strict=True))
        ids = {name: answer for name, answer in by_name.items() if isinstance(answer, str)}
        self._keep_ids(platform, ids)
        return ids, {
            name: unresolved_observation(platform.name, name, answer, context)
            for name, answer in by_name.items()
            if not isinstance(answer, str)
        }

    def _keep_ids(self, platform: Platform, ids_by_name: dict[str, str]) -> None:
        aliases = {name: streamer_id for name, streamer_id in ids_by_name.items() if name != streamer_id}
        self._cache.save_aliases(platform.name, aliases)

    def _paid_requests(self, platform: Platform, streamers: int) -> int:
        return -(-streamers // self._limits[platform.name].batch)

    def _spend(self, limits: PollingLimits, requests: int, context: CheckContext) -> None:
        if self._store is not None and requests:
            self._store.spend(limits, requests, context.now)


class Sweeper:
    """What a process does for all followed streamers every few seconds, and once a day."""

    def __init__(self, settings: Settings, store: Store, follows_named_at: float = 0.0) -> None:
        self._store = store
        self._limits = LimitsByPlatform(settings, store)
        self.checker = Checker(settings, store, self._limits, away_seconds=AWAY_SECONDS)
        self.lister = Lister(settings, store, self._limits, self.checker.fetcher)
        self._follow_sync = FollowSync(settings, store, self.checker.fetcher, self._limits, follows_named_at)

    def refresh_follows(self, now: float) -> None:
        self._follow_sync.refresh(now)

    def claim(self, now: float, leave_out: Collection[str] = ()) -> Iterator[list[CheckBatch]]:
        """Claims the streamers who are due, as jobs: of all platforms but those to be left out.

        Each step claims when it is asked for, so that streamers whose jobs cannot be sent are not claimed.
        """
        for _ in range(MAX_CLAIMS_PER_SWEEP):
            batches = polling.claim(self._store, self._limits, now, CLAIM_SECONDS, leave_out)
            if not batches:
                return
            yield batches

    def learn_habits(self, now: float) -> int:
        """Learns the habits of a few; who learned MAX_LEARNED leaves others."""
        return polling.learn_habits(self._store, now)

    def learn_for(self, seconds: float, now: float) -> int:
        """Learns as many as this time allows."""
        end = time.monotonic() + seconds
        return polling.learn_habits(self._store, now, MAX_LEARNED_A_JOB, lambda: time.monotonic() >= end)

    def prune(self, now: float) -> int:
        """Once a day: drops old data, and marks all poll weights as outdated. Returns how many streamers went."""
        self._store.mark_unlearned()
        return self._store.prune(now, now - CHANGES_KEEP_SECONDS)
